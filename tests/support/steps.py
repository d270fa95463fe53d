"""Write the steps of a preprocessing, as a description has them."""

from heatlens.card import Preprocess

NORMALIZE = {"step": "normalize", "mean": [0.5], "std": [0.25]}


def recipe(*steps: dict[str, object]) -> Preprocess:
    return Preprocess.model_validate({"steps": list(steps)})


def resize(size: object, fit: str = "exact", **fields: object) -> dict[str, object]:
    return {"step": "resize", "size": size, "fit": fit} | fields


def crop(size: object) -> dict[str, object]:
    return {"step": "crop", "size": size}


def pad(size: object, **fields: object) -> dict[str, object]:
    return {"step": "pad", "size": size} | fields


GRAY: dict[str, object] = {"step": "gray"}
SCALE: dict[str, object] = {"step": "scale"}
