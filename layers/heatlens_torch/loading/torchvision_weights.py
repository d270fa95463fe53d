"""Fetch torchvision's own weights by name, and read classes and preprocessing from their metadata."""

import re
from pathlib import Path
from typing import Any

import torch
import torchvision

from heatlens.card import Preprocess
from heatlens.errors import ModelFileError
from heatlens_torch.loading.checkpoints import digest_of

_DIGEST = re.compile(r"-([0-9a-f]{8,})\.[a-z]+$")  # torch.hub's convention: the sha256 begins like this


def find(network: str, name: str) -> Any:  # noqa: ANN401 - torchvision is untyped
    """Find the member of torchvision's enumeration.

    Raises:
        ModelFileError: torchvision has no such network, or no such weights for it.
    """
    try:
        known = torchvision.models.get_model_weights(network)
    except ValueError as error:
        raise ModelFileError(f"architecture: torchvision has no classification model {network!r}") from error
    if name not in known.__members__:  # includes the alias DEFAULT
        has = ", ".join(["DEFAULT", *known._member_names_])
        raise ModelFileError(f"weights: torchvision has no weights {name!r} for {network}: it has {has}")
    return known[name]


def facts(network: str, name: str) -> dict[str, Any]:
    """Return `classes`, `output` and `preprocess` of a description, as far as the weights' metadata has them."""
    member = find(network, name)
    transforms = member.transforms()
    categories = member.meta.get("categories")
    known = {"classes": tuple(categories), "output": "softmax"} if categories else {}
    return known | {
        "preprocess": Preprocess(
            resize=int(transforms.resize_size[0]),
            crop=(int(transforms.crop_size[0]), int(transforms.crop_size[0])),
            interpolation=transforms.interpolation.value,
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
        ),
    }


def fetch(network: str, name: str) -> tuple[Any, Path]:
    """Download the file into torch's cache if it is not there yet.

    Returns:
        The enumeration's member, and the file.

    Raises:
        ModelFileError: It cannot be downloaded, or is not what torchvision published.
    """
    member = find(network, name)
    path = Path(torch.hub.get_dir()) / "checkpoints" / str(member.url).rpartition("/")[2]
    published = _DIGEST.search(path.name)
    begins = published[1] if published else ""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(member.url, str(path), hash_prefix=begins or None, progress=False)
    except OSError as error:
        raise ModelFileError(
            f"weights: {member.name} of torchvision:{network} cannot be downloaded (is there a network?): fetch "
            f"{path.name} elsewhere and name it as weights, with classes and preprocess"
        ) from error
    except RuntimeError as error:
        raise ModelFileError(f"weights: {path.name} arrived damaged: its digest is not the published one") from error
    if not digest_of(path).startswith(begins):
        raise ModelFileError(f"weights: {path.name} in torch's cache is not what torchvision published: remove it")
    return member, path
