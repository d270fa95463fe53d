"""Read `preprocessor_config.json` of transformers' image processors as a recipe.

The processors were read at 5.24. Their common fields are `size`, `crop_size`, `resample`, `rescale_factor`,
`image_mean`, `image_std` and `do_*`; a few change more, each in its own way.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heatlens.card import Preprocess
from heatlens.errors import ModelFileError
from heatlens_torch.loading.sources.base import read_json
from heatlens_torch.loading.sources.recipe import Recipe, channels_of

PROCESSOR_FILE = "preprocessor_config.json"
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # Pillow's numbers
WARPS_FROM = 384  # ConvNeXt: no crop from this size up
# Processors that do nothing but resize, crop, rescale and normalize.
PLAIN = ("Beit", "Bit", "ChineseCLIP", "CLIP", "DeiT", "MobileNetV1", "MobileNetV2", "Pvt", "Siglip", "ViT")
SPECIAL = ("ConvNext", "EfficientNet", "Levit", "MobileViT", "PoolFormer")
OWN_STYLE = "say it yourself: --preprocess, or [preprocess] in model.toml"


def preprocessing(folder: Path, config: Mapping[str, Any]) -> tuple[Preprocess | None, str]:
    """Return the recipe, and a sentence on what resizes; `None` without the file.

    Raises:
        ModelFileError: The processor does what is not known here, or its numbers give no input of one size.
    """
    path = folder / PROCESSOR_FILE
    if not path.is_file():
        return None, ""
    fields = read_json(path)
    kind, library = _kind(fields, config)
    if kind not in PLAIN + SPECIAL:
        raise ModelFileError(f"preprocess: {kind}ImageProcessor is not known here: {OWN_STYLE}")
    if fields.get("do_resize") is False or fields.get("do_pad"):
        raise ModelFileError(f"preprocess: {PROCESSOR_FILE} does not resize, or pads: {OWN_STYLE}")
    resize, crop = _geometry(kind, fields)
    factor, offset, mean, std = _values(kind, fields)
    interpolation = RESAMPLE.get(fields.get("resample", 2))
    if library == "torchvision" and interpolation in ("lanczos", "box", "hamming"):
        library = "pillow"  # torchvision's tensors have none of them
    recipe = Recipe(
        resize=resize | {"interpolation": interpolation, "library": library},
        crop=crop,
        factor=factor,
        offset=offset,
        mean=mean,
        std=std,
        channels="BGR" if kind == "MobileViT" and fields.get("do_flip_channel_order", True) else "RGB",
    )
    return recipe.preprocess(), _used(library, fields)


def _kind(fields: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, str]:
    """Return the processor's name without its suffixes, and what resizes.

    Up to transformers 4 the plain name is Pillow's, and `Fast` is torchvision's on tensors; from 5 on the plain name is
    torchvision's, and `Pil` Pillow's.
    """
    name = str(fields.get("image_processor_type") or fields.get("feature_extractor_type") or "")
    name = name.replace("FeatureExtractor", "ImageProcessor")
    old = str(config.get("transformers_version", "4")).partition(".")[0] < "5"
    tensors = name.endswith("Fast") or not (old or name.endswith("Pil"))
    return name.partition("ImageProcessor")[0], "torchvision" if tensors else "pillow"


def _used(library: str, fields: Mapping[str, Any]) -> str:
    name = fields.get("image_processor_type") or fields.get("feature_extractor_type")
    how = "torchvision on tensors" if library == "torchvision" else "Pillow"
    return f"{name} of the version that saved it resizes by {how}"


def _geometry(kind: str, fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    size = _size(fields.get("size", 224), square=kind in ("ViT", "DeiT", "Beit", "Pvt", "Siglip", "EfficientNet"))
    crop = _size(fields["crop_size"], square=True) if _crops(kind, fields) else None
    if kind == "ConvNext":
        size, crop = _convnext(size, fields)
    elif kind == "Levit" and isinstance(size, int):
        size = int((256 / 224) * size)
    elif kind == "PoolFormer" and fields.get("crop_pct") is not None:
        size = int((size if isinstance(size, int) else size[0]) / fields["crop_pct"])
    resize = {"size": size, "fit": "shortest" if isinstance(size, int) else "exact", "rounding": "down"}
    return resize, None if crop is None else {"size": crop, "rounding": "down"}


def _crops(kind: str, fields: Mapping[str, Any]) -> bool:
    default = kind not in ("ViT", "Beit", "Pvt", "Siglip", "EfficientNet", "ConvNext")
    return bool(fields.get("do_center_crop", default)) and fields.get("crop_size") is not None


def _convnext(size: int | list[int], fields: Mapping[str, Any]) -> tuple[int | list[int], list[int] | None]:
    """Warp from 384 up; below resize the shorter side to size / crop_pct and crop."""
    edge = size if isinstance(size, int) else size[0]
    if edge >= WARPS_FROM:
        return [edge, edge], None
    return int(edge / (fields.get("crop_pct") or 224 / 256)), [edge, edge]


def _size(value: Any, *, square: bool) -> int | list[int]:  # noqa: ANN401 - JSON
    """Return `[height, width]`, or one number for the shorter side; old files have a plain number."""
    if isinstance(value, int):
        return [value, value] if square else value
    if isinstance(value, list) and len(value) == 2:
        return value
    if isinstance(value, dict) and "height" in value and "width" in value:
        return [value["height"], value["width"]]
    if isinstance(value, dict) and isinstance(value.get("shortest_edge"), int) and "longest_edge" not in value:
        edge: int = value["shortest_edge"]
        return edge
    raise ModelFileError(f"preprocess: {PROCESSOR_FILE} has a size {value!r}, which is not known here: {OWN_STYLE}")


def _values(kind: str, fields: Mapping[str, Any]) -> tuple[float, float, list[float], list[float]]:
    """Return factor, offset, mean and deviation."""
    rescales = fields.get("do_rescale", True)
    factor = float(fields.get("rescale_factor", 1 / 255)) if rescales else 1.0
    offset = -1.0 if rescales and fields.get("rescale_offset") else 0.0
    if not fields.get("do_normalize", kind != "MobileViT"):
        return factor, offset, [0.0] * 3, [1.0] * 3
    mean, std = channels_of(fields.get("image_mean", 0.5)), channels_of(fields.get("image_std", 0.5))
    if kind == "EfficientNet" and fields.get("include_top", True):
        std = [each * each for each in std]  # normalized again, by the deviation alone
    return factor, offset, mean, std
