"""Read the settings of staging and of the batch function from the environment, and the limits of staged files."""

from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from heatlens.settings import MIB, MP, Limits, Settings
from heatlens_aws.object_keys import Lane

HOUR = 3600  # seconds
DAY = 24 * HOUR
PROGRESS_S = HOUR  # a batch's deadline moves in steps of this, because all its workers share one row
STACK = "HEATLENS_STACK"  # the dimension of the functions' metrics
DROP_LAG_DAYS = 7  # that S3 may take to expire an object: it rounds up to midnight, and works through a queue
FUNCTION_S = 15 * 60  # the longest that Lambda lets a function run


class StagedLimits(Limits):
    """Limits of staged files; `body_bytes` is what files that are held in memory together may have."""

    body_bytes: int


STAGED_LIMITS = StagedLimits(
    file_bytes=100 * MIB,
    body_bytes=100 * MIB,
    image_pixels=100 * MP,
    request_pixels=100 * MP,
    targets=10,
    passes=10_000,
    faithfulness_s=40,
)


class BatchSettings(Settings):
    """The core's settings and the batch function's, read once per process from variables `HEATLENS_<NAME>`."""

    body_bytes: int | None = Field(None, gt=0, description="Bytes of files held in memory together.")


class AwsSettings(BaseSettings):
    """Read once per process from variables `HEATLENS_<NAME>`; without a bucket and a table there is no staging."""

    model_config = SettingsConfigDict(env_prefix="HEATLENS_", frozen=True, extra="ignore")

    bucket: str = Field("", description="Bucket of uploads and results; versioned.")
    table: str = Field("", description="DynamoDB table of batches and files.")
    interactive_queue_url: str = Field("", description="SQS queue of the events of batches of few files.")
    bulk_queue_url: str = Field("", description="SQS queue of the events of all other objects.")
    region: str = Field("us-east-1", description="Region of all of them.", validation_alias="AWS_REGION")
    stack: str = Field("none", min_length=1, description="Name of the stack, a dimension of the functions' metrics.")
    tracing: bool = Field(default=False, description="Whether the functions send traces to X-Ray.")
    endpoint_url: str = Field("", description="Address of another S3, SQS and DynamoDB, for local use.")
    upload_link_s: int = Field(HOUR, gt=0, description="Seconds an upload link lives.")
    result_link_s: int = Field(15 * 60, gt=0, description="Seconds a link to a result or an answer lives.")
    queue_retention_s: int = Field(
        4 * DAY, gt=0, description="Seconds a queue keeps a message; the queues' own number."
    )
    batch_deadline_s: int = Field(5 * DAY, gt=0, description="Seconds without progress after which a batch expires.")
    row_life_s: int = Field(31 * DAY, gt=0, description="Seconds rows are kept; not shorter than the bucket's results.")
    max_receives: int = Field(5, gt=0, description="Deliveries after which a file is given up; the queue's own number.")
    batch_timeout_s: int | None = Field(
        None, gt=0, le=900, description="Seconds of the batch function; options that take longer are refused."
    )
    batch_files: int = Field(10_000, gt=0, le=100_000, description="Files in one batch; keys have five digits.")
    call_files: int = Field(500, gt=0, description="Files in one declaring call.")
    interactive_files: int = Field(500, ge=0, description="Files of the largest batch in the interactive lane.")

    owner_batches: int = Field(0, ge=0, description="Open batches of one principal; 0 is any number.")
    owner_files: int = Field(
        0, ge=0, description="Files that have not ended in the open batches of one principal; 0 is any number."
    )
    drop_suffixes: str = Field(
        "",
        pattern=r"^(\.[\w.-]+(,\.[\w.-]+)*)?$",
        description="Suffixes of objects under drop/ that are explained, such as .png,.dcm; the others are ignored.",
    )
    drop_days: int = Field(
        0, ge=0, description="Days the bucket keeps objects under drop/; 0 keeps them, and their rows, forever."
    )
    aws_call_s: float = Field(
        24, ge=1, le=120, description="Seconds for one call of AWS, all tries together; less than the function has."
    )

    async_endpoint: str = Field("", description="SageMaker endpoint of batches with the backend sagemaker.")
    async_timeout_s: int = Field(15 * 60, gt=0, le=HOUR, description="Seconds the endpoint may work at one image.")
    async_ttl_s: int = Field(6 * HOUR, ge=60, le=6 * HOUR, description="Seconds an image may wait for the endpoint.")

    audit_log_group: str = Field("", description="CloudWatch log group of audit lines; empty: the process's log.")

    # `sam local` names the bucket and the table after their places in the template, in an account that may have such.
    sam_local: bool = Field(default=False, description="Whether SAM emulates.", validation_alias="AWS_SAM_LOCAL")

    @field_validator("batch_deadline_s")
    @classmethod
    def _outlives_messages(cls, seconds: int, info: ValidationInfo) -> int:
        """Refuse a deadline at which a message may still wait: it must outlive the link, the message and an hour."""
        least = sum(info.data.get(name, 0) for name in ("upload_link_s", "queue_retention_s")) + PROGRESS_S
        if seconds < least:
            raise ValueError(f"must be at least {least}: the queue's retention, an upload link's life and an hour")
        return seconds

    @property
    def purge_watch_s(self) -> int:
        """Seconds after which nothing can write for a purged batch any more.

        The longest chain is an upload through the last link, its message's last delivery, and the endpoint's response.
        """
        endpoint = self.async_ttl_s + self.async_timeout_s
        return self.upload_link_s + self.queue_retention_s + FUNCTION_S + endpoint

    @property
    def drop_row_life_s(self) -> int | None:
        """Seconds the row of a dropped object is kept, longer than the object; `None` is forever.

        A backfill would explain an object again whose row is gone.
        """
        return (self.drop_days + DROP_LAG_DAYS) * DAY if self.drop_days else None

    @property
    def suffixes_of_drops(self) -> tuple[str, ...]:
        """The suffixes in lower case; none means any."""
        return tuple(suffix for suffix in self.drop_suffixes.lower().split(",") if suffix)

    def queue_url(self, lane: Lane) -> str:
        """Return the queue of a lane, or an empty text where none is configured."""
        return self.interactive_queue_url if lane is Lane.INTERACTIVE else self.bulk_queue_url

    def queue_named(self, arn: str) -> str:
        """Return the URL of the queue with this ARN, or an empty text where it is none of the lanes'."""
        urls = (self.interactive_queue_url, self.bulk_queue_url)
        name = arn.rpartition(":")[2]
        return next((url for url in urls if name and url.rpartition("/")[2] == name), "")

    @property
    def ready(self) -> bool:
        """Whether staging is set up."""
        return bool(self.has_bucket and self.table)

    @property
    def has_audit_group(self) -> bool:
        """Whether audit lines have a log group; under SAM's emulator only with an address of its own."""
        return bool(self.audit_log_group and (self.endpoint_url or not self.sam_local))

    @property
    def bucket_origin(self) -> str:
        """Scheme and host of the bucket's signed links, empty without a bucket."""
        if not self.has_bucket:
            return ""
        if self.endpoint_url:
            address = urlsplit(self.endpoint_url)
            return f"{address.scheme}://{address.netloc}"
        domain = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        # A name with a dot does not match the certificate of a host: it stands in the path instead.
        host = "" if "." in self.bucket else f"{self.bucket}."
        return f"https://{host}s3.{self.region}.{domain}"

    @property
    def has_bucket(self) -> bool:
        """Whether there is a bucket; under SAM's emulator only with an address of its own."""
        return bool(self.bucket and (self.endpoint_url or not self.sam_local))
