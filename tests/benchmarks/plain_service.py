"""The plain service: FastAPI, Mangum, torch, torchvision, pytorch-grad-cam and Pillow, as people write it today.

It is what Heatlens is compared with, so it is written with care: the network is loaded once and warmed up, hooks are
made once, and only the predicted class is explained. It reads `PLAIN_WEIGHTS`, a state dict, and `PLAIN_CLASSES`, how
many classes it has.
"""

import os
import threading
from typing import Annotated

import numpy as np
import torch
import torchvision
from fastapi import FastAPI, File, HTTPException, Query, UploadFile
from mangum import Mangum
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel
from pytorch_grad_cam import GradCAM
from torchvision import transforms

from tests.benchmarks.plain_overlay import overlay, png_base64

SIDE = 224
PREPROCESS = transforms.Compose(
    [
        transforms.Resize((SIDE, SIDE)),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


class Heatmap(BaseModel):
    """The response."""

    filename: str
    predicted: int
    probability: float
    heatmap_base64: str
    original_image_base64: str


class Explainer:
    """The network with pytorch-grad-cam's hooks, which serve one request at a time."""

    def __init__(self, weights: str, classes: int) -> None:
        self._network = torchvision.models.resnet50(num_classes=classes)
        self._network.load_state_dict(torch.load(weights, weights_only=True))
        self._network.eval()
        self._cam = GradCAM(self._network, [self._network.layer4[-1]])
        self._lock = threading.Lock()
        self.explain(Image.new("RGB", (SIDE, SIDE)))  # warm up

    def explain(self, image: Image.Image) -> tuple[int, float, np.ndarray]:
        """Return the predicted class, its probability, and the heat in 0 to 1 at the network's size."""
        tensor = PREPROCESS(image).unsqueeze(0)
        with self._lock:
            heat = self._cam(tensor, None)[0]  # of the predicted class, in one forward pass
            probabilities = self._cam.outputs.detach().softmax(dim=1)[0]
        predicted = int(probabilities.argmax())
        return predicted, float(probabilities[predicted]), heat


app = FastAPI()
explainer = Explainer(os.environ["PLAIN_WEIGHTS"], int(os.environ["PLAIN_CLASSES"]))


@app.post("/api/inference/heatmap")
def heatmap(
    file: Annotated[UploadFile, File()],
    colormap: Annotated[str, Query()] = "jet",
    alpha: Annotated[float, Query(ge=0.1, le=0.9)] = 0.4,
) -> Heatmap:
    """Explain one image."""
    try:
        image = Image.open(file.file).convert("RGB")
    except UnidentifiedImageError as error:
        raise HTTPException(400, "the file is not an image") from error
    predicted, probability, heat = explainer.explain(image)
    return Heatmap(
        filename=file.filename or "unknown",
        predicted=predicted,
        probability=probability,
        heatmap_base64=png_base64(overlay(image, heat, colormap, alpha)),
        original_image_base64=png_base64(image),
    )


handler = Mangum(app, lifespan="off")
