"""One start of a process, step by step, for `make bench-start`: prints how long each step of the API function takes.

`python start_child.py EVENT`. The steps run one after the other here; in the function the model loads in a thread.
"""

import json
import sys
import time

BEGAN = time.perf_counter(), time.process_time()


def main(event_file: str) -> None:
    """Print each step's milliseconds, of wall clock and of processors, as JSON."""
    steps: dict[str, tuple[float, float]] = {"interpreter": (0.0, BEGAN[1] * 1000)}  # the wall clock began later
    last = [BEGAN]

    def mark(step: str) -> None:
        now = time.perf_counter(), time.process_time()
        steps[step] = ((now[0] - last[0][0]) * 1000, (now[1] - last[0][1]) * 1000)
        last[0] = now

    from heatlens_web.settings import read_server_settings

    settings = read_server_settings()
    mark("settings, with pydantic")
    from heatlens.engines.openvino import open_layers
    from heatlens.registry import ModelRegistry

    mark("import of the core and OpenVINO")
    from heatlens_web.app import create_app
    from heatlens_web.lambda_handler import create_handler

    mark("import of the web application")
    from concurrent.futures import Future

    from heatlens.card import read_card
    from heatlens.engines.base import files_of
    from heatlens.model import check_layers, load_model

    folder = settings.model_dir
    card, _ = read_card(folder, files=lambda card: files_of(card, "openvino", "f32"))
    mark("read and hash the model")
    engines = open_layers(folder, card, precision="f32", threads=0)
    mark("compile the graphs")
    check_layers(engines, card)
    mark("golden explanation, the first inference")
    del engines
    models: Future[ModelRegistry] = Future()
    models.set_result(ModelRegistry.of(load_model(folder)))
    last[0] = time.perf_counter(), time.process_time()  # the same once more, for the application
    handler = create_handler(create_app(settings, deployment="lambda", loading=models))
    mark("application")
    with open(event_file, encoding="utf-8") as file:
        event = json.load(file)
    from tests.benchmarks.service_child import Context

    for step in ("first answer", "second answer"):
        last[0] = time.perf_counter(), time.process_time()
        handler(event, Context())  # type: ignore[arg-type]
        mark(step)
    print(json.dumps(steps))


if __name__ == "__main__":
    main(*sys.argv[1:])
