"""Hook a boto3 client's calls to observe, change, answer or break them, including paginators and retries."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import HTTPClientError

Json = dict[str, Any]
_CALL = "chaos-call"  # in the context that botocore hands from event to event of one call
# Each of its calls has a token, by which DynamoDB knows a repetition and answers it as it did the first; moto does not.
TOKENED = "TransactWriteItems"
Carried = tuple[tuple[Any, Json] | None, Exception | None]  # a response or an error, as botocore's endpoint has it
ANSWERED = SimpleNamespace(status_code=200, headers={})


@dataclass(slots=True)
class Call:
    """One call of the product; `notes` is what hooks leave for themselves between before and after."""

    service: str
    name: str
    params: Json
    notes: Json = field(default_factory=dict)


class Hook:
    """Acts at a call; methods that are not overridden do nothing."""

    def asked(self, call: Call) -> None:
        """Change the parameters."""

    def before(self, call: Call) -> Json | None:
        """Raise or respond in place of the call."""

    def sent(self, call: Call) -> None:
        """Raise botocore's connection error after the service has done the call, which the client library retries."""

    def after(self, call: Call, answer: Json) -> None:
        """Change the response or raise instead; the call has taken effect."""


class Wires:
    """Attaches hooks to every call of some clients; they act in order and can be replaced at any time."""

    def __init__(self, clients: Iterable[Any]) -> None:
        self.hooks: Sequence[Hook] = ()
        for client in clients:
            events = client.meta.events
            events.register("provide-client-params", self._asked)
            events.register("before-call", self._before)
            events.register("after-call", self._after)
            # No event lies between what a service does and what botocore makes of its answer.
            client._endpoint._do_get_response = partial(self._carried, client._endpoint._do_get_response)

    def _asked(self, params: Json, model: Any, context: Json, **_: object) -> Json:  # noqa: ANN401 - botocore's
        call = Call(model.service_model.service_name, model.name, dict(params))
        context[_CALL] = call
        for hook in self.hooks:
            hook.asked(call)
        return call.params

    def _before(self, context: Json, **_: object) -> tuple[SimpleNamespace, Json] | None:
        call = context[_CALL]
        for hook in self.hooks:
            if (answer := hook.before(call)) is not None:
                return ANSWERED, self._answered(call, hook, answer)
        return None

    def _answered(self, call: Call, hook: Hook, answer: Json) -> Json:
        """Retry a hook's response as the client library does when a connection breaks."""
        try:
            self._sent(call)
        except HTTPClientError:
            return hook.before(call) or answer
        return answer

    def _carried(self, answered: Callable[..., Carried], request: Any, model: Any, context: Json) -> Carried:  # noqa: ANN401
        """Run one try of a call, which may break after the service has done it."""
        answer, error = answered(request, model, context)
        call = context[_CALL]
        if model.name == TOKENED and answer:
            answer = call.notes.setdefault("first answer", answer)
        try:
            self._sent(call)
        except HTTPClientError as broken:
            return None, broken
        return answer, error

    def _sent(self, call: Call) -> None:
        for hook in self.hooks:
            hook.sent(call)

    def _after(self, parsed: Json, context: Json, **_: object) -> None:
        for hook in self.hooks:
            hook.after(context[_CALL], parsed)
