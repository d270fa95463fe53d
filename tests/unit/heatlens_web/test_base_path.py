import pytest
from starlette.types import Receive, Scope, Send

from heatlens_web.base_path import BARE, BasePath
from heatlens_web.event_kinds import ADDRESS
from tests.support.coroutines import awaited


def seen(
    path: str, setting: str = "", address: tuple[str, str] | None = None, mounted: str = ""
) -> tuple[str, str, bool]:
    scope: Scope = {"type": "http", "path": path, "root_path": mounted} | (
        {"aws.event": {ADDRESS: address}} if address else {}
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    awaited(BasePath(app, setting)(scope, None, None))  # type: ignore[arg-type]
    return scope["root_path"], scope["path"], scope[BARE]


@pytest.mark.parametrize(
    ("path", "setting", "address", "expected"),
    [
        ("/docs", "", None, ("", "/docs", False)),
        ("/v1/docs", "/v1", None, ("/v1", "/v1/docs", False)),
        ("/docs", "/v1", None, ("/v1", "/v1/docs", False)),
        ("/v1", "/v1", None, ("/v1", "/v1/", True)),
        ("/v1/", "/v1", None, ("/v1", "/v1/", False)),
        ("/v1/models", "/v1", None, ("/v1", "/v1/v1/models", False)),
        ("/api/inference/health", "/api", None, ("/api", "/api/api/inference/health", False)),
        ("/v1docs", "/v1", None, ("/v1", "/v1/v1docs", False)),
        ("/docs", "", ("/prod", "/docs"), ("/prod", "/prod/docs", False)),
        ("/docs", "/v1", ("", "/docs"), ("/v1", "/v1/docs", False)),
        ("/docs", "/v1", ("/prod", "/docs"), ("/prod", "/prod/docs", False)),
        ("/v1/docs", "/v1", ("/prod", "/v1/docs"), ("/prod/v1", "/prod/v1/docs", False)),
        ("/", "", ("/prod", ""), ("/prod", "/prod/", True)),
    ],
)
def test_the_base_path_is_the_events_or_the_settings(
    path: str, setting: str, address: tuple[str, str] | None, expected: tuple[str, str, bool]
) -> None:
    assert seen(path, setting, address) == expected


@pytest.mark.parametrize(
    ("path", "setting", "mounted", "expected"),
    [
        ("/heat/docs", "", "/heat", ("/heat", "/heat/docs", False)),
        ("/heat", "", "/heat", ("/heat", "/heat/", True)),
        ("/heat/v1/docs", "/v1", "/heat", ("/heat/v1", "/heat/v1/docs", False)),
        ("/docs", "", "/heat", ("", "/docs", False)),
        ("/heatmap", "", "/heat", ("", "/heatmap", False)),
    ],
)
def test_an_application_may_be_mounted_in_another(
    path: str, setting: str, mounted: str, expected: tuple[str, str, bool]
) -> None:
    assert seen(path, setting, mounted=mounted) == expected
