"""Lambda entry of the HTTP API: Mangum around the application of `heatlens_web`.

The model is loaded at import, in Lambda's init phase, by a thread: the web framework is imported meanwhile.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from heatlens.registry import loading
from heatlens_aws.lambda_init import is_lambda, start
from heatlens_web.settings import read_server_settings

if TYPE_CHECKING:
    from fastapi import FastAPI

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


def open_function() -> "tuple[FastAPI, Handler]":
    """Return the application, with its model loaded, and the function that answers an event with it."""
    settings = read_server_settings()
    with loading(settings) as models:
        from heatlens_web.app import create_app
        from heatlens_web.lambda_handler import create_handler

        if is_lambda():
            from functions.api.telemetry import observed  # fifty modules, which only Lambda needs
        app = create_app(settings, deployment="lambda", loading=models)
    handler = create_handler(app)
    return app, observed(app, handler) if is_lambda() else handler


app, handler = start(open_function)
