"""Make an image file from a seed: good, corrupt, or over the limit."""

import random

from PIL import Image

from tests.chaos.story import FILE_BYTES
from tests.support.images import encoded, noise


def image(rng: random.Random) -> bytes:
    """Make an image, mostly a good one; no two are equal."""
    kind = rng.random()
    made = good(rng)
    if kind < 0.86:
        return made
    if kind < 0.90:
        return made[: len(made) // 2]
    if kind < 0.94:
        return rng.randbytes(200)
    if kind < 0.97:
        return made + bytes(FILE_BYTES)
    return encoded(Image.new("L", (1, 1), rng.randrange(256)))


def good(rng: random.Random) -> bytes:
    """Make a valid image."""
    return encoded(noise((rng.randint(8, 24), rng.randint(8, 24)), seed=rng.getrandbits(32)))
