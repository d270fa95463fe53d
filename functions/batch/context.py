"""Open what a warm function keeps between invocations: models, clients and limits; only the pace of images changes."""

from dataclasses import dataclass, field
from typing import Any

from functions.batch.logs import logger
from functions.batch.pace import Pace
from heatlens.errors import ModelError, SettingsError, TooSlow
from heatlens.model import Model
from heatlens.registry import ModelRegistry, loading
from heatlens.settings import read_table
from heatlens.types import Options
from heatlens_aws.batch_table import BatchTable
from heatlens_aws.clients import connect
from heatlens_aws.invocation_time import check_time
from heatlens_aws.sagemaker_async import Endpoint
from heatlens_aws.settings import STAGED_LIMITS, AwsSettings, BatchSettings, StagedLimits
from heatlens_aws.staging import Staging


@dataclass(frozen=True, slots=True)
class Account:
    """The AWS account: table, bucket and queue, and the asynchronous endpoint where one is configured."""

    settings: AwsSettings
    jobs: BatchTable
    staging: Staging
    sqs: Any
    endpoint: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker uses; `batch_images` is the number of images in an engine batch.

    `pace` is how long images take here, measured by each invocation for the next. `drops_refused` says why undeclared
    objects cannot be explained with the default options in the function's time, `None` if they can.
    """

    account: Account
    models: ModelRegistry
    limits: StagedLimits
    batch_images: int
    pace: Pace = field(default_factory=Pace)
    drops_refused: TooSlow | None = None

    @property
    def model(self) -> Model:
        """The default model."""
        return self.models[None]


def open_account() -> Account:
    """Read the environment and connect.

    Raises:
        SettingsError: A value is invalid, or no bucket or no table is named.
    """
    settings = read_table(AwsSettings)
    if not settings.ready:
        raise SettingsError(_missing(settings))
    clients = connect(settings)
    jobs, staging = BatchTable(clients.dynamodb, settings.table), Staging(clients.s3, settings.bucket)
    endpoint = Endpoint(clients.sagemaker, settings) if settings.async_endpoint else None
    return Account(settings, jobs, staging, clients.sqs, endpoint)


def _missing(settings: AwsSettings) -> str:
    if settings.sam_local and not settings.endpoint_url:
        # Under SAM's emulator the name is the bucket's logical id in the template, which may be somebody's bucket.
        return "under sam local there is no bucket: set HEATLENS_ENDPOINT_URL to the address of a local S3"
    return "HEATLENS_BUCKET and HEATLENS_TABLE are required"


def open_context() -> WorkerContext:
    """Read the environment, connect, and load the models.

    Raises:
        ModelError: The settings or the default model cannot be used. Batches of another model that cannot be loaded
            wait for a worker that can.
    """
    settings = read_table(BatchSettings)
    with loading(settings) as loaded:
        account = open_account()  # a client for each service, which takes as long as a small model
        models = loaded.result()
    if isinstance(default := models.by_name[models.default], ModelError):
        raise default
    models.log_failures()
    limits = settings.limits(STAGED_LIMITS)
    refused = _drops_refused(default, limits, account.settings.batch_timeout_s)
    return WorkerContext(account, models, limits, settings.batch_images, drops_refused=refused)


def _drops_refused(model: Model, limits: StagedLimits, timeout_s: int | None) -> TooSlow | None:
    """Return why dropped objects cannot be explained in time, and log it."""
    try:
        check_time(model, Options(), limits, timeout_s)
    except TooSlow as error:
        logger.error("objects under drop/ will fail: %s", error)
        return error
    return None
