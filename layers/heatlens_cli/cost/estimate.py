"""Put an estimate together from figures and prices; `as_json` is the output of `--json`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from heatlens.errors import HeatlensError
from heatlens_cli.cost import formula
from heatlens_cli.cost.figures import Architecture, Figures, PlainService
from heatlens_cli.cost.formula import HEATMAPS
from heatlens_cli.cost.prices import Prices

DUTIES = (1.0, 0.5, 0.1)
NOT_MEASURED = "not measured"
ARCHITECTURES: tuple[Architecture, ...] = ("x86_64", "arm64")
MEMORIES = (885, 1769, 3008, 3538, 7076)
EXCLUDED = (
    "starts, waits for S3 and DynamoDB, failed and repeated work, idle polling, calls of the batch API, rows kept in "
    "DynamoDB, logs, metrics, alarms, keys, a firewall, NAT, taxes, discounts, the free tier"
)


class EstimateError(HeatlensError):
    """Nothing can be estimated from these arguments."""


@dataclass(frozen=True, slots=True)
class LambdaRow:
    """US dollars for 1,000 requests at one memory size; `None` where the memory is too small.

    `extrapolated` means more processors than were measured. `plain` is the plain service's computation and requests.
    """

    memory_mib: int
    processors: float
    seconds: float | None
    extrapolated: bool
    compute: float | None
    requests: float | None
    egress: float | None
    total: float | None
    plain: float | None


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """An instance type; dollars for 1,000 heatmaps at each duty, and where it becomes cheaper than Lambda.

    `by_duty` is empty where nothing was measured. The break-evens are `None` where Lambda is always cheaper.
    """

    instance: str
    gpu: str
    usd_per_hour: float
    images_per_hour: float | None
    by_duty: dict[str, float]
    break_even_images_per_hour: float | None
    break_even_duty: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Everything that is printed. `staged` has the parts of a staged heatmap by format of the picture."""

    figures: Figures
    prices: Prices
    today: date
    rows: Sequence[LambdaRow]
    staged_memory_mib: int
    staged: dict[str, dict[str, float]]
    jpeg_egress: float
    endpoints: Sequence[EndpointRow]
    plain: PlainService | None

    @property
    def times_smaller(self) -> float:
        """How many times fewer bytes a JPEG overlay has than a PNG."""
        return self.figures.picture_bytes.png / self.figures.picture_bytes.jpeg

    def share(self, picture_format: str) -> float:
        """Return the share of a staged heatmap's price that is not computation."""
        parts = self.staged[picture_format]
        return 1 - parts["compute"] / sum(parts.values())

    def as_json(self) -> dict[str, Any]:
        """Return the estimate as JSON has it; `figures` is what `--figures` reads."""
        measured = self.figures.architecture
        lambdas = {
            name: [asdict(row) for row in self.rows] if name == measured else NOT_MEASURED for name in ARCHITECTURES
        }
        return {
            "heatmaps": HEATMAPS,
            "currency": "USD",
            "region": self.prices.region,
            "prices_read": self.prices.oldest.isoformat(),
            "prices_stale": self.prices.is_stale(self.today),
            "figures": self.figures.model_dump(),
            "lambda": lambdas,
            "lambda_jpeg_egress": self.jpeg_egress,
            "staged_memory_mib": self.staged_memory_mib,
            "staged": {name: parts | {"total": sum(parts.values())} for name, parts in self.staged.items()},
            "jpeg_times_smaller": self.times_smaller,
            "endpoints": [asdict(row) for row in self.endpoints],
            "plain_service": asdict(self.plain) if self.plain else NOT_MEASURED,
            "excluded": EXCLUDED,
        }


def make_estimate(
    figures: Figures,
    prices: Prices,
    *,
    today: date,
    memories: Sequence[int] = MEMORIES,
    instances: Sequence[str] = (),
    endpoint_seconds: float | None = None,
    plain: PlainService | None = None,
) -> Estimate:
    """Estimate 1,000 heatmaps.

    Args:
        figures: As measured.
        prices: Of one region.
        today: For the age of the prices.
        memories: Memory sizes of the functions, in MiB.
        instances: Instance types; by default all of the list.
        endpoint_seconds: Seconds of a heatmap, measured on the one instance type.
        plain: The plain service, which is assumed to speed up with processors as Heatlens does.

    Raises:
        PriceError: There is no price for an instance type.
        EstimateError: No memory size is enough, or `endpoint_seconds` is not about one instance type.
    """
    if endpoint_seconds is not None and len(instances) != 1:
        raise EstimateError("--endpoint-seconds are those of one instance type: name it with --instance")
    rows = [_row(figures, prices, memory, plain) for memory in memories]
    enough = [row.memory_mib for row in rows if row.compute is not None]
    if not enough:
        raise EstimateError(f"every --memory is below the {figures.peak_mib:.0f} MiB that the process had here")
    gb_second = prices.gb_second(figures.architecture)
    timing, others = figures.timing(figures.staged), figures.other_bytes

    def stage(memory: int, picture: int) -> dict[str, float]:
        return formula.staged(timing, memory, gb_second, (figures.upload_bytes, picture, others), prices)

    pictures = figures.picture_bytes
    cheapest = min(enough, key=lambda memory: stage(memory, pictures.png)["compute"])
    staged = {"png": stage(cheapest, pictures.png), "jpeg": stage(cheapest, pictures.jpeg)}
    names = instances or tuple(prices.instances)
    return Estimate(
        figures=figures,
        prices=prices,
        today=today,
        rows=rows,
        staged_memory_mib=cheapest,
        staged=staged,
        jpeg_egress=formula.egress(figures.answer_bytes.jpeg, prices),
        endpoints=[_endpoint(figures, prices, name, endpoint_seconds, staged["png"]["compute"]) for name in names],
        plain=plain,
    )


def _row(figures: Figures, prices: Prices, memory: int, plain: PlainService | None) -> LambdaRow:
    processors = formula.lambda_processors(memory)
    seconds = formula.scale_seconds(figures.timing(figures.request), processors)
    gb_second = prices.gb_second(figures.architecture)
    answer = figures.answer_bytes.png
    requests = formula.api_requests(figures.upload_bytes, answer, prices)
    beside = None
    if plain and memory >= plain.peak_mib:
        beside = formula.lambda_compute(seconds * plain.slower, memory, gb_second) + requests
    extrapolated = processors > figures.processors
    if memory < figures.peak_mib:
        return LambdaRow(memory, processors, None, extrapolated, None, None, None, None, beside)
    compute, out = formula.lambda_compute(seconds, memory, gb_second), formula.egress(answer, prices)
    return LambdaRow(
        memory, processors, seconds, extrapolated, compute, requests, out, compute + requests + out, beside
    )


def _endpoint(
    figures: Figures, prices: Prices, name: str, endpoint_seconds: float | None, on_lambda: float
) -> EndpointRow:
    instance = prices.instance(name)
    # The list's instances have x86 processors: those of another architecture were not measured.
    timing = figures.timing(figures.staged) if figures.architecture == "x86_64" else None
    rate = formula.images_per_hour(timing, instance, endpoint_seconds)
    if rate is None:
        return EndpointRow(name, instance.gpu, instance.usd, None, {}, None, None)
    moved = formula.endpoint_bytes(figures.upload_bytes, figures.picture_bytes.png + figures.other_bytes)
    by_duty = {f"{duty:.0%}": formula.endpoint(instance.usd, rate, duty, moved, prices) for duty in DUTIES}
    equal = formula.break_even(instance.usd, rate, moved, on_lambda, prices)
    return EndpointRow(name, instance.gpu, instance.usd, rate, by_duty, equal, equal / rate if equal else None)
