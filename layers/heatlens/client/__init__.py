"""The client of the HTTP API: heatmaps, scores and staged batches of a Heatlens server, sync and async."""

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
from heatlens.client.results import HeatmapResult, PredictResult
from heatlens.client.signing import IamAuth
from heatlens.client.sync_client import Client

__all__ = [
    "AccessDenied",
    "ApiError",
    "BatchConflict",
    "CannotSign",
    "Client",
    "ClientError",
    "HeatmapResult",
    "IamAuth",
    "InvalidImage",
    "InvalidRequest",
    "InvalidUrl",
    "LimitExceeded",
    "NoConnection",
    "NotFound",
    "PredictResult",
    "RedirectRefused",
    "ServerError",
    "TransferFailed",
    "Unavailable",
    "UnexpectedAnswer",
]
