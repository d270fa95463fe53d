"""A boto3 client's calls -> hooks that see, change, answer or break them; paginators and retries included."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

Json = dict[str, Any]
_CALL = "chaos-call"  # in the context that botocore hands from event to event of one call
ANSWERED = SimpleNamespace(status_code=200, headers={})


@dataclass(slots=True)
class Call:
    """One call of the product; `notes` is what hooks leave for themselves between before and after."""

    service: str
    name: str
    params: Json
    notes: Json = field(default_factory=dict)


class Hook:
    """What happens at a call; the methods that are not overridden let it be."""

    def asked(self, call: Call) -> None:
        """Change its parameters."""

    def before(self, call: Call) -> Json | None:
        """Raise instead of the call, or answer in its place."""

    def after(self, call: Call, answer: Json) -> None:
        """Change its answer, or raise instead of it; what it did is done."""


class Wires:
    """Lets hooks see every call of some clients; they act in their order, and can be exchanged at any time."""

    def __init__(self, clients: Iterable[Any]) -> None:
        self.hooks: Sequence[Hook] = ()
        for client in clients:
            events = client.meta.events
            events.register("provide-client-params", self._asked)
            events.register("before-call", self._before)
            events.register("after-call", self._after)

    def _asked(self, params: Json, model: Any, context: Json, **_: object) -> Json:  # noqa: ANN401 - botocore's
        call = Call(model.service_model.service_name, model.name, dict(params))
        context[_CALL] = call
        for hook in self.hooks:
            hook.asked(call)
        return call.params

    def _before(self, context: Json, **_: object) -> tuple[SimpleNamespace, Json] | None:
        for hook in self.hooks:
            if (answer := hook.before(context[_CALL])) is not None:
                return ANSWERED, answer
        return None

    def _after(self, parsed: Json, context: Json, **_: object) -> None:
        for hook in self.hooks:
            hook.after(context[_CALL], parsed)
