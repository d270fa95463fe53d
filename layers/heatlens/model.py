"""Model folder -> verified card and warm engine, ready to explain."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heatlens.card import Card, read_card
from heatlens.engine import Engine, OpenVinoEngine
from heatlens.errors import EngineError


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model; `sha256` is its card's, which names every graph's."""

    card: Card
    sha256: str
    engine: Engine


def load_model(folder: Path, *, threads: int = 0) -> Model:
    """Verify the folder, compile its graphs and run them once, so that the first request finds them warm.

    Raises:
        CardError: The folder is not a whole, unaltered model.
        EngineError: The graphs cannot be executed as the card says.
    """
    card, sha256 = read_card(folder)
    engine = OpenVinoEngine(folder, card, threads=threads)
    _warm_up(engine, card)
    return Model(card, sha256, engine)


def _warm_up(engine: Engine, card: Card) -> None:
    try:
        crossing = engine.trunk(np.zeros((1, 3, *card.preprocess.shape), np.float32))
        logits, gradient = engine.tail(crossing, np.zeros((1, card.logits), np.float32))
    except Exception as error:  # engines raise their own kinds
        raise EngineError("the graphs do not run on the input that the card describes") from error
    shape = (1, *card.layers[0].shape)
    if (crossing[0].shape, gradient.shape, logits.shape) != (shape, shape, (1, card.logits)):
        raise EngineError("the graphs answer other shapes than the card says")
