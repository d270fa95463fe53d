"""Read images for an upload, and write the options of a request as a query."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal, cast

from heatlens.client.exchange import Step
from heatlens.dicom_out import read_kinds
from heatlens.errors import HeatlensError
from heatlens.image_source import ImageSource, is_image, list_images, read_source
from heatlens.options import OptionArguments, as_json, as_query, read_options, unknown_name
from heatlens.types import DicomKind, Include, Options, OriginalForm, Upload

MAX_FILE_BYTES = 512 * 1024 * 1024  # that are read to memory; the server's own limit is lower
INCLUDED: tuple[Include, ...] = ("overlay", "map")  # the caller has the original


class ServerOptions(OptionArguments, total=False):
    """Options of `Explainer.explain`, and those of a server.

    `include` names what the answer has, by default `overlay` and `map`; `dicom` the DICOM objects, such as `sc,seg`;
    `model` is one of the server's.
    """

    include: str | Iterable[Include]
    dicom: str | Iterable[DicomKind]
    model: str | None


class RequestOptions(ServerOptions, total=False):
    """Options of a heatmap request."""

    original: OriginalForm
    strip_original: bool


class BatchOptions(ServerOptions, total=False):
    """Options of a staged batch; `backend` says who explains."""

    backend: Literal["lambda", "sagemaker"]


def heatmap_options(given: RequestOptions) -> Options:
    """Read the options of a heatmap request.

    Raises:
        TypeError: A name is not that of an option.
        InvalidOption: A value is invalid.
    """
    known = RequestOptions.__annotations__
    if unknown := [name for name in given if name not in known]:
        raise TypeError("; ".join(str(unknown_name(name, known)) for name in unknown))
    rest = dict(given)
    names = given.get("include", INCLUDED)
    include = names.split(",") if isinstance(names, str) else names
    rest.pop("include", None)
    kinds = rest.pop("dicom", ())
    text = kinds if isinstance(kinds, str) else ",".join(cast("Iterable[str]", kinds))
    server: dict[str, object] = {
        name: rest.pop(name) for name in ("model", "original", "strip_original") if name in rest
    }
    server["dicom"] = read_kinds(text) if text else ()
    return replace(read_options(rest, frozenset(include)), **server)  # type: ignore[arg-type]


def batch_options(given: BatchOptions) -> dict[str, Any]:
    """Return the options of a staged batch in JSON: those that differ from their defaults, and `include`.

    Raises:
        TypeError: A name is not that of an option.
        InvalidOption: A value is invalid.
    """
    rest = dict(given)
    backend = {"backend": rest.pop("backend")} if "backend" in rest else {}
    if unknown := rest.keys() & {"original", "strip_original"}:
        raise TypeError(f"{min(unknown)}: a staged batch never stores the original again")
    options = heatmap_options(cast("RequestOptions", rest))
    default = Options()
    chosen = {
        name: value for name, value in as_json(options).items() if getattr(options, name) != getattr(default, name)
    }
    if options.window:
        chosen["window"] = ",".join(f"{number:.9f}" for number in options.window)
    return chosen | backend | {"include": sorted(options.include)}


def image_step(path: str, image: ImageSource, options: Options) -> Step:
    """Return the request that sends one image.

    Raises:
        HeatlensError: The image cannot be read.
        TypeError: It is no image.
    """
    if not is_image(image):
        list_images([image])  # says what an image is
    return _step(path, "file", [_read(image, options)], options)


def images_step(path: str, images: Iterable[ImageSource], options: Options) -> Step:
    """Return the request that sends several images.

    Raises:
        HeatlensError: An image cannot be read.
        TypeError: One of them is no image.
    """
    return _step(path, "files", [_read(image, options) for image in list_images(images)], options)


def predict_options(model: str | None, window: tuple[float, float] | str | None, frame: int | None) -> Options:
    """Read the options of a predict request.

    Raises:
        InvalidOption: A value is invalid.
    """
    return replace(read_options({"window": window, "frame": frame}, Options().include), model=model)


def _step(path: str, field: str, uploads: list[Upload], options: Options) -> Step:
    query = as_query(options)
    files = [(field, (each.filename, each.data, "application/octet-stream")) for each in uploads]
    return Step("POST", f"{path}?{query}" if query else path, files=files)


def _read(image: ImageSource, options: Options) -> Upload:
    upload = read_source(image, MAX_FILE_BYTES, keep_floats=options.window is not None)
    if isinstance(upload, HeatlensError):
        raise upload
    return upload
