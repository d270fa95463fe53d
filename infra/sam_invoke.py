"""Explain image files with `sam local invoke` and write the heatmaps to a folder.

`python infra/sam_invoke.py OUT IMAGE...` after `sam build`. OUT belongs to this command: its heatmaps are overwritten.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from heatlens.errors import HeatlensError
from heatlens.settings import LIMITS
from heatlens_cli.events.make_event import wrap_image
from heatlens_cli.explain_files import Output, explain_files, one_by_one
from heatlens_cli.file_explanation import FileExplanation
from heatlens_cli.invoke import read_answer
from infra.tools import DEFAULTS, QUIET, ready

FUNCTION = "ApiFunction"
LOG_SHOWN = 2000  # characters of SAM's output that are shown if there is no answer


class NoAnswer(HeatlensError):
    """SAM did not run the function, or the function crashed."""


class SamExplainer:
    """Invoke the function in a new SAM container for each image, so that every answer is a cold start."""

    def __init__(self) -> None:
        self._command = [str(ready("sam")), "local", "invoke", FUNCTION, "--event", "-", "--skip-pull-image"]

    def __call__(self, name: str, data: bytes) -> FileExplanation:
        """Send one image.

        Raises:
            NoAnswer: SAM printed no answer.
            Refused: The answer is a problem.
        """
        event = wrap_image(name, data, "http-api-v2", query="include=overlay", bucket="")
        done = subprocess.run(  # noqa: S603 - a fixed command
            self._command,
            input=json.dumps(event),
            capture_output=True,
            check=False,
            text=True,
            env=DEFAULTS | os.environ | QUIET,
        )
        try:
            return read_answer(json.loads(done.stdout.strip().splitlines()[-1]))
        except (IndexError, ValueError, KeyError, TypeError) as error:
            raise NoAnswer(
                f"sam local invoke printed no answer:\n{(done.stdout + done.stderr)[-LOG_SHOWN:]}"
            ) from error


def main(words: Sequence[str]) -> int:
    """Explain each image; return 0 if all were explained."""
    folder, *names = words
    images = [Path(name) for name in names]
    output = Output(Path(folder), force=True)
    return explain_files(images, one_by_one(SamExplainer()), output, max_bytes=LIMITS.file_bytes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
