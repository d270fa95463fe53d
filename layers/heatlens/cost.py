"""Estimate how long an explanation takes on this machine, from the card's measured passes."""

from dataclasses import dataclass

from heatlens.engines.base import OwnMethods
from heatlens.explain.attribution import count_runs
from heatlens.model import Model
from heatlens.plan import Plan
from heatlens.settings import Limits
from heatlens.types import Options


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds of one image, and the runs of the trunk and the tail that they come from; decoding is not among them."""

    seconds: float
    trunk: int
    tail: int


def estimate(model: Model, plan: Plan, options: Options, limits: Limits) -> Estimate | None:
    """Estimate one image; `None` where the card does not say how long its passes take.

    Args:
        model: As loaded; the first estimate measures its slowdown.
        plan: Of the options.
        options: Among them `faithfulness`, which may take the time that the limits allow it.
        limits: Of the deployment that explains.
    """
    cost = plan.layer.cost
    if cost is None or (slowdown := model.slowdown()) is None:
        return None
    methods = plan.engine.methods if isinstance(plan.engine, OwnMethods) else {}
    method = plan.method_options.method
    trunk, tail = count_runs(method, plan.layer.shape, plan.targets, aug_smooth=options.aug_smooth, own=methods)
    seconds = slowdown * (trunk * cost.trunk_ms + tail * cost.tail_ms) / 1000
    if "faithfulness" in options.include:
        seconds += limits.faithfulness_s
    return Estimate(seconds, trunk, tail)
