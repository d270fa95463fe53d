"""Write the events beside this file: one multipart request with a JPEG, as each gateway passes it to a function."""

import json
from pathlib import Path

from heatlens_cli.events.http_events import KINDS, HttpRequest, multipart

FOLDER = Path(__file__).parent
IMAGE = FOLDER.parent / "contract" / "conformance" / "rgb.jpg"
QUERY = "colormap=viridis&alpha=0.5&include=overlay%2Coriginal%2Cmap"


def request() -> HttpRequest:
    """Build the request that all events carry."""
    content_type, body = multipart("file", [(IMAGE.name, IMAGE.read_bytes())], boundary="heatlens")
    return HttpRequest("/api/inference/heatmap", QUERY, headers={"content-type": content_type}, body=body)


if __name__ == "__main__":
    for kind, wrap in KINDS.items():
        (FOLDER / f"{kind}.json").write_text(json.dumps(wrap(request()), indent=1) + "\n")
