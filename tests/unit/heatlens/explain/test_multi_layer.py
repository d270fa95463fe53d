import cv2
import numpy as np
import pytest
from pytorch_grad_cam.base_cam import BaseCAM

from heatlens.errors import CardError
from heatlens.explain.multi_layer import combined, explain
from heatlens.model import Model
from heatlens.types import Floats
from tests.support.tiny import SIDE


def theirs(signed_maps: list[Floats], size: tuple[int, int]) -> Floats:
    """pytorch-grad-cam's own aggregation, of maps that are already summed over channels."""
    cam = BaseCAM.__new__(BaseCAM)
    scaled = []
    for signed_map in signed_maps:
        heats = []
        for image in np.maximum(signed_map, 0):
            shifted = image - image.min()
            heats.append(cv2.resize(shifted / (1e-7 + shifted.max()), size[::-1]))
        scaled.append(np.stack(heats)[:, None])
    heat: Floats = cam.aggregate_multi_layers(scaled)
    cam.__class__ = type("Released", (), {})  # its __del__ wants hooks, which it never had
    return heat


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_maps_of_several_grids_combine_as_in_pytorch_grad_cam(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((3, side, side + 1), dtype=np.float32) for side in (2, 4, 9)]

    assert np.abs(combined(maps, size) - theirs(maps, size)).max() < 1e-5


def test_each_layer_has_the_same_weight_whatever_its_range() -> None:
    small, large = np.zeros((1, 2, 2), np.float32), np.zeros((1, 2, 2), np.float32)
    small[0, 0, 0], large[0, 1, 1] = 1, 1000

    heat = combined([small, large], (2, 2))[0]

    assert heat == pytest.approx(np.eye(2), abs=1e-6)


def test_an_empty_map_combines_to_nothing() -> None:
    assert combined([np.full((1, 2, 2), -1, np.float32)] * 2, (4, 4)).max() == 0


def test_the_model_is_explained_at_the_layers_named(tiny_model: Model) -> None:
    batch = np.random.default_rng(0).random((2, 3, SIDE, SIDE), dtype=np.float32)
    selector = np.zeros((2, 1), np.float32)

    logits, heat = explain(tiny_model, batch, selector, ["cells"])

    assert (logits.shape, heat.shape) == ((2, 1), (2, SIDE, SIDE))
    assert (heat.min(), heat.max()) == (0, pytest.approx(1))
    with pytest.raises(CardError, match="there is no layer 'rows'"):
        explain(tiny_model, batch, selector, ["cells", "rows"])
