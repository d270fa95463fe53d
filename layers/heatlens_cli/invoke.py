"""Explain images by sending events to the Lambda handler."""

import base64
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from heatlens.errors import HeatlensError, InvalidOption, Mistake, ModelError
from heatlens.options import read_options
from heatlens_cli.events.http_events import KINDS, Event, LambdaContext, answer_json, heatmap_request
from heatlens_cli.extras import requires_extra
from heatlens_cli.file_explanation import PICTURE, ClassHeatmap, FileExplanation, warnings_of

if TYPE_CHECKING:
    from heatlens_web.state import State

Handler = Callable[[Event, Any], Event]


class RequestFailed(HeatlensError):
    """The handler returned a problem; the message is its `detail`."""


class HandlerExplainer:
    """Sends images to the Lambda handler as events of one kind; `file_bytes` is the handler's largest file."""

    def __init__(self, *, kind: str, colormap: str, alpha: float) -> None:
        """Make the handler and load the model, as Lambda's init phase does.

        Raises:
            InvalidOption: The kind of event is unknown, or an option is invalid.
            MissingExtra: The handler's libraries are not installed.
            ModelError: The handler has no model, or a setting is invalid.
        """
        if kind not in KINDS:
            message = f"unknown event kind {kind!r}: one of {', '.join(KINDS)}"
            raise InvalidOption(Mistake("kind", message, "unknown_kind"))
        read_options({"colormap": colormap, "alpha": alpha}, frozenset({"overlay"}))
        self._handler, state = open_handler("invoke")
        self.file_bytes = state.limits.file_bytes
        self._wrap = KINDS[kind]
        self._query = urlencode({"colormap": colormap, "alpha": alpha, "include": "overlay"})

    def __call__(self, name: str, data: bytes) -> FileExplanation:
        """Send one image.

        Raises:
            RequestFailed: The response is a problem.
        """
        event = self._wrap(heatmap_request(name, data, query=self._query))
        return read_answer(self._handler(event, LambdaContext()))


def open_handler(command: str, model_dir: Path | None = None) -> tuple[Handler, "State"]:
    """Make the Lambda handler and load its model, as Lambda's init phase does.

    Args:
        command: The command that needs it, for the error.
        model_dir: Instead of the settings' model.

    Raises:
        MissingExtra: The handler's libraries are not installed.
        ModelError: The handler has no model, or a setting is invalid.
    """
    logging.getLogger("heatlens.registry").setLevel(logging.CRITICAL)  # it logs the failure that is raised here
    with requires_extra("aws", f"{command} with HEATLENS_BUCKET set"), requires_extra("server", command):
        from heatlens_web.app import create_app
        from heatlens_web.lambda_handler import create_handler
        from heatlens_web.settings import read_server_settings

        settings = read_server_settings()
        if model_dir:
            settings = settings.model_copy(update={"model_dir": model_dir, "models_dir": None})
        app = create_app(settings, deployment="lambda")
    logging.getLogger("heatlens.audit").setLevel(logging.ERROR)  # its lines are of the user's own files
    state: State = app.state.heatlens
    if isinstance(loaded := state.loaded, ModelError):
        raise loaded
    return create_handler(app), state


def read_answer(answer: Event) -> FileExplanation:
    """Read the handler's response to one image.

    Raises:
        RequestFailed: The response is a problem.
    """
    body = answer_json(answer)
    if answer["statusCode"] != 200:
        raise RequestFailed(body["detail"])
    label, index, probability = (body["prediction"][name] for name in ("label", "index", "probability"))
    picture = base64.b64decode(body["heatmap_base64"])
    familiarity = body["familiarity"]
    warnings = warnings_of({label: body["quality"]}, unfamiliar=bool(familiarity) and familiarity["unfamiliar"])
    heatmaps = (ClassHeatmap(label, (index,), probability, body["quality"], {PICTURE: picture}),)
    return FileExplanation(label, probability, heatmaps, body["notes"], warnings)
