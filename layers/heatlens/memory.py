"""Sizes of a model's graphs -> whether it fits the memory: said before it is loaded, while words are still possible."""

from collections.abc import Iterable
from pathlib import Path

from heatlens.errors import EngineError
from heatlens.settings import MIB
from heatlens.types import EngineName

BASE_BYTES = 144 * MIB  # the interpreter, its libraries and the engine
GRAPH_FACTOR = 2.15  # the engine keeps its own form of the weights beside the file's


def needed(graph_bytes: int, engine: EngineName = "auto") -> int:
    """Bytes of memory that a door with this model takes once the model has run on one image.

    Measured as resident memory, which was the peak too, of a process with the API's modules imported (80 MiB) and
    OpenVINO 2026.4 in float32; its threads made no difference. All in MiB:

    | model             | graphs | after one image | after a batch of 8 | this says |
    |-------------------|--------|-----------------|--------------------|-----------|
    | demo              | 1.6    | 131             | 145                | 148       |
    | MobileNetV3 large | 20.9   | 190             | 246                | 189       |
    | ResNet-50         | 97.4   | 340             | 402                | 353       |
    | ResNet-152        | 229.4  | 617             | 708                | 637       |

    Images, their batches and their answers come on top, as large as they are.
    """
    return BASE_BYTES + round(GRAPH_FACTOR * graph_bytes)


def check_memory(graphs: Iterable[Path], memory_bytes: int | None, *, engine: EngineName = "auto") -> None:
    """Refuse a model that would not fit: the process would be killed at its start, or at its first image, unheard.

    Args:
        graphs: The model's files.
        memory_bytes: What there is; `None` where no limit is known, and nothing is checked.

    Raises:
        EngineError: There is less than is needed.
    """
    size = sum(graph.stat().st_size for graph in graphs)
    if memory_bytes is None or needed(size) <= memory_bytes:
        return
    raise EngineError(
        f"the model needs about {needed(size) / MIB:,.0f} MiB of memory and there are {memory_bytes / MIB:,.0f}: "
        "give the function or the container more, or compile a smaller model"
    )
