"""Bucket, table, queues and key, against the code that uses them and against each other."""

import json

import pytest

from heatlens_aws import object_keys
from heatlens_aws.records import OPEN_INDEX, File, FileState
from heatlens_aws.settings import DAY, AwsSettings
from infra.local_batches import BATCH_SIZE, WINDOW_S
from tests.support.aws import SETTINGS, Account
from tests.support.stack import EVERYTHING, REGION, TEMPLATE, Json, Stack, read, variables

STACK = Stack(TEMPLATE)
FULL = Stack(TEMPLATE, EVERYTHING)


def test_nothing_is_named_after_the_stack_that_must_be_lower_case_or_unique() -> None:
    named = {"BucketName", "TableName", "QueueName", "FunctionName", "LogGroupName", "RoleName"}
    found = {name: named & set(each["Properties"]) for name, each in read(TEMPLATE)["Resources"].items()}

    assert {name: each for name, each in found.items() if each} == {
        name: {"FunctionName"} for name in ("GatewayMayInvoke", "GatewayMayInvokeWarm")
    }


@pytest.mark.parametrize("name", ["Bucket", "Table", "Key"])
def test_what_holds_data_outlives_the_stack(name: str) -> None:
    resource = read(TEMPLATE)["Resources"][name]

    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_the_bucket_is_closed_versioned_and_its_own_owner() -> None:
    bucket = STACK.properties("Bucket")

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]


def test_objects_expire_as_decided_and_drops_belong_to_whoever_dropped_them() -> None:
    rules = STACK.properties("Bucket")["LifecycleConfiguration"]["Rules"]
    days = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "Prefix" in rule}
    [everything] = [rule for rule in rules if "Prefix" not in rule]

    assert days == {object_keys.IN: 7, object_keys.OUT: 30, object_keys.REPLY: 1, object_keys.ASYNC: 1, "backfill/": 7}
    assert everything["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert everything["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert {rule["Status"] for rule in rules} == {"Enabled"}
    # A row must not go before what it names, nor an upload while its batch may still want it.
    assert AwsSettings.model_fields["row_life_s"].default >= days[object_keys.OUT] * DAY
    assert AwsSettings.model_fields["batch_deadline_s"].default < days[object_keys.IN] * DAY


def test_only_what_is_explained_is_announced() -> None:
    announced = STACK.properties("Bucket")["NotificationConfiguration"]["QueueConfigurations"]
    prefixes = [rule["Value"] for each in announced for rule in each["Filter"]["S3Key"]["Rules"]]

    assert prefixes == [object_keys.IN, object_keys.DROP]
    assert {(each["Event"], each["Queue"]) for each in announced} == {
        ("s3:ObjectCreated:*", STACK.attribute("Queue.Arn"))
    }
    # Results under one of these would be explained in turn.
    assert not any(prefix.startswith(object_keys.OUT) or object_keys.OUT.startswith(prefix) for prefix in prefixes)


def test_the_bucket_waits_for_the_queues_policy_which_does_not_name_it() -> None:
    resources = read(TEMPLATE)["Resources"]

    assert resources["Bucket"]["DependsOn"] == "QueuePolicy"
    assert '"Bucket"' not in json.dumps(resources["QueuePolicy"])
    assert "Bucket." not in json.dumps(resources["QueuePolicy"])


def test_browsers_may_use_links_from_the_page_and_from_sites_that_may_call() -> None:
    page = f"https://httpapi.execute-api.{REGION}.amazonaws.com"
    [rule] = STACK.properties("Bucket")["CorsConfiguration"]["CorsRules"]
    [full] = FULL.properties("Bucket")["CorsConfiguration"]["CorsRules"]

    assert rule["AllowedOrigins"] == [page]
    assert full["AllowedOrigins"] == [page, "https://a.example", "https://b.example"]
    assert rule["AllowedMethods"] == ["GET", "PUT"]


def test_a_browser_may_send_every_header_that_a_link_demands(aws: Account) -> None:
    file = File(
        batch="0" * 26, number=0, state=FileState.PENDING, name="a", size=1, sha256="0" * 64, media_type="image/png"
    )
    _, headers = aws.staging.upload_link(file, lifetime_s=60)
    [rule] = STACK.properties("Bucket")["CorsConfiguration"]["CorsRules"]

    assert set(headers) - {"content-length"} <= set(rule["AllowedHeaders"])  # that one a browser sets itself


def test_the_queue_gives_up_where_the_worker_does() -> None:
    queue = STACK.properties("Queue")

    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": STACK.attribute("DeadLetters.Arn"), "maxReceiveCount": 5}
    assert variables(STACK)["BatchFunction"]["HEATLENS_MAX_RECEIVES"] == "5"
    assert AwsSettings.model_fields["max_receives"].default == 5
    assert queue["MessageRetentionPeriod"] == 4 * DAY
    assert STACK.properties("DeadLetters")["MessageRetentionPeriod"] == 14 * DAY


@pytest.mark.parametrize("name", ["Queue", "DeadLetters"])
def test_queues_are_encrypted_and_refuse_what_is_not(name: str) -> None:
    plain, keyed = STACK.properties(name), FULL.properties(name)

    assert (plain["SqsManagedSseEnabled"], "KmsMasterKeyId" in plain) == (True, False)
    assert (keyed["KmsMasterKeyId"], "SqsManagedSseEnabled" in keyed) == (FULL.attribute("Key.Arn"), False)
    policies = [each["Properties"] for each in STACK.resources("AWS::SQS::QueuePolicy").values()]
    [policy] = [each for each in policies if each["Queues"] == [STACK.name(name)]]
    [refusal] = [each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Deny"]
    assert (refusal["Action"], refusal["Condition"]) == ("sqs:*", {"Bool": {"aws:SecureTransport": "false"}})
    assert refusal["Resource"] == STACK.attribute(f"{name}.Arn")


def test_the_event_source_throttles_and_is_told_of_each_failure() -> None:
    source = STACK.properties("BatchFunction")["Events"]["Uploads"]["Properties"]

    assert source["Queue"] == STACK.attribute("Queue.Arn")
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": 5}
    assert (source["BatchSize"], source["MaximumBatchingWindowInSeconds"]) == (BATCH_SIZE, WINDOW_S) == (10, 1)


def test_the_sweeper_sweeps_each_minute_and_leaves_the_rest_to_the_next() -> None:
    properties = STACK.properties("SweeperFunction")

    assert properties["Events"]["EachMinute"]["Properties"]["Schedule"] == "rate(1 minute)"
    assert properties["EventInvokeConfig"]["MaximumRetryAttempts"] == 0


def test_the_table_is_the_one_that_the_tests_use(aws: Account) -> None:
    """Both are described here and in `infra/local_account.py`; what DynamoDB made of that one counts."""
    table = aws.clients.dynamodb.describe_table(TableName=SETTINGS.table)["Table"]
    template = STACK.properties("Table")

    def by_name(attributes: list[Json]) -> list[Json]:
        return sorted(attributes, key=lambda each: str(each["AttributeName"]))

    assert by_name(template["AttributeDefinitions"]) == by_name(table["AttributeDefinitions"])
    assert template["KeySchema"] == table["KeySchema"]
    [ours], [theirs] = template["GlobalSecondaryIndexes"], table["GlobalSecondaryIndexes"]
    assert all(ours[name] == theirs[name] for name in ("IndexName", "KeySchema", "Projection"))
    assert ours["IndexName"] == OPEN_INDEX
    assert template["BillingMode"] == "PAY_PER_REQUEST"


def test_rows_expire_and_can_be_restored() -> None:
    table = STACK.properties("Table")

    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_the_key_encrypts_everything_or_there_is_none() -> None:
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
