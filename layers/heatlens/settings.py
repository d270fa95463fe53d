"""Read the core's settings from the environment: the model, its engine, and the limits of images and methods."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from heatlens.errors import SettingsError
from heatlens.types import EngineName, Precision

DEMO_MODEL = Path(__file__).parent / "models" / "demo"
MIB = 1024 * 1024
MP = 1_000_000

Table = TypeVar("Table", bound=BaseSettings)


class Limits(BaseModel):
    """Limits of one call of the pipeline."""

    model_config = ConfigDict(frozen=True)

    file_bytes: int
    image_pixels: int
    request_pixels: int
    targets: int
    passes: int
    faithfulness_s: float
    image_bytes: int | None = None  # memory of one image; None: what the model leaves of the process's memory


# For a process with one caller (Python, the command line); a server adds limits of its own.
LIMITS = Limits(
    file_bytes=50 * MIB,
    image_pixels=100 * MP,
    request_pixels=500 * MP,
    targets=25,
    passes=10_000,
    faithfulness_s=30,
)
AnyLimits = TypeVar("AnyLimits", bound=Limits)


class Settings(BaseSettings):
    """Settings from variables `HEATLENS_<NAME>`, read once per process; a limit left unset is the deployment's."""

    model_config = SettingsConfigDict(env_prefix="HEATLENS_", frozen=True, extra="ignore", protected_namespaces=())

    model_dir: Path = Field(DEMO_MODEL, description="Folder of the compiled model, the default of requests.")
    models_dir: Path | None = Field(None, description="Folder of further model folders, whose names are the models'.")
    image_digest: str = Field("", description="Digest of the container image, for the results' provenance.")
    engine: EngineName = Field("auto", description="What runs the model: auto, openvino, onnxruntime or torch.")
    precision: Precision = Field(
        "f32", description="Precision of the engine: f32, bf16 or int8; the card must prove it."
    )
    threads: int = Field(0, ge=0, description="Threads of the engine; 0: one for each allotted processor.")
    batch_images: int = Field(8, gt=0, description="Images per engine batch: bounds the decoded images held at once.")
    file_bytes: int | None = Field(None, gt=0, description="Largest file, in bytes.")
    image_pixels: int | None = Field(None, gt=0, description="Largest image, in pixels.")
    image_bytes: int | None = Field(None, gt=0, description="Memory that decoding or drawing one image may take.")
    request_pixels: int | None = Field(None, gt=0, description="Pixels of all images of one request together.")
    targets: int | None = Field(None, gt=0, description="Classes explained for each image.")
    passes: int | None = Field(None, gt=0, description="Runs of the network for one request.")
    faithfulness_s: float | None = Field(None, gt=0, description="Seconds of a request that scoring its maps may take.")

    def limits(self, defaults: AnyLimits) -> AnyLimits:
        """Return a deployment's limits, those that are set here in place of its own."""
        own = {name: value for name in type(defaults).model_fields if (value := getattr(self, name)) is not None}
        return defaults.model_copy(update=own)


def read_settings() -> Settings:
    """Read the core's settings from the environment; raises what `read_table` raises."""
    return read_table(Settings)


def read_table(table: type[Table]) -> Table:
    """Read one table of settings from the environment.

    Raises:
        SettingsError: A variable has an invalid value; the message names it.
    """
    try:
        return table()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        # A field with a name of its own in the environment is reported by that name.
        variable = name if name.isupper() else f"HEATLENS_{name.upper()}"
        raise SettingsError(f"{variable}: {first['msg']}") from error
