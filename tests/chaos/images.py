"""A seed -> an image file of one of the kinds that clients send: good ones, corrupt ones, and ones over the limit."""

import random

from PIL import Image

from tests.conftest import encoded, noise

FILE_BYTES = 20_000  # the campaign's limit per file


def image(rng: random.Random) -> bytes:
    """Mostly a good image, no two alike."""
    kind = rng.random()
    good = _good(rng)
    if kind < 0.86:
        return good
    if kind < 0.90:
        return good[: len(good) // 2]
    if kind < 0.94:
        return rng.randbytes(200)
    if kind < 0.97:
        return good + bytes(FILE_BYTES)
    return encoded(Image.new("L", (1, 1), rng.randrange(256)))


def _good(rng: random.Random) -> bytes:
    return encoded(noise((rng.randint(8, 24), rng.randint(8, 24)), seed=rng.getrandbits(32)))
