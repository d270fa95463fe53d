"""Refuse what one invocation of the batch function has no time for."""

from heatlens.cost import Estimate, estimate
from heatlens.errors import TooSlow
from heatlens.model import Model
from heatlens.plan import Plan, make_plan
from heatlens.settings import Limits
from heatlens.types import Options

MARGIN_S = 10.0  # beside the time of the images: for their commits, the messages that are sent again, and the answer


def check_time(model: Model, options: Options, limits: Limits, timeout_s: int | None) -> None:
    """Compare the estimated time of one image with that of an invocation.

    Args:
        model: As loaded on this machine.
        options: Of the batch.
        limits: Of the batch function.
        timeout_s: The batch function's timeout; `None` where it is not known, which allows everything.

    Raises:
        TooSlow: An image takes longer; the message names the ways out.
        InvalidOption: There is no such method, layer or class.
    """
    if timeout_s is None:
        return
    plan = make_plan(model, options)
    found = estimate(model, plan, options, limits)
    if found and found.seconds > timeout_s - MARGIN_S:
        raise TooSlow(_message(model, plan, options, found, timeout_s))


def _message(model: Model, plan: Plan, options: Options, found: Estimate, timeout_s: int) -> str:
    method, default = plan.method_options.method, model.card.default_method
    smaller = any(layer.shape[0] < plan.layer.shape[0] for layer in model.card.layers)
    ways = [
        *([f"method={default}"] if method != default else []),
        *(["no aug_smooth"] if options.aug_smooth else []),
        *(["no faithfulness"] if "faithfulness" in options.include else []),
        *(["a layer with fewer channels"] if smaller else []),
        *(["fewer targets"] if plan.targets > 1 else []),
    ]
    return (
        f"one image by {method} on layer {plan.layer.name!r} takes about {found.seconds:,.0f} s "
        f"({found.trunk:,} passes of the trunk, {found.tail:,} of the tail), and an invocation of the batch function "
        f"has {timeout_s - MARGIN_S:,.0f} s: {''.join(f'use {way}, ' for way in ways)}raise the parameter BatchTimeout "
        "of the stack (at most 900 s), or explain on a server, with heatlens serve or the backend sagemaker"
    )
