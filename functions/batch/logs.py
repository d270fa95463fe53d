"""What became of an invocation's items -> a JSON line each and one line of metrics; no names, keys or addresses."""

import json
import time
import traceback
from collections import Counter
from typing import Any

NAMESPACE = "Heatlens"
SERVICE, DOOR = "heatlens", "batch"


def line(event: str, **fields: Any) -> None:  # noqa: ANN401 - JSON
    """Write one line to the log, fields that are `None` left out."""
    known = {name: value for name, value in fields.items() if value is not None}
    # Not through logging: on Lambda its lines have a prefix, and metrics are read from whole lines of JSON.
    print(json.dumps({"event": event} | known), flush=True)


def trouble(error: BaseException) -> str:
    """Kind and place of an error; its words may hold keys."""
    places = traceback.extract_tb(error.__traceback__)
    where = f" at {places[-1].name}:{places[-1].lineno}" if places else ""
    response = getattr(error, "response", {})
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    return f"{type(error).__name__}{f' {code}' if code else ''}{where}"


def metrics(counts: Counter[str]) -> None:
    """Write counts in CloudWatch's embedded metric format; nothing where there are none."""
    if not counts:
        return
    described = {
        "Timestamp": int(time.time() * 1000),
        "CloudWatchMetrics": [
            {
                "Namespace": NAMESPACE,
                "Dimensions": [["service", "door"]],
                "Metrics": [{"Name": name, "Unit": "Count"} for name in sorted(counts)],
            }
        ],
    }
    line("metrics", _aws=described, service=SERVICE, door=DOOR, **counts)
