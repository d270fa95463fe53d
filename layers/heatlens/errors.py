"""Every error Heatlens raises on purpose, with the status and code a client sees: any stage -> `HeatlensError`.

HeatlensError
├── InputError (400)              the bytes of one image
│   ├── EmptyFile
│   ├── UnsupportedImage
│   ├── UnreadableImage
│   └── BadBase64
├── RequestError (400)            the request around the images
│   ├── MalformedBody
│   └── TooManyFiles
├── LimitError (413)
│   ├── FileTooLarge
│   ├── ImageTooLarge
│   ├── BodyTooLarge
│   ├── RequestImagesTooLarge
│   ├── TooManyTargets
│   ├── TooManyPasses
│   └── AnswerTooLarge
├── UnsupportedContentType (415)
├── InvalidOption (422)
├── UnknownPrincipal (403)
├── BatchNotFound (404)
├── BatchConflict (409)           a staged batch's state forbids it
│   ├── BatchClosed
│   ├── BatchFull
│   ├── BatchUnfinished
│   └── NothingToRetry
├── ModelNotFound (404)
├── ModelUnavailable (503)
├── StagingUnavailable (503)
├── Busy (503)
├── Stopping (503)
├── OutOfTime (504)
├── GenerationFailed (500)
└── ModelError                    a model folder or its making; never raised while answering a client
    ├── SettingsError
    ├── CardError
    ├── EngineError
    ├── ModelFileError
    └── CompileError
        └── ParityError

The message of an error is safe to send: it names what is wrong, where, and what to do, and never a path of the
server, a traceback or another library's words. Those go to the log, as the error's `__cause__`.
"""

from typing import ClassVar


class HeatlensError(Exception):
    """Anything unforeseen; the cause is in the log.

    Base of the tree: `code` is stable, `status` and `title` are the HTTP answer's; the first sentence of a class is
    what the documentation says of it. What is `passing` is worth a retry, and its answer says when.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    passing: bool = False

    @property
    def detail(self) -> str:
        """The sentence for the client."""
        return str(self)


class InputError(HeatlensError):
    """One image cannot be used; in a batch only its item fails."""

    status = 400
    code = "input"
    title = "Unusable image"


class EmptyFile(InputError):
    """The file has no bytes."""

    code = "input.empty"


class UnsupportedImage(InputError):
    """The bytes are no image of a supported type, or DICOM compressed in a way that is not read."""

    code = "input.unsupported"


class UnreadableImage(InputError):
    """The image is truncated or damaged, is DICOM without one, or has values that are no finite numbers."""

    code = "input.unreadable"


class BadBase64(InputError):
    """An image within JSON is not base64."""

    code = "input.bad_base64"


class RequestError(HeatlensError):
    """The request cannot be taken apart into images."""

    status = 400
    code = "request"
    title = "Bad request"


class MalformedBody(RequestError):
    """The body is not what its content type says."""

    code = "request.malformed"


class TooManyFiles(RequestError):
    """More files than a request, a declaring call or a batch may have."""

    code = "request.too_many_files"


class LimitError(HeatlensError):
    """Something is larger than the door it came through allows."""

    status = 413
    code = "limit"
    title = "Too large"


class FileTooLarge(LimitError):
    """A file has more bytes than its limit; in a batch only its item fails."""

    code = "limit.file_bytes"


class ImageTooLarge(LimitError):
    """An image is over its limit, and not decoded, or too long for the `format`; in a batch only its item fails."""

    code = "limit.image_pixels"


class BodyTooLarge(LimitError):
    """The request's body has more bytes than its limit."""

    code = "limit.body_bytes"


class RequestImagesTooLarge(LimitError):
    """The images of one request have more pixels together than their limit."""

    code = "limit.request_pixels"


class TooManyTargets(LimitError):
    """More classes are to be explained for each image than the door explains."""

    code = "limit.targets"


class TooManyPasses(LimitError):
    """The method would run the network more often than the door does for one request."""

    code = "limit.passes"


class AnswerTooLarge(LimitError):
    """The answer has more bytes than the door carries, and there is no bucket for it; the detail names the ways out."""

    code = "limit.answer_bytes"


class UnsupportedContentType(HeatlensError):
    """The request's content type is neither multipart, JSON nor an image."""

    status = 415
    code = "request.unsupported_content_type"
    title = "Unsupported content type"


class InvalidOption(HeatlensError):
    """A value is wrong or a field is missing; `errors` lists each, as FastAPI clients read them."""

    status = 422
    code = "request.invalid"
    title = "Invalid request"

    def __init__(self, detail: str, errors: list[dict[str, object]]) -> None:
        super().__init__(detail)
        self.errors = errors


class UnknownPrincipal(HeatlensError):
    """The gateway's authoriser names nobody whom a batch could belong to."""

    status = 403
    code = "principal.unknown"
    title = "Unknown principal"


class BatchNotFound(HeatlensError):
    """There is no such batch, or it is somebody else's, which is not told apart."""

    status = 404
    code = "batch.not_found"
    title = "No such batch"


class BatchConflict(HeatlensError):
    """The staged batch is in a state that does not allow this."""

    status = 409
    code = "batch"
    title = "Conflict with the batch's state"


class BatchClosed(BatchConflict):
    """The batch takes no more files."""

    code = "batch.closed"


class BatchFull(BatchConflict):
    """More files than the batch expects; none of them was declared."""

    code = "batch.full"


class BatchUnfinished(BatchConflict):
    """A batch without an end is to be repeated."""

    code = "batch.unfinished"


class NothingToRetry(BatchConflict):
    """Every file of the batch succeeded."""

    code = "batch.nothing_to_retry"


class ModelNotFound(HeatlensError):
    """The address names a model that is not here."""

    status = 404
    code = "model.not_found"
    title = "No such model"


class ModelUnavailable(HeatlensError):
    """The model is not loaded, or its engine is broken; health says why, `Retry-After` when to ask again."""

    status = 503
    code = "model.unavailable"
    title = "Model not loaded"
    passing = True


class StagingUnavailable(HeatlensError):
    """Bucket or table do not answer: `Retry-After` says when to ask again; without it, none is set up here."""

    status = 503
    code = "staging.unavailable"
    title = "Staged batches unavailable"

    def __init__(self, detail: str, *, passing: bool) -> None:
        super().__init__(detail)
        self.passing = passing


class Busy(HeatlensError):
    """The SageMaker endpoint holds as many requests, or bytes of them, as it may; `Retry-After`."""

    status = 503
    code = "server.busy"
    title = "Too many requests at once"
    passing = True


class Stopping(HeatlensError):
    """The SageMaker endpoint is shutting down: it finishes its requests and accepts no new ones; `Retry-After`."""

    status = 503
    code = "server.stopping"
    title = "Shutting down"
    passing = True


class OutOfTime(HeatlensError):
    """The request's time was over before this image's turn; in a batch only such items fail."""

    status = 504
    code = "deadline"
    title = "Out of time"
    passing = True


class GenerationFailed(HeatlensError):
    """The map could not be made; the cause is in the log."""

    status = 500
    code = "generation.failed"
    title = "Generation failed"


class ModelError(HeatlensError):
    """A model folder is unusable, or cannot be made."""

    code = "model"
    title = "Unusable model"


class SettingsError(ModelError):
    """An environment variable has a value that cannot be."""

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
