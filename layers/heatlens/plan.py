"""Plan what is run for a request, or refuse it before any image is decoded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from heatlens.card import Calibration, Card, Layer, Peaks
from heatlens.engines.base import Engine, OwnMethods
from heatlens.errors import CardError, InvalidOption, Mistake, TooManyPasses, TooManyTargets
from heatlens.explain.absolute_scale import full_heat, full_heat_of
from heatlens.explain.attribution import GRADIENT_FREE, METHOD_NAMES, RECIPROCAM, MethodOptions, count_passes
from heatlens.explain.targets import TargetRequest, parse_targets
from heatlens.model import Model
from heatlens.settings import Limits
from heatlens.types import Options


@dataclass(frozen=True, slots=True)
class Plan:
    """The layer and its engine, the targets of every image, the method, and the network's runs for one image.

    `full` is the value that is drawn as full heat for a class without peaks of its own, `None` where full heat is each
    map's own maximum.
    """

    layer: Layer
    engine: Engine
    request: TargetRequest
    method_options: MethodOptions
    passes: int
    full: float | None = None

    @property
    def targets(self) -> int:
        """Most targets of one image."""
        return len(self.request.groups) + self.request.ranks

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of maps in this plan's unit; `None` where there is none."""
        plain = self.method_options == MethodOptions(self.method_options.method) and self.request.contrast is None
        return self.layer.calibration_of(self.method_options.method) if plain else None

    def peaks_of(self, label: str) -> Peaks | None:
        """Return the peaks of maps of a class in this plan's unit, where there are any."""
        return self.calibration.classes.get(label) if self.calibration else None

    def full_of(self, label: str) -> float | None:
        """Return the value that is drawn as full heat for a class, `None` for the map's own maximum."""
        return None if self.full is None else full_heat_of(self.peaks_of(label), self.full)


def make_plan(model: Model, options: Options) -> Plan:
    """Compare the options with what the model has.

    Raises:
        InvalidOption: There is no such method, layer or class, or no calibration for the absolute scale.
    """
    try:
        layer = model.card.layer(options.layer)
    except CardError as error:
        raise _invalid("layer", str(error)) from error
    engine = model.engine_of(layer.name)
    own = _own(engine)
    method = _method(model.card, engine, options)
    if options.eigen_smooth and method == RECIPROCAM:
        message = f"{RECIPROCAM} has no channels to project: leave it out, or choose another method"
        raise InvalidOption(Mistake("eigen_smooth", message, "unusable_eigen_smooth"))
    plan = Plan(
        layer=layer,
        engine=engine,
        request=parse_targets(options.target, options.contrast, model.card),
        method_options=MethodOptions(method, eigen_smooth=options.eigen_smooth, aug_smooth=options.aug_smooth),
        passes=count_passes(method, layer.shape, aug_smooth=options.aug_smooth, own=own),
    )
    if options.scale == "image":
        return plan
    return replace(plan, full=full_heat(plan.calibration, layer, method))


def method_names(card: Card, engine: Engine) -> list[str]:
    """List the methods for an engine's layer, the default first: those of every engine, and its own."""
    return list(dict.fromkeys([*(METHOD_NAMES if card.gradients else GRADIENT_FREE), *_own(engine)]))


def _method(card: Card, engine: Engine, options: Options) -> str:
    """Return the method of a request: the one that it names, else the model's default.

    Raises:
        InvalidOption: There is no such method, or it needs gradients that the model does not have.
    """
    method, known = options.method or card.default_method, method_names(card, engine)
    if method in known:
        return method
    if method in METHOD_NAMES:
        message = f"{method} needs gradients, and the model was compiled without: one of {', '.join(known)}"
        raise InvalidOption(Mistake("method", message, "needs_gradients"))
    raise _invalid("method", f"unknown method {method[:40]!r}: one of {', '.join(known)}")


def check_plan(plan: Plan, images: int, limits: Limits) -> None:
    """Compare the cost of a request with the limits.

    Raises:
        TooManyTargets: More targets for each image than the limit.
        TooManyPasses: More runs of the network than the limit.
    """
    if plan.targets > limits.targets:
        raise TooManyTargets(
            f"{plan.targets} targets for each image, over the limit of {limits.targets}: ask for fewer"
        )
    if plan.passes > 1 and images * plan.passes > limits.passes:
        method, total = plan.method_options.method, images * plan.passes
        raise TooManyPasses(
            f"{method} runs the network {plan.passes:,} times for an image, {total:,} times "
            f"for this request, over the limit of {limits.passes:,}: send fewer images, or choose another method"
        )


def _own(engine: Engine) -> Mapping[str, int]:
    return engine.methods if isinstance(engine, OwnMethods) else {}


def _invalid(name: str, message: str) -> InvalidOption:
    return InvalidOption(Mistake(name, message, f"unknown_{name}"))
