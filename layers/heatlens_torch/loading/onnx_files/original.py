"""Run the owner's own ONNX file by ONNX Runtime, to compare with."""

from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from heatlens.engines.telemetry import without_telemetry
from heatlens.errors import ModelFileError
from heatlens.types import Floats
from heatlens_torch.errors import sentence
from heatlens_torch.loading.onnx_files.signature import SHAPED, Signature, Wires
from heatlens_torch.loading.onnx_files.written_out import with_activations

ENDS = ("Softmax", "Sigmoid")


class OriginalFile:
    """The file as it is, with the tensor before its last softmax or sigmoid as a further output."""

    def __init__(self, model: ModelProto, signature: Signature, output: str) -> None:
        """Open a session.

        Raises:
            ModelFileError: ONNX Runtime cannot run the file.
        """
        with without_telemetry():
            import onnxruntime

        self._signature = signature
        self._before, self.end = before_end(with_activations(model), output)
        self._outputs = list(dict.fromkeys((output, self._before)))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session: Any = onnxruntime.InferenceSession(
                _with_outputs(model, self._outputs).SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's types are C++'s
            raise ModelFileError(f"architecture: ONNX Runtime cannot run the file: {sentence(error)}") from error
        self.name = f"onnxruntime {onnxruntime.__version__}"

    def run(self, images: Floats) -> tuple[Floats, Floats]:
        """Compute the logits and the answer of the file for `[N,C,H,W]`, both `[N,K]`, in batches of its own size."""
        batch = self._signature.batch or len(images)
        parts = [self._run(images[start : start + batch], batch) for start in range(0, len(images), batch)]
        logits = np.concatenate([part[-1] for part in parts])[: len(images)]
        answers = np.concatenate([part[0] for part in parts])[: len(images)]
        return logits, answers

    def _run(self, images: Floats, batch: int) -> list[Floats]:
        filled = np.concatenate([images, np.repeat(images[-1:], batch - len(images), axis=0)])
        given = filled.transpose(0, 2, 3, 1) if self._signature.channels_last else filled
        given = np.rint(given).clip(0, 255).astype(np.uint8) if self._signature.levels else given
        try:
            found = self._session.run(self._outputs, {self._signature.image: np.ascontiguousarray(given)})
        except Exception as error:  # as above
            raise ModelFileError(f"architecture: ONNX Runtime cannot run the file: {sentence(error)}") from error
        return [np.asarray(each, np.float32).reshape(batch, -1) for each in found]


def before_end(model: ModelProto, output: str) -> tuple[str, str | None]:
    """Return the tensor before the last softmax or sigmoid of an output, and which it is; else the output itself."""
    node = (wires := Wires(model.graph)).makers.get(output)
    while node is not None and node.op_type in SHAPED:
        node = wires.makers.get(node.input[0])
    return (node.input[0], node.op_type.lower()) if node is not None and node.op_type in ENDS else (output, None)


def _with_outputs(model: ModelProto, names: list[str]) -> ModelProto:
    """Let the graph answer these tensors too: one before the end, and one that a ZipMap takes."""
    known = {value.name for value in model.graph.output}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    missing = (name for name in names if name not in known)
    copy.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in missing)
    return copy
