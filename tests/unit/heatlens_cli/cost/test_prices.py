from datetime import date, timedelta
from pathlib import Path

import pytest

from heatlens_cli.cost.prices import NAMES, STALE_DAYS, PriceError, read_prices

ONE = """
[{region}.{name}]
usd = {usd}
source = "https://example.org/prices"
read = 2026-11-01
"""
MACHINE = """
[us-east-1.instances."ml.new.xlarge"]
usd = 3.5
processors = 8
gpu = "Z9"
source = "https://example.org/prices"
read = 2026-11-01
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


def test_every_price_names_a_page_of_aws_and_a_day() -> None:
    prices = read_prices("us-east-1")

    assert set(prices.listed) == set(NAMES)
    for price in [*prices.listed.values(), *prices.instances.values()]:
        assert price.source.startswith(("https://pricing.us-east-1.amazonaws.com/", "https://aws.amazon.com/"))
        assert date(2026, 1, 1) < price.read < date(2027, 1, 1)
        assert price.usd > 0


def test_the_instance_types_of_the_templates_have_a_price() -> None:
    assert read_prices("us-east-1").instance("ml.g4dn.xlarge").gpu == "T4"


def test_a_file_replaces_some_prices_and_adds_instances(tmp_path: Path) -> None:
    path = written(tmp_path, ONE.format(region="us-east-1", name="s3_put", usd=0.5) + MACHINE)

    package, own = read_prices("us-east-1"), read_prices("us-east-1", path)

    assert (own.s3_put, own.s3_get) == (0.5, package.s3_get)
    assert own.instance("ml.new.xlarge").usd == 3.5
    assert set(own.instances) == {*package.instances, "ml.new.xlarge"}


def test_a_file_replaces_an_instance_type(tmp_path: Path) -> None:
    own = read_prices("us-east-1", written(tmp_path, MACHINE.replace("ml.new.xlarge", "ml.g4dn.xlarge")))

    assert (own.instance("ml.g4dn.xlarge").usd, own.instance("ml.g4dn.xlarge").gpu) == (3.5, "Z9")
    assert set(own.instances) == set(read_prices("us-east-1").instances)


def test_another_region_needs_all_its_prices(tmp_path: Path) -> None:
    some = "".join(ONE.format(region="mars-1", name=name, usd=1) for name in NAMES[1:])

    with pytest.raises(PriceError, match=rf"no price for {NAMES[0]} in mars-1: add it to a file"):
        read_prices("mars-1", written(tmp_path, some))

    every = some + ONE.format(region="mars-1", name=NAMES[0], usd=2)
    prices = read_prices("mars-1", written(tmp_path, every))

    assert (prices.lambda_gb_second_x86_64, prices.egress_gb, prices.region) == (2, 1, "mars-1")
    assert prices.instances == {}, "those of another region are not used"


def test_an_unknown_region_or_instance_type_is_named_beside_the_known_ones() -> None:
    with pytest.raises(PriceError, match=r"no prices for the region 'mars-1': us-east-1, or --prices"):
        read_prices("mars-1")
    with pytest.raises(PriceError, match=r"instance type 'ml\.none' in us-east-1: ml\.m5\.xlarge, .* or --prices"):
        read_prices("us-east-1").instance("ml.none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("usd = ", "is no TOML"),
        ("us-east-1 = 3", r"own\.toml: us-east-1: .*dictionary"),
        (ONE.format(region="us-east-1", name="s3_put", usd=-1), r"own\.toml: us-east-1\.s3_put\.usd: .*greater"),
        (ONE.format(region="us-east-1", name="s3_put", usd="nan"), r"own\.toml: us-east-1\.s3_put\.usd: .*finite"),
        (ONE.format(region="us-east-1", name="s3_post", usd=1), r"us-east-1\.s3_post: .*not permitted"),
        ("[us-east-1.s3_put]\nusd = 1\n", r"us-east-1\.s3_put\.source: .*required"),
        (MACHINE.replace("processors = 8", ""), r"us-east-1\.instances\.ml\.new\.xlarge\.processors: .*required"),
    ],
)
def test_a_wrong_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PriceError, match=message):
        read_prices("us-east-1", written(tmp_path, text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(PriceError, match="no text in UTF-8"):
        read_prices("us-east-1", path)


def test_prices_are_stale_after_half_a_year(tmp_path: Path) -> None:
    prices = read_prices("us-east-1")

    assert prices.oldest == min(price.read for price in [*prices.listed.values(), *prices.instances.values()])
    assert not prices.is_stale(prices.oldest + timedelta(days=STALE_DAYS))
    assert prices.is_stale(prices.oldest + timedelta(days=STALE_DAYS + 1))

    for own in (ONE.format(region="us-east-1", name="s3_put", usd=1), MACHINE):
        path = written(tmp_path, own.replace("2026-11", "2020-11"))
        assert read_prices("us-east-1", path).oldest == date(2020, 11, 1)
