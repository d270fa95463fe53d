"""Errors that the core raises on purpose, each with its stable code.

HeatlensError
├── InputError                    the bytes of one image
│   ├── EmptyFile
│   ├── UnsupportedImage
│   ├── UnreadableImage
│   ├── NoFullDepth
│   ├── NoSuchFrame
│   └── NoDicomObject
├── LimitError
│   ├── FileTooLarge
│   ├── ImageTooLarge
│   ├── TooMuchMemory
│   ├── RequestImagesTooLarge
│   ├── TooManyTargets
│   ├── TooManyPasses
│   └── TooSlow
├── InvalidOption
├── ModelUnavailable
├── OutOfTime
├── OutOfMemory
├── GenerationFailed
└── ModelError                    a model folder or its making; never raised while answering a client
    ├── SettingsError
    ├── CardError
    ├── EngineError
    ├── ModelFileError
    └── CompileError
        └── ParityError

The message of an error is safe to send: it names what is wrong, where, and what to do, and never a path of the
server, a traceback or another library's message. Those go to the log, as the error's `__cause__`.
"""

from dataclasses import dataclass
from typing import ClassVar


class HeatlensError(Exception):
    """Anything unforeseen; the cause is in the log.

    Base of the tree: `code` is stable, and the first sentence of a class is what the documentation says of it. The
    response of a `retryable` error carries Retry-After.
    """

    code: ClassVar[str] = "internal"
    retryable: bool = False

    @property
    def detail(self) -> str:
        """The sentence for the client."""
        return str(self)


class InputError(HeatlensError):
    """One image cannot be used; in a batch only its item fails."""

    code = "input"


class EmptyFile(InputError):
    """The file has no bytes."""

    code = "input.empty"


class UnsupportedImage(InputError):
    """The bytes are not an image of a supported type, or are DICOM with an unsupported compression."""

    code = "input.unsupported"


class UnreadableImage(InputError):
    """The image is truncated or damaged, is DICOM without pixels, or has values that are not finite."""

    code = "input.unreadable"


class NoFullDepth(InputError):
    """The model reads values at full depth, and the image has 8 bits, colors, a palette, or floats without bits."""

    code = "input.depth"


class NoSuchFrame(InputError):
    """The option `frame` names a frame that the DICOM file does not have, or the image is not DICOM."""

    code = "input.frame"


class NoDicomObject(InputError):
    """A DICOM object cannot be written for this image: it is no DICOM file, or lacks an element that it needs."""

    code = "input.dicom"


class LimitError(HeatlensError):
    """Something is over a limit."""

    code = "limit"


class FileTooLarge(LimitError):
    """A file has more bytes than its limit; in a batch only its item fails."""

    code = "limit.file_bytes"


class ImageTooLarge(LimitError):
    """An image has too many pixels, or too many on a side, also for `format`; in a batch only its item fails."""

    code = "limit.image_pixels"


class TooMuchMemory(LimitError):
    """An image takes more memory to decode or draw than there is for one; in a batch only its item fails."""

    code = "limit.image_memory"


class RequestImagesTooLarge(LimitError):
    """The images of one request together have more pixels than the limit."""

    code = "limit.request_pixels"


class TooManyTargets(LimitError):
    """More classes are to be explained for each image than the limit."""

    code = "limit.targets"


class TooManyPasses(LimitError):
    """The method would run the network more often than one request may."""

    code = "limit.passes"


class TooSlow(LimitError):
    """One image of a staged batch would take longer than an invocation of the batch function has."""

    code = "limit.time"


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong value: the option's name, what is wrong, a stable word for programs, and the value as it is quoted."""

    field: str
    message: str
    kind: str
    value: str | None = None

    def __str__(self) -> str:
        subject = self.field if self.value is None else f"{self.field} is {self.value}"
        return f"{subject}: {self.message}"


class InvalidOption(HeatlensError):
    """A value is wrong or a field is missing."""

    code = "request.invalid"

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__("; ".join(map(str, mistakes)))
        self.mistakes = mistakes


class ModelUnavailable(HeatlensError):
    """The model is not loaded, or its engine is broken; health gives the reason; `Retry-After`."""

    code = "model.unavailable"
    retryable = True


class OutOfTime(HeatlensError):
    """The time was over before this image was explained; in a batch only such items fail; `Retry-After`."""

    code = "deadline"
    retryable = True


class OutOfMemory(HeatlensError):
    """The process ran out of memory at this image; the log has it; in a batch only such items fail; `Retry-After`."""

    code = "memory"
    retryable = True

    def __init__(
        self, text: str = "there was not enough memory for this image: try again later, or send fewer or smaller ones"
    ) -> None:
        super().__init__(text)


class GenerationFailed(HeatlensError):
    """The map could not be made; the cause is in the log."""

    code = "generation.failed"


class ModelError(HeatlensError):
    """A model folder is unusable, or cannot be made."""

    code = "model"


class SettingsError(ModelError):
    """An environment variable has an invalid value."""

    code = "model.settings"


class CardError(ModelError):
    """`card.json` is missing, invalid, or does not match the files beside it."""

    code = "model.card"


class EngineError(ModelError):
    """The engine cannot execute the graphs as the settings demand."""

    code = "model.engine"


class ModelFileError(ModelError):
    """A model description (`model.toml`) or its weights cannot be used."""

    code = "model.file"


class CompileError(ModelError):
    """The network cannot be cut or differentiated at the chosen layer."""

    code = "model.compile"


class ParityError(CompileError):
    """The compiled explanation differs from pytorch-grad-cam's: nothing is written."""

    code = "model.parity"


_MEMORY_MESSAGES = (
    "bad_alloc",
    "failed to allocate",
    "cannot allocate memory",
    "out of memory",
    "can't alloc",
    "failed to map",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or one of its causes, is that memory ran out: libraries raise kinds of their own."""
    while error is not None:
        message = str(error).lower()
        if isinstance(error, MemoryError) or any(words in message for words in _MEMORY_MESSAGES):
            return True
        error = error.__cause__
    return False
