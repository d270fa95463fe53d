import pytest

from heatlens_aws.settings import STAGED_LIMITS, AwsSettings, BatchSettings, StagedLimits


def test_every_setting_has_a_description() -> None:
    fields = AwsSettings.model_fields | BatchSettings.model_fields

    assert [name for name, field in fields.items() if not field.description] == []


def test_every_limit_is_a_setting() -> None:
    assert set(StagedLimits.model_fields) <= set(BatchSettings.model_fields)


@pytest.mark.contract("limit numbers")
def test_limits_of_staged_files_are_those_of_the_contract() -> None:
    assert (STAGED_LIMITS.file_bytes, STAGED_LIMITS.image_pixels) == (104_857_600, 100_000_000)
    assert (AwsSettings().batch_files, AwsSettings().call_files) == (10_000, 500)


def test_a_group_has_room_for_the_largest_staged_file() -> None:
    assert STAGED_LIMITS.body_bytes == STAGED_LIMITS.file_bytes
    assert STAGED_LIMITS.request_pixels == STAGED_LIMITS.image_pixels
