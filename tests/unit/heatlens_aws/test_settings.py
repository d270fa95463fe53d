from urllib.parse import urlsplit

import pytest

from heatlens.errors import SettingsError
from heatlens.settings import read_table
from heatlens_aws.clients import connect
from heatlens_aws.object_keys import Lane
from heatlens_aws.settings import STAGED_LIMITS, AwsSettings, BatchSettings, StagedLimits
from infra.local_account import CREDENTIALS


def test_every_setting_has_a_description() -> None:
    fields = AwsSettings.model_fields | BatchSettings.model_fields

    assert [name for name, field in fields.items() if not field.description] == []


def test_every_limit_is_a_setting() -> None:
    assert set(StagedLimits.model_fields) <= set(BatchSettings.model_fields)


@pytest.mark.contract("limit numbers")
def test_limits_of_staged_files_are_those_of_the_contract() -> None:
    assert (STAGED_LIMITS.file_bytes, STAGED_LIMITS.image_pixels) == (104_857_600, 100_000_000)
    assert (AwsSettings().batch_files, AwsSettings().call_files) == (10_000, 500)


def test_a_deadline_at_which_a_message_may_wait_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert AwsSettings().batch_deadline_s > AwsSettings().queue_retention_s
    monkeypatch.setenv("HEATLENS_BATCH_DEADLINE_S", str(4 * 86_400))

    with pytest.raises(SettingsError, match=r"HEATLENS_BATCH_DEADLINE_S: .*at least 352800"):
        read_table(AwsSettings)

    monkeypatch.setenv("HEATLENS_QUEUE_RETENTION_S", str(2 * 86_400))
    assert read_table(AwsSettings).batch_deadline_s == 4 * 86_400


def test_the_queue_of_a_message_is_found_by_its_arn() -> None:
    settings = AwsSettings(
        interactive_queue_url="https://sqs.eu-west-1.amazonaws.com/1/small", bulk_queue_url="http://localhost:1/1/large"
    )

    assert settings.queue_named("arn:aws:sqs:eu-west-1:1:small") == settings.queue_url(Lane.INTERACTIVE)
    assert settings.queue_named("arn:aws:sqs:eu-west-1:1:large") == settings.queue_url(Lane.BULK)
    assert settings.queue_named("arn:aws:sqs:eu-west-1:1:all") == ""
    assert AwsSettings().queue_named("") == ""


def test_a_group_has_room_for_the_largest_staged_file() -> None:
    assert STAGED_LIMITS.body_bytes == STAGED_LIMITS.file_bytes
    assert STAGED_LIMITS.request_pixels == STAGED_LIMITS.image_pixels


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1"])
@pytest.mark.parametrize("bucket", ["images", "images.example.org"])
@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:4566"])
def test_the_origin_of_the_bucket_is_that_of_its_signed_links(
    monkeypatch: pytest.MonkeyPatch, region: str, bucket: str, endpoint: str
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    settings = AwsSettings(bucket=bucket, AWS_REGION=region, endpoint_url=endpoint)
    link = urlsplit(connect(settings).s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "reply/x"}))

    assert settings.bucket_origin == f"{link.scheme}://{link.netloc}"
    assert AwsSettings(AWS_REGION=region).bucket_origin == ""
