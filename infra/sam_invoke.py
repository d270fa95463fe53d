"""Image files -> events -> `sam local invoke` -> the heatmaps that come back, in a folder.

`python infra/sam_invoke.py OUT IMAGE...`; `sam build` comes before.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from heatlens.errors import HeatlensError
from heatlens_cli.events.make_event import make_event
from heatlens_cli.heatmap_files import Answer, explain_each
from heatlens_cli.invoke import read_answer
from infra.tools import DEFAULTS, QUIET, ready

FUNCTION = "ApiFunction"
LOG_SHOWN = 2000  # characters of what SAM said, where it answers nothing


class NoAnswer(HeatlensError):
    """SAM did not run the function, or the function died."""


class SamExplainer:
    """The function in a container of SAM's, a new one for each image: every answer is a cold start."""

    def __init__(self) -> None:
        self._command = [str(ready("sam")), "local", "invoke", FUNCTION, "--event", "-", "--skip-pull-image"]

    def __call__(self, image: Path) -> Answer:
        """Send one image.

        Raises:
            NoAnswer: Nothing came back.
            Refused: A problem came back.
        """
        event = make_event(image, "http-api-v2", query="include=overlay", bucket="")
        done = subprocess.run(  # noqa: S603 - fixed words
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
            raise NoAnswer(f"no answer:\n{(done.stdout + done.stderr)[-LOG_SHOWN:]}") from error


def main(words: Sequence[str]) -> int:
    """Explain each image; the exit status says whether all were."""
    folder, *names = words
    images = [Path(name) for name in names]
    explain = SamExplainer()
    by_name = {image.name: image for image in images}
    return explain_each(images, Path(folder), lambda name, _: explain(by_name[name]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
