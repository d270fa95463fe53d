"""The address and the credentials of a server."""

import httpx2
import pytest

from heatlens.client.connection import Connection, InvalidUrl
from heatlens.client.exchange import Step


def connection(url: str | None = "http://host", **given: object) -> Connection:
    known = {"api_key": None, "token": None, "auth": None, "headers": None, "timeout_s": 1.0, "tries": 1}
    return Connection.of(url, **known | given)  # type: ignore[arg-type]


def test_the_address_may_have_a_path_and_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connection("https://host/prod/").arguments(bare=False)["base_url"] == "https://host/prod/api/inference"
    assert connection(None).url == "http://127.0.0.1:8000"
    monkeypatch.setenv("HEATLENS_URL", "https://api.example/")
    assert connection(None).url == "https://api.example"


@pytest.mark.parametrize("url", ["host:8000", "http:/host", "http://:80", "http://host:0", "file:///x", "http://[::1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidUrl, match="is not a URL of a server"):
        connection(url)


def test_storages_get_no_header_of_the_client() -> None:
    known = connection(api_key="k", token="t", headers={"x-own": "o"})

    assert known.headers["authorization"] == "Bearer t"
    assert (known.headers["x-api-key"], known.headers["x-own"]) == ("k", "o")
    assert known.arguments(bare=True)["headers"].keys() == {"user-agent"}
    assert "auth" not in known.arguments(bare=True)


@pytest.mark.parametrize(
    ("error", "sent"), [(httpx2.ConnectError("no"), False), (httpx2.ReadError("no"), True)], ids=["connect", "read"]
)
def test_a_broken_connection_says_where_and_whether_the_request_may_have_arrived(
    error: httpx2.RequestError, *, sent: bool
) -> None:
    made = connection().broken(error, Step("GET", "/health"))
    storage = connection().broken(error, Step("PUT", "https://bucket.example/key?secret", bare=True))

    assert (made.sent, str(made)) == (sent, f"http://host does not answer ({type(error).__name__})")
    assert str(storage) == f"bucket.example does not answer ({type(error).__name__})"
