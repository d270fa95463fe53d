"""Compute US dollars for 1,000 heatmaps from times, bytes and prices; layers/cost.md has every formula in words."""

import math
from dataclasses import dataclass

from heatlens.engines.resources import LAMBDA_MIB_PER_PROCESSOR, LAMBDA_MOST_PROCESSORS
from heatlens_cli.cost.prices import Instance, Prices

HEATMAPS = 1000
GB = 2**30  # bytes of a GB, as AWS bills memory, storage and transfer
GATEWAY_UNIT = 512 * 1024  # bytes that count as one call of an HTTP API
DAYS_OF_MONTH = 30

# What one staged image causes, as the functions and the template make it; a test counts the calls.
STAGED_PUTS = 4  # the upload, the picture, map.npy, result.json
STAGED_GETS = 2  # the worker's, the client's
STAGED_WRITE_UNITS = 3  # the row in a transaction, which counts twice, and the commit
STAGED_READ_UNITS = 2  # the worker's: the row, and whether its batch was purged
SQS_BATCH = 10  # messages that one invocation of the worker receives at most
UPLOAD_DAYS, RESULT_DAYS = 8, 31  # until a lifecycle rule expires the object, and a day as a noncurrent version


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one heatmap, processor seconds of all its threads, and the processors that it was measured with."""

    seconds: float
    processor_seconds: float
    processors: int


def lambda_processors(memory_mib: float) -> float:
    """Return the virtual processors that Lambda gives a function: one for each 1,769 MiB, six at most."""
    return min(memory_mib / LAMBDA_MIB_PER_PROCESSOR, LAMBDA_MOST_PROCESSORS)


def scale_seconds(timing: Timing, processors: float) -> float:
    """Return the seconds of one heatmap with so many processors, by Amdahl's law.

    The part that runs on one processor follows from both times. A wait for a busy machine is not counted.
    """
    work = timing.processor_seconds
    if processors < 1:
        return work / processors
    serial = work
    if timing.processors > 1:
        serial = (timing.processors * timing.seconds - work) / (timing.processors - 1)
        serial = min(max(serial, 0.0), work)
    return serial + (work - serial) / processors


def lambda_compute(seconds: float, memory_mib: float, gb_second: float) -> float:
    """Return the price of 1,000 durations; Lambda rounds each up to a millisecond."""
    billed = math.ceil(round(seconds * 1e6) / 1000) / 1000
    return HEATMAPS * billed * memory_mib / 1024 * gb_second


def api_requests(upload_bytes: int, answer_bytes: int, prices: Prices) -> float:
    """Return the price of 1,000 requests through an HTTP API, which counts each 512 KB of the larger direction."""
    calls = max(1, math.ceil(max(upload_bytes, answer_bytes) / GATEWAY_UNIT))
    return HEATMAPS * (prices.lambda_request + calls * prices.http_api_request)


def egress(bytes_out: int, prices: Prices) -> float:
    """Return the price of 1,000 downloads over the internet."""
    return HEATMAPS * bytes_out / GB * prices.egress_gb


def staged(
    timing: Timing, memory_mib: float, gb_second: float, sizes: tuple[int, int, int], prices: Prices
) -> dict[str, float]:
    """Return the price of 1,000 staged heatmaps, part by part.

    Args:
        timing: Of one image in the worker.
        memory_mib: Of the worker.
        gb_second: Of its architecture.
        sizes: Bytes of the upload, of the picture, and of the result's other objects.
        prices: Of the region.
    """
    upload, picture, others = sizes
    seconds = scale_seconds(timing, lambda_processors(memory_mib))
    stored = upload * UPLOAD_DAYS + (picture + others) * RESULT_DAYS
    return {
        "compute": lambda_compute(seconds, memory_mib, gb_second) + HEATMAPS / SQS_BATCH * prices.lambda_request,
        "s3_requests": HEATMAPS * (STAGED_PUTS * prices.s3_put + STAGED_GETS * prices.s3_get),
        "s3_storage": HEATMAPS * stored / DAYS_OF_MONTH / GB * prices.s3_gb_month,
        "sqs": HEATMAPS * (1 + 2 / SQS_BATCH) * prices.sqs_request,
        "dynamodb": HEATMAPS
        * (STAGED_WRITE_UNITS * prices.dynamodb_write_unit + STAGED_READ_UNITS * prices.dynamodb_read_unit),
        "egress": egress(picture, prices),
    }


def images_per_hour(timing: Timing | None, instance: Instance, endpoint_seconds: float | None) -> float | None:
    """Return how many heatmaps an instance computes in an hour; `None` where nothing was measured for its processor.

    Args:
        timing: Of a heatmap on such processors, of which the instance keeps all busy with several images at a time.
        instance: Its processors; a GPU was not measured.
        endpoint_seconds: Seconds that the instance takes for each heatmap, measured on it.
    """
    if endpoint_seconds is not None:
        return 3600 / endpoint_seconds
    if instance.gpu or timing is None:
        return None
    return 3600 * instance.processors / timing.processor_seconds


def endpoint_bytes(upload_bytes: int, result_bytes: int) -> int:
    """Return the bytes that go in and out of the endpoint: the image, and its result as base64 in JSON."""
    return upload_bytes + math.ceil(result_bytes * 4 / 3)


def endpoint(hourly: float, rate: float, duty: float, bytes_moved: int, prices: Prices) -> float:
    """Return the price of 1,000 heatmaps on an instance that computes in the share `duty` of its billed hours."""
    return HEATMAPS * (hourly / rate / duty + bytes_moved / GB * prices.sagemaker_data_gb)


def break_even(hourly: float, rate: float, bytes_moved: int, on_lambda: float, prices: Prices) -> float | None:
    """Return the images per hour from which an instance that always runs is cheaper than Lambda.

    Args:
        hourly: Price of an hour.
        rate: Images that the instance computes in an hour.
        bytes_moved: In and out of the endpoint for each image.
        on_lambda: Price of the computation of 1,000 heatmaps on Lambda.
        prices: Of the region.

    Returns:
        `None` where Lambda is cheaper at any rate: the endpoint's data alone cost as much, or the instance is too slow.
    """
    saved = on_lambda / HEATMAPS - bytes_moved / GB * prices.sagemaker_data_gb
    if saved <= 0 or hourly / saved > rate:
        return None
    return hourly / saved
