"""Keep what crosses the cut on the device beside its copy in the host's memory."""

from typing import Any

import numpy as np

from heatlens.types import Floats


class DeviceArray(np.ndarray[Any, np.dtype[np.float32]]):
    """An array of the host that knows the same values on the device; both can only be read.

    `on_device` is the engine's own. A part of the array, and what is computed from it, are ordinary arrays.
    """

    on_device: Any = None

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 - whatever an index is
        """Return itself for all rows in order, else a part as an ordinary array."""
        if isinstance(key, slice) and key.indices(len(self)) == (0, len(self), 1):
            return self
        return self.view(np.ndarray)[key]

    def __array_wrap__(self, array: Any, *_: Any) -> Any:  # noqa: ANN401 - as NumPy calls it
        """Return the result of a computation as an ordinary array."""
        return np.asarray(array)[()]


def device_array(host: Floats, on_device: object) -> DeviceArray:
    """Join a host's copy, which becomes read-only, with the values on the device."""
    host.setflags(write=False)
    joined = host.view(DeviceArray)
    joined.on_device = on_device
    return joined
