"""Write ONNX files as exporters do."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

SIDE = 32


class Small(nn.Module):
    """Two convolutions and a head."""

    def __init__(self, classes: int = 3, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU()
        )
        self.head = nn.Linear(12, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute logits `[B,K]`."""
        pooled = self.features(image).mean((2, 3))
        logits: torch.Tensor = self.head(pooled)
        return logits


def small(classes: int = 3, channels: int = 3) -> nn.Module:
    """Make a small network with seeded weights."""
    torch.manual_seed(0)
    return Small(classes, channels).eval()


def export(
    network: nn.Module, path: Path, *, dynamo: bool = False, dynamic: bool = False, shape: tuple[int, ...] | None = None
) -> Path:
    """Export by torch, with a batch of one, or with a dynamic one."""
    image = torch.zeros(*(shape or (1, 3, SIDE, SIDE)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = ({0: torch.export.Dim.AUTO},) if dynamic else None
            torch.onnx.export(network, (image,), path, dynamo=True, verbose=False, dynamic_shapes=shapes)
        else:
            axes = {"image": {0: "batch"}} if dynamic else None
            torch.onnx.export(
                network, (image,), path, dynamo=False, input_names=["image"], output_names=["logits"], dynamic_axes=axes
            )
    return path


def edited(path: Path, *, metadata: dict[str, str] | None = None, producer: str | None = None) -> Path:
    """Add metadata to a file."""
    model = onnx.load(path)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    if producer is not None:
        model.producer_name = producer
    onnx.save(model, path)
    return path


def graph(
    nodes: list[NodeProto],
    constants: dict[str, npt.NDArray[Any]] | None = None,
    *,
    shape: tuple[int | str, ...] = ("n", 3, SIDE, SIDE),
    kind: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = ("out",),
    opset: int = 17,
    domains: tuple[str, ...] = (),
    rank: int | None = None,
) -> ModelProto:
    """Make a model of one input `image`, and outputs of a rank, or of unknown shape, which the checker refuses."""
    dims = None if rank is None else [f"d{i}" for i in range(rank)]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info("image", kind, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in outputs],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)],
        ir_version=8,
    )


def keras_like(path: Path, *, classes: int = 3, normalizes: bool = False) -> Path:
    """Write what tf2onnx writes of a Keras network: NHWC, `same` margins, a Softmax, weights in the order of Keras."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> npt.NDArray[np.float32]:
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    before = [
        helper.make_node("Mul", ["image", "scale"], ["scaled"], "rescaling"),
        helper.make_node("Sub", ["scaled", "mean"], ["ready"], "normalization"),
    ]
    nodes = [
        *(before if normalizes else []),
        helper.make_node("Transpose", ["ready" if normalizes else "image"], ["nchw"], "to_nchw", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "w1", "b1"], ["c1"], "model/conv1", auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Clip", ["c1", "zero", "six"], ["r1"], "model/relu6"),
        helper.make_node(
            "MaxPool", ["r1"], ["p1"], "model/pool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"
        ),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], "model/conv2", auto_pad="SAME_UPPER"),
        helper.make_node("Relu", ["c2"], ["r2"], "model/relu2"),
        helper.make_node("Transpose", ["r2"], ["nhwc"], "to_nhwc", perm=[0, 2, 3, 1]),
        helper.make_node("ReduceMean", ["nhwc"], ["gap"], "model/gap", axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["gap", "w3"], ["dense"], "model/dense/MatMul"),
        helper.make_node("Add", ["dense", "b3"], ["logits"], "model/dense/BiasAdd"),
        helper.make_node("Softmax", ["logits"], ["out"], "model/predictions"),
    ]
    constants = {
        "scale": np.array(1 / 127.5, np.float32),
        "mean": np.array(1, np.float32),
        "w1": weights(8, 3, 3, 3),
        "b1": weights(8),
        "zero": np.array(0, np.float32),
        "six": np.array(6, np.float32),
        "w2": weights(12, 8, 3, 3),
        "w3": weights(12, classes),
        "b3": weights(classes),
    }
    used = {name for node in nodes for name in node.input}
    model = graph(
        nodes, {name: value for name, value in constants.items() if name in used}, shape=("n", SIDE, SIDE, 3), opset=13
    )
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", classes]))
    onnx.save(model, path)
    return path
