"""Environment -> the SageMaker door, served where SageMaker looks for it: `python -m functions.endpoint.serve`."""

import sys

import uvicorn

from functions.endpoint.app import create_app
from heatlens.errors import ModelError
from heatlens.settings import read_settings

HOST, PORT = "0.0.0.0", 8080  # noqa: S104 - SageMaker reaches the container from outside it


def main() -> None:
    """Serve until told to end."""
    try:
        settings = read_settings()
    except ModelError as error:
        sys.exit(str(error))
    # One process: a second would hold the model a second time, and the engine uses every core by itself.
    uvicorn.run(create_app(settings), host=HOST, port=PORT, access_log=False)


if __name__ == "__main__":
    main()
