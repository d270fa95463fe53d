"""Define what is measured: architectures with seeded weights at 224x224, and their compiled folders."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from heatlens.types import Floats

SIDE = 224
CLASSES = 1000
DESCRIPTION = """name = "{name}"
version = "1"
architecture = "torchvision:{name}"
weights = "seed:0"
classes = "imagenet"
output = "softmax"
[preprocess]
resize = [{side}, {side}]
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """An architecture by torchvision's name, in a folder that keeps its compiled model."""

    name: str
    home: Path

    @property
    def description(self) -> Path:
        """Return the path of its `model.toml`."""
        return self.home / self.name / "model.toml"

    @property
    def folder(self) -> Path:
        """Return the folder of its compiled model."""
        return self.home / self.name / "model"


def prepare(subject: Subject) -> None:
    """Compile it, unless its folder exists."""
    if subject.folder.exists():
        return
    from heatlens_torch.compile import compile_model

    subject.description.parent.mkdir(parents=True, exist_ok=True)
    subject.description.write_text(DESCRIPTION.format(name=subject.name, side=SIDE), encoding="utf-8")
    compile_model(subject.description, subject.folder)


@cache
def images(count: int) -> Floats:
    """Draw noise, `[B,3,224,224]`: the content of an image does not change the time."""
    return np.random.default_rng(0).standard_normal((count, 3, SIDE, SIDE), dtype=np.float32)


def classes(count: int, targets: int) -> list[list[int]]:
    """List different classes for every image, so that no work can be shared."""
    return [[(image * targets + target) % CLASSES for target in range(targets)] for image in range(count)]
