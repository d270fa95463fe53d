"""Read the dated list of prices, and a file of the user's that replaces some of them."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from heatlens.errors import HeatlensError
from heatlens_cli.console import shown

STALE_DAYS = 183
INSTANCES = "instances"
_FILE = "prices.toml"


class PriceError(HeatlensError):
    """A file of prices cannot be used, or it lacks a price."""


class Price(BaseModel):
    """US dollars for a unit, the page it comes from, and the day on which that was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    usd: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    unit: str = ""
    source: Annotated[str, Field(min_length=1)]
    read: date


class Instance(Price):
    """An hour of an instance, with its virtual processors and the name of its GPU, if it has one."""

    processors: Annotated[int, Field(ge=1)]
    gpu: str = ""


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars of one region; the names are those of the file. `listed` has each with its source."""

    lambda_gb_second_x86_64: float
    lambda_gb_second_arm64: float
    lambda_request: float
    http_api_request: float
    s3_put: float
    s3_get: float
    s3_gb_month: float
    sqs_request: float
    dynamodb_write_unit: float
    dynamodb_read_unit: float
    egress_gb: float
    sagemaker_data_gb: float
    region: str
    instances: Mapping[str, Instance]
    listed: Mapping[str, Price]

    @property
    def oldest(self) -> date:
        """The day on which the price that was read first was read."""
        return min(price.read for price in [*self.listed.values(), *self.instances.values()])

    def is_stale(self, today: date) -> bool:
        """Return whether a price was read more than half a year ago."""
        return (today - self.oldest).days > STALE_DAYS

    def gb_second(self, architecture: str) -> float:
        """Return the price of a GB-second of Lambda on an architecture."""
        return self.lambda_gb_second_arm64 if architecture == "arm64" else self.lambda_gb_second_x86_64

    def instance(self, name: str) -> Instance:
        """Return an instance type.

        Raises:
            PriceError: The region has no price for it.
        """
        if name not in self.instances:
            known = ", ".join(self.instances)
            raise PriceError(f"no price for the instance type {name!r} in {self.region}: {known}, or --prices FILE")
        return self.instances[name]


NAMES = tuple(name for name in Prices.__dataclass_fields__ if name not in ("region", INSTANCES, "listed"))
_Tables = dict[str, dict[str, Any]]
_FIELDS: dict[str, Any] = dict.fromkeys(NAMES, (Price | None, None)) | {INSTANCES: (dict[str, Instance], {})}
_Region = create_model("_Region", __config__=ConfigDict(extra="forbid"), **_FIELDS)
_REGIONS = TypeAdapter(dict[str, _Region])


def read_prices(region: str, replacing: Path | None = None) -> Prices:
    """Read the prices of a region.

    Args:
        region: Such as `us-east-1`.
        replacing: A file of the same form, whose prices come before those of the package.

    Raises:
        PriceError: A file is invalid, or the region or one of its prices is in neither.
        OSError: The file cannot be read.
    """
    tables = _parse(files("heatlens_cli.cost").joinpath(_FILE).read_text(encoding="utf-8"), _FILE)
    if replacing:
        for name, table in _parse(_read(replacing), shown(replacing)).items():
            tables[name] = _merged(tables.get(name, {}), table)
    if region not in tables:
        raise PriceError(f"no prices for the region {region!r}: {', '.join(tables)}, or --prices FILE")
    listed: dict[str, Price] = {name: price for name, price in tables[region].items() if name != INSTANCES}
    if missing := [name for name in NAMES if name not in listed]:
        raise PriceError(f"no price for {', '.join(missing)} in {region}: add it to a file for --prices")
    dollars = {name: listed[name].usd for name in NAMES}
    return Prices(**dollars, region=region, instances=tables[region].get(INSTANCES, {}), listed=listed)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PriceError(f"{shown(path)} is no text in UTF-8") from error


def _parse(text: str, name: str) -> _Tables:
    """Return the regions of a file, each with its prices and instances."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PriceError(f"{name} is no TOML: {error}") from error
    try:
        regions = _REGIONS.validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise PriceError(f"{name}: {place}: {first['msg']}; layers/cost.md shows the form") from error
    return {name: {key: value for key, value in region if value is not None} for name, region in regions.items()}


def _merged(table: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    instances = table.get(INSTANCES, {}) | other.get(INSTANCES, {})
    return table | other | ({INSTANCES: instances} if instances else {})
