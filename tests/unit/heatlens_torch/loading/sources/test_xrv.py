"""A state dict of torchxrayvision becomes a network of logits with the library's own input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchxrayvision

from heatlens.errors import ModelFileError
from heatlens.input.decode import decode
from heatlens.input.preprocess import preprocess
from heatlens_torch.loading.described import describe
from heatlens_torch.loading.sources import registry
from tests.support.dicom import dicom
from tests.support.images import noise

LABELS = ["Effusion", "", "Mass", ""]


@pytest.fixture(scope="module")
def library() -> Any:  # noqa: ANN401 - torchxrayvision is untyped
    torch.manual_seed(0)
    thresholds = torch.tensor([0.1, 0.2, 0.3, 0.4])
    return torchxrayvision.models.DenseNet(num_classes=4, op_threshs=thresholds).eval()


@pytest.fixture
def saved(library: Any, tmp_path: Path) -> Path:  # noqa: ANN401
    torch.save({"state_dict": library.state_dict(), "pathologies": LABELS}, tmp_path / "xrv.pt")
    return tmp_path / "xrv.pt"


def test_the_file_and_the_library_say_everything(saved: Path) -> None:
    found = describe(f"xrv:{saved}")

    assert (found.spec.classes, found.spec.output, found.spec.layers) == (
        ("Effusion", "Mass"),
        "multilabel",
        ("features",),
    )
    assert (found.spec.preprocess.shape, found.spec.preprocess.channels) == ((224, 224), 1)
    assert "preprocess  steps values, crop, resize, gray (torchxrayvision's normalize and transforms)" in found.lines()


def test_the_network_answers_the_logits_of_the_labels(saved: Path, library: Any) -> None:  # noqa: ANN401
    found = describe(f"xrv:{saved}")
    network = registry.build(found.spec.architecture, found.home, dict(found.spec)).network
    image = torch.rand(2, 1, 64, 64) * 2048 - 1024

    with torch.no_grad():
        expected = library.classifier(library.features2(image))[:, [0, 2]]
        torch.testing.assert_close(network(image), expected)


@pytest.mark.parametrize("size", [(300, 240), (240, 301)])
def test_the_input_is_the_librarys_own(saved: Path, size: tuple[int, int]) -> None:
    image = noise(size)
    values = torchxrayvision.datasets.normalize(np.asarray(image), 255).mean(2)[None]
    for transform in (torchxrayvision.datasets.XRayCenterCrop(), torchxrayvision.datasets.XRayResizer(224)):
        values = transform(values)

    ours = preprocess(image, describe(f"xrv:{saved}").spec.preprocess)

    assert np.abs(ours - values).max() < 2048 / 255


@pytest.mark.filterwarnings("ignore:Converting MONOCHROME1")
@pytest.mark.parametrize("monochrome", [1, 2])
def test_a_dicom_is_read_at_full_depth_as_the_library_reads_it(saved: Path, monochrome: int) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (300, 240)).astype(np.uint16)
    tags: dict[str, Any] = {"WindowCenter": "40", "WindowWidth": "80", "RescaleSlope": "2", "RescaleIntercept": "-5"}
    data = dicom(stored, bits=12, monochrome=monochrome, **tags)
    (saved.parent / "a.dcm").write_bytes(data)
    values = torchxrayvision.utils.read_xray_dcm(saved.parent / "a.dcm")[None]
    for transform in (torchxrayvision.datasets.XRayCenterCrop(), torchxrayvision.datasets.XRayResizer(224)):
        values = transform(values)
    recipe = describe(f"xrv:{saved}").spec.preprocess

    found = decode(data, max_pixels=10**6, values=recipe.values).values

    assert found is not None
    assert np.abs(preprocess(found, recipe) - values).max() < 2048 * 1e-5


def test_without_pathologies_the_librarys_default_list_is_meant(tmp_path: Path) -> None:
    torch.save({"classifier.bias": torch.zeros(18)}, tmp_path / "a.pt")

    assert len(describe(f"xrv:{tmp_path / 'a.pt'}").spec.classes) == 18


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fc.bias": torch.zeros(2)}, "weights: a.pt is no DenseNet of torchxrayvision (no classifier.bias): where it"),
        (
            {"classifier.bias": torch.zeros(2)},
            "classes: a.pt has 2 logits and 18 pathologies: where it was made, torch",
        ),
    ],
)
def test_refuses_other_weights(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "a.pt")

    with pytest.raises(ModelFileError) as caught:
        describe(f"xrv:{tmp_path / 'a.pt'}")
    assert str(caught.value).startswith(message)


def test_the_librarys_pickled_module_is_refused_with_the_line_that_saves_its_weights(
    tmp_path: Path,
    library: Any,  # noqa: ANN401
) -> None:
    torch.save(library, tmp_path / "nih.pt")

    with pytest.raises(ModelFileError, match=r"torch\.save\({'state_dict': model\.state_dict\(\), 'pathologies': "):
        describe(f"xrv:{tmp_path / 'nih.pt'}")
