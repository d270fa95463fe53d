"""Policies and a request -> whether AWS would allow it, as far as our templates use its language.

Within one account: a request is allowed where a statement of the role or of the resource allows it and none denies it.
What is not understood is an error, never a yes.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Statement = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One action on one resource; `context` has the condition keys that AWS would set."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.action} {self.resource} {dict(self.context) or ''}".strip()


def allowed(
    request: Request, role: Iterable[Statement], resource: Iterable[Statement] = (), *, service: str = ""
) -> bool:
    """Whether a role's request is allowed; or, without a role, that of an AWS service."""
    role, resource = list(role), [each for each in resource if _concerns(each, service)]
    matching = [each for each in role + resource if matches(each, request)]
    effects = {each["Effect"] for each in matching}
    assert effects <= {"Allow", "Deny"}
    return effects == {"Allow"}


def matches(statement: Statement, request: Request) -> bool:
    """Whether a statement speaks of a request."""
    assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement)
    return (
        any(like(each, request.action, ignore_case=True) for each in listed(statement["Action"]))
        and any(like(each, request.resource) for each in listed(statement["Resource"]))
        and all(
            _holds(operator, key, [str(each) for each in listed(wanted)], request.context)
            for operator, tests in statement.get("Condition", {}).items()
            for key, wanted in tests.items()
        )
    )


def like(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """IAM's wildcards: `*` for any letters, `?` for one."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, text, re.DOTALL | (re.IGNORECASE if ignore_case else 0)) is not None


def listed(value: Any) -> Sequence[Any]:  # noqa: ANN401 - one or several, as policies have it
    """A policy's value, which stands alone where it is one."""
    return value if isinstance(value, list) else [value]


def _concerns(statement: Statement, service: str) -> bool:
    principal = statement["Principal"]
    if principal == "*":
        return True
    return service in listed(principal.get("Service", []))


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, given: wanted == given,
    "StringLike": like,
    "ArnLike": like,
    "ArnEquals": lambda wanted, given: wanted == given,
    "Bool": lambda wanted, given: wanted.lower() == given.lower(),
    "NumericLessThan": lambda wanted, given: float(given) < float(wanted),
    "NumericGreaterThan": lambda wanted, given: float(given) > float(wanted),
}


def _holds(operator: str, key: str, wanted: Sequence[str], context: Mapping[str, str]) -> bool:
    given = context.get(key)
    if operator == "Null":
        return (given is None) == (wanted == ["true"])
    if operator == "StringNotLike":  # a negation holds also of what is not there
        return given is None or not any(like(each, given) for each in wanted)
    test = OPERATORS[operator.removesuffix("IfExists")]
    if given is None:
        return operator.endswith("IfExists")
    return any(test(each, given) for each in wanted)
