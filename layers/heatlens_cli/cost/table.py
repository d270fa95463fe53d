"""Print an estimate as tables of at most 80 columns."""

from collections.abc import Iterator
from textwrap import wrap

from heatlens_cli.console import shown
from heatlens_cli.cost.estimate import ARCHITECTURES, DUTIES, EXCLUDED, NOT_MEASURED, EndpointRow, Estimate, LambdaRow
from heatlens_cli.cost.figures import Figures, Measured
from heatlens_cli.cost.formula import RESULT_DAYS, STAGED_GETS, STAGED_PUTS, UPLOAD_DAYS

WIDTH = 80
PARTS = {
    "compute": "Lambda",
    "s3_requests": f"S3 requests: {STAGED_PUTS} PUT, {STAGED_GETS} GET an image",
    "s3_storage": f"S3 storage: upload {UPLOAD_DAYS} days, results {RESULT_DAYS}",
    "sqs": "SQS",
    "dynamodb": "DynamoDB",
    "egress": "egress: the picture, over the internet",
}


def print_estimate(estimate: Estimate) -> Iterator[str]:
    """Yield the lines of an estimate."""
    yield from _figures(estimate.figures)
    yield from _prices(estimate)
    yield ""
    yield from _lambda(estimate)
    yield ""
    yield from _staged(estimate)
    yield ""
    yield from _endpoints(estimate)
    yield ""
    yield from _wrapped(f"Not included: {EXCLUDED}. layers/cost.md has the formulas.")


def _figures(figures: Figures) -> Iterator[str]:
    name = f"{figures.architecture}, {figures.processors} processors"
    yield f"measured        {name}, {figures.peak_mib:.0f} MiB resident"
    yield f"model           {shown(figures.model)}"
    yield f"image           {shown(figures.image)}, {_size(figures.upload_bytes)}"
    yield f"API request     {_time(figures.request)}, overlay and original"
    yield f"staged image    {_time(figures.staged)}, overlay"
    png, jpeg = figures.picture_bytes.png, figures.picture_bytes.jpeg
    yield f"overlay         PNG {_size(png)}, JPEG {_size(jpeg)}: {png / jpeg:.1f} times smaller"
    if figures.processors > 1 and figures.request.seconds > figures.request.processor_seconds:
        yield from _wrapped(
            "warning: requests waited for other work on this machine, so more than one processor is not taken to "
            "make them faster: measure again while it is idle"
        )


def _prices(estimate: Estimate) -> Iterator[str]:
    prices = estimate.prices
    yield f"prices          {prices.region}, the oldest read on {prices.oldest:%Y-%m-%d}"
    if prices.is_stale(estimate.today):
        yield from _wrapped(
            f"warning: prices were read on {prices.oldest:%Y-%m-%d}, more than half a year ago: compare them with "
            "AWS's, and give newer ones with --prices"
        )


def _lambda(estimate: Estimate) -> Iterator[str]:
    yield f"US dollars for 1,000 heatmaps: Lambda behind an HTTP API, {estimate.figures.architecture}"
    columns = f"{'compute':>10}{'requests':>10}{'egress':>9}{'total':>9}"
    yield f"{'memory':>8}{'vCPU':>6}{'seconds':>9}{columns}{'plain*':>16}"
    yield from (_lambda_row(row, known=estimate.plain is not None) for row in estimate.rows)
    for name in ARCHITECTURES:
        if name != estimate.figures.architecture:
            yield f"{name}: {NOT_MEASURED}; a GB-second costs ${estimate.prices.gb_second(name):.10f} there"
    if any(row.extrapolated for row in estimate.rows):
        yield "~ has more processors than were measured."
    yield f"With format=jpeg, egress is {estimate.jpeg_egress:.4f}."
    if estimate.plain:
        yield f"* The plain service's compute and requests: {estimate.plain.slower:.1f} times slower, and it"
        yield f"  needs {estimate.plain.peak_mib:.0f} MiB. Heatlens's compute and requests are those columns."
    else:
        yield f"* The plain service: {NOT_MEASURED}; give the results of make bench with --plain."


def _lambda_row(row: LambdaRow, *, known: bool) -> str:
    head = f"{row.memory_mib:>8}{row.processors:>6.1f}"
    plain = NOT_MEASURED if not known else "too small" if row.plain is None else f"{row.plain:.4f}"
    if row.seconds is None:
        return f"{head}{'too small':>47}{plain:>16}"
    seconds = f"{'~' if row.extrapolated else ''}{row.seconds:.3f}"
    return f"{head}{seconds:>9}{row.compute:>10.4f}{row.requests:>10.4f}{row.egress:>9.4f}{row.total:>9.4f}{plain:>16}"


def _staged(estimate: Estimate) -> Iterator[str]:
    yield f"US dollars for 1,000 heatmaps: staged batch, {estimate.staged_memory_mib} MiB"
    yield f"  {'':<48}{'PNG':>10}{'JPEG':>10}"
    png, jpeg = estimate.staged["png"], estimate.staged["jpeg"]
    for part, name in PARTS.items():
        yield f"  {name:<48}{png[part]:>10.4f}{jpeg[part]:>10.4f}"
    yield f"  {'total':<48}{sum(png.values()):>10.4f}{sum(jpeg.values()):>10.4f}"
    shares = f"{estimate.share('png'):>10.0%}{estimate.share('jpeg'):>10.0%}"
    yield f"  {'of which requests, storage and egress':<48}{shares}"


def _endpoints(estimate: Estimate) -> Iterator[str]:
    yield "US dollars for 1,000 heatmaps: SageMaker asynchronous endpoint, compute and data"
    duties = "".join(f"{f'{duty:.0%} busy':>11}" for duty in DUTIES)
    yield f"  {'instance':<16}{'an hour':>8}{'images/h':>10}{duties}{'equal to':>10}"
    yield from map(_endpoint_row, estimate.endpoints)
    yield from _wrapped(
        "Busy is the share of the billed hours in which it computes: idle instances scale to zero after some "
        "minutes. Equal to: images an hour from which an instance that always runs is cheaper than Lambda."
    )


def _endpoint_row(row: EndpointRow) -> str:
    head = f"  {row.instance:<16}{row.usd_per_hour:>8.4f}"
    if row.images_per_hour is None:
        return f"{head}  {NOT_MEASURED}{f' on its {row.gpu}' if row.gpu else ''}: --endpoint-seconds"
    duties = "".join(f"{dollars:>11.4f}" for dollars in row.by_duty.values())
    equal = "never" if row.break_even_images_per_hour is None else f"{row.break_even_images_per_hour:,.0f}"
    return f"{head}{row.images_per_hour:>10,.0f}{duties}{equal:>10}"


def _time(measured: Measured) -> str:
    return f"{measured.seconds:.4f} s, {measured.processor_seconds:.4f} processor seconds"


def _size(count: int) -> str:
    return f"{count / 1000:,.1f} kB"


def _wrapped(text: str) -> list[str]:
    return wrap(text, WIDTH, break_on_hyphens=False)
