import numpy as np
import pytest

from heatlens.engines.device_array import DeviceArray, device_array


@pytest.fixture
def joined() -> DeviceArray:
    return device_array(np.arange(12, dtype=np.float32).reshape(3, 4), "device")


@pytest.mark.parametrize("rows", [slice(None), slice(0, 3), slice(0, 64)])
def test_all_rows_stay_on_the_device(rows: slice, joined: DeviceArray) -> None:
    assert joined[rows] is joined
    assert joined.on_device == "device"


@pytest.mark.parametrize("part", [slice(0, 2), slice(1, None), slice(None, None, -1), [0, 1, 2], 0, (slice(None), 1)])
def test_a_part_is_an_ordinary_array(part: object, joined: DeviceArray) -> None:
    found = joined[part]

    assert type(found) is np.ndarray
    assert np.array_equal(found, np.asarray(joined)[part])  # type: ignore[call-overload]


def test_what_is_computed_is_an_ordinary_array(joined: DeviceArray) -> None:
    for found in (joined * 2, joined + joined, np.maximum(joined, 3), joined.mean(axis=0)):
        assert getattr(found, "on_device", None) is None
    assert isinstance(joined.max(), np.float32)


def test_the_hosts_copy_cannot_change(joined: DeviceArray) -> None:
    with pytest.raises(ValueError, match="read-only"):
        joined += 1
