"""What building a described network gives."""

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True, slots=True)
class BuiltNetwork:
    """The network in evaluation mode, the arguments that it was built with, and its source."""

    network: nn.Module
    arguments: dict[str, Any]
    source: dict[str, str]
