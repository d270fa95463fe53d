"""The health check of the image pings the port of the settings."""

import pytest

from functions.endpoint.healthcheck import ping_url
from heatlens_web.port import PORT_ENV
from heatlens_web.settings import ServerSettings


@pytest.mark.parametrize("environ", [{}, {PORT_ENV: "9000"}])
def test_the_health_check_pings_the_port_of_the_settings(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PORT_ENV, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert ping_url(environ) == f"http://127.0.0.1:{ServerSettings().port}/ping"
