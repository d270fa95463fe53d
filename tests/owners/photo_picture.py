"""Draw a photo beside its heatmap, for the README: `python -m tests.owners.photo_picture`.

The network is timm's smallest ResNet, trained in seconds to tell scikit-learn's two photos apart.
"""

import io
import tempfile
from pathlib import Path

from PIL import Image

from heatlens import Explainer
from tests.owners.photos import CLASSES, photos
from tests.owners.saved import timm_folder
from tests.owners.table import run_compile
from tests.support.paths import ROOT

SIDE = 400  # pixels of each half


def draw(folder: Path) -> Image.Image:
    """Save, compile and explain: the photo of the flower, and beside it the evidence for its class."""
    run_compile(timm_folder(folder), folder)
    whole = photos()[1]
    left = (whole.width - whole.height) // 2
    photo = whole.crop((left, 0, left + whole.height, whole.height))  # what the model sees
    explanation = Explainer.load(folder / "model").explain(photo, target=CLASSES[1])
    with Image.open(io.BytesIO(explanation.png)) as overlay:
        heat = overlay.convert("RGB")
    beside = Image.new("RGB", (2 * SIDE, SIDE))
    for place, picture in enumerate((photo, heat)):
        beside.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (place * SIDE, 0))
    return beside


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        draw(Path(work)).save(ROOT / "layers" / "photo.jpg", quality=88, subsampling=0)
