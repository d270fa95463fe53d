"""What importing each entry point loads, how many modules and how many calls; contracts check the sources."""

import json
from functools import cache

import pytest

from tests.support.children import printed

TRAINING = {"torch", "torchvision", "pytorch_grad_cam", "cv2", "matplotlib", "sklearn", "scipy", "nncf"}
TRAINING |= {"mlflow", "monai", "timm", "torchxrayvision", "transformers"}
ON_DEMAND = {"onnx", "onnxruntime", "pydicom"}  # by a setting, while compiling, or with the first DICOM file
AWS = {"aws_lambda_powertools", "boto3", "botocore", "jmespath"}
WEB = {"fastapi", "mangum", "starlette", "uvicorn"}
# What each entry point loads none of. The functions of a batch stand in an account; the others here have none.
ABSENT = {
    "functions.api.handler": TRAINING | ON_DEMAND | AWS,
    "functions.endpoint.serve": TRAINING | ON_DEMAND | AWS,
    "functions.endpoint.healthcheck": TRAINING | ON_DEMAND | AWS | WEB | {"numpy", "openvino", "pydantic"},
    "functions.batch.handler": TRAINING | ON_DEMAND | WEB,
    "functions.batch.sweeper": TRAINING | ON_DEMAND | WEB | {"openvino"},
    "heatlens": TRAINING | ON_DEMAND | AWS | WEB | {"openvino", "typer"},
    "heatlens.client": TRAINING | ON_DEMAND | AWS | WEB | {"openvino", "typer"},
    "heatlens.explainer": TRAINING | ON_DEMAND | AWS | WEB | {"typer"},
    "heatlens_cli.main": TRAINING | ON_DEMAND | AWS | WEB | {"openvino"},
}
STAGING = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "HEATLENS_BUCKET": "bucket",
    "HEATLENS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/queue",
    "HEATLENS_TABLE": "table",
}
# Modules in the process once the handler is imported and its model loaded. Most are the web framework's and the
# engine's; a jump means that something heavy crept in.
MODULE_BUDGET = 1200


@cache
def loaded(module: str) -> frozenset[str]:
    """The names of all modules in a new process that has imported one."""
    environment = STAGING if module.startswith("functions.batch") else {}
    return frozenset(
        json.loads(printed(f"import {module}, json, sys; print(json.dumps(list(sys.modules)))", environment))
    )


@pytest.mark.parametrize("module", ABSENT)
def test_an_entry_point_loads_no_library_that_it_does_not_need(module: str) -> None:
    names = loaded(module)

    assert module in names
    assert {name.partition(".")[0] for name in names} & ABSENT[module] == set()


def test_the_api_function_stays_within_its_module_budget() -> None:
    assert len(loaded("functions.api.handler")) < MODULE_BUDGET


def test_only_a_dicom_file_loads_what_reads_it() -> None:
    program = (
        "import sys; from heatlens.input.decode import decode; from tests.support.images import encoded, noise; "
        "decode(encoded(noise((4, 4))), max_pixels=99); print('pydicom' in sys.modules); "
        "import numpy; from tests.support.dicom import dicom; "
        "decode(dicom(numpy.zeros((4, 4), 'u1')), max_pixels=99); print('heatlens.input.dicom' in sys.modules)"
    )

    assert printed(program).split() == ["False", "True"]


def calls(program: str) -> int:
    """Functions called while a program runs, of Python and of C: its work, the same on every machine."""
    count = "import sys; made = [0]; sys.setprofile(lambda *_: made.__setitem__(0, made[0] + 1)); "
    return int(printed(f"{count}{program}; sys.setprofile(None); print(made[0])"))


def test_the_web_application_imports_in_little_more_than_its_libraries_need() -> None:
    libraries = calls("import fastapi, mangum, openvino, isal, PIL.Image, pydantic_settings, fastapi.staticfiles")
    application = calls("import heatlens_web.app")

    assert application < 1.5 * libraries
