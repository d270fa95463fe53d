"""Load a model folder: verify the card, compile the graphs, and compare the engines with the card."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from heatlens.card import Card, Layer, read_card
from heatlens.engines.base import Engine, files_of, open_engines
from heatlens.engines.golden import GoldenCheck, GoldenMismatchError, check_golden
from heatlens.engines.memory_estimate import check_memory, left_for_images
from heatlens.engines.resources import Machine, read_machine
from heatlens.engines.timing import measure_slowdown
from heatlens.errors import CardError, EngineError, HeatlensError, is_out_of_memory
from heatlens.settings import Settings
from heatlens.types import EngineName, Options, Precision

logger = logging.getLogger(__name__)

GRAPH_ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime")  # they run the ONNX graphs
_NO_MEMORY = (
    "the memory ran out while the model was loaded: give the function, the container or the process (ulimit -v) more, "
    "or compile a smaller model"
)


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model.

    `sha256` is the card's, which covers every graph's; `image` is the digest of the container image. `engine` runs the
    default layer, the card's first; `others` the further layers, by name. `file_bytes` is the size of all graphs,
    `image_bytes` the memory that is left for one image, `None` if no limit is known.
    `golden` is the result of comparing the engines with the card. `slowdown()` is how much slower this machine is than
    the compiling one, `None` if the card does not say how long that took. Its first call measures it, which takes up
    to half a second: only estimates of time need it. `threads` is how many images of a batch are decoded and drawn at
    a time.
    """

    card: Card
    sha256: str
    engine: Engine
    image: str = ""
    others: Mapping[str, Engine] = field(default_factory=dict)
    file_bytes: int = 0
    image_bytes: int | None = None
    golden: GoldenCheck = field(default_factory=GoldenCheck)
    slowdown: Callable[[], float | None] = lambda: None
    threads: int = 1

    def facts(self, options: Options) -> dict[str, str]:
        """Describe model and computation, as every response and result does."""
        engine = self.engine_of(options.layer) if options.layer else self.engine
        return {
            "name": self.card.name,
            "version": self.card.version,
            "sha256": self.sha256,
            "layer": self.card.layer(options.layer).name,
            "method": options.method or self.card.default_method,
            "engine": engine.name,
            "precision": engine.precision,
            "notice": self.card.notice,
            "image": self.image,
        }

    def engine_of(self, layer: str) -> Engine:
        """Return the engine of a layer of the card.

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
    drafts: bool = False,
) -> Model:
    """Verify the folder, compile its graphs, and compare their explanation of one image with the card's.

    Where it differs, the same engine in float32 is tried, then the other engines of the graphs; the log says why. The
    comparison also warms the engines up.

    Args:
        folder: The model folder.
        engine: The engine's name; `open_engines` resolves `auto`.
        precision: Of the computation; the card must have its agreement with float32.
        threads: Size of the engine's thread pool; 0 means the share of processors, or the engine's own choice where
            that is not limited.
        machine: Memory and threads; by default those this process may use.
        image: Digest of the container image, for the results' provenance.
        beside: Bytes of graphs that this process has loaded already.
        drafts: Load a draft too; servers do not.

    Raises:
        CardError: The folder is not a whole, unaltered model, or is a draft, or was not compiled for this engine or
            precision.
        EngineError: The engine is not installed, or the model does not fit the memory, or it does not run as the card
            describes, or neither it nor another engine explains as the card says.
        ModelFileError: PyTorch cannot build the network.
        CompileError: PyTorch cannot cut the network.
    """
    machine = machine or read_machine()

    def load(engine: EngineName, precision: Precision) -> Model:
        return _load(
            folder,
            engine,
            precision,
            threads=threads or machine.threads,
            machine=machine,
            image=image,
            beside=beside,
            drafts=drafts,
        )

    try:
        return load(engine, precision)
    except GoldenMismatchError as mismatch:
        reason = f"{engine} in {precision}: {mismatch}"
    for other, instead in _fallbacks(engine, precision):
        try:
            model = load(other, instead)
        except (GoldenMismatchError, EngineError) as error:
            logger.warning("%s in %s cannot replace it: %s", other, instead, error)
            continue
        logger.warning("this machine does not explain as the card says, %s: %s in %s runs instead", reason, *_of(model))
        return replace(model, golden=replace(model.golden, status="fell back", reason=reason))
    raise EngineError(f"this machine does not explain as the card says, {reason}, and no other engine does")


def _refuse_draft(card: Card, folder: Path) -> None:
    if card.draft:
        raise CardError(
            f"{folder.name!r} is a draft, whose maps were not proven, and servers load proven models only: compile it "
            f"without --draft: heatlens compile WHAT -o {folder.name} --force"
        )


def _of(model: Model) -> tuple[str, str]:
    return model.engine.name, model.engine.precision


def _fallbacks(engine: EngineName, precision: Precision) -> Iterator[tuple[EngineName, Precision]]:
    """Yield the engines and precisions to try instead, the nearest first."""
    if precision != "f32":
        yield engine, "f32"
    for other in GRAPH_ENGINES:
        if other != engine:
            yield other, "f32"


def _load(
    folder: Path,
    engine: EngineName,
    precision: Precision,
    *,
    threads: int,
    machine: Machine,
    image: str,
    beside: int,
    drafts: bool,
) -> Model:
    """Load with one engine at one precision.

    Raises:
        GoldenMismatchError: It does not explain as the card says.
    """
    card, sha256 = read_card(folder, files=lambda card: files_of(card, engine, precision))
    if not drafts:
        _refuse_draft(card, folder)
    files = [folder / file.file for file in files_of(card, engine, precision)]
    check_memory(files, machine.memory_bytes, engine=engine, beside=beside)
    try:
        engines = open_engines(folder, card, engine=engine, precision=precision, threads=threads)
        golden = check_layers(engines, card)
    except (EngineError, MemoryError) as error:
        if is_out_of_memory(error):
            raise EngineError(_NO_MEMORY) from error
        raise
    file_bytes = sum(file.stat().st_size for file in files)
    left = left_for_images(machine.memory_bytes, beside + file_bytes, engine)
    first = engines.pop(card.layers[0].name)
    slowdown = cache(partial(measure_slowdown, first, card))
    at_a_time = threads or machine.parallel
    return Model(card, sha256, first, image, engines, file_bytes, left, golden, slowdown, at_a_time)


def check_layers(engines: Mapping[str, Engine], card: Card) -> GoldenCheck:
    """Compare every layer with its golden explanation; a layer without one runs once.

    Raises:
        GoldenMismatchError: A layer's explanation is another.
        EngineError: A layer does not run as the card describes.
    """
    differences = []
    for layer in card.layers:
        if layer.golden is None:
            try_out(engines[layer.name], card, layer)
            continue
        try:
            difference = check_golden(engines[layer.name], card, layer)
        except (GoldenMismatchError, HeatlensError):
            raise
        except Exception as error:  # engines raise their own kinds
            raise EngineError("the graphs do not run on the input that the card describes") from error
        differences.append(difference)
    found = [difference for difference in differences if difference is not None]
    if len(found) < len(card.layers):
        return GoldenCheck()
    return GoldenCheck("passed", f"the explanation differs by {max(found):.1e} from the card's", max(found))


def load_by_settings(
    settings: Settings,
    folder: Path | None = None,
    *,
    machine: Machine | None = None,
    beside: int = 0,
    drafts: bool = False,
) -> Model:
    """Load a folder, by default the settings' model, with the settings' engine; raises what `load_model` raises."""
    return load_model(
        folder or settings.model_dir,
        engine=settings.engine,
        precision=settings.precision,
        threads=settings.threads,
        machine=machine,
        image=settings.image_digest,
        beside=beside,
        drafts=drafts,
    )


def try_out(engine: Engine, card: Card, layer: Layer | None = None) -> None:
    """Run the graphs of a layer, by default the first, on a black image, and check the shapes of their outputs.

    Raises:
        EngineError: They do not run, or have other shapes than the card says.
    """
    try:
        crossing = engine.trunk(np.zeros((1, card.preprocess.channels, *card.preprocess.shape), np.float32))
        logits, gradient = engine.tail(crossing, np.zeros((1, card.logits), np.float32))
    except Exception as error:  # engines raise their own kinds
        raise EngineError("the graphs do not run on the input that the card describes") from error
    shape = (1, *(layer or card.layers[0]).shape)
    answered = [crossing[0].shape, *([] if gradient is None else [gradient.shape])]
    if any(each != shape for each in answered) or logits.shape != (1, card.logits):
        raise EngineError("the graphs answer other shapes than the card says: compile the model again")
