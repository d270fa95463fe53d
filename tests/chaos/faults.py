"""Plans of trouble -> errors, lost answers, crashes and other people's moves, at the calls that were planned."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from botocore.exceptions import ClientError, ReadTimeoutError

from tests.chaos.hooks import Call, Hook, Json

READS = {"GetObject", "ListObjectVersions", "GetItem", "Query", "GetQueueAttributes"}
THROTTLING = {"s3": "SlowDown", "dynamodb": "ProvisionedThroughputExceededException", "sqs": "ThrottlingException"}
REFUSING = {"s3": "AccessDenied", "dynamodb": "InternalServerError", "sqs": "AccessDeniedException"}


class Crash(BaseException):
    """The process dies here; nothing in the product may catch it."""


class Fault(StrEnum):
    """What can happen at a call; the first three instead of it, the others after it is done."""

    THROTTLED = "throttled"
    REFUSED = "write refused"
    CONFLICT = "write met another"
    LOST = "answer lost"
    CRASH = "crash"
    MEANWHILE = "others in between"


@dataclass(slots=True)
class Plan:
    """What happens during one step: at its n-th call (the first is 1), and anywhere with a probability."""

    at: Mapping[int, Fault] = field(default_factory=dict)
    rates: Mapping[Fault, float] = field(default_factory=dict)
    meanwhile: Callable[[], None] = lambda: None
    calls: int = 0


class Faults(Hook):
    """Carries plans out, and counts what it did; one step at a time, steps within steps included."""

    def __init__(self, rng: random.Random, counts: Counter[str]) -> None:
        self.counts = counts
        self._rng = rng
        self._plan = Plan()

    @contextmanager
    def step(self, plan: Plan | None) -> Iterator[None]:
        """Follow a plan until the block ends; without one, go on with the plan of the step around it."""
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

    def after(self, call: Call, answer: Json) -> None:
        del answer
        fault = call.notes.pop("fault", None)
        if fault is None:
            return
        self.counts[f"fault: {fault}"] += 1
        if fault is Fault.LOST:
            raise ReadTimeoutError(endpoint_url=call.service)
        if fault is Fault.CRASH:
            raise Crash
        meanwhile = self._plan.meanwhile
        with self.step(Plan()):
            meanwhile()

    def _fault(self, call: Call) -> Fault | None:
        plan = self._plan
        plan.calls += 1
        self.counts["calls"] += 1
        fault = plan.at.get(plan.calls) or self._drawn(plan)
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
        self.counts[f"fault: {fault}"] += 1
        raise ClientError({"Error": {"Code": code, "Message": "planned"}}, call.name)


def _fits(fault: Fault, call: Call) -> bool:
    if fault is Fault.CONFLICT:
        return "IfNoneMatch" in call.params
    return fault not in (Fault.REFUSED, Fault.LOST) or call.name not in READS
