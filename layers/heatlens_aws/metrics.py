"""Every metric that Heatlens emits. `make tables` writes the list to `functions/metrics.md`.

The functions write to CloudWatch in the embedded metric format; the servers answer Prometheus at `/metrics`.
"""

from dataclasses import dataclass

NAMESPACE, SERVICE = "Heatlens", "heatlens"
COUNT, MILLISECONDS, SECONDS = "Count", "Milliseconds", "Seconds"
API, BATCH, SWEEPER, SERVERS = "API", "batch", "sweeper", "plain server, endpoint"
CLOUDWATCH_DIMENSIONS = ("service", "function", "stack")  # each combination of values costs as a metric of its own


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `where` are the functions or servers that emit it, `labels` its dimensions."""

    name: str
    unit: str
    where: tuple[str, ...]
    meaning: str
    labels: tuple[str, ...] = CLOUDWATCH_DIMENSIONS


# The pipeline's stages by their names in `timings_ms`, and those around it in a request.
PIPELINE_STAGES = {
    "decode": "Decode",
    "preprocess": "Preprocess",
    "trunk": "Trunk",
    "tail": "Tail",
    "cam": "Cam",
    "colour": "Color",
    "encode": "Encode",
    "regions": "Regions",
    "faithfulness": "Faithfulness",
    "dicom": "Dicom",
}
REQUEST_STAGES = {"receive": "Receive", "wait": "Wait", "deliver": "Deliver"}
_AROUND = {
    "receive": "milliseconds to read a request's body",
    "wait": "milliseconds that a request's images waited for the engine",
    "deliver": "milliseconds to write a response",
}

REQUESTS = {
    digit: Metric(f"Requests{digit}xx", COUNT, (API,), f"requests answered with {digit}xx; property `route`")
    for digit in (2, 3, 4, 5)
}
REQUEST_MS = Metric("RequestMs", MILLISECONDS, (API,), "milliseconds from a request's arrival to its last byte")
STAGES = {
    **{stage: Metric(f"{name}Ms", MILLISECONDS, (API,), _AROUND[stage]) for stage, name in REQUEST_STAGES.items()},
    **{
        stage: Metric(
            f"{name}Ms",
            MILLISECONDS,
            (API, BATCH),
            f"milliseconds of the stage `{stage}`: of a request's images together (API), of one file (batch)",
        )
        for stage, name in PIPELINE_STAGES.items()
    },
}
IMAGES_OK = Metric("ImagesOk", COUNT, (API,), "images explained or classified in requests")
IMAGES_FAILED = Metric("ImagesFailed", COUNT, (API,), "images in requests that ended with an error")
PIXELS = Metric("Pixels", COUNT, (API, BATCH), "pixels of the images that were explained or classified")
PASSES = Metric("Passes", COUNT, (API, BATCH), "runs of the network for them")

_ITEMS = {
    "OK": "files explained",
    "FAILED": "files that ended with an error",
    "CANCELLED": "files of cancelled batches",
    "MISSING": "declared files that were never uploaded",
    "SUBMITTED": "files handed to the asynchronous endpoint",
    "PENDING": "files that the endpoint turned away for now",
    "SETTLED": "messages of files that had ended before",
    "SUPERSEDED": "messages of objects that have changed since",
    "FOREIGN": "messages of objects that no batch declares",
    "IGNORED": "messages of objects that are not processed",
    "AGAIN": "files whose message is redelivered",
    "LATER": "files that there was no time for; their message is sent again",
}
ITEMS = {
    state: Metric(
        f"Items{state.title()}",
        COUNT,
        {
            "MISSING": (API, SWEEPER),
            "CANCELLED": (API, BATCH, SWEEPER),
            "OK": (BATCH, SWEEPER),
            "FAILED": (BATCH, SWEEPER),
        }.get(state, (BATCH,)),
        meaning,
    )
    for state, meaning in _ITEMS.items()
}
QUEUE_WAIT_MS = Metric("QueueWaitMs", MILLISECONDS, (BATCH,), "milliseconds that a message waited in its queue")
BATCHES_ENDED = {
    state: Metric(f"Batches{state.title()}", COUNT, (API, BATCH, SWEEPER), f"batches that ended as `{state}`")
    for state in ("succeeded", "partial", "failed", "cancelled", "expired")
}
BATCHES_SWEPT = Metric("BatchesSwept", COUNT, (SWEEPER,), "unfinished batches that a sweep has looked at")
BATCHES_UNSWEPT = Metric("BatchesUnswept", COUNT, (SWEEPER,), "of these, batches where it failed")
SWEEPER_SUCCESS = Metric(
    "SweeperSuccess", COUNT, (SWEEPER,), "1 for each sweep without a failure: the newest is the sweeper's last success"
)
ACCESS_DENIED = Metric(
    "AccessDenied",
    COUNT,
    (API, BATCH, SWEEPER),
    "requests, files and batches that wait because AWS denied access: a policy or the KMS key is wrong",
)
COLD_START = Metric("ColdStart", COUNT, (API, BATCH, SWEEPER), "1 at the first event of a process")
INIT_MS = Metric(
    "InitMs", MILLISECONDS, (API, BATCH, SWEEPER), "milliseconds from the start of the process until it was ready"
)

SERVER_REQUESTS = Metric(
    "heatlens_requests_total",
    COUNT,
    (SERVERS,),
    "requests by route template and class of status (`2xx`); `other` for addresses that are no route",
    ("route", "status"),
)
SERVER_REQUEST_SECONDS = Metric(
    "heatlens_request_seconds", SECONDS, (SERVERS,), "histogram: from a request's arrival to its last byte", ("route",)
)
SERVER_STAGE_SECONDS = Metric(
    "heatlens_stage_seconds", SECONDS, (SERVERS,), "histogram: the stages of a request's images together", ("stage",)
)
SERVER_WAIT_SECONDS = Metric(
    "heatlens_queue_wait_seconds",
    SECONDS,
    (SERVERS,),
    "histogram: how long a request's images waited for the engine",
    (),
)
SERVER_IMAGES = Metric("heatlens_images_total", COUNT, (SERVERS,), "images by end: `ok`, `failed`", ("state",))
SERVER_PIXELS = Metric("heatlens_pixels_total", COUNT, (SERVERS,), PIXELS.meaning, ())
SERVER_PASSES = Metric("heatlens_passes_total", COUNT, (SERVERS,), PASSES.meaning, ())
SERVER_INIT_SECONDS = Metric(
    "heatlens_init_seconds", SECONDS, (SERVERS,), "from the start of the process until its model was loaded", ()
)

METRICS = (
    *REQUESTS.values(),
    REQUEST_MS,
    *STAGES.values(),
    IMAGES_OK,
    IMAGES_FAILED,
    PIXELS,
    PASSES,
    *ITEMS.values(),
    QUEUE_WAIT_MS,
    *BATCHES_ENDED.values(),
    BATCHES_SWEPT,
    BATCHES_UNSWEPT,
    SWEEPER_SUCCESS,
    ACCESS_DENIED,
    COLD_START,
    INIT_MS,
)
SERVER_METRICS = (
    SERVER_REQUESTS,
    SERVER_REQUEST_SECONDS,
    SERVER_STAGE_SECONDS,
    SERVER_WAIT_SECONDS,
    SERVER_IMAGES,
    SERVER_PIXELS,
    SERVER_PASSES,
    SERVER_INIT_SECONDS,
)
