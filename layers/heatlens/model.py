"""Model folder -> verified card and warm engine, ready to explain."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from heatlens.card import Card, Layer, read_card
from heatlens.engine import Engine, OpenVinoEngine
from heatlens.errors import EngineError
from heatlens.machine import Machine, read_machine
from heatlens.memory import check_memory
from heatlens.types import Options


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model; `sha256` is its card's, which names every graph's, `image` the digest of the image it runs in.

    `engine` runs the default layer, the card's first; `others` those of the further layers, by name.
    """

    card: Card
    sha256: str
    engine: Engine
    image: str = ""
    others: Mapping[str, Engine] = field(default_factory=dict)

    def facts(self, options: Options) -> dict[str, str]:
        """Which model and computation make an explanation, as every answer and result says it."""
        engine = self.engine_of(options.layer) if options.layer else self.engine
        return {
            "name": self.card.name,
            "version": self.card.version,
            "sha256": self.sha256,
            "layer": self.card.layer(options.layer).name,
            "method": options.method,
            "engine": engine.name,
            "precision": engine.precision,
            "notice": self.card.notice,
            "image": self.image,
        }

    def engine_of(self, layer: str) -> Engine:
        """The engine of a layer of the card.

        Raises:
            CardError: The model was not compiled for it.
        """
        return self.others.get(self.card.layer(layer).name, self.engine)


def load_model(folder: Path, *, threads: int = 0, machine: Machine | None = None, image: str = "") -> Model:
    """Verify the folder, compile its graphs and run them once, so that the first request finds them warm.

    Args:
        folder: The model folder.
        threads: Size of the engine's thread pool; 0 makes it as large as the machine's share of processors, and where
            that is not limited lets the engine choose.
        machine: What there is; by default what this process is allowed.
        image: Digest of the image this runs in, for the provenance of what is made.

    Raises:
        CardError: The folder is not a whole, unaltered model.
        EngineError: The graphs do not fit the memory, or cannot be executed as the card says.
    """
    machine = machine or read_machine()
    card, sha256 = read_card(folder)
    check_memory([folder / graph.file for graph in card.graphs], machine.memory_bytes)
    engines = {
        layer.name: OpenVinoEngine(folder, card, threads=threads or machine.threads, layer=layer.name)
        for layer in card.layers
    }
    for layer in card.layers:
        try_out(engines[layer.name], card, layer)
    return Model(card, sha256, engines.pop(card.layers[0].name), image, engines)


def try_out(engine: Engine, card: Card, layer: Layer | None = None) -> None:
    """Run the graphs of a layer, by default the first, on a black image and look at the shapes of what comes out.

    Raises:
        EngineError: They do not run, or answer other shapes than the card says.
    """
    try:
        crossing = engine.trunk(np.zeros((1, 3, *card.preprocess.shape), np.float32))
        logits, gradient = engine.tail(crossing, np.zeros((1, card.logits), np.float32))
    except Exception as error:  # engines raise their own kinds
        raise EngineError("the graphs do not run on the input that the card describes") from error
    shape = (1, *(layer or card.layers[0]).shape)
    if (crossing[0].shape, gradient.shape, logits.shape) != (shape, shape, (1, card.logits)):
        raise EngineError("the graphs answer other shapes than the card says")
