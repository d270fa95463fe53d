"""Class activation heatmaps, compiled ahead of time: image bytes in, heatmap out.

`Explainer` loads a compiled model and explains images, `Explanation` is its result for one image, `Card` describes the
model. They are imported when first used: `import heatlens` alone loads no engine and no image library.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heatlens.card import Card as Card
    from heatlens.explainer import Explainer as Explainer
    from heatlens.results import Explanation as Explanation

__version__ = "0.1.0"
__all__ = ["Card", "Explainer", "Explanation", "__version__"]

_HOMES = {"Card": "heatlens.card", "Explainer": "heatlens.explainer", "Explanation": "heatlens.results"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'heatlens' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
