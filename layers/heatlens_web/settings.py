"""Read the settings of the HTTP servers from the environment: their limits, and what they do at once."""

from typing import Literal

from pydantic import Field, SecretStr

from heatlens.settings import LIMITS, MIB, MP, Limits, Settings, read_table
from heatlens.types import LogFormat, LogLevel
from heatlens_web.port import DEFAULT_PORT

Deployment = Literal["lambda", "server"]


class ServerLimits(Limits):
    """What a server accepts in one request, and the largest response that it can send."""

    body_bytes: int
    files: int
    answer_json_bytes: int | None
    answer_binary_bytes: int | None

    @property
    def image_body_bytes(self) -> int:
        """The largest body of a request with one image: a file in base64, and 1 MiB for options and name."""
        return min(self.body_bytes, (self.file_bytes + 2) // 3 * 4 + MIB)


DEPLOYMENT_LIMITS: dict[Deployment, ServerLimits] = {
    # A Lambda event holds 6 MB of JSON, and API Gateway base64s the body into it: 4.5 MB of binary each way.
    "lambda": ServerLimits(
        file_bytes=4 * MIB,
        body_bytes=4_500_000,
        image_pixels=25 * MP,
        request_pixels=64 * MP,
        files=50,
        targets=10,
        passes=600,
        faithfulness_s=10,
        answer_json_bytes=6_000_000,
        answer_binary_bytes=4_400_000,
    ),
    "server": ServerLimits(
        **LIMITS.model_dump(),
        body_bytes=500_000_000,
        files=500,
        answer_json_bytes=None,
        answer_binary_bytes=None,
    ),
}


class ServerSettings(Settings):
    """The core's settings and the servers', read once per process from variables `HEATLENS_<NAME>`."""

    concurrency: int = Field(2, gt=0, description="Requests explained at once; each holds its decoded images.")
    margin_s: float = Field(3, ge=0, description="Seconds before Lambda's timeout reserved for the response.")
    retry_after_s: int = Field(30, gt=0, description="Seconds in the Retry-After header.")
    body_bytes: int | None = Field(None, gt=0, description="Largest request body, in bytes.")
    files: int | None = Field(None, gt=0, description="Files in one request.")
    answer_json_bytes: int | None = Field(None, gt=0, description="Largest JSON answer, in bytes.")
    answer_binary_bytes: int | None = Field(None, gt=0, description="Largest image answer, in bytes.")
    base_path: str = Field(
        "", pattern=r"^(/[^/?#]+)*$", description="Path below which clients see the API, such as /v1."
    )

    # Of the plain server and the SageMaker endpoint.
    log_format: LogFormat | None = Field(None, description="Form of the log: json or text.")
    log_level: LogLevel = Field("info", description="Least level that is logged: debug, info, warning or error.")
    connections: int = Field(512, gt=0, description="Connections at once; one that carries no request makes room.")
    head_s: float = Field(10, gt=0, allow_inf_nan=False, description="Seconds for the head of a request.")
    stall_s: float = Field(
        20, gt=0, allow_inf_nan=False, description="Seconds in which a client sends, or reads, 64 KiB at least."
    )
    # Longer than load balancers keep a connection: else they send requests on one that is closing.
    keep_alive_s: int = Field(75, gt=0, description="Seconds that a connection stays open without a request.")
    decode_s: float = Field(60, gt=0, allow_inf_nan=False, description="Seconds to decode one large image.")
    # SageMaker kills the container 30 s after SIGTERM; the last bytes need a moment.
    stop_s: float = Field(25, gt=0, allow_inf_nan=False, description="Seconds to finish requests after SIGTERM.")

    in_flight: int = Field(32, gt=0, description="Requests worked on at once; more are refused, not queued.")
    held_bytes: int | None = Field(None, gt=0, description="Bytes of bodies and responses held at once.")
    gather_ms: float = Field(5, ge=0, allow_inf_nan=False, description="Milliseconds an image waits for others.")
    request_s: float = Field(600, gt=0, allow_inf_nan=False, description="Seconds for the images of one request.")

    # Of the plain server: a gateway answers for the Lambda function.
    api_keys: SecretStr = Field(SecretStr(""), description="name=key pairs, separated by commas; requests need a key.")
    allowed_hosts: str = Field("*", description="Names in the Host header that are answered, separated by commas.")
    cors_origins: str = Field("", description="Origins whose pages may use the API, separated by commas; * for all.")

    # Of the SageMaker endpoint.
    port: int = Field(DEFAULT_PORT, gt=0, lt=65536, description="Port to listen on; SageMaker uses 8080.")


def read_server_settings() -> ServerSettings:
    """Read a server's settings from the environment; `read_table` says what it raises."""
    return read_table(ServerSettings)
