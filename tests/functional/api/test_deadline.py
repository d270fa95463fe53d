"""A batch that runs out of Lambda's time: finished items are returned, the others have the code `deadline`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mangum import Mangum

from heatlens.errors import EmptyFile, OutOfTime
from heatlens.model import Model
from heatlens.pipeline import explain, score_all
from heatlens.results import Explanation
from heatlens.types import Options, Scores, Upload
from heatlens_cli.events.http_events import HttpRequest, answer_json, heatmap_request, http_api_v2, multipart
from heatlens_web.app import create_app
from heatlens_web.settings import DEPLOYMENT_LIMITS, ServerSettings
from tests.support.images import encoded, noise

DATA = encoded(noise((24, 24)))
LIMITS = DEPLOYMENT_LIMITS["lambda"]


@dataclass
class Context:
    """An invocation whose remaining milliseconds are given in advance, one for each call."""

    left: Iterator[float]
    aws_request_id: str = "the-id"
    readings: list[float] = field(default_factory=list)

    def get_remaining_time_in_millis(self) -> float:
        self.readings.append(next(self.left))
        return self.readings[-1]


def ask(folder: Path, path: str, left: list[float], files: int = 5, **settings: Any) -> tuple[int, Any]:  # noqa: ANN401
    """The Lambda function's response to a batch, two images of which are run together."""
    app = create_app(ServerSettings(model_dir=folder, batch_images=2, **settings), deployment="lambda")
    content_type, body = multipart("files", [(f"{index}.png", DATA) for index in range(files)])
    event = http_api_v2(HttpRequest(f"/api/inference/{path}", headers={"content-type": content_type}, body=body))
    answer = Mangum(app, lifespan="off")(event, Context(iter(left)))  # type: ignore[arg-type]
    return answer["statusCode"], answer_json(answer)


@pytest.mark.contract("deadline")
@pytest.mark.provokes("deadline")
@pytest.mark.parametrize("path", ["heatmap-batch", "predict-batch"])
def test_finished_items_are_returned_and_the_others_have_the_deadline_code(tiny_folder: Path, path: str) -> None:
    status, body = ask(tiny_folder, path, [29_000, 28_000, 2_999])

    assert status == 200
    assert [item["success"] for item in body["results"]] == [True] * 4 + [False]
    assert (body["succeeded"], body["failed"]) == (4, 1)
    late = body["results"][4]
    assert (late["code"], late["filename"]) == ("deadline", "4.png")
    assert late["error"] == ("the time for this request was over before this image's turn: send fewer at a time")


@pytest.mark.parametrize("path", ["heatmap-batch", "predict-batch"])
def test_without_time_left_no_item_is_processed(tiny_folder: Path, path: str) -> None:
    status, body = ask(tiny_folder, path, [1_000] * 3)

    assert (status, body["succeeded"]) == (200, 0)
    assert {item["code"] for item in body["results"]} == {"deadline"}


def test_one_image_without_time_is_a_504(tiny_folder: Path) -> None:
    app = create_app(ServerSettings(model_dir=tiny_folder), deployment="lambda")
    event = http_api_v2(heatmap_request("a.png", DATA))

    answer = Mangum(app, lifespan="off")(event, Context(iter([1_000.0])))  # type: ignore[arg-type]

    assert (answer["statusCode"], answer_json(answer)["code"]) == (504, "deadline")
    assert answer["headers"]["retry-after"] == "30"


def test_the_margin_is_a_setting(tiny_folder: Path) -> None:
    assert ask(tiny_folder, "heatmap-batch", [10_500] * 3, margin_s=10)[1]["succeeded"] == 5
    assert ask(tiny_folder, "heatmap-batch", [10_500] * 3, margin_s=11)[1]["succeeded"] == 0


def uploads(count: int) -> list[Any]:
    return [Upload(f"{index}.png", DATA) for index in range(count)]


def test_starts_no_group_that_would_exceed_the_time_left(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0])  # the first batch takes four seconds
    monkeypatch.setattr("heatlens.batching.time", type("Clock", (), {"perf_counter": lambda: next(clock, 4.0)}))
    monkeypatch.setattr("heatlens.batching._timed", lambda *_: __import__("contextlib").nullcontext())
    left = iter([5.0, 3.9])

    outcomes = explain(tiny_model, uploads(2), Options(), limits=LIMITS, batch_images=1, time_left=lambda: next(left))

    assert isinstance(outcomes[0], Explanation)
    assert isinstance(outcomes[1], OutOfTime)


def test_a_rejected_file_keeps_its_own_error_when_time_is_over(tiny_model: Model) -> None:
    refused = EmptyFile("the file is empty")

    outcomes = explain(
        tiny_model, [refused, *uploads(1)], Options(), limits=LIMITS, batch_images=8, time_left=lambda: -1.0
    )

    assert outcomes[0] is refused
    assert isinstance(outcomes[1], OutOfTime)


def test_without_a_deadline_every_image_is_processed(tiny_model: Model) -> None:
    explained = explain(tiny_model, uploads(3), Options(), limits=LIMITS, batch_images=1)
    scored = score_all(tiny_model, uploads(3), Options(), limits=LIMITS, batch_images=1)

    assert all(isinstance(each, Explanation) for each in explained)
    assert all(isinstance(each, Scores) for each in scored)


def test_the_plain_server_has_no_deadline(tiny_folder: Path) -> None:
    from starlette.testclient import TestClient

    client = TestClient(create_app(ServerSettings(model_dir=tiny_folder, margin_s=10_000), deployment="server"))

    answer = client.post("/api/inference/heatmap-batch", files=[("files", DATA)] * 3)

    assert json.loads(answer.content)["succeeded"] == 3
