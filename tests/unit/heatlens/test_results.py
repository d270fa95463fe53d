import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from heatlens import Explainer, Explanation
from heatlens.render.color import levels
from heatlens.types import Encoded
from tests.support.images import noise


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> Explainer:
    return Explainer.load(tiny_folder)


@pytest.fixture(scope="module")
def explanation(tiny: Explainer) -> Explanation:
    return tiny.explain(noise((40, 30)), target=["DARK", "BRIGHT"])


def test_heat_is_what_the_overlay_shows(tiny: Explainer) -> None:
    explanation = tiny.explain(noise((40, 30)))
    positive = np.maximum(explanation.signed_map, 0)
    heat = positive / max(positive.max(), 1e-9)
    drawn = levels(heat, (40, 30), explanation.box, explanation.part or (0, 0, 1, 1))(0, 30)

    assert explanation.heat.shape == (30, 40)
    assert explanation.heat.dtype == np.float32
    assert np.abs(explanation.heat * 255 - drawn).max() <= 0.501


def test_heat_has_the_scale_of_the_drawing() -> None:
    demo = Explainer.load()
    image = noise((64, 64), mode="L")

    own, absolute = demo.explain(image, target="OPACITY"), demo.explain(image, target="OPACITY", scale="absolute")

    full = absolute.explained[0].full_heat
    assert own.explained[0].full_heat is None
    assert full is not None
    peak = float(np.maximum(absolute.signed_map, 0).max())
    assert absolute.heat.max() <= min(1, peak / full) + 1e-6


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".jpg", "JPEG"), (".JPEG", "JPEG"), (".webp", "WEBP")])
def test_a_picture_is_saved_in_the_format_of_its_suffix(
    explanation: Explanation, tmp_path: Path, suffix: str, kind: str
) -> None:
    explanation.save(tmp_path / f"heat{suffix}")

    with Image.open(tmp_path / f"heat{suffix}") as image:
        assert (image.format, image.size) == (kind, (40, 30))


def test_map_and_facts_are_saved(explanation: Explanation, tmp_path: Path) -> None:
    explanation.save(tmp_path / "map.npy")
    explanation.save(str(tmp_path / "facts.json"))

    np.testing.assert_array_equal(np.load(tmp_path / "map.npy"), explanation.signed_map)
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts == explanation.to_dict() | {"box": list(explanation.box)}
    assert [each["label"] for each in facts["explained"]] == ["DARK", "BRIGHT"]
    np.testing.assert_allclose(facts["explained"][0]["signed_map"], explanation.signed_map)
    assert "overlay" not in facts["explained"][0]


def test_an_unknown_suffix_is_refused(explanation: Explanation, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.gif: unknown suffix '\.gif': one of \.png, .*\.npy, \.json"):
        explanation.save(tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []


def test_png_is_a_png_whatever_was_asked_for(tiny: Explainer) -> None:
    explanation = tiny.explain(noise((40, 30)), format="webp")

    with Image.open(io.BytesIO(explanation.png)) as image:
        assert (image.format, image.size) == ("PNG", (40, 30))
    assert isinstance(explanation.overlay, Encoded)
    assert explanation.overlay.media_type == "image/webp"


def test_an_explanation_is_one_line_in_a_terminal_and_a_picture_in_a_notebook(
    explanation: Explanation, tiny: Explainer
) -> None:
    line = repr(explanation)
    assert line.startswith("<Explanation of 40 x 30 pixels: ")
    assert line.endswith(" and 1 more>")
    assert len(line) < 120
    assert explanation._repr_png_() == explanation.png
    assert explanation._repr_html_().count("<img ") == 2
    bare = tiny.explain(noise((9, 7)), overlay=False)
    assert bare._repr_png_() is None
    assert "<img" not in bare._repr_html_()
