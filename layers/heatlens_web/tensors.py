"""Turn results into the tensors of the Open Inference Protocol, one row for each image."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from heatlens.model import Model
from heatlens.results import Explanation
from heatlens.types import WHOLE, Encoded, Prediction, Scores
from heatlens_web.schemas.kserve_v2 import InferRequest, ModelMetadata, OutputName, OutputTensor, TensorMetadata


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one image of a request; `None` is what no output needs."""

    body: InferRequest
    scores: Scores | None
    explanation: Explanation | None

    @property
    def known(self) -> Explanation | Scores:
        known = self.explanation or self.scores
        assert known is not None, "either is computed"
        return known

    @property
    def prediction(self) -> Prediction:
        return self.known.prediction

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self.known.notes)

    @property
    def explained(self) -> Explanation:
        assert self.explanation is not None, "computed for the outputs in EXPLAINED"
        return self.explanation

    @property
    def overlay(self) -> Encoded:
        overlay = self.explained.explained[0].overlay
        assert overlay is not None, "included for this output"
        return overlay

    @property
    def probabilities(self) -> list[float]:
        assert self.scores is not None, "computed for this output"
        return [each.probability for each in self.scores.classes]


Datatype = Literal["BYTES", "FP32", "INT32"]
# Of each output: its type, its value for one image, and the shape of that value in the model's metadata.
OUTPUTS: dict[OutputName, tuple[Datatype, Callable[[Row], Any], list[int]]] = {
    "label": ("BYTES", lambda row: row.prediction.label, []),
    "probability": ("FP32", lambda row: row.prediction.probability, []),
    "logit": ("FP32", lambda row: row.prediction.logit, []),
    "probabilities": ("FP32", lambda row: row.probabilities, [-1]),
    "saliency_map": ("FP32", lambda row: row.explained.signed_map, [-1, -1]),
    "box": ("INT32", lambda row: row.explained.box, [4]),
    "part": ("FP32", lambda row: row.explained.part or WHOLE, [4]),
    "quality": ("BYTES", lambda row: row.explained.quality, []),
    "heatmap": ("BYTES", lambda row: base64.b64encode(row.overlay.data).decode("ascii"), []),
}
EXPLAINED: set[OutputName] = {"saliency_map", "box", "part", "quality", "heatmap"}


def tensor(name: OutputName, rows: Sequence[Row]) -> OutputTensor:
    """Make one output tensor of all images."""
    datatype, value, _ = OUTPUTS[name]
    # Texts as objects: an array of them would give each the room of the longest, four bytes for a character.
    data = np.asarray([value(row) for row in rows], object if datatype == "BYTES" else None)
    about = {"content_type": "base64", "media_type": rows[0].overlay.media_type} if name == "heatmap" else None
    return OutputTensor(
        name=name, shape=list(data.shape), datatype=datatype, parameters=about, data=data.ravel().tolist()
    )


def metadata(model: Model, name: str) -> ModelMetadata:
    """Describe a model's input and its outputs."""
    classes = len(model.card.classes)
    known = {"probabilities": [classes]}
    return ModelMetadata(
        name=name,
        versions=[model.card.version],
        platform="heatlens",
        inputs=[TensorMetadata(name="image", datatype="BYTES", shape=[-1])],
        outputs=[
            TensorMetadata(name=output, datatype=datatype, shape=[-1, *known.get(output, shape)])
            for output, (datatype, _, shape) in OUTPUTS.items()
        ],
    )
