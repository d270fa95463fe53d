"""Draw the README's picture, a sample beside its heatmap: layers/heatlens_web/static/example.png."""

from io import BytesIO
from pathlib import Path

from PIL import Image

from heatlens.model import load_model
from heatlens.pipeline import explain
from heatlens.render.png import png
from heatlens.results import Explanation
from heatlens.settings import DEMO_MODEL, LIMITS
from heatlens.types import Options, Upload

STATIC = Path(__file__).parents[1] / "layers" / "heatlens_web" / "static"
SAMPLE = STATIC / "samples" / "phantom-01-opacity.png"
SIDE = 400  # pixels of each half

if __name__ == "__main__":
    model, upload = load_model(DEMO_MODEL), Upload(SAMPLE.name, SAMPLE.read_bytes())
    [outcome] = explain(model, [upload], Options(), limits=LIMITS, batch_images=1)
    if not isinstance(outcome, Explanation) or outcome.overlay is None:
        raise SystemExit(f"{SAMPLE.name} has no heatmap: {outcome}")
    picture = Image.new("RGB", (2 * SIDE, SIDE))
    for left, source in ((0, upload.data), (SIDE, outcome.overlay.data)):
        picture.paste(Image.open(BytesIO(source)).convert("RGB").resize((SIDE, SIDE)), (left, 0))
    (STATIC / "example.png").write_bytes(png(picture))
