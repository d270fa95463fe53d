"""Describe the models and the server's health to a client."""

from dataclasses import asdict

from heatlens.errors import ModelError
from heatlens.model import Model
from heatlens.plan import method_names
from heatlens.registry import ModelRegistry
from heatlens_web.schemas.batches import BatchLimits
from heatlens_web.schemas.health import GoldenHealth, Health, ModelHealth
from heatlens_web.schemas.model_info import LayerCard, ModelCard, ModelCards


def cards(models: ModelRegistry, batches: BatchLimits | None) -> ModelCards:
    """Return the cards of all models, the default model's first, and the limits of staged batches."""
    described = [_card(name, model, models.default) for name, model in models.by_name.items()]
    return ModelCards(models=described, batches=batches)


def health_of(models: ModelRegistry) -> Health:
    """Return the health of the server and of each model."""
    default = models.by_name[models.default]
    broken = models.failures
    states = [_health(name, model) for name, model in models.by_name.items()]
    if isinstance(default, ModelError):
        return Health(
            status="unhealthy",
            model_loaded=False,
            gpu_available=any(model.engine.device != "CPU" for model in models.loaded.values()),
            model_version=None,
            reason=default.detail,
            models=states,
        )
    return Health(
        status="degraded" if broken else "healthy",
        model_loaded=True,
        gpu_available=default.engine.device != "CPU",
        model_version=default.card.version,
        reason="; ".join(f"{name}: {error.detail}" for name, error in broken.items()) or None,
        models=states,
    )


def _health(name: str, model: Model | ModelError) -> ModelHealth:
    if isinstance(model, ModelError):
        return ModelHealth(name=name, loaded=False, reason=model.detail)
    golden = GoldenHealth.model_validate(asdict(model.golden))
    card = model.card
    return ModelHealth(name=name, loaded=True, version=card.version, golden=golden, method=card.default_method)


def _card(name: str, model: Model | ModelError, default: str) -> ModelCard:
    if isinstance(model, ModelError):
        return ModelCard(name=name, default=name == default, loaded=False, reason=model.detail)
    card = model.card
    return ModelCard(
        name=name,
        default=name == default,
        loaded=True,
        model=card.name,
        version=card.version,
        sha256=model.sha256,
        notice=card.notice,
        classes=list(card.classes),
        output=card.output,
        input=card.preprocess.shape,
        layers=[
            LayerCard(
                name=layer.name,
                shape=layer.shape,
                parity=card.proof_of(layer),
                calibration=layer.calibration_of(card.default_method),
            )
            for layer in card.layers
        ],
        gradients=card.gradients,
        methods=method_names(card, model.engine),
        engine=model.engine.name,
        precision=model.engine.precision,
        evaluation=card.evaluation,
    )
