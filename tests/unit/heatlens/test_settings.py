import pytest

from heatlens.settings import DEPLOYMENT_LIMITS, Limits, Settings
from heatlens_aws.settings import AwsSettings
from heatlens_web.schemas.batches import STAGED_FILE_BYTES


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_limit_is_a_setting() -> None:
    assert set(Limits.model_fields) <= set(Settings.model_fields)


def test_a_door_has_its_own_limits_until_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATLENS_FILES", "3")

    limits = Settings().limits("lambda")

    assert limits.files == 3
    assert limits.model_copy(update={"files": 50}) == DEPLOYMENT_LIMITS["lambda"]


@pytest.mark.contract("limit numbers")
def test_limits_are_those_of_the_contract() -> None:
    assert DEPLOYMENT_LIMITS["lambda"] == Limits(
        file_bytes=4_194_304,
        body_bytes=4_500_000,
        image_pixels=25_000_000,
        request_pixels=64_000_000,
        files=50,
        targets=10,
        passes=600,
        faithfulness_s=10,
        answer_json_bytes=6_000_000,
        answer_binary_bytes=4_400_000,
    )
    assert DEPLOYMENT_LIMITS["server"] == Limits(
        file_bytes=52_428_800,
        body_bytes=500_000_000,
        image_pixels=100_000_000,
        request_pixels=500_000_000,
        files=500,
        targets=25,
        passes=10_000,
        faithfulness_s=30,
        answer_json_bytes=None,
        answer_binary_bytes=None,
    )
    assert (DEPLOYMENT_LIMITS["staged"].file_bytes, DEPLOYMENT_LIMITS["staged"].image_pixels) == (
        104_857_600,
        100_000_000,
    )
    assert DEPLOYMENT_LIMITS["staged"].file_bytes == STAGED_FILE_BYTES
    assert (AwsSettings().batch_files, AwsSettings().call_files) == (10_000, 500)


def test_one_staged_file_of_the_largest_size_fits_a_group() -> None:
    staged = DEPLOYMENT_LIMITS["staged"]

    assert (staged.body_bytes, staged.request_pixels) == (staged.file_bytes, staged.image_pixels)


def test_a_senseless_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATLENS_FILES", "0")

    with pytest.raises(ValueError, match="files"):
        Settings()
