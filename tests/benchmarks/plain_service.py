"""The plain service: FastAPI, Mangum, torch, torchvision, pytorch-grad-cam and Pillow, as people write it today.

It is what Heatlens is compared with, so it is written with care: the network is loaded once and warmed up, hooks are
made once, and the predicted class is explained in one forward pass. `PLAIN_CONFIG` names a JSON file with the network,
its layer and its preprocessing.
"""

import json
import os
import threading
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from fastapi import FastAPI, File, HTTPException, Query, UploadFile
from mangum import Mangum
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel
from torchvision import transforms

from tests.benchmarks.plain_cams import CAMS
from tests.benchmarks.plain_image import read_image
from tests.benchmarks.plain_overlay import overlay, png_base64


class Heatmap(BaseModel):
    """The response for one image; `heatmaps_base64` has one overlay for each class that was asked for."""

    filename: str
    predicted: int
    probability: float
    heatmap_base64: str
    heatmaps_base64: list[str]
    original_image_base64: str


class Explainer:
    """The network with its hooks, which serve one request at a time."""

    def __init__(self, config_file: str) -> None:
        config = json.loads(Path(config_file).read_text(encoding="utf-8"))
        network = torch.load(config["network"], weights_only=False).eval()
        side = config["side"]
        self._preprocess = transforms.Compose(
            [
                transforms.Resize((side, side)),
                transforms.ToTensor(),
                transforms.Normalize(config["mean"], config["std"]),
            ]
        )
        self._cam = CAMS[config["cam"]](network, config["layer"], config["grid"])
        self._lock = threading.Lock()
        self.explain(Image.new("RGB", (side, side)), None)  # warm up

    def explain(self, image: Image.Image, index: int | None) -> tuple[int, float, np.ndarray]:
        """Return the predicted class, its probability, and the heat of a class, by default the predicted one."""
        tensor = self._preprocess(image).unsqueeze(0)
        with self._lock:
            logits, heat = self._cam(tensor, index)
        predicted = int(logits.argmax())
        return predicted, float(logits.softmax(dim=0)[predicted]), heat


app = FastAPI()
explainer = Explainer(os.environ["PLAIN_CONFIG"])


def explain(file: UploadFile, colormap: str, alpha: float, classes: list[int]) -> Heatmap:
    """Explain one file."""
    try:
        image = read_image(file.file)
    except UnidentifiedImageError as error:
        raise HTTPException(400, "the file is not an image") from error
    wanted: list[int | None] = [*classes] or [None]
    found = [explainer.explain(image, index) for index in wanted]
    overlays = [png_base64(overlay(image, heat, colormap, alpha)) for _, _, heat in found]
    predicted, probability, _ = found[0]
    return Heatmap(
        filename=file.filename or "unknown",
        predicted=predicted,
        probability=probability,
        heatmap_base64=overlays[0],
        heatmaps_base64=overlays[1:],
        original_image_base64=png_base64(image),
    )


@app.post("/api/inference/heatmap")
def heatmap(
    file: Annotated[UploadFile, File()],
    colormap: Annotated[str, Query()] = "jet",
    alpha: Annotated[float, Query(ge=0.1, le=0.9)] = 0.4,
    target: Annotated[list[int], Query()] = [],  # noqa: B006 - FastAPI copies it
) -> Heatmap:
    """Explain one image."""
    return explain(file, colormap, alpha, target)


@app.post("/api/inference/heatmap-batch")
def heatmap_batch(
    files: Annotated[list[UploadFile], File()],
    colormap: Annotated[str, Query()] = "jet",
    alpha: Annotated[float, Query(ge=0.1, le=0.9)] = 0.4,
) -> list[Heatmap]:
    """Explain several images."""
    return [explain(file, colormap, alpha, []) for file in files]


handler = Mangum(app, lifespan="off")
