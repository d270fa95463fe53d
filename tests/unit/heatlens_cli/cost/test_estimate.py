import json
from datetime import date, timedelta

import pytest

from heatlens_cli.cost import formula
from heatlens_cli.cost.estimate import MEMORIES, NOT_MEASURED, EstimateError, make_estimate
from heatlens_cli.cost.figures import Figures, PlainService
from heatlens_cli.cost.prices import PriceError, read_prices
from tests.support.figures import FIGURES

PRICES = read_prices("us-east-1")
TODAY = PRICES.oldest


def test_a_row_is_the_sum_of_its_parts() -> None:
    [row] = make_estimate(FIGURES, PRICES, today=TODAY, memories=[1769]).rows

    assert row.seconds == pytest.approx(0.1)
    assert row.compute == pytest.approx(1000 * 0.1 * 1769 / 1024 * PRICES.lambda_gb_second_x86_64)
    assert row.requests == pytest.approx(1000 * (PRICES.lambda_request + 3 * PRICES.http_api_request))
    assert row.egress == pytest.approx(1000 * 1_400_000 / 2**30 * PRICES.egress_gb)
    assert row.total == pytest.approx(sum(part or 0 for part in (row.compute, row.requests, row.egress)))
    assert (row.extrapolated, row.plain) == (False, None)


def test_memory_below_the_measured_peak_is_too_small() -> None:
    small, enough = make_estimate(FIGURES, PRICES, today=TODAY, memories=[599, 600]).rows

    assert (small.seconds, small.compute, small.total) == (None, None, None)
    assert enough.compute is not None


def test_no_memory_at_all_is_an_error() -> None:
    with pytest.raises(EstimateError, match="every --memory is below the 600 MiB"):
        make_estimate(FIGURES, PRICES, today=TODAY, memories=[128, 512])


def test_more_processors_than_were_measured_are_marked() -> None:
    rows = make_estimate(FIGURES, PRICES, today=TODAY, memories=[3538, 3539]).rows

    assert [row.extrapolated for row in rows] == [False, True]


def test_the_plain_service_is_as_many_times_slower_and_needs_its_memory() -> None:
    plain = PlainService(slower=9, peak_mib=1600)
    small, row = make_estimate(FIGURES, PRICES, today=TODAY, memories=[1599, 1769], plain=plain).rows

    assert small.plain is None
    assert row.requests is not None
    compute = formula.lambda_compute(9 * 0.1, 1769, PRICES.lambda_gb_second_x86_64)
    assert row.plain == pytest.approx(compute + row.requests)


def test_staging_uses_the_memory_with_the_lowest_price() -> None:
    estimate = make_estimate(FIGURES, PRICES, today=TODAY, memories=[7076, 1769, 3538])

    assert estimate.staged_memory_mib == 1769


def test_requests_storage_and_egress_are_counted_apart() -> None:
    estimate = make_estimate(FIGURES, PRICES, today=TODAY)
    parts = estimate.staged["png"]

    others = sum(dollars for part, dollars in parts.items() if part != "compute")
    assert estimate.share("png") == pytest.approx(others / (others + parts["compute"]))
    assert estimate.share("png") > estimate.share("jpeg") > 0.5
    assert estimate.times_smaller == 6


def test_gpus_are_not_measured_unless_their_seconds_are_given() -> None:
    estimate = make_estimate(FIGURES, PRICES, today=TODAY)
    rates = {row.instance: row.images_per_hour for row in estimate.endpoints}

    assert rates["ml.m5.xlarge"] == pytest.approx(3600 * 4 / 0.08)
    assert {name for name, rate in rates.items() if rate is None} == {
        name for name, each in PRICES.instances.items() if each.gpu
    }

    [row] = make_estimate(FIGURES, PRICES, today=TODAY, instances=["ml.g4dn.xlarge"], endpoint_seconds=0.01).endpoints
    assert row.images_per_hour == pytest.approx(360_000)
    assert row.by_duty["50%"] > row.by_duty["100%"]


def test_an_endpoint_breaks_even_with_slow_images() -> None:
    slow = FIGURES.staged.model_copy(update={"processor_seconds": 8.0, "seconds": 4.5})
    estimate = make_estimate(
        FIGURES.model_copy(update={"staged": slow}), PRICES, today=TODAY, instances=["ml.m5.xlarge"]
    )
    [row] = estimate.endpoints

    assert row.break_even_images_per_hour is not None
    assert row.break_even_duty == pytest.approx(row.break_even_images_per_hour / (3600 * 4 / 8))
    always_on = PRICES.instance("ml.m5.xlarge").usd / row.break_even_images_per_hour * 1000
    data = formula.endpoint_bytes(150_000, 905_000) / 2**30 * PRICES.sagemaker_data_gb * 1000
    assert always_on + data == pytest.approx(estimate.staged["png"]["compute"])


@pytest.mark.parametrize("instances", [[], ["ml.m5.xlarge", "ml.g4dn.xlarge"]])
def test_seconds_of_an_endpoint_are_of_one_instance_type(instances: list[str]) -> None:
    with pytest.raises(EstimateError, match="name it with --instance"):
        make_estimate(FIGURES, PRICES, today=TODAY, instances=instances, endpoint_seconds=1)


def test_an_unknown_instance_type_is_an_error() -> None:
    with pytest.raises(PriceError, match=r"ml\.none"):
        make_estimate(FIGURES, PRICES, today=TODAY, instances=["ml.none"])


def test_json_has_what_was_measured_and_says_what_was_not() -> None:
    estimate = make_estimate(FIGURES, PRICES, today=TODAY + timedelta(days=365))
    found = json.loads(json.dumps(estimate.as_json(), allow_nan=False))

    assert Figures.model_validate(found["figures"]) == FIGURES
    assert [row["memory_mib"] for row in found["lambda"]["x86_64"]] == list(MEMORIES)
    assert found["lambda"]["arm64"] == found["plain_service"] == NOT_MEASURED
    assert found["prices_stale"]
    assert date.fromisoformat(found["prices_read"]) == PRICES.oldest
    total = found["staged"]["jpeg"].pop("total")
    assert total == pytest.approx(sum(found["staged"]["jpeg"].values()))


def test_on_arm_x86_is_what_was_not_measured() -> None:
    arm = FIGURES.model_copy(update={"architecture": "arm64"})
    estimate = make_estimate(arm, PRICES, today=TODAY, memories=[1769])

    assert estimate.as_json()["lambda"]["x86_64"] == NOT_MEASURED
    assert estimate.rows[0].compute == pytest.approx(1000 * 0.1 * 1769 / 1024 * PRICES.lambda_gb_second_arm64)
    assert all(row.images_per_hour is None for row in estimate.endpoints)
