"""Measure how far pytorch-grad-cam's explanations move by rounding alone.

After a ReLU or a max pooling the gradient jumps. Where a cell lies within float32's rounding of the jump, rounding
decides which side is explained: two correct programs then differ, and so does pytorch-grad-cam from itself when its
input moves by a rounding. Such an image proves nothing; all others do.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from heatlens.types import Floats

Doubles = npt.NDArray[np.float64]

NUDGES = 16
# The largest relative change of a value: four units in its last place. It moves a network's logits about as far as the
# engine's own rounding does (measured in VGG-11 with BatchNorm and DenseNet-121: 2 to 4 millionths).
NUDGE = 2.0**-21
SIDES = 2  # a nudge sees one side of a jump, which in all can be twice as high


def largest_moves(moved: Callable[[Floats], Doubles], images: Floats) -> Doubles:
    """Measure how far explanations move when their images move by float32's rounding.

    Args:
        moved: Given nudged images `[N,3,H,W]`, how far their explanations are from the originals': `[N]`.
        images: `[N,3,H,W]`, preprocessed.

    Returns:
        The largest move over several nudges, `[N]`.
    """
    rng = np.random.default_rng(0)
    furthest: Doubles = np.zeros(len(images))
    for _ in range(NUDGES):
        nudges = 1 + NUDGE * rng.uniform(-1, 1, images.shape)
        furthest = np.maximum(furthest, moved((images * nudges).astype(np.float32)))
    return furthest
