import pytest

from heatlens.settings import LIMITS, Limits, Settings


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_limit_is_a_setting() -> None:
    assert set(Limits.model_fields) <= set(Settings.model_fields)


def test_a_limit_that_is_set_replaces_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATLENS_TARGETS", "3")

    limits = Settings().limits(LIMITS)

    assert limits.targets == 3
    assert limits.model_copy(update={"targets": 25}) == LIMITS


def test_rejects_a_limit_of_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATLENS_TARGETS", "0")

    with pytest.raises(ValueError, match="targets"):
        Settings()
