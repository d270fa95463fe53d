"""Run every call of a network under a mode that changes single operations.

Hooks on the network do it, so that module paths and weights stay the user's, for torch.export and pytorch-grad-cam
alike.
"""

import threading
from collections.abc import Callable

from torch import nn
from torch.overrides import TorchFunctionMode


def run_under(network: nn.Module, make: Callable[[], TorchFunctionMode]) -> None:
    """Enter a new mode whenever the network is called, and leave it when the call ends."""
    active = threading.local()

    def begin(_module: nn.Module, _input: object) -> None:
        active.mode = make()
        active.mode.__enter__()

    def end(_module: nn.Module, _input: object, _output: object) -> None:
        active.mode.__exit__(None, None, None)

    network.register_forward_pre_hook(begin)
    network.register_forward_hook(end, always_call=True, prepend=True)
