"""Inputs on which pytorch-grad-cam contradicts itself: images -> how far its explanations move by rounding alone.

Behind a ReLU or a max pooling the gradient jumps, and where a cell lies within float32's rounding of the jump, rounding
decides which side is explained. Two correct programs then differ, and so does pytorch-grad-cam from itself when its
input moves by a rounding. Nobody can be judged by what it says there; everywhere else one can.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from heatlens.types import Floats

Doubles = npt.NDArray[np.float64]

NUDGES = 16
# Of each value, at most: four units in its last place, which move a network's logits about as far as the engine's own
# rounding does (measured in VGG-11 with BatchNorm and DenseNet-121: 2 to 4 millionths).
NUDGE = 2.0**-21
SIDES = 2  # of a jump: seen from within, it can be twice as high as from a side


def largest_moves(moved: Callable[[Floats], Doubles], images: Floats) -> Doubles:
    """How far explanations move when their images do by float32's rounding.

    Args:
        moved: How far the explanation of each image, given `[N,3,H,W]`, is from that of the one it stands for: `[N]`.
        images: `[N,3,H,W]`, preprocessed.

    Returns:
        The furthest of several times, `[N]`.
    """
    rng = np.random.default_rng(0)
    furthest: Doubles = np.zeros(len(images))
    for _ in range(NUDGES):
        nudges = 1 + NUDGE * rng.uniform(-1, 1, images.shape)
        furthest = np.maximum(furthest, moved((images * nudges).astype(np.float32)))
    return furthest
