"""The client of the HTTP API: heatmaps, scores and staged batches of a Heatlens server, sync and async."""

from heatlens.client.async_batch import AsyncStagedBatch
from heatlens.client.async_client import AsyncClient
from heatlens.client.batch_download import Downloaded
from heatlens.client.batch_records import BatchStatus, FileResult
from heatlens.client.batch_steps import Progress
from heatlens.client.connection import InvalidUrl
from heatlens.client.errors import (
    AccessDenied,
    ApiError,
    BatchConflict,
    CannotSign,
    ClientError,
    InvalidImage,
    InvalidRequest,
    LimitExceeded,
    NoConnection,
    NotFound,
    RedirectRefused,
    ServerError,
    TransferFailed,
    Unavailable,
    UnexpectedAnswer,
)
from heatlens.client.results import DicomFile, HeatmapResult, PredictResult
from heatlens.client.signing import IamAuth
from heatlens.client.sync_batch import StagedBatch
from heatlens.client.sync_client import Client

__all__ = [
    "AccessDenied",
    "ApiError",
    "AsyncClient",
    "AsyncStagedBatch",
    "BatchConflict",
    "BatchStatus",
    "CannotSign",
    "Client",
    "ClientError",
    "DicomFile",
    "Downloaded",
    "FileResult",
    "HeatmapResult",
    "IamAuth",
    "InvalidImage",
    "InvalidRequest",
    "InvalidUrl",
    "LimitExceeded",
    "NoConnection",
    "NotFound",
    "PredictResult",
    "Progress",
    "RedirectRefused",
    "ServerError",
    "StagedBatch",
    "TransferFailed",
    "Unavailable",
    "UnexpectedAnswer",
]
