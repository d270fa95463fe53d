"""A model description: `model.toml` -> validated `ModelSpec`."""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torchvision.models import ResNet50_Weights

from heatlens.card import Preprocess
from heatlens.errors import ModelFileError

Text = Annotated[str, Field(min_length=1)]


class ModelSpec(BaseModel):
    """What to compile, as `model.toml` says it.

    `architecture` is `torchvision:NAME`, `litresnet-enhanced` or `package.module:factory`, called with `arguments`.
    `weights` is a file beside the description (`.safetensors`, `.pt`, `.pth`, `.ckpt`) or `seed:N`. `layer` is the
    module path of the target layer, or several of them, the first being the default; left out, the compiler takes the
    last with a grid. Its output must not be overwritten in place by what follows, so choose the module after the
    activation. `inputs` names `function(count) -> list[PIL.Image]`, `evaluation` names `function(score) -> dict`,
    `training` is a JSON file with an object.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text
    version: Text
    notice: str = ""
    architecture: Text
    arguments: dict[str, Any] = Field(default_factory=dict)
    weights: Text
    classes: Annotated[tuple[Text, ...], Field(min_length=2)] | Literal["imagenet"]
    output: Literal["softmax", "sigmoid", "multilabel"]
    layer: Text | Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    inputs: Text | None = None
    evaluation: Text | None = None
    training: Text | None = None
    preprocess: Preprocess

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names; `imagenet` means the thousand that torchvision's weights list, in their order."""
        if isinstance(self.classes, tuple):
            return self.classes
        return tuple(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])

    @property
    def layers(self) -> tuple[str, ...]:
        """Module paths of the target layers; none where the compiler is to choose."""
        if self.layer is None:
            return ()
        return (self.layer,) if isinstance(self.layer, str) else self.layer

    @property
    def seed(self) -> int | None:
        """N of `seed:N`, else `None`."""
        scheme, _, number = self.weights.partition(":")
        return int(number) if scheme == "seed" and number.isdecimal() else None


def read_spec(path: Path) -> ModelSpec:
    """Read a model description.

    Raises:
        ModelFileError: The file is missing, is not TOML, or says something invalid; the sentence names where.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFileError(f"{path.name}: no such readable file") from error
    except ValueError as error:
        raise ModelFileError(f"{path.name}: not valid TOML in UTF-8: {error}") from error
    try:
        return ModelSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part.isidentifier())
        raise ModelFileError(f"{path.name}: {where}: {first['msg']}") from error


def read_training(path: Path) -> dict[str, Any]:
    """Read the training record, a JSON object.

    Raises:
        ModelFileError: The file is missing or not a JSON object.
    """
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"training: {path.name}: no such readable file") from error
    except ValueError as error:
        raise ModelFileError(f"training: {path.name}: not JSON") from error
    if not isinstance(record, dict):
        raise ModelFileError(f"training: {path.name}: not a JSON object")
    return record
