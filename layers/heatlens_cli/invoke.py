"""Explain images by sending events to the Lambda handler."""

import base64
import logging
from urllib.parse import urlencode

from heatlens.errors import HeatlensError, InvalidOption, Mistake, ModelError
from heatlens.options import read_options
from heatlens_cli.events.http_events import KINDS, Event, LambdaContext, answer_json, heatmap_request
from heatlens_cli.extras import requires_extra
from heatlens_cli.file_explanation import PICTURE, ClassHeatmap, FileExplanation, warnings_of


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
        with requires_extra("aws", "invoke with HEATLENS_BUCKET set"), requires_extra("server", "invoke"):
            from heatlens_web.app import create_app
            from heatlens_web.lambda_handler import create_handler
            from heatlens_web.settings import read_server_settings

            app = create_app(read_server_settings(), deployment="lambda")
        logging.getLogger("heatlens.audit").setLevel(logging.ERROR)  # its lines are of the user's own files
        if isinstance(loaded := app.state.heatlens.loaded, ModelError):
            raise loaded
        self.file_bytes = app.state.heatlens.limits.file_bytes
        self._handler = create_handler(app)
        self._wrap = KINDS[kind]
        self._query = urlencode({"colormap": colormap, "alpha": alpha, "include": "overlay"})

    def __call__(self, name: str, data: bytes) -> FileExplanation:
        """Send one image.

        Raises:
            RequestFailed: The response is a problem.
        """
        event = self._wrap(heatmap_request(name, data, query=self._query))
        return read_answer(self._handler(event, LambdaContext()))  # type: ignore[arg-type]


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
