"""Compare the formulas with slow and obvious computations: one image after another, in decimals."""

from decimal import ROUND_CEILING, Decimal

import pytest

from heatlens_cli.cost import formula
from heatlens_cli.cost.formula import Timing
from heatlens_cli.cost.prices import Instance, Prices, read_prices

PRICES = read_prices("us-east-1")
TIMING = Timing(seconds=0.06, processor_seconds=0.1, processors=2)


def exact(dollars: float) -> Decimal:
    return Decimal(str(dollars))


@pytest.mark.parametrize(
    ("memory", "processors"), [(885, 0.5), (1769, 1), (3008, 1.7), (3538, 2), (10240, 5.79), (20000, 6)]
)
def test_lambda_gives_a_processor_for_1769_mib_and_six_at_most(memory: int, processors: float) -> None:
    assert formula.lambda_processors(memory) == pytest.approx(processors, abs=0.01)


def test_the_measured_times_follow_from_the_law() -> None:
    assert formula.scale_seconds(TIMING, 2) == pytest.approx(TIMING.seconds)
    assert formula.scale_seconds(TIMING, 1) == pytest.approx(TIMING.processor_seconds)


def test_more_processors_shorten_only_the_part_that_is_parallel() -> None:
    serial = 0.02  # 0.02 + 0.08 / 2 = 0.06

    assert formula.scale_seconds(TIMING, 4) == pytest.approx(serial + 0.08 / 4)
    assert formula.scale_seconds(TIMING, 1e9) == pytest.approx(serial)
    assert formula.scale_seconds(TIMING, 0.5) == pytest.approx(0.2)


def test_one_processor_says_nothing_of_more() -> None:
    alone = Timing(seconds=0.1, processor_seconds=0.1, processors=1)

    assert formula.scale_seconds(alone, 4) == pytest.approx(0.1)


@pytest.mark.parametrize("seconds", [0.2, 0.01])
def test_waits_and_rounding_of_clocks_do_not_leave_the_possible(seconds: float) -> None:
    strange = Timing(seconds=seconds, processor_seconds=0.1, processors=2)

    assert 0.05 <= formula.scale_seconds(strange, 2) <= 0.1


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0.0101, 11), (0.010, 10), (0.0, 0), (1.0000001, 1000)])
def test_lambda_bills_milliseconds_that_have_begun(seconds: float, milliseconds: int) -> None:
    assert formula.lambda_compute(seconds, 2048, 1.0) == pytest.approx(1000 * 2 * milliseconds / 1000)


def test_a_thousand_requests_by_hand() -> None:
    price, gb = exact(PRICES.lambda_gb_second_x86_64), Decimal(1769) / 1024
    billed = (Decimal("0.0794") * 1000).to_integral_value(ROUND_CEILING) / 1000
    by_hand = sum(billed * gb * price for _ in range(1000))

    assert formula.lambda_compute(0.0794, 1769, PRICES.lambda_gb_second_x86_64) == pytest.approx(float(by_hand))


@pytest.mark.parametrize(
    ("upload", "answer", "calls"),
    [(0, 0, 1), (512 * 1024, 10, 1), (512 * 1024 + 1, 10, 2), (10, 1_600_000, 4)],
)
def test_a_gateway_counts_512_kb_of_the_larger_direction(upload: int, answer: int, calls: int) -> None:
    by_hand = sum(exact(PRICES.lambda_request) + calls * exact(PRICES.http_api_request) for _ in range(1000))

    assert formula.api_requests(upload, answer, PRICES) == pytest.approx(float(by_hand))


def staged_by_hand(prices: Prices) -> dict[str, Decimal]:
    """Go through 1,000 images and every call, object and day of each."""
    parts = dict.fromkeys(("compute", "s3_requests", "s3_storage", "sqs", "dynamodb", "egress"), Decimal(0))
    gb, day_of_gb = Decimal(2**30), exact(prices.s3_gb_month) / 30
    for image in range(1000):
        parts["compute"] += Decimal("0.1") * Decimal(1769) / 1024 * exact(prices.lambda_gb_second_x86_64)
        for _put in ("upload", "picture", "map", "result"):
            parts["s3_requests"] += exact(prices.s3_put)
        for _get in ("worker", "client"):
            parts["s3_requests"] += exact(prices.s3_get)
        for _day in range(8):
            parts["s3_storage"] += Decimal(150_000) / gb * day_of_gb
        for _day in range(31):
            parts["s3_storage"] += Decimal(900_000 + 5_000) / gb * day_of_gb
        parts["sqs"] += exact(prices.sqs_request)
        if image % 10 == 0:  # an invocation receives, and deletes, ten messages
            parts["sqs"] += 2 * exact(prices.sqs_request)
            parts["compute"] += exact(prices.lambda_request)
        parts["dynamodb"] += 3 * exact(prices.dynamodb_write_unit) + 2 * exact(prices.dynamodb_read_unit)
        parts["egress"] += Decimal(900_000) / gb * exact(prices.egress_gb)
    return parts


def test_a_staged_batch_by_hand() -> None:
    found = formula.staged(TIMING, 1769, PRICES.lambda_gb_second_x86_64, (150_000, 900_000, 5_000), PRICES)

    assert found == pytest.approx({part: float(dollars) for part, dollars in staged_by_hand(PRICES).items()})


def instance(gpu: str = "") -> Instance:
    return Instance(usd=1.8, processors=4, gpu=gpu, source="-", read=PRICES.oldest)


def test_an_instance_keeps_its_processors_busy() -> None:
    assert formula.images_per_hour(TIMING, instance(), None) == pytest.approx(4 * 3600 / 0.1)
    assert formula.images_per_hour(TIMING, instance("T4"), 0.02) == pytest.approx(180_000)


def test_what_was_not_measured_has_no_rate() -> None:
    assert formula.images_per_hour(TIMING, instance("T4"), None) is None
    assert formula.images_per_hour(None, instance(), None) is None


def test_the_result_leaves_an_endpoint_as_base64() -> None:
    assert formula.endpoint_bytes(100, 300) == 100 + 400


@pytest.mark.parametrize("duty", [1.0, 0.1])
def test_an_endpoint_by_hand(duty: float) -> None:
    hours_of_one = Decimal(1) / 3600 / exact(duty)
    by_hand = sum(
        exact(1.8) * hours_of_one + Decimal(2**20) / 2**30 * exact(PRICES.sagemaker_data_gb) for _ in range(1000)
    )

    assert formula.endpoint(1.8, 3600, duty, 2**20, PRICES) == pytest.approx(float(by_hand))


def test_at_the_break_even_both_cost_the_same() -> None:
    on_lambda, moved = 0.9, 10_000
    rate = formula.break_even(1.8, 3600, moved, on_lambda, PRICES)

    assert rate is not None
    assert rate < 3600
    an_hour_of_lambda = rate * on_lambda / 1000
    an_hour_of_the_endpoint = 1.8 + rate * moved / 2**30 * PRICES.sagemaker_data_gb
    assert an_hour_of_lambda == pytest.approx(an_hour_of_the_endpoint)


def test_no_break_even_beyond_what_the_instance_computes_or_with_dear_data() -> None:
    assert formula.break_even(1.8, 1000, 0, 0.9, PRICES) is None
    assert formula.break_even(1.8, 3600, 2**30, 0.9, PRICES) is None
