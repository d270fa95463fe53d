"""What building a described network gives."""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from heatlens.types import Floats


class Original(Protocol):
    """The owner's own file, run by another library; `end` is a softmax or sigmoid after its logits."""

    name: str
    end: str | None

    def run(self, images: Floats) -> tuple[Floats, Floats]:
        """Compute logits and answers `[N,K]` of preprocessed images `[N,C,H,W]`."""


@dataclass(frozen=True, slots=True)
class BuiltNetwork:
    """The network in evaluation mode, the arguments that it was built with, its source, and a file to compare with."""

    network: nn.Module
    arguments: dict[str, Any]
    source: dict[str, str]
    original: Original | None = None
