"""Save a small trained network by each library's own function, and name the command that its owner would type."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heatlens.card import Preprocess
from tests.owners.photos import CLASSES, crops
from tests.owners.training import Small, train

PIXELS = 128
MEAN, STD = [0.5] * 3, [0.25] * 3
NORM = f"resize=[{PIXELS},{PIXELS}], mean={MEAN}, std={STD}"
RECIPE = Preprocess.model_validate({"resize": [PIXELS, PIXELS], "mean": MEAN, "std": STD})
FACTORY = "tests.owners.training:Small"
ASKED = ["--classes", ",".join(CLASSES), "--output", "softmax", "--preprocess", NORM]
SCALED = {"a_min": 0, "a_max": 255, "b_min": -2, "b_max": 2}
LABELS: dict[str, Any] = {"id2label": dict(enumerate(CLASSES)), "label2id": {v: k for k, v in enumerate(CLASSES)}}


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has what: its name in the table, the library that saves it, and the function that does.

    `save` writes into an empty folder and returns what follows `heatlens compile` there. `written` are the files that
    the owner wrote for Heatlens.
    """

    name: str
    library: str
    save: Callable[[Path], list[str]]
    written: tuple[str, ...] = ()

    @property
    def release(self) -> str:
        """Return the library with its version."""
        return f"{self.library} {version(self.library)}"


def transformers_resnet(folder: Path) -> list[str]:
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

    sizes: dict[str, Any] = {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [1, 1, 1]}
    config = ResNetConfig(layer_type="basic", **LABELS, **sizes)
    return transformers_folder(folder / "hf", ResNetForImageClassification, config, ViTImageProcessorPil)


def transformers_vit(folder: Path) -> list[str]:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    sizes: dict[str, Any] = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3}
    sizes |= {"intermediate_size": 96, "image_size": PIXELS, "patch_size": 16}
    return transformers_folder(
        folder / "vit", ViTForImageClassification, ViTConfig(**LABELS, **sizes), ViTImageProcessor
    )


def transformers_folder(folder: Path, network: Any, config: Any, processor: Any) -> list[str]:  # noqa: ANN401 - classes
    torch.manual_seed(0)
    train(network(config), RECIPE, entry="logits").save_pretrained(folder)  # type: ignore[operator]
    processor(size={"height": PIXELS, "width": PIXELS}, image_mean=MEAN, image_std=STD).save_pretrained(folder)
    return [f"hf:{folder.name}"]


def timm_folder(folder: Path) -> list[str]:
    import timm

    network = timm_network()
    own = {"input_size": (3, PIXELS, PIXELS), "crop_pct": 1.0, "interpolation": "bilinear", "mean": MEAN, "std": STD}
    network.pretrained_cfg = network.pretrained_cfg | own  # type: ignore[operator]
    timm.models.save_for_hf(network, str(folder / "pets"), {"label_names": list(CLASSES)})
    return ["pets"]


def timm_checkpoint(folder: Path) -> list[str]:
    """timm's training script: a `.pth.tar` with the network, its average and the arguments."""
    from timm.utils import CheckpointSaver, ModelEmaV3

    network = timm_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    saver = CheckpointSaver(
        network, optimizer, model_ema=ModelEmaV3(network), checkpoint_dir=str(folder), recovery_dir=str(folder)
    )
    saver.save_checkpoint(0, metric=0.9)
    return ["timm:test_resnet", "--weights", "model_best.pth.tar", "--set", "weights_entry=state_dict_ema", *ASKED]


def torchvision_onnx(folder: Path) -> list[str]:
    """torch's present exporter."""
    batch = ({0: torch.export.Dim.AUTO},)
    torch.onnx.export(
        torchvision_network(), (crops(2, RECIPE)[0],), folder / "model.onnx", dynamo=True, dynamic_shapes=batch
    )
    return ["model.onnx", *ASKED]


def timm_onnx(folder: Path) -> list[str]:
    """torch's former exporter, with one batch size."""
    torch.onnx.export(timm_network(), (crops(1, RECIPE)[0],), folder / "timm.onnx", dynamo=False)
    return ["onnx:timm.onnx", *ASKED]


def xrv_state(folder: Path) -> list[str]:
    """The library's own DenseNet-121, trained at half its size."""
    import torchxrayvision

    torch.manual_seed(0)
    model = torchxrayvision.models.DenseNet(num_classes=len(CLASSES), apply_sigmoid=False)
    model.pathologies = list(CLASSES)
    steps = [
        {"step": "resize", "size": 112},
        {"step": "gray", "weights": [1 / 3, 1 / 3, 1 / 3]},
        {"step": "range", "low": -1024, "high": 1024},
    ]
    model.forward = lambda image: model.classifier(model.features2(image))
    train(model, Preprocess.model_validate({"steps": steps}))
    torch.save({"state_dict": model.state_dict(), "pathologies": model.pathologies}, folder / "xrv.pt")
    return ["xrv:xrv.pt"]


def monai_bundle(folder: Path) -> list[str]:
    from monai.bundle import init_bundle
    from monai.networks.nets import DenseNet

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"init_features": 16, "growth_rate": 8, "block_config": [2, 2, 2]}
    definition = {"spatial_dims": 2, "in_channels": 3, "out_channels": len(CLASSES)} | sizes
    network = train(DenseNet(**definition), RECIPE)
    channels = {str(index): label for index, label in enumerate(CLASSES)}
    pred = {"type": "probabilities", "format": "classification", "num_channels": 2, "channel_def": channels}
    image = {"type": "image", "num_channels": 3, "spatial_shape": [PIXELS, PIXELS], "channel_def": {"0": "R"}}
    metadata = {
        "version": "0.1.0",
        "monai_version": version("monai"),
        "task": "photos",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
    }
    inference = {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": "DenseNet"} | definition,
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": -1},
                {"_target_": "Resized", "keys": "image", "spatial_size": [PIXELS, PIXELS], "mode": "bilinear"},
                {"_target_": "ScaleIntensityRanged", "keys": "image"} | SCALED,
            ],
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
        },
    }
    init_bundle(folder / "bundle", network=network, metadata_str=metadata, inference_str=inference)
    return ["bundle", "--preprocess", NORM]


def mlflow_program(folder: Path) -> list[str]:
    import mlflow

    mlflow.pytorch.save_model(
        small(), str(folder / "run"), serialization_format="pt2", input_example=crops(2, RECIPE)[0].numpy(),
        pip_requirements=["torch"],
    )  # fmt: skip
    return ["run", *ASKED]


def exported_program(folder: Path) -> list[str]:
    batch = ({0: torch.export.Dim.AUTO},)
    program = torch.export.export(small(), (crops(2, RECIPE)[0],), dynamic_shapes=batch)
    torch.export.save(program, folder / "model.pt2")
    return ["model.pt2", *ASKED]


def lightning_checkpoint(folder: Path) -> list[str]:
    """What Lightning's Trainer writes: its keys, in its order; the network is the attribute `model`."""
    state = {f"model.{key}": value for key, value in small().state_dict().items()}
    checkpoint = {
        "epoch": 3,
        "global_step": 160,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4, "completed": 3}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.1)}},
        "optimizer_states": [torch.optim.AdamW(Small().parameters()).state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"classes": 2, "width": 16, "lr": 2e-3, "class_names": list(CLASSES)},
    }
    torch.save(checkpoint, folder / "epoch=3-step=160.ckpt")
    asked = ["--output", "softmax", "--preprocess", NORM]
    return ["lightning:epoch=3-step=160.ckpt", "--architecture", FACTORY, *asked]


def torchvision_state(folder: Path) -> list[str]:
    torch.save(torchvision_network().state_dict(), folder / "best.pth")
    return ["torchvision:resnet18", "--weights", "best.pth", *ASKED]


def averaged_state(folder: Path) -> list[str]:
    """A training loop with data parallelism, torch.compile and an average of the weights."""
    network = small()
    average = torch.optim.swa_utils.AveragedModel(nn.DataParallel(network))
    compiled: Any = torch.compile(nn.DataParallel(network))
    checkpoint = {"epoch": 7, "arch": "small", "model": compiled.state_dict(), "model_ema": average.state_dict()}
    torch.save(checkpoint, folder / "checkpoint.pth.tar")
    return ["checkpoint.pth.tar", "--architecture", FACTORY, "--set", "weights_entry=model_ema", *ASKED]


def bin_state(folder: Path) -> list[str]:
    torch.save(small().state_dict(), folder / "pytorch_model.bin")
    (folder / "labels.txt").write_text("\n".join(CLASSES) + "\n")
    asked = ["--classes", "labels.txt", "--output", "softmax", "--preprocess", NORM]
    return ["pytorch_model.bin", "--architecture", FACTORY, *asked]


def small() -> nn.Module:
    torch.manual_seed(0)
    return train(Small(), RECIPE)


@cache
def timm_network() -> nn.Module:
    import timm

    torch.manual_seed(0)
    return train(timm.create_model("test_resnet", num_classes=len(CLASSES)), RECIPE)


@cache
def torchvision_network() -> nn.Module:
    import torchvision

    torch.manual_seed(0)
    return train(torchvision.models.resnet18(num_classes=len(CLASSES)), RECIPE)


OWNERS = (
    Owner("hf", "transformers", transformers_resnet),
    Owner("hf ViT", "transformers", transformers_vit),
    Owner("timm", "timm", timm_folder),
    Owner("onnx", "torchvision", torchvision_onnx),
    Owner("onnx of timm", "timm", timm_onnx),
    Owner("xrv", "torchxrayvision", xrv_state),
    Owner("monai", "monai", monai_bundle),
    Owner("mlflow", "mlflow-skinny", mlflow_program),
    Owner("torch.export", "torch", exported_program),
    Owner("lightning", "torch", lightning_checkpoint),
    Owner("torchvision", "torchvision", torchvision_state),
    Owner("timm name", "timm", timm_checkpoint),
    Owner("pth.tar", "torch", averaged_state),
    Owner("bin", "torch", bin_state, ("labels.txt",)),
)
