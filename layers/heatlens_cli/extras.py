"""Name the extra to install when a command lacks one."""

from collections.abc import Iterator
from contextlib import contextmanager

from heatlens.errors import HeatlensError

# Top-level modules that each extra installs and that the packages import.
EXTRA_MODULES = {
    "server": {"fastapi", "mangum", "prometheus_client", "python_multipart", "starlette", "uvicorn"},
    "aws": {"aws_lambda_powertools", "boto3", "botocore", "ulid"},
    "pacs": {"dicomweb_client", "pydicom", "pynetdicom", "requests"},
    "torch": {"onnx", "onnxscript", "pytorch_grad_cam", "safetensors", "scipy", "sklearn", "torch", "torchvision"},
}


class MissingExtra(HeatlensError):
    """A command needs libraries that are not installed."""


@contextmanager
def requires_extra(extra: str, command: str) -> Iterator[None]:
    """Name the extra to install if one of its modules is missing in the block.

    Args:
        extra: A key of `EXTRA_MODULES`.
        command: The command that needs it; the message begins with it.

    Raises:
        MissingExtra: A module of the extra is not installed. Any other import error is raised unchanged.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRA_MODULES[extra]:
            raise
        raise MissingExtra(
            f"{command} needs the extra {extra} ({module} is missing): pip install 'heatlens[{extra}]'"
        ) from error
