"""The compiled graphs are held to what the owner's own file answers."""

from typing import cast

import numpy as np
import pytest

from heatlens.engines.base import Engine
from heatlens.errors import ParityError
from heatlens.types import Floats
from heatlens_torch.proof.original_file import compare_with_original

IMAGES = np.zeros((40, 3, 2, 2), np.float32)
LOGITS = np.random.default_rng(0).standard_normal((32, 3)).astype(np.float32)
POWERS = np.exp(LOGITS)


class Compiled:
    """An engine that answers the logits in order."""

    def __init__(self) -> None:
        self.done = 0

    def trunk(self, images: Floats) -> tuple[Floats]:
        """Answer an activation."""
        return (np.ones((len(images), 1, 2, 2), np.float32),)

    def tail(self, crossing: tuple[Floats], _selector: Floats, _owners: object = None) -> tuple[Floats, Floats]:
        """Answer the next logits."""
        begin, self.done = self.done, self.done + len(crossing[0])
        return LOGITS[begin : self.done], crossing[0]


class File:
    """A file that answers these logits and values."""

    name = "a library 1"

    def __init__(self, end: str | None, logits: Floats, answers: Floats) -> None:
        self.end, self.logits, self.answers = end, logits, answers

    def run(self, images: Floats) -> tuple[Floats, Floats]:
        """Answer the same to 32 images."""
        assert len(images) == 32
        return self.logits, self.answers


def engine() -> Engine:
    return cast(Engine, Compiled())


def test_logits_and_their_softmax_are_compared() -> None:
    found = compare_with_original(
        File("softmax", LOGITS, POWERS / POWERS.sum(1, keepdims=True)), engine(), IMAGES, logits=3
    )

    assert found is not None
    assert (found.engine, found.images, found.end, found.logits) == ("a library 1", 32, "softmax", 0)
    assert found.answers is not None
    assert found.answers < 1e-6


def test_logits_that_differ_are_refused() -> None:
    with pytest.raises(
        ParityError, match=r"^the compiled network differs from the file in a library 1: logits 1\.0e-03"
    ):
        compare_with_original(File(None, LOGITS * np.float32(1.001), LOGITS), engine(), IMAGES, logits=3)


def test_answers_that_differ_are_refused() -> None:
    with pytest.raises(ParityError, match="after the sigmoid"):
        compare_with_original(File("sigmoid", LOGITS, LOGITS), engine(), IMAGES, logits=3)


def test_a_network_of_no_file_has_nothing_to_compare() -> None:
    assert compare_with_original(None, engine(), IMAGES, logits=3) is None
