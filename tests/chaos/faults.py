"""Inject errors, lost responses, crashes and other actors' moves at planned calls."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from tests.chaos.hooks import Call, Hook, Json

READS = {"GetObject", "HeadObject", "ListObjectVersions", "GetItem", "BatchGetItem", "Query", "GetQueueAttributes"}
THROTTLING = {
    "s3": "SlowDown",
    "dynamodb": "ProvisionedThroughputExceededException",
    "sqs": "ThrottlingException",
    "sagemaker-runtime": "ThrottlingException",
}
REFUSING = {
    "s3": "AccessDenied",
    "dynamodb": "InternalServerError",
    "sqs": "AccessDeniedException",
    "sagemaker-runtime": "InternalFailure",
}


class Crash(BaseException):
    """The process dies here; nothing in the product may catch it."""


class Fault(StrEnum):
    """What can happen at a call: the first three instead of it, the others after it.

    A response is lost, or the connection breaks before it and the client library retries the call.
    """

    THROTTLED = "throttled"
    REFUSED = "write refused"
    CONFLICT = "write met another"
    LOST = "answer lost"
    BROKEN = "asked twice"
    CRASH = "crash"
    MEANWHILE = "others in between"


@dataclass(slots=True)
class Plan:
    """The faults of one step: at its n-th call (the first is 1), and anywhere with a probability."""

    at: Mapping[int, Fault] = field(default_factory=dict)
    rates: Mapping[Fault, float] = field(default_factory=dict)
    meanwhile: Callable[[], None] = lambda: None
    met: list[Call] = field(default_factory=list)

    def places(self, fault: Fault) -> list[int]:
        """List the calls of the step at which a fault can happen."""
        return [number for number, call in enumerate(self.met, 1) if _fits(fault, call)]


class Faults(Hook):
    """Executes plans and counts faults, one step at a time, nested steps included."""

    def __init__(self, rng: random.Random, counts: Counter[str]) -> None:
        self.counts = counts
        self.happened = 0  # faults; moves of other actors are not counted
        self._rng = rng
        self._plan = Plan()

    @contextmanager
    def step(self, plan: Plan | None) -> Iterator[None]:
        """Follow a plan until the block ends; without one, that of the enclosing step."""
        before = self._plan
        self._plan = plan or before
        try:
            yield
        finally:
            self._plan = before

    def before(self, call: Call) -> None:
        fault = self._fault(call)
        call.notes["fault"] = fault
        if fault is Fault.THROTTLED:
            self._instead(call, fault, THROTTLING[call.service])
        if fault is Fault.REFUSED:
            self._instead(call, fault, REFUSING[call.service])
        if fault is Fault.CONFLICT:
            self._instead(call, fault, "ConditionalRequestConflict")

    def sent(self, call: Call) -> None:
        if call.notes.get("fault") is Fault.BROKEN:
            call.notes["fault"] = None
            self._count(Fault.BROKEN)
            raise ConnectionClosedError(endpoint_url=call.service)

    def after(self, call: Call, answer: Json) -> None:
        del answer
        fault = call.notes.pop("fault", None)
        if fault is None:
            return
        if fault is Fault.LOST:
            self._count(fault)
            raise ReadTimeoutError(endpoint_url=call.service)
        if fault is Fault.CRASH:
            self._count(fault)
            self.counts[f"crash after {call.name}"] += 1
            raise Crash
        self.counts[f"fault: {fault}"] += 1
        meanwhile = self._plan.meanwhile
        with self.step(Plan()):
            meanwhile()

    def _fault(self, call: Call) -> Fault | None:
        plan = self._plan
        plan.met.append(call)
        self.counts["calls"] += 1
        fault = plan.at.get(len(plan.met)) or self._drawn(plan)
        return fault if fault and _fits(fault, call) else None

    def _drawn(self, plan: Plan) -> Fault | None:
        if not plan.rates:
            return None
        where = self._rng.random()
        for fault, rate in plan.rates.items():
            if where < rate:
                return fault
            where -= rate
        return None

    def _instead(self, call: Call, fault: Fault, code: str) -> NoReturn:
        self._count(fault)
        raise ClientError({"Error": {"Code": code, "Message": "planned"}}, call.name)

    def _count(self, fault: Fault) -> None:
        self.happened += 1
        self.counts[f"fault: {fault}"] += 1


def _fits(fault: Fault, call: Call) -> bool:
    if fault is Fault.CONFLICT:
        return "IfNoneMatch" in call.params
    return fault not in (Fault.REFUSED, Fault.LOST, Fault.BROKEN) or call.name not in READS
