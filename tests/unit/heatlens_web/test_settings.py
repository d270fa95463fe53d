import pytest

from heatlens_web.settings import DEPLOYMENT_LIMITS, ServerLimits, ServerSettings


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in ServerSettings.model_fields.items() if not field.description] == []


def test_every_limit_is_a_setting() -> None:
    assert set(ServerLimits.model_fields) <= set(ServerSettings.model_fields)


def test_a_limit_that_is_set_replaces_the_deployments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATLENS_FILES", "3")

    limits = ServerSettings().limits(DEPLOYMENT_LIMITS["lambda"])

    assert limits.files == 3
    assert limits.model_copy(update={"files": 50}) == DEPLOYMENT_LIMITS["lambda"]


@pytest.mark.contract("limit numbers")
def test_limits_of_a_request_are_those_of_the_contract() -> None:
    assert DEPLOYMENT_LIMITS["lambda"] == ServerLimits(
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
    assert DEPLOYMENT_LIMITS["server"] == ServerLimits(
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


def test_rejects_a_limit_of_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATLENS_FILES", "0")

    with pytest.raises(ValueError, match="files"):
        ServerSettings()
