"""Give the inputs of an ONNX graph beside the image their constants, so that it takes one image alone."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, ValueInfoProto, helper, numpy_helper

from heatlens.errors import ModelFileError

IMAGE_DIMS = 4
LEAST_IR = 4  # from here on an initializer need not be an input


def bind_inputs(model: ModelProto, entry: int | str | None, constants: Mapping[str, object], name: str) -> None:
    """Replace every input except the image by its constant, in place; the graph is then for one image.

    Args:
        model: The graph; unchanged if it takes the image alone.
        entry: Name or index of the image; `None` for the only input of four dimensions.
        constants: A number or a list for each of the others: the value for one image, or of the whole input.
        name: The file's name, for messages.

    Raises:
        ModelFileError: There is no such input, or an input has no constant, or one of another size.
    """
    initialized = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in initialized}
    image = _image(inputs, entry, name)
    for key in constants:
        if key not in inputs or key == image:
            raise ModelFileError(f"constants: {name} takes no further {key!r}: it takes {_listed(inputs)}")
    others = [value for key, value in inputs.items() if key != image]
    if image is None or not others:
        return
    missing = [value.name for value in others if value.name not in constants]
    if missing:
        example = ", ".join(f"{each}=0.0" for each in missing)
        raise ModelFileError(
            f"constants: {name} takes {_listed(inputs)}: give each input beside the image a value, the same for every "
            f"image (--set 'constants={{{example}}}'), and name the image if it is another than {image!r} "
            "(--input-entry)"
        )
    batch = inputs[image].type.tensor_type.shape.dim[0]
    batch.dim_value = batch.dim_value or 1
    for value in others:
        array = _array(value, constants[value.name], batch.dim_value, name)
        model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        model.graph.input.remove(value)
    model.ir_version = max(model.ir_version, LEAST_IR)


def _image(inputs: Mapping[str, ValueInfoProto], entry: int | str | None, name: str) -> str | None:
    """Return the image's name, `None` if it is not clear."""
    names = list(inputs)
    if isinstance(entry, int) and entry < len(names):
        return names[entry]
    if entry is not None:
        if entry not in inputs:
            raise ModelFileError(f"input_entry: {name} takes no {entry!r}: it takes {_listed(inputs)}")
        return str(entry)
    images = [key for key, value in inputs.items() if len(value.type.tensor_type.shape.dim) == IMAGE_DIMS]
    return images[0] if len(images) == 1 else None


def _array(value: ValueInfoProto, constant: object, batch: int, name: str) -> npt.NDArray[np.generic]:
    """Shape a constant as the input, for a batch of images."""
    kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    flat = np.asarray(constant, np.float64).astype(kind).ravel()
    of_images = bool(dims) and dims[0] in (0, batch)
    shape = [each or -1 for each in (dims[1:] if of_images else dims)]
    try:
        row = flat.reshape(shape) if flat.size > 1 or -1 in shape else np.full(shape, flat[0])
    except ValueError as error:
        raise ModelFileError(
            f"constants: {value.name!r} of {name} is {_shape(value)}, and {flat.size} numbers were given"
        ) from error
    return np.repeat(row[None], batch, axis=0) if of_images else row


def _listed(inputs: Mapping[str, ValueInfoProto]) -> str:
    return ", ".join(f"{name!r} {_shape(value)}" for name, value in inputs.items()) or "nothing"


def _shape(value: ValueInfoProto) -> str:
    return f"[{','.join(str(dim.dim_value or dim.dim_param or '?') for dim in value.type.tensor_type.shape.dim)}]"
