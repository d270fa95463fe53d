"""Every setting, its default, its unit and its reason, in one table: environment -> frozen `Settings`."""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from heatlens.errors import SettingsError
from heatlens.types import EngineName, Precision

DEMO_MODEL = Path(__file__).parent / "models" / "demo"
MIB = 1024 * 1024
MP = 1_000_000

Table = TypeVar("Table", bound=BaseSettings)
Deployment = Literal["lambda", "server", "staged"]


class Limits(BaseModel):
    """What one door accepts and can carry."""

    model_config = ConfigDict(frozen=True)

    file_bytes: int
    body_bytes: int
    image_pixels: int
    request_pixels: int
    files: int
    targets: int
    passes: int
    faithfulness_s: float
    answer_json_bytes: int | None
    answer_binary_bytes: int | None


DEPLOYMENT_LIMITS: dict[Deployment, Limits] = {
    # A Lambda event holds 6 MB of JSON, and API Gateway base64s the body into it: 4.5 MB of binary each way.
    "lambda": Limits(
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
    "server": Limits(
        file_bytes=50 * MIB,
        body_bytes=500_000_000,
        image_pixels=100 * MP,
        request_pixels=500 * MP,
        files=500,
        targets=25,
        passes=10_000,
        faithfulness_s=30,
        answer_json_bytes=None,
        answer_binary_bytes=None,
    ),
    # There is no request: its limits are those of the files that are held in memory together.
    "staged": Limits(
        file_bytes=100 * MIB,
        body_bytes=100 * MIB,
        image_pixels=100 * MP,
        request_pixels=100 * MP,
        files=10_000,
        targets=10,
        passes=10_000,
        faithfulness_s=40,
        answer_json_bytes=None,
        answer_binary_bytes=None,
    ),
}


class Settings(BaseSettings):
    """Read once per process from variables `HEATLENS_<NAME>`; a limit left unset is the door's own."""

    model_config = SettingsConfigDict(env_prefix="HEATLENS_", frozen=True, extra="ignore", protected_namespaces=())

    model_dir: Path = Field(DEMO_MODEL, description="Folder of the compiled model, which answers who names none.")
    models_dir: Path | None = Field(None, description="Folder of further models' folders, each called by its name.")
    image_digest: str = Field("", description="Digest of the image this runs in, for the results' provenance.")
    engine: EngineName = Field("auto", description="What runs the model: auto, openvino, onnxruntime or torch.")
    precision: Precision = Field("f32", description="At which it runs: f32, bf16 or int8; the card must prove it.")
    threads: int = Field(0, ge=0, description="Threads of the inference engine; 0: one per processor of the share.")
    concurrency: int = Field(2, gt=0, description="Requests explained at once; each holds its decoded images.")
    batch_images: int = Field(8, gt=0, description="Images per engine batch: bounds the decoded images held at once.")
    margin_s: float = Field(3, ge=0, description="Seconds before Lambda's end that a batch's answer is made in.")
    retry_after_s: int = Field(30, gt=0, description="Seconds a client is asked to wait where waiting may help.")
    file_bytes: int | None = Field(None, gt=0, description="Largest file, in bytes.")
    body_bytes: int | None = Field(None, gt=0, description="Largest request body, in bytes.")
    image_pixels: int | None = Field(None, gt=0, description="Largest image, in pixels.")
    request_pixels: int | None = Field(None, gt=0, description="Pixels of all images of one request together.")
    files: int | None = Field(None, gt=0, description="Files in one request.")
    targets: int | None = Field(None, gt=0, description="Classes explained for each image.")
    passes: int | None = Field(None, gt=0, description="Runs of the network by which methods may cost one request.")
    faithfulness_s: float | None = Field(None, gt=0, description="Seconds of a request that scoring its maps may take.")
    answer_json_bytes: int | None = Field(None, gt=0, description="Largest JSON answer, in bytes.")
    answer_binary_bytes: int | None = Field(None, gt=0, description="Largest image answer, in bytes.")

    # The SageMaker door's.
    port: int = Field(8080, gt=0, lt=65536, description="Port that is listened on; SageMaker asks at 8080.")
    in_flight: int = Field(32, gt=0, description="Requests held at once; one more is refused, not queued.")
    gather_ms: float = Field(5, ge=0, allow_inf_nan=False, description="Milliseconds an image waits for others.")
    # SageMaker kills 30 s after it has said so; the last bytes need a moment.
    stop_s: float = Field(25, gt=0, allow_inf_nan=False, description="Seconds for what runs when told to end.")

    def limits(self, deployment: Deployment) -> Limits:
        """The door's limits, with those that are set here in place of its own."""
        own = {name: value for name in Limits.model_fields if (value := getattr(self, name)) is not None}
        return DEPLOYMENT_LIMITS[deployment].model_copy(update=own)


def read_settings() -> Settings:
    """Read the core's settings from the environment; `read_table` says what it raises."""
    return read_table(Settings)


def read_table(table: type[Table]) -> Table:
    """Read one table of settings from the environment.

    Raises:
        SettingsError: A variable has a value that cannot be; the sentence names it.
    """
    try:
        return table()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        # A field with a name of its own in the environment is reported by that name.
        variable = name if name.isupper() else f"HEATLENS_{name.upper()}"
        raise SettingsError(f"{variable}: {first['msg']}") from error
