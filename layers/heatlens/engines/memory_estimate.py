"""Estimate the memory that a model needs from its files' sizes, and refuse one that does not fit before loading it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from heatlens.errors import EngineError
from heatlens.settings import MIB
from heatlens.types import EngineName


@dataclass(frozen=True, slots=True)
class _Cost:
    """`base`: the interpreter, its libraries and the engine; `factor`: bytes of memory per byte of file."""

    base: int
    factor: float


_COSTS = {
    "openvino": _Cost(144 * MIB, 2.15),  # it keeps its own form of the weights besides the file's
    "onnxruntime": _Cost(108 * MIB, 2.4),  # so does it
    "torch": _Cost(790 * MIB, 1.6),
}


def estimate_bytes(file_bytes: int, engine: EngineName = "auto") -> int:
    """Estimate the bytes of memory of a server whose model has run on one image.

    Measured as resident memory, which was also the peak, of a process with the API's modules imported (62 to 80 MiB);
    the number of threads made no difference. OpenVINO 2026.4, ONNX Runtime 1.32 and torch 2.15 on a processor, in MiB:

    | engine      | model             | files | after one image | after a batch of 8 | estimate  |
    |-------------|-------------------|-------|-----------------|--------------------|-----------|
    | openvino    | demo              | 1.6   | 131             | 145                | 148       |
    | openvino    | MobileNetV3 large | 20.9  | 190             | 246                | 189       |
    | openvino    | ResNet-50         | 97.4  | 340             | 402                | 353       |
    | openvino    | ResNet-50 in int8 | 30.5  | 214             | 244                | 210       |
    | openvino    | ResNet-152        | 229.4 | 617             | 708                | 637       |
    | onnxruntime | demo              | 1.6   | 103             | 114                | 112       |
    | onnxruntime | ResNet-50         | 97.4  | 330             | 354                | 342       |
    | torch       | demo              | 1.6   | 771             | 775                | 793       |
    | torch       | ResNet-50         | 97.7  | 906             | 1,003              | 946       |

    Images, batches and responses come on top. The host memory of a GPU's driver was not measured and is not included.

    Args:
        file_bytes: Size of the files that the engine reads: graphs, or weights.
        engine: `auto` counts as OpenVINO.
    """
    cost = _COSTS["openvino" if engine == "auto" else engine]
    return cost.base + round(cost.factor * file_bytes)


def left_for_images(memory_bytes: int | None, file_bytes: int, engine: EngineName = "auto") -> int | None:
    """Estimate what a loaded model leaves of the memory; `None` if no limit is known."""
    return None if memory_bytes is None else max(1, memory_bytes - estimate_bytes(file_bytes, engine))


def check_memory(
    files: Iterable[Path], memory_bytes: int | None, *, engine: EngineName = "auto", beside: int = 0
) -> None:
    """Refuse a model that would not fit: otherwise the process is killed at its first image without a message.

    Args:
        files: The files of the model that the engine reads.
        memory_bytes: The limit; `None` if none is known, and nothing is checked.
        engine: The engine that reads them.
        beside: Bytes of the files of models that this process has loaded already.

    Raises:
        EngineError: The limit is below the estimate.
    """
    size = beside + sum(file.stat().st_size for file in files)
    if memory_bytes is None or (needs := estimate_bytes(size, engine)) <= memory_bytes:
        return
    who = "the model and those loaded before it need" if beside else "the model needs"
    raise EngineError(
        f"{who} about {needs / MIB:,.0f} MiB of memory and there are {memory_bytes / MIB:,.0f}: "
        "give the function or the container more, or compile a smaller model"
    )
