"""Parameters, functions and skipped checks of the templates, as far as linters do not check them."""

import re
from pathlib import Path

import pytest

from heatlens_aws.object_keys import Lane
from heatlens_aws.settings import AwsSettings
from heatlens_web.settings import ServerSettings
from tests.support.aws import Account
from tests.support.paths import ROOT
from tests.support.stack import EVERYTHING, FUNCTIONS, TEMPLATE, TEMPLATES, Json, Stack, children, read, variables
from tests.support.staged import imported

STACK = Stack(TEMPLATE)
FULL = Stack(TEMPLATE, EVERYTHING)


def test_parameters_have_the_decided_defaults() -> None:
    expected = {
        "AuthMode": "AWS_IAM",
        "RateLimit": 10,
        "BurstLimit": 20,
        "Architecture": "x86_64",
        "MemorySize": 3008,
        "BatchMemorySize": 3008,
        "InteractiveConcurrency": 4,
        "BulkConcurrency": 4,
        "InteractiveFiles": 500,
        "BatchTimeout": 120,
        "ReservedConcurrency": 0,
        "ProvisionedConcurrency": 0,
        "CustomerKey": "false",
        "EndpointImageUri": "",
        "Backfill": "false",
    }

    assert {name: STACK.parameters[name] for name in expected} == expected


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_parameter_is_described(path: Path) -> None:
    described = {name: each.get("Description", "") for name, each in read(path)["Parameters"].items()}

    assert [name for name, text in described.items() if len(text) < 15] == []


def test_every_parameter_is_in_one_group_of_the_form() -> None:
    groups = read(TEMPLATE)["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]

    assert grouped == list(read(TEMPLATE)["Parameters"])


def test_every_parameter_has_a_default() -> None:
    assert [name for name, each in read(TEMPLATE)["Parameters"].items() if "Default" not in each] == []


def test_the_functions_share_one_image() -> None:
    metadata = [dict(read(TEMPLATE)["Resources"][name]["Metadata"]) for name in FUNCTIONS]
    for each in metadata:
        each.pop("checkov")

    assert metadata[0] == metadata[1] == metadata[2]
    assert metadata[0] == {
        "Dockerfile": "infra/Dockerfile",
        "DockerContext": ".",
        "DockerTag": "cpu",
        "DockerBuildTarget": "cpu",
        "DockerBuildArgs": {"MODEL_DIR": "layers/heatlens/models/demo", "BASE_IMAGE": {"Ref": "BaseImage"}},
    }
    assert (ROOT / metadata[0]["DockerBuildArgs"]["MODEL_DIR"] / "card.json").exists()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_command_names_a_handler_that_exists(name: str, aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATLENS_BUCKET", aws.settings.bucket)
    monkeypatch.setenv("HEATLENS_TABLE", aws.settings.table)
    [command] = STACK.properties(name)["ImageConfig"]["Command"]
    module, _, function = command.rpartition(".")

    assert callable(getattr(imported(module), function))
    assert STACK.properties(name)["PackageType"] == "Image"


def test_every_variable_is_a_setting() -> None:
    known = {f"HEATLENS_{name.upper()}" for name in ServerSettings.model_fields | AwsSettings.model_fields}
    given = {variable for each in variables(STACK).values() for variable in each}

    assert {"HEATLENS_BUCKET", "HEATLENS_TABLE", "HEATLENS_INTERACTIVE_QUEUE_URL", "HEATLENS_BULK_QUEUE_URL"} <= given
    assert given <= known


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_variables_configure_staging(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in variables(STACK)[name].items():
        monkeypatch.setenv(variable, str(value))
    settings = AwsSettings()

    assert settings.ready
    assert settings.async_endpoint == ""
    queues = [STACK.name("InteractiveQueue"), STACK.name("BulkQueue")]
    assert [settings.queue_url(lane) for lane in Lane] == (["", ""] if name == "ApiFunction" else queues)


def test_placeholder_names_of_sam_local_do_not_configure_staging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATLENS_BUCKET", "Bucket")
    monkeypatch.setenv("HEATLENS_TABLE", "Table")
    monkeypatch.setenv("AWS_SAM_LOCAL", "true")

    assert not AwsSettings().ready


@pytest.mark.parametrize(("name", "role"), [(name, name.replace("Function", "Role")) for name in FUNCTIONS])
def test_each_function_has_its_own_role_and_log_group(name: str, role: str) -> None:
    properties = STACK.properties(name)
    log = name.replace("Function", "Logs")

    assert properties["Role"] == STACK.attribute(f"{role}.Arn")
    assert properties["LoggingConfig"]["LogGroup"] == STACK.name(log)
    [logs] = [each for each in STACK.statements(role) if each["Sid"] == "Logs"]
    assert logs["Resource"] == STACK.attribute(f"{log}.Arn")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_log_group_has_a_retention(path: Path) -> None:
    for name, each in read(path)["Resources"].items():
        if each["Type"] == "AWS::Logs::LogGroup":
            days = "AuditRetentionDays" if name == "AuditLogs" else "LogRetentionDays"
            assert each["Properties"]["RetentionInDays"] == {"Ref": days}, name


def test_the_timeouts_of_functions_are_shorter_than_their_callers() -> None:
    assert STACK.properties("ApiFunction")["Timeout"] == 29
    assert STACK.properties("Integration")["TimeoutInMillis"] == 30_000
    for queue in ("InteractiveQueue", "BulkQueue"):
        assert STACK.properties(queue)["VisibilityTimeout"] >= 6 * STACK.properties("BatchFunction")["Timeout"]


@pytest.mark.parametrize("seconds", read(TEMPLATE)["Parameters"]["BatchTimeout"]["AllowedValues"])
def test_every_timeout_of_the_batch_function_has_its_visibility_and_alarm(seconds: int) -> None:
    """AWS recommends six times the function's timeout; the API refuses by the same number."""
    stack = Stack(TEMPLATE, {"BatchTimeout": seconds})
    slow = children(stack)["Observability"].properties("BatchSlow")

    assert stack.properties("BatchFunction")["Timeout"] == seconds <= 900
    for queue in ("InteractiveQueue", "BulkQueue"):
        assert stack.properties(queue)["VisibilityTimeout"] == 6 * seconds
    assert slow["Threshold"] == 1000 * (seconds - 5)
    assert {int(each["HEATLENS_BATCH_TIMEOUT_S"]) for each in variables(stack).values()} == {seconds}


def test_the_defaults_reserve_no_concurrency() -> None:
    for name in FUNCTIONS:
        assert "ReservedConcurrentExecutions" not in STACK.properties(name)
        assert "ProvisionedConcurrencyConfig" not in STACK.properties(name)
    assert FULL.properties("ApiFunction")["ReservedConcurrentExecutions"] == 9
    assert FULL.properties("ApiFunction")["ProvisionedConcurrencyConfig"] == {"ProvisionedConcurrentExecutions": 2}


@pytest.mark.parametrize("given", [{"ProvisionedConcurrency": 2}, {"Canary": "true"}])
def test_the_gateway_calls_the_alias_only_where_it_has_a_purpose(given: Json) -> None:
    """SAM publishes no version for a new parameter value: behind the alias it would not take effect."""
    stack = Stack(TEMPLATE, given)
    alias = STACK.properties("ApiFunction")["AutoPublishAlias"]
    permissions = read(TEMPLATE)["Resources"]

    assert STACK.properties("Integration")["IntegrationUri"] == STACK.attribute("ApiFunction.Arn")
    assert stack.properties("Integration")["IntegrationUri"] == f"{stack.attribute('ApiFunction.Arn')}:{alias}"
    assert permissions["GatewayMayInvoke"]["Properties"]["FunctionName"] == {"Ref": "ApiFunction"}
    assert permissions["GatewayMayInvokeAlias"]["Properties"]["FunctionName"] == {"Ref": "ApiFunction.Alias"}
    assert "GatewayMayInvokeAlias" in stack.resources()
    assert "GatewayMayInvokeAlias" not in STACK.resources()


def test_a_release_publishes_a_version_of_changed_parameters() -> None:
    properties = STACK.properties("ApiFunction")

    assert properties["AutoPublishAliasAllProperties"] is True
    assert properties["AutoPublishCodeSha256"] == ""  # SAM falls back to the template's text


def test_a_canary_deployment_returns_to_the_old_version_on_an_alarm() -> None:
    stack = Stack(TEMPLATE, {"Canary": "true", "CanaryType": "Linear10PercentEvery1Minute"})
    preference = stack.properties("ApiFunction")["DeploymentPreference"]

    assert preference["Enabled"] == "true"
    assert preference["Type"] == "Linear10PercentEvery1Minute"
    assert preference["Alarms"] == [stack.name("CanaryFails"), stack.name("CanaryErrors")]
    for name in ("CanaryFails", "CanaryErrors"):
        alarm = stack.properties(name)
        assert (alarm["Period"], alarm["EvaluationPeriods"], alarm["Threshold"]) == (60, 1, 0)
        assert "AlarmActions" not in alarm
    assert STACK.properties("ApiFunction")["DeploymentPreference"] == {
        "Enabled": "false",
        "Type": "Canary10Percent5Minutes",
        "Alarms": [],
    }
    assert not {"CanaryFails", "CanaryErrors"} & set(STACK.resources())


def test_the_audit_log_is_kept_longer_than_logs_and_after_the_stack() -> None:
    stack = Stack(TEMPLATE, {"LogRetentionDays": 7, "AuditRetentionDays": 3653})
    group = read(TEMPLATE)["Resources"]["AuditLogs"]

    assert stack.properties("AuditLogs")["RetentionInDays"] == 3653
    assert STACK.properties("AuditLogs")["RetentionInDays"] > STACK.properties("ApiLogs")["RetentionInDays"]
    assert (group["DeletionPolicy"], group["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert STACK.outputs()["AuditLogGroup"] == STACK.name("AuditLogs")


def test_only_the_api_function_writes_the_audit_log_and_none_reads_it() -> None:
    group = STACK.attribute("AuditLogs.Arn")
    writers = {
        (role, action)
        for role in ("ApiRole", "BatchRole", "SweeperRole")
        for statement in STACK.statements(role)
        if statement["Resource"] == group
        for action in statement["Action"]
    }

    assert writers == {("ApiRole", "logs:CreateLogStream"), ("ApiRole", "logs:PutLogEvents")}
    assert variables(STACK)["ApiFunction"]["HEATLENS_AUDIT_LOG_GROUP"] == STACK.name("AuditLogs")


def test_the_log_group_of_the_gateway_needs_no_resource_policy() -> None:
    """Accounts with many log groups fail at the stage: their resource policy has no room for another one."""
    assert STACK.properties("AccessLogs")["LogGroupName"] == "/aws/vendedlogs/apis/Heatlens"


def test_architecture_and_tracing_apply_to_all_functions() -> None:
    shared = read(TEMPLATE)["Globals"]["Function"]

    assert shared["Architectures"] == [{"Ref": "Architecture"}]
    assert shared["Tracing"] == {"Ref": "Tracing"}
    assert not {"Architectures", "Tracing"} & {key for name in FUNCTIONS for key in STACK.properties(name)}


def skips() -> set[tuple[str, str, str, str]]:
    skipped = set()
    for path in TEMPLATES:
        for name, resource in read(path)["Resources"].items():
            for each in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
                skipped.add((path.name, name, each["id"], each["comment"]))
    return skipped


def test_every_skipped_check_is_documented_with_its_reason() -> None:
    rows = re.findall(
        r"^\| `(CKV\w+)` \| `([\w.]+)`: ((?:`\w+`(?:, )?)+) \| (.+?) \|$",
        (ROOT / "infra" / "permissions.md").read_text(),
        re.MULTILINE,
    )
    table = {
        (path, name, check, reason) for check, path, names, reason in rows for name in re.findall(r"`(\w+)`", names)
    }

    assert len(skips()) > 10
    assert table == skips()
