"""Read the options of `heatlens batch run` before any file is read."""

from typing import Any, cast

from heatlens.client.images import BatchOptions, batch_options
from heatlens.errors import InvalidOption, Mistake
from heatlens.options import OptionArguments, unknown_name

WRITTEN = ("overlay", "heatmap", "map", "regions", "faithfulness")


def read_options(
    arguments: OptionArguments, include: str, model: str | None, dicom: str | None = None
) -> dict[str, Any]:
    """Return the options of a batch in JSON: those that differ from their defaults, and `include`.

    Raises:
        InvalidOption: A value is invalid, or more than a staged batch takes.
    """
    names = [name.strip() for name in include.split(",")]
    if wrong := [name for name in names if name not in WRITTEN]:
        raise InvalidOption(*(unknown_name(name, WRITTEN) for name in wrong))
    targets = arguments.get("target", ())
    if isinstance(targets, list | tuple) and len(targets) > 1:
        sentence = "a staged batch explains one class of each image: run it once for each target, with another --out"
        raise InvalidOption(Mistake("target", sentence, "too_many"))
    given = {**arguments, "include": ",".join(names), "model": model, "dicom": dicom or ()}
    return batch_options(cast("BatchOptions", given))
