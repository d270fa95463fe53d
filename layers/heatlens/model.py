"""Model folder -> verified card and warm engine, ready to explain."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from heatlens.card import Card, Layer, read_card
from heatlens.engines.base import Engine, files_of, open_engines
from heatlens.engines.memory_estimate import check_memory
from heatlens.engines.resources import Machine, read_machine
from heatlens.errors import EngineError
from heatlens.settings import Settings
from heatlens.types import EngineName, Options, Precision


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model; `sha256` is its card's, which names every graph's, `image` the digest of the image it runs in.

    `engine` runs the default layer, the card's first; `others` those of the further layers, by name. `file_bytes` is
    the size of its graphs' files.
    """

    card: Card
    sha256: str
    engine: Engine
    image: str = ""
    others: Mapping[str, Engine] = field(default_factory=dict)
    file_bytes: int = 0

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


def load_model(
    folder: Path,
    *,
    engine: EngineName = "auto",
    precision: Precision = "f32",
    threads: int = 0,
    machine: Machine | None = None,
    image: str = "",
    beside: int = 0,
) -> Model:
    """Verify the folder, compile its graphs and run them once, so that the first request finds them warm.

    Args:
        folder: The model folder.
        engine: What runs it; `open_engines` says what `auto` is.
        precision: At which it runs; the card must have its agreement with float32.
        threads: Size of the engine's thread pool; 0 makes it as large as the machine's share of processors, and where
            that is not limited lets the engine choose.
        machine: What there is; by default what this process is allowed.
        image: Digest of the image this runs in, for the provenance of what is made.
        beside: Bytes of graphs that are loaded in this process already.

    Raises:
        CardError: The folder is not a whole, unaltered model, or was not compiled for this engine or precision.
        EngineError: The engine is not installed; or the model does not fit the memory, or cannot be executed as the
            card says.
        ModelFileError: PyTorch cannot build the network again.
        CompileError: PyTorch cannot cut it again.
    """
    machine = machine or read_machine()
    card, sha256 = read_card(folder, files=lambda card: files_of(card, engine, precision))
    files = [folder / file.file for file in files_of(card, engine, precision)]
    check_memory(files, machine.memory_bytes, engine=engine, beside=beside)
    threads = threads or machine.threads
    engines = open_engines(folder, card, engine=engine, precision=precision, threads=threads)
    for layer in card.layers:
        try_out(engines[layer.name], card, layer)
    file_bytes = sum(file.stat().st_size for file in files)
    return Model(card, sha256, engines.pop(card.layers[0].name), image, engines, file_bytes)


def load_by_settings(
    settings: Settings, folder: Path | None = None, *, machine: Machine | None = None, beside: int = 0
) -> Model:
    """Load the model that the settings name, or another, as they say; `load_model` says what it raises."""
    return load_model(
        folder or settings.model_dir,
        engine=settings.engine,
        precision=settings.precision,
        threads=settings.threads,
        machine=machine,
        image=settings.image_digest,
        beside=beside,
    )


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
        raise EngineError("the graphs answer other shapes than the card says: compile the model again")
