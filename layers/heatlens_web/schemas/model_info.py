"""The cards of the models."""

from typing import Any, Literal

from pydantic import Field

from heatlens.card import Calibration, Parity
from heatlens_web.schemas.answer import Answer
from heatlens_web.schemas.batches import BatchLimits


class LayerCard(Answer):
    """A layer for maps: its shape, its proof, and the distribution of the default method's peaks if it is known."""

    name: str
    shape: tuple[int, int, int] = Field(description="Channels, height and width of its activation.")
    parity: Parity
    calibration: Calibration | None


class ModelCard(Answer):
    """A model's card. If it is not loaded, all but its name is null, and `reason` says why."""

    name: str = Field(description="What `model` calls it here.")
    default: bool
    loaded: bool
    reason: str | None = None
    model: str | None = Field(None, description="What its card calls it.")
    version: str | None = None
    sha256: str | None = None
    notice: str | None = None
    classes: list[str] | None = None
    output: Literal["softmax", "sigmoid", "multilabel"] | None = None
    input: tuple[int, int] | None = Field(None, description="Height and width of what the network sees.")
    layers: list[LayerCard] | None = Field(None, description="The first is the default.")
    gradients: bool | None = Field(
        None, description="Whether the model has gradients; else the methods that need them are refused."
    )
    methods: list[str] | None = Field(None, description="The first is the default.")
    engine: str | None = None
    precision: str | None = None
    evaluation: dict[str, Any] | None = None


class ModelCards(Answer):
    """The models of this server, the default one first, and the limits of staged batches."""

    models: list[ModelCard]
    batches: BatchLimits | None = Field(None, description="Null where staged batches are not set up.")
