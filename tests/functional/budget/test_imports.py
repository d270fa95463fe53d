"""What starting each entry point loads, how many modules and how many calls; contracts check the sources."""

import json
from functools import cache

import pytest

from tests.support.children import printed

TRAINING = {"torch", "torchvision", "pytorch_grad_cam", "cv2", "matplotlib", "sklearn", "scipy", "nncf"}
TRAINING |= {"mlflow", "monai", "timm", "torchxrayvision", "transformers"}
ON_DEMAND = {"onnx", "onnxruntime", "pydicom"}  # by a setting, while compiling, or with the first DICOM file
AWS = {"aws_lambda_powertools", "boto3", "botocore", "jmespath"}
WEB = {"fastapi", "mangum", "starlette", "uvicorn"}
# The engine's converter and a part of NumPy that only it uses; plain modules of these libraries are needed.
UNUSED = {"openvino.tools", "openvino.torch", "numpy.ma", "numpy.testing", "numpy.f2py"}
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
# The endpoint loads its model, and imports what serves it, when it is started.
ENDPOINT = (
    "functions.endpoint.serve, functions.endpoint.app, heatlens_web.http_server; "
    "functions.endpoint.app.create_app(functions.endpoint.serve.read_server_settings())"
)
# Modules in the process once an entry point is imported and its model loaded. Most are the web framework's, boto3's and
# the engine's; a jump means that something heavy crept in. The environment of development has plugins that an
# image lacks, so there are some to spare.
MOST_MODULES = {
    "functions.api.handler": 900,
    "functions.endpoint.serve": 950,
    "functions.endpoint.healthcheck": 200,
    "functions.batch.handler": 1000,
    "functions.batch.sweeper": 850,
    "heatlens": 100,
    "heatlens.client": 600,
    "heatlens.explainer": 550,
    "heatlens_cli.main": 600,
}
# The API function with what only Lambda needs: the logger, metrics and the tracer.
MOST_ON_LAMBDA = 1200


@cache
def loaded(module: str) -> frozenset[str]:
    """The names of all modules in a new process that has imported one."""
    environment = STAGING if module.startswith("functions.batch") else {}
    started = ENDPOINT if module == "functions.endpoint.serve" else module
    return frozenset(
        json.loads(printed(f"import json, sys; import {started}; print(json.dumps([*sys.modules]))", environment))
    )


@pytest.mark.parametrize("module", ABSENT)
def test_an_entry_point_loads_no_library_that_it_does_not_need(module: str) -> None:
    names = loaded(module)

    assert module in names
    assert {name.partition(".")[0] for name in names} & ABSENT[module] == set()
    assert names & UNUSED == set()


@pytest.mark.parametrize("module", MOST_MODULES)
def test_an_entry_point_stays_within_its_number_of_modules(module: str) -> None:
    assert len(loaded(module)) < MOST_MODULES[module]


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
