"""Responses of the health and readiness routes."""

from typing import Literal

from pydantic import Field

from heatlens_web.schemas.answer import Answer


class GoldenHealth(Answer):
    """Comparison of this machine's explanation with the card's at start; `reason` says what was found."""

    status: Literal["passed", "not checked", "fell back"]
    reason: str
    difference: float | None = None


class ModelHealth(Answer):
    """State of one model; `reason` says why it is not loaded."""

    name: str
    loaded: bool
    version: str | None = None
    reason: str | None = None
    golden: GoldenHealth | None = None
    method: str | None = Field(
        None, description="The method of requests that name none: reciprocam if the model has no gradients."
    )


class Health(Answer):
    """Health of the server: unhealthy without its default model, degraded without another; `reason` says why."""

    status: Literal["healthy", "degraded", "unhealthy"]
    model_loaded: bool = Field(description="Whether the default model is.")
    gpu_available: bool
    model_version: str | None
    reason: str | None = None
    models: list[ModelHealth] = Field(description="All of them, the default one first.")


class Ready(Answer):
    """Whether requests that name no model would be answered, and which models would answer."""

    ready: bool
    models: dict[str, bool]
