"""Error classes of HTTP requests and of calls about staged batches.

HeatlensError
├── InputError                    in `heatlens.errors`
│   └── BadBase64
├── LimitError                    in `heatlens.errors`
│   ├── BodyTooLarge
│   └── AnswerTooLarge
├── InvalidOption                 in `heatlens.errors`
│   └── InvalidRequest            in `heatlens_web.problems`, which adds the place of each mistake
├── RequestError                  the request around the images
│   ├── MalformedBody
│   ├── BodyTooSlow
│   ├── ClientDisconnected
│   ├── HostNotAllowed
│   └── TooManyFiles
├── UnsupportedContentType
├── NotAcceptable
├── DecoderUnavailable
├── MissingApiKey
├── UnknownPrincipal
├── ModelNotFound
├── BatchNotFound
├── IdempotencyKeyReused
└── BatchConflict                 a staged batch's state forbids the call
    ├── BatchClosed
    ├── BatchFull
    ├── BatchUnfinished
    └── NothingToRetry

`STATUSES` in `heatlens_web.problems` assigns the HTTP status of each.
"""

from heatlens.errors import HeatlensError, InputError, LimitError


class BadBase64(InputError):
    """An image in JSON, or a part of a form that says so, is not base64."""

    code = "input.bad_base64"


class DecoderUnavailable(HeatlensError):
    """A process that decodes images cannot be started now; in a batch only such items fail; `Retry-After`."""

    code = "server.decoder"
    retryable = True

    def __init__(
        self, text: str = "the server cannot start a process to decode this image now: try again later"
    ) -> None:
        super().__init__(text)


class BodyTooLarge(LimitError):
    """The request's body has more bytes than its limit."""

    code = "limit.body_bytes"


class AnswerTooLarge(LimitError):
    """The response is over the deployment's limit and there is no bucket for it; the detail names the ways out."""

    code = "limit.answer_bytes"


class RequestError(HeatlensError):
    """The body of the request is wrong."""

    code = "request"


class MalformedBody(RequestError):
    """The body is not what its content type says."""

    code = "request.malformed"


class BodyTooSlow(RequestError):
    """The client did not send the body within the server's time limit; the connection is closed."""

    code = "request.body_too_slow"


class ClientDisconnected(RequestError):
    """The client disconnected while it waited for the response, which it cannot read; its queued images are dropped."""

    code = "request.disconnected"


class HostNotAllowed(RequestError):
    """The `Host` header names a host that is not in `HEATLENS_ALLOWED_HOSTS`."""

    code = "request.host"


class TooManyFiles(RequestError):
    """More files than a request, a declaring call or a batch may have."""

    code = "request.too_many_files"


class UnsupportedContentType(HeatlensError):
    """The request's content type is neither multipart, JSON nor an image, or it is compressed by other than gzip."""

    code = "request.unsupported_content_type"


class NotAcceptable(HeatlensError):
    """The `Accept` header names no type in which the endpoint can answer."""

    code = "request.not_acceptable"


class MissingApiKey(HeatlensError):
    """The plain server needs an API key (`HEATLENS_API_KEYS`), and the request has none that it knows."""

    code = "principal.api_key"


class UnknownPrincipal(HeatlensError):
    """The gateway's authorizer names no principal that a batch could belong to."""

    code = "principal.unknown"


class ModelNotFound(HeatlensError):
    """The address names an unknown model."""

    code = "model.not_found"


class BatchNotFound(HeatlensError):
    """There is no such batch, or it belongs to another principal."""

    code = "batch.not_found"


class IdempotencyKeyReused(HeatlensError):
    """The `Idempotency-Key` was sent before with another body: send a new key with every new request."""

    code = "idempotency.key_reused"


class BatchConflict(HeatlensError):
    """The staged batch is in a state that does not allow this."""

    code = "batch"


class BatchClosed(BatchConflict):
    """The batch accepts no more files."""

    code = "batch.closed"


class BatchFull(BatchConflict):
    """More files than the batch expects; none of them was declared."""

    code = "batch.full"


class BatchUnfinished(BatchConflict):
    """Only a finished batch can be retried."""

    code = "batch.unfinished"


class NothingToRetry(BatchConflict):
    """Every file of the batch succeeded."""

    code = "batch.nothing_to_retry"
