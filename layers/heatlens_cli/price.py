"""Estimate what heatmaps cost on AWS Lambda or on an instance, from the time they take here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from heatlens.engines.resources import LAMBDA_MIB_PER_PROCESSOR, LAMBDA_MOST_PROCESSORS
from heatlens.types import Upload
from heatlens_cli.explain import count_threads
from heatlens_cli.load import load
from heatlens_cli.measure import explain_repeatedly, sample_image
from heatlens_cli.read_file import read_file

HEATMAPS = 1000
# List prices in US dollars: AWS Lambda on x86 in us-east-1, first tier, without the free tier (aws.amazon.com/lambda/
# pricing). The command's options replace them.
GB_SECOND = 0.0000166667
REQUEST = 0.0000002


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars for a gigabyte-second, a request, and an hour of an instance; `None` if there is none."""

    gb_second: float = GB_SECOND
    request: float = REQUEST
    instance_hour: float | None = None


def estimate_price(
    image: Path | None, model_dir: Path | None, *, memory_mib: int, prices: Prices, seconds: float
) -> Iterator[str]:
    """Yield the lines of an estimate.

    Raises:
        HeatlensError: The model cannot be loaded, or the image cannot be explained.
        OSError: The image cannot be read.
    """
    model, limits = load(model_dir)
    path = image or sample_image()
    upload = Upload(path.name, read_file(path, limits.file_bytes))
    found = explain_repeatedly(model, [upload], limits, seconds=seconds)
    taken = found.percentile(50) / 1000
    processors = min(memory_mib / LAMBDA_MIB_PER_PROCESSOR, LAMBDA_MOST_PROCESSORS)
    yield f"one heatmap   {taken:.3f} s here, median of {len(found.milliseconds)}, with {count_threads()} processors"
    yield (
        f"AWS Lambda    ${lambda_price(taken, memory_mib, prices):.4f} for {HEATMAPS:,} heatmaps: {memory_mib} MiB "
        f"({processors:.1f} processors), ${prices.gb_second:.10f} per GB-second, ${prices.request * 1e6:.2f} per "
        "million requests"
    )
    if prices.instance_hour is not None:
        yield (
            f"instance      ${instance_price(taken, prices.instance_hour):.4f} for {HEATMAPS:,} heatmaps: "
            f"${prices.instance_hour:.4f} per hour, always busy"
        )
    yield (
        "Assumes that Lambda's processors are as fast as these, and one request for each image. Not included: starts, "
        "S3, SQS, DynamoDB, API Gateway, data transfer, the free tier. Prices change: check yours."
    )


def lambda_price(seconds: float, memory_mib: int, prices: Prices) -> float:
    """Return US dollars for `HEATMAPS` requests of so many seconds; Lambda rounds each up to a millisecond."""
    billed = -(-round(seconds * 1e6) // 1000) / 1000
    return HEATMAPS * (billed * memory_mib / 1024 * prices.gb_second + prices.request)


def instance_price(seconds: float, hour: float) -> float:
    """Return US dollars for `HEATMAPS` explanations of so many seconds, one after another."""
    return HEATMAPS * seconds * hour / 3600
