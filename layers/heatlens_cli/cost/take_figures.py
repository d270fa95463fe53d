"""Measure the figures of an estimate on this machine, with the handler that runs on Lambda."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heatlens.engines.peak_memory import peak_mib
from heatlens.engines.resources import read_machine
from heatlens.errors import ModelError
from heatlens.options import read_options
from heatlens.results import Explanation, npy
from heatlens.types import Include, Upload
from heatlens_cli.console import shown
from heatlens_cli.cost.figures import Architecture, Bytes, Figures, Measured
from heatlens_cli.events.http_events import Event, LambdaContext, answer_body, heatmap_request, http_api_v2
from heatlens_cli.invoke import RequestFailed, open_handler
from heatlens_cli.load import CannotLoad
from heatlens_cli.measure import Measurement, explain_one, explain_repeatedly, run_repeatedly, sample_image
from heatlens_cli.read_file import read_file

FORMATS = ("png", "jpeg")


def take_figures(image: Path | None, model_dir: Path | None, *, seconds: float) -> Figures:
    """Measure requests to the Lambda handler, then the explanations of the worker, and weigh their answers.

    Args:
        image: An image file, by default a sample.
        model_dir: The model folder, by default the settings'.
        seconds: When each of both measurements ends at the latest.

    Raises:
        HeatlensError: The model cannot be loaded, or the image cannot be explained.
        OSError: The image cannot be read.
    """
    try:
        handler, state = open_handler("cost", model_dir)
    except ModelError as error:
        raise CannotLoad(f"{shown(model_dir)}: {error}" if model_dir else str(error)) from error
    path = image or sample_image()
    upload = Upload(path.name, read_file(path, state.limits.file_bytes))
    model = state.models[None]

    events = {name: _event(upload, name) for name in FORMATS}

    def request() -> Mapping[str, float]:
        handler(events["png"], LambdaContext())
        return {}

    answers = {name: handler(event, LambdaContext()) for name, event in events.items()}
    facts = {name: value for name, value in _checked(answers["png"]).items() if not name.endswith("_base64")}
    requests = run_repeatedly(request, seconds=seconds)
    images = explain_repeatedly(model, [upload], state.limits, seconds=seconds)
    overlay = frozenset[Include]({"overlay"})
    options = {name: read_options({"format": name}, overlay) for name in FORMATS}
    explanations = {name: explain_one(model, upload, state.limits, each) for name, each in options.items()}
    return Figures(
        architecture=_architecture(),
        processors=read_machine().parallel,
        image=path.name,
        model=f"{model.card.name} {model.card.version}, {model.engine.name} in {model.engine.precision}",
        peak_mib=peak_mib(),
        upload_bytes=len(upload.data),
        request=_measured(requests),
        staged=_measured(images),
        answer_bytes=Bytes(**{name: len(answer_body(answer)) for name, answer in answers.items()}),
        picture_bytes=Bytes(**{name: _picture_bytes(each) for name, each in explanations.items()}),
        other_bytes=len(npy(explanations["png"].signed_map)) + len(json.dumps(facts).encode()),
    )


def _event(upload: Upload, picture_format: str) -> Event:
    return http_api_v2(heatmap_request(upload.filename, upload.data, query=f"format={picture_format}"))


def _checked(answer: Event) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(answer_body(answer))
    if answer["statusCode"] != 200:
        raise RequestFailed(body["detail"])
    return body


def _measured(found: Measurement) -> Measured:
    return Measured(seconds=found.percentile(50) / 1000, processor_seconds=found.processor_seconds)


def _picture_bytes(explanation: Explanation) -> int:
    assert explanation.overlay is not None
    return len(explanation.overlay.data)


def _architecture() -> Architecture:
    return "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
