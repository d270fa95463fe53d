"""Resolve a template with parameters to the resources that CloudFormation would create, with invented names."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml

from tests.support.paths import ROOT

Json = dict[str, Any]
TEMPLATES = (ROOT / "template.yaml", *sorted((ROOT / "infra").glob("*.yaml")))
ACCOUNT, REGION = "123456789012", "us-east-1"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": "Heatlens",
    "AWS::URLSuffix": "amazonaws.com",
}
ARNS = {
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{{}}",
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{{}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{}}:*",
    "AWS::KMS::Key": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{{}}",
    "AWS::WAFv2::WebACL": f"arn:aws:wafv2:{REGION}:{ACCOUNT}:regional/webacl/{{}}/0",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{{}}",
    "AWS::Serverless::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{{}}",
}
NO_VALUE = object()
TEMPLATE = ROOT / "template.yaml"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/team/heatlens:1.0-cuda"
EVERYTHING: Json = {
    "CustomerKey": "true",
    "DataEvents": "true",
    "Tracing": "Active",
    "AlarmEmail": "a@example.org",
    "EndpointImageUri": IMAGE,
    "Backfill": "true",
    "InventoryBucket": "reports",
    "CorsOrigins": "https://a.example,https://b.example",
    "ProvisionedConcurrency": 2,
    "ReservedConcurrency": 9,
    "SubnetIds": "subnet-0a,subnet-0b",
    "SecurityGroupIds": "sg-0a",
    "DomainName": "heatlens.example.org",
    "CertificateArn": f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/0",
}
FUNCTIONS = ("ApiFunction", "BatchFunction", "SweeperFunction")


@cache
def read(path: Path) -> Json:
    """Read a template, with its intrinsic functions in their long form."""
    template: Json = cfn_yaml.load(str(path))
    return template


class Stack:
    """A stack of one template; `names` sets the physical names of some resources."""

    def __init__(self, path: Path, parameters: Json | None = None, names: Mapping[str, str] | None = None) -> None:
        self.template = read(path)
        declared = self.template["Parameters"]
        assert set(parameters or {}) <= set(declared)
        self.parameters = {name: each.get("Default") for name, each in declared.items()} | (parameters or {})
        self._names = names or {}

    def resources(self, *kinds: str) -> dict[str, Json]:
        """Return the resources whose condition holds, of some types or of all."""
        return {
            name: self.value(each)
            for name, each in self.template["Resources"].items()
            if self._exists(each) and (not kinds or each["Type"] in kinds)
        }

    def properties(self, name: str) -> Json:
        """Return a resource's properties.

        Raises:
            KeyError: There is no such resource, or its condition does not hold.
        """
        properties: Json = self.resources()[name]["Properties"]
        return properties

    def outputs(self) -> Json:
        """Return the values of the outputs whose condition holds."""
        return {
            name: self.value(each["Value"]) for name, each in self.template["Outputs"].items() if self._exists(each)
        }

    def refusals(self) -> list[str]:
        """Return the descriptions of the rule assertions that the parameters violate."""
        return [
            assertion["AssertDescription"]
            for rule in self.template.get("Rules", {}).values()
            if self.value(rule.get("RuleCondition", True))
            for assertion in rule["Assertions"]
            if not self.value(assertion["Assert"])
        ]

    def statements(self, role: str) -> list[Json]:
        """Return the policy statements of a role, its own and those attached to it."""
        own = [each["PolicyDocument"] for each in self.properties(role).get("Policies", [])]
        attached = [
            each["Properties"]["PolicyDocument"]
            for each in self.resources("AWS::IAM::Policy").values()
            if self.name(role) in each["Properties"]["Roles"]
        ]
        named = self.properties(role).get("ManagedPolicyArns", [])
        managed = [
            each["Properties"]["PolicyDocument"]
            for name, each in self.resources("AWS::IAM::ManagedPolicy").items()
            if self.name(name) in named
        ]
        return [statement for document in own + attached + managed for statement in document["Statement"]]

    def holds(self, condition: str) -> bool:
        """Return whether a condition of the template holds."""
        return bool(self.value(self.template["Conditions"][condition]))

    def name(self, resource: str) -> str:
        """Return the value of `Ref` for a resource."""
        kind = self.template["Resources"][resource]["Type"]
        physical = self._names.get(resource, resource.lower())
        return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{physical}" if kind == "AWS::SQS::Queue" else physical

    def value(self, node: Any) -> Any:  # noqa: ANN401 - JSON
        """Resolve the intrinsic functions in a part of the template."""
        if isinstance(node, list):
            return [each for each in map(self.value, node) if each is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(name, argument)] = node.items()
            if name in INTRINSICS:
                return INTRINSICS[name](self, argument)
            assert not name.startswith("Fn::"), f"unknown: {name}"
        resolved = {name: self.value(each) for name, each in node.items()}
        return {name: each for name, each in resolved.items() if each is not NO_VALUE}

    def ref(self, name: str) -> Any:  # noqa: ANN401 - a parameter's value
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.parameters:
            return self.parameters[name]
        return self.name(name.partition(".")[0])

    def attribute(self, path: str | list[str]) -> str:
        resource, _, attribute = (path if isinstance(path, str) else ".".join(path)).partition(".")
        kind = self.template["Resources"][resource]["Type"]
        if attribute == "Arn":
            return ARNS[kind].format(self._names.get(resource, resource.lower()))
        return f"{resource}.{attribute}"

    def sub(self, argument: str | list[Any]) -> str:
        text, extra = (argument, {}) if isinstance(argument, str) else argument
        known = {name: self.value(each) for name, each in extra.items()}

        def put(match: re.Match[str]) -> str:
            name = match[1]
            if name in known:
                return str(known[name])
            is_resource = name.partition(".")[0] in self.template["Resources"]
            return str(self.attribute(name) if "." in name and is_resource else self.ref(name))

        return re.sub(r"\$\{([^!}]+)\}", put, text).replace("${!", "${")

    def _exists(self, thing: Json) -> bool:
        return "Condition" not in thing or self.holds(thing["Condition"])


def _select(stack: Stack, argument: list[Any]) -> Any:  # noqa: ANN401 - an element
    index, values = argument
    return stack.value(values)[int(index)]


def _split(stack: Stack, argument: list[Any]) -> list[str]:
    mark, text = argument
    return str(stack.value(text)).split(mark)


def _join(stack: Stack, argument: list[Any]) -> str:
    mark, parts = argument
    return str(mark).join(map(str, stack.value(parts)))


def _equals(stack: Stack, argument: list[Any]) -> bool:
    one, other = map(stack.value, argument)
    return str(one) == str(other)


def _find_in_map(stack: Stack, argument: list[Any]) -> Any:  # noqa: ANN401 - a value of the mapping
    name, first, second = map(stack.value, argument)
    return stack.template["Mappings"][name][str(first)][second]


INTRINSICS: dict[str, Callable[[Stack, Any], Any]] = {
    "Ref": Stack.ref,
    "Condition": Stack.holds,
    "Fn::GetAtt": Stack.attribute,
    "Fn::Sub": Stack.sub,
    "Fn::Select": _select,
    "Fn::Split": _split,
    "Fn::Join": _join,
    "Fn::Equals": _equals,
    "Fn::FindInMap": _find_in_map,
    "Fn::If": lambda stack, argument: stack.value(argument[1 if stack.holds(argument[0]) else 2]),
    "Fn::Not": lambda stack, argument: not stack.value(argument[0]),
    "Fn::And": lambda stack, argument: all(stack.value(argument)),
    "Fn::Or": lambda stack, argument: any(stack.value(argument)),
}


def children(stack: Stack) -> dict[str, Stack]:
    """Return the nested stacks of a stack."""
    resources = stack.resources("AWS::CloudFormation::Stack")
    return {
        name: Stack(ROOT / each["Properties"]["TemplateURL"], each["Properties"]["Parameters"])
        for name, each in resources.items()
    }


def variables(stack: Stack) -> dict[str, dict[str, str]]:
    """Return the environment variables of each function."""
    shared = stack.value(stack.template["Globals"])["Function"]["Environment"]["Variables"]
    return {name: shared | stack.properties(name).get("Environment", {}).get("Variables", {}) for name in FUNCTIONS}
