"""Build untrained networks by the name of their architecture and its arguments."""

from collections import OrderedDict
from typing import Any

import torch
import torchvision
from torch import nn

from heatlens.errors import ModelError, ModelFileError
from heatlens_torch.loading import user_functions
from heatlens_torch.loading.plain_network import unwrap

TORCHVISION = "torchvision"
TIMM = "timm"
SCHEMES = (TORCHVISION, TIMM)  # sources whose networks can be built by name and arguments
# By default they draw truncated normals for a minute, with a deprecation warning; weights replace them anyway.
SLOWLY_INITIALISED = ("googlenet", "inception_v3")


class LitResNetEnhanced(nn.Module):
    """ResNet-50 without pooling and fc as `features` (0 to 7), and a classifier of three linear layers to one logit.

    The target layer is the last residual stage, `features.7`, or `features`, which is the same tensor.
    """

    def __init__(self, *, dropout: float = 0.5) -> None:
        super().__init__()
        children = list(torchvision.models.resnet50(weights=None).children())
        self.features = nn.Sequential(*children[:-2])
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d((1, 1)),
            nn.Flatten(),
            nn.Linear(2048, 256),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(256, 64),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(64, 1),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute one logit `[B,1]` for each image of a batch `[B,3,H,W]`."""
        logits: torch.Tensor = self.classifier(self.features(image))
        return logits


NAMED: dict[str, type[nn.Module]] = {"litresnet-enhanced": LitResNetEnhanced}


def build(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """Build the network, in evaluation mode, with the weights that its constructor draws.

    Raises:
        ModelFileError: Unknown name, arguments the architecture does not take, or a network that has no graph.
    """
    try:
        network = _construct(architecture, arguments)
    except ModelError:
        raise
    except Exception as error:  # constructors raise many unrelated types
        names = ", ".join(sorted(arguments)) or "none"
        raise ModelFileError(f"architecture: {architecture!r} cannot be built with the arguments {names}") from error
    if not isinstance(network, nn.Module):
        raise ModelFileError(f"architecture: {architecture!r} did not return a torch.nn.Module")
    return unwrap(network).eval()


def _construct(architecture: str, arguments: dict[str, Any]) -> object:
    scheme, _, name = architecture.partition(":")
    if architecture in NAMED:
        return NAMED[architecture](**arguments)
    if scheme == TORCHVISION:
        return _torchvision(name, arguments)
    if scheme == TIMM:
        return _timm(name, arguments)
    if not name:
        known = ", ".join(["torchvision:NAME", "timm:NAME", "package.module:factory", *NAMED])
        raise ModelFileError(f"architecture: {architecture!r} is none of {known}")
    return user_functions.find("architecture", architecture)(**arguments)


def _torchvision(name: str, arguments: dict[str, Any]) -> nn.Module:
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ModelFileError(f"architecture: torchvision has no classification model {name!r}")
    if name in SLOWLY_INITIALISED:
        arguments = {"init_weights": False} | arguments
    network: nn.Module = torchvision.models.get_model(name, **{"weights": None} | arguments)
    return densenet(network) if isinstance(network, torchvision.models.DenseNet) else network


def _timm(name: str, arguments: dict[str, Any]) -> object:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModelFileError("architecture: timm: needs timm: pip install 'heatlens[timm]'") from error
    if not timm.is_model(name):
        raise ModelFileError(f"architecture: timm has no network {name!r}, and no such folder exists")
    return timm.create_model(name, **{"pretrained": False} | arguments)


def densenet(network: Any) -> nn.Module:  # noqa: ANN401 - torchvision's, or torchxrayvision's
    """Move the last ReLU of a DenseNet into `features`, which so becomes a target; the weight names stay the same.

    torchvision applies that ReLU in place and outside any module: with the target `features` or `features.norm5`
    pytorch-grad-cam multiplies gradients from before it with activations from after it. A target before it
    (`features.denseblock4`) is consistent, but its gradient jumps wherever rounding moves a cell across zero.
    """
    network.features.add_module("relu5", nn.ReLU())
    stages = OrderedDict(
        features=network.features,
        pool=nn.AdaptiveAvgPool2d((1, 1)),
        flatten=nn.Flatten(),
        classifier=network.classifier,
    )
    return nn.Sequential(stages)
