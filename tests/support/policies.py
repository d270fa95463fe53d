"""Decide whether AWS would allow a request, for the part of the policy language that the templates use.

Within one account, a request is allowed if a statement of the role or of the resource allows it and none denies it.
An unknown element or operator is an error.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Statement = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One action on one resource; `context` holds the condition keys that AWS would set."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.action} {self.resource} {dict(self.context) or ''}".strip()


def allowed(
    request: Request, role: Iterable[Statement], resource: Iterable[Statement] = (), *, service: str = ""
) -> bool:
    """Return whether the request of a role, or of an AWS service without a role, is allowed."""
    role, resource = list(role), [each for each in resource if _concerns(each, service)]
    matching = [each for each in role + resource if matches(each, request)]
    effects = {each["Effect"] for each in matching}
    assert effects <= {"Allow", "Deny"}
    return effects == {"Allow"}


def matches(statement: Statement, request: Request) -> bool:
    """Return whether a statement applies to a request."""
    assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement)
    return (
        any(like(each, request.action, ignore_case=True) for each in listed(statement["Action"]))
        and any(like(each, request.resource) for each in listed(statement["Resource"]))
        and all(
            _holds(operator, key, [str(each) for each in listed(values)], request.context)
            for operator, tests in statement.get("Condition", {}).items()
            for key, values in tests.items()
        )
    )


def like(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Match IAM's wildcards: `*` for any characters, `?` for one."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, text, re.DOTALL | (re.IGNORECASE if ignore_case else 0)) is not None


def listed(value: Any) -> Sequence[Any]:  # noqa: ANN401 - one or several, as in policies
    """Return a policy's value as a list."""
    return value if isinstance(value, list) else [value]


def _concerns(statement: Statement, service: str) -> bool:
    principal = statement["Principal"]
    if principal == "*":
        return True
    return service in listed(principal.get("Service", []))


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda value, actual: value == actual,
    "StringLike": like,
    "ArnLike": like,
    "ArnEquals": lambda value, actual: value == actual,
    "Bool": lambda value, actual: value.lower() == actual.lower(),
    "NumericLessThan": lambda value, actual: float(actual) < float(value),
    "NumericGreaterThan": lambda value, actual: float(actual) > float(value),
}


def _holds(operator: str, key: str, values: Sequence[str], context: Mapping[str, str]) -> bool:
    actual = context.get(key)
    if operator == "Null":
        return (actual is None) == (values == ["true"])
    if operator == "StringNotLike":  # a negated operator also holds for a missing key
        return actual is None or not any(like(each, actual) for each in values)
    test = OPERATORS[operator.removesuffix("IfExists")]
    if actual is None:
        return operator.endswith("IfExists")
    return any(test(each, actual) for each in values)
