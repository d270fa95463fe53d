"""One side of `make bench`, in a process that imports nothing else: its handler answers one event again and again.

`python service_child.py MODULE EVENT`; each line of standard input is a command, whose result is a line of output.
It imports nothing that a side needs, so that the start of each side is its own.
"""

import base64
import importlib
import json
import sys
import time


class Context:
    """What both handlers read of Lambda's context."""

    aws_request_id = "benchmark"
    function_name = "benchmark"
    memory_limit_in_mb = 3008
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:benchmark"

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the timeout."""
        return 60_000


def main(module: str, event_file: str) -> None:
    """Answer once, then what the commands ask for: each is a word and, for `event`, a file."""
    event = _read(event_file)
    handler = importlib.import_module(module).handler
    answer = handler(event, Context())
    print(answer["statusCode"], flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "event":
            event = _read(argument)
            answer = handler(event, Context())
            print(answer["statusCode"], flush=True)
        elif command == "time":
            before = time.perf_counter()
            handler(event, Context())
            print((time.perf_counter() - before) * 1000, flush=True)
        elif command == "picture":
            print(json.loads(_body(answer))["heatmap_base64"], flush=True)
        elif command == "facts":
            body = _body(answer)
            stages = json.loads(body).get("timings_ms", {}) if body[:1] == b"{" else {}
            print(json.dumps({"bytes": len(body), "stages": stages}), flush=True)
        elif command == "peak":
            from heatlens.engines.peak_memory import peak_mib

            print(peak_mib(), flush=True)


def _read(event_file: str) -> object:
    with open(event_file, encoding="utf-8") as file:
        return json.load(file)


def _body(answer: dict[str, str]) -> bytes:
    return base64.b64decode(answer["body"]) if answer.get("isBase64Encoded") else answer["body"].encode()


if __name__ == "__main__":
    main(*sys.argv[1:])
