"""Bucket, table, queues and key agree with the code that uses them and with each other."""

import json

import pytest

from heatlens_aws import object_keys
from heatlens_aws.object_keys import Lane
from heatlens_aws.records import OPEN_INDEX, File, FileState
from heatlens_aws.settings import DAY, AwsSettings
from infra.local_account import PREFIXES
from infra.local_batches import BATCH_SIZE, WINDOW_S
from tests.support.aws import SETTINGS, Account
from tests.support.stack import EVERYTHING, REGION, TEMPLATE, Json, Stack, read, variables

STACK = Stack(TEMPLATE)
FULL = Stack(TEMPLATE, EVERYTHING)
LANES = ("Interactive", "Bulk")


def test_no_resource_has_a_fixed_name() -> None:
    named = {"BucketName", "TableName", "QueueName", "FunctionName", "LogGroupName", "RoleName"}
    used = {name: named & set(each["Properties"]) for name, each in read(TEMPLATE)["Resources"].items()}

    references = {name: {"FunctionName"} for name in ("GatewayMayInvoke", "GatewayMayInvokeAlias", "RestApiMayInvoke")}
    assert {name: each for name, each in used.items() if each} == references | {"AccessLogs": {"LogGroupName"}}


@pytest.mark.parametrize("name", ["Bucket", "Table", "Key"])
def test_resources_with_data_outlive_the_stack(name: str) -> None:
    resource = read(TEMPLATE)["Resources"][name]

    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_the_bucket_is_private_versioned_and_owns_its_objects() -> None:
    bucket = STACK.properties("Bucket")

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]


def test_objects_expire_as_decided_but_drops_never_by_default() -> None:
    rules = STACK.properties("Bucket")["LifecycleConfiguration"]["Rules"]
    days = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "Prefix" in rule}
    [everything] = [rule for rule in rules if "Prefix" not in rule]

    assert days == {object_keys.IN: 7, object_keys.OUT: 30, object_keys.REPLY: 1, object_keys.ASYNC: 1, "backfill/": 7}
    assert everything["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert everything["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert {rule["Status"] for rule in rules} == {"Enabled"}
    # A row outlives the results that it names, and an upload the deadline of its batch.
    assert AwsSettings.model_fields["row_life_s"].default >= days[object_keys.OUT] * DAY
    assert AwsSettings.model_fields["batch_deadline_s"].default < days[object_keys.IN] * DAY


def test_dropped_objects_expire_as_the_parameter_says_and_the_worker_knows() -> None:
    stack = Stack(TEMPLATE, {"DropDays": 90})
    rules = stack.properties("Bucket")["LifecycleConfiguration"]["Rules"]

    assert {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if rule.get("Id") == "drops"} == {
        object_keys.DROP: 90
    }
    assert str(variables(stack)["BatchFunction"]["HEATLENS_DROP_DAYS"]) == "90"
    assert AwsSettings(drop_days=90).drop_row_life_s > 90 * DAY  # type: ignore[operator]
    assert AwsSettings().drop_row_life_s is None


@pytest.mark.parametrize("queue", ["InteractiveQueue", "BulkQueue"])
def test_a_purge_outlasts_the_queues_messages(queue: str) -> None:
    retention = STACK.properties(queue)["MessageRetentionPeriod"]

    assert AwsSettings.model_fields["queue_retention_s"].default == retention
    assert AwsSettings().purge_watch_s > retention + AwsSettings().upload_link_s + AwsSettings().async_ttl_s


def test_only_uploads_are_announced_each_prefix_to_the_queue_of_its_lane() -> None:
    announced = STACK.properties("Bucket")["NotificationConfiguration"]["QueueConfigurations"]
    prefixes = [rule["Value"] for each in announced for rule in each["Filter"]["S3Key"]["Rules"]]

    assert {each["Event"] for each in announced} == {"s3:ObjectCreated:*"}
    queues = {Lane.INTERACTIVE: STACK.attribute("InteractiveQueue.Arn"), Lane.BULK: STACK.attribute("BulkQueue.Arn")}
    assert list(zip(prefixes, [each["Queue"] for each in announced], strict=True)) == [
        (prefix, queues[lane]) for prefix, lane in PREFIXES
    ]
    # Results under one of these prefixes would be explained in turn.
    assert not any(prefix.startswith(object_keys.OUT) or object_keys.OUT.startswith(prefix) for prefix in prefixes)


def test_the_bucket_depends_on_the_queue_policy_without_a_cycle() -> None:
    resources = read(TEMPLATE)["Resources"]

    assert resources["Bucket"]["DependsOn"] == "QueuePolicy"
    assert '"Bucket"' not in json.dumps(resources["QueuePolicy"])
    assert "Bucket." not in json.dumps(resources["QueuePolicy"])


def test_browsers_may_use_links_from_the_page_and_from_cors_origins() -> None:
    page = f"https://httpapi.execute-api.{REGION}.amazonaws.com"
    [rule] = STACK.properties("Bucket")["CorsConfiguration"]["CorsRules"]
    [full] = FULL.properties("Bucket")["CorsConfiguration"]["CorsRules"]

    assert rule["AllowedOrigins"] == [page]
    assert full["AllowedOrigins"] == [page, "https://heatlens.example.org", "https://a.example", "https://b.example"]
    assert rule["AllowedMethods"] == ["GET", "PUT"]


def test_cors_allows_every_header_that_a_link_requires(aws: Account) -> None:
    file = File(
        batch="0" * 26, number=0, state=FileState.PENDING, name="a", size=1, sha256="0" * 64, media_type="image/png"
    )
    _, headers = aws.staging.upload_link(file, "in/i/key", lifetime_s=60)
    [rule] = STACK.properties("Bucket")["CorsConfiguration"]["CorsRules"]

    assert set(headers) - {"content-length"} <= set(rule["AllowedHeaders"])  # a browser sets content-length itself


@pytest.mark.parametrize("lane", LANES)
def test_the_queue_and_the_worker_have_the_same_number_of_receives(lane: str) -> None:
    queue, dead = STACK.properties(f"{lane}Queue"), f"{lane}DeadLetters"

    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": STACK.attribute(f"{dead}.Arn"), "maxReceiveCount": 5}
    assert variables(STACK)["BatchFunction"]["HEATLENS_MAX_RECEIVES"] == "5"
    assert AwsSettings.model_fields["max_receives"].default == 5
    assert queue["MessageRetentionPeriod"] == AwsSettings.model_fields["queue_retention_s"].default == 4 * DAY
    assert STACK.properties(dead)["MessageRetentionPeriod"] == 14 * DAY


@pytest.mark.parametrize("name", [f"{lane}{kind}" for lane in LANES for kind in ("Queue", "DeadLetters")])
def test_queues_are_encrypted_and_refuse_unencrypted_transport(name: str) -> None:
    plain, keyed = STACK.properties(name), FULL.properties(name)

    assert (plain["SqsManagedSseEnabled"], "KmsMasterKeyId" in plain) == (True, False)
    assert (keyed["KmsMasterKeyId"], "SqsManagedSseEnabled" in keyed) == (FULL.attribute("Key.Arn"), False)
    policies = [each["Properties"] for each in STACK.resources("AWS::SQS::QueuePolicy").values()]
    [policy] = [each for each in policies if STACK.name(name) in each["Queues"]]
    [refusal] = [each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Deny"]
    assert (refusal["Action"], refusal["Condition"]) == ("sqs:*", {"Bool": {"aws:SecureTransport": "false"}})
    assert STACK.attribute(f"{name}.Arn") in refusal["Resource"]


@pytest.mark.parametrize("lane", LANES)
def test_the_event_source_of_a_lane_limits_its_own_concurrency_and_reports_each_failure(lane: str) -> None:
    other = Stack(TEMPLATE, {f"{lane}Concurrency": 9})
    source = STACK.properties("BatchFunction")["Events"][f"{lane}Uploads"]["Properties"]
    raised = {
        name: each["Properties"]["ScalingConfig"]["MaximumConcurrency"]
        for name, each in other.properties("BatchFunction")["Events"].items()
    }

    assert source["Queue"] == STACK.attribute(f"{lane}Queue.Arn")
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": 4}
    assert raised == {f"{each}Uploads": 9 if each == lane else 4 for each in LANES}
    assert (source["BatchSize"], source["MaximumBatchingWindowInSeconds"]) == (BATCH_SIZE, WINDOW_S) == (10, 1)


def test_the_sweeper_runs_every_minute_without_retries() -> None:
    properties = STACK.properties("SweeperFunction")

    assert properties["Events"]["EachMinute"]["Properties"]["Schedule"] == "rate(1 minute)"
    assert properties["EventInvokeConfig"]["MaximumRetryAttempts"] == 0


def test_the_table_equals_the_one_of_the_local_account(aws: Account) -> None:
    """The template and `infra/local_account.py` both define it; the local one is read back from DynamoDB."""
    table = aws.clients.dynamodb.describe_table(TableName=SETTINGS.table)["Table"]
    template = STACK.properties("Table")

    def by_name(attributes: list[Json]) -> list[Json]:
        return sorted(attributes, key=lambda each: str(each["AttributeName"]))

    assert by_name(template["AttributeDefinitions"]) == by_name(table["AttributeDefinitions"])
    assert template["KeySchema"] == table["KeySchema"]
    [index], [local] = template["GlobalSecondaryIndexes"], table["GlobalSecondaryIndexes"]
    assert all(index[name] == local[name] for name in ("IndexName", "KeySchema", "Projection"))
    assert index["IndexName"] == OPEN_INDEX
    assert template["BillingMode"] == "PAY_PER_REQUEST"


def test_the_table_has_expiry_and_point_in_time_recovery() -> None:
    table = STACK.properties("Table")

    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_the_customer_key_encrypts_everything_if_chosen() -> None:
    key = FULL.attribute("Key.Arn")

    assert "Key" not in STACK.resources()
    assert key not in json.dumps(STACK.resources())
    [bucket] = FULL.properties("Bucket")["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert bucket["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    assert FULL.properties("Table")["SSESpecification"]["KMSMasterKeyId"] == key
    for group in FULL.resources("AWS::Logs::LogGroup").values():
        assert group["Properties"]["KmsKeyId"] == key
    for child in ("Observability", "Endpoint"):
        assert FULL.properties(child)["Parameters"]["KeyArn"] == key
    assert FULL.properties("Key")["EnableKeyRotation"] is True
