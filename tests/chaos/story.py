"""Records what a campaign did and which faults it injected, for the reader; nothing that the product returned."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

FILE_BYTES = 20_000  # the campaign's limit per file


@dataclass(slots=True)
class Event:
    """One message about an upload, by the identity that it names; `handled` when a worker was done with it."""

    key: str
    identity: str
    handled: bool = False


@dataclass(slots=True)
class Upload:
    """Bytes that were put somewhere; times are seconds since 1970."""

    key: str
    version: str
    etag: str
    at: float
    visible: float
    events: list[Event] = field(default_factory=list)
    early: int = 0  # reads before it could be seen


@dataclass(slots=True)
class Asked:
    """A call that ends a batch: when it was made first and when it was answered, and how many uploads were before."""

    first: float
    uploads_first: int
    answered: float = inf
    uploads: int = 0

    @property
    def told(self) -> bool:
        return self.answered < inf


@dataclass(slots=True)
class Story:
    """One world's."""

    uploads: list[Upload] = field(default_factory=list)
    endings: dict[str, dict[str, Asked]] = field(default_factory=dict)  # by batch, then close, cancel or purge
    exhausted: set[str] = field(default_factory=set)  # keys whose last delivery met a fault
    failed: set[str] = field(default_factory=set)  # keys whose computing died at an endpoint
    dead: list[str] = field(default_factory=list)  # messages that died though nothing happened to their last worker
    quiet: float = inf  # since when troubles have been over and all is done that workers and sweeper can do

    def of(self, key: str) -> Iterator[Upload]:
        """List the uploads under a key, in order."""
        return (upload for upload in self.uploads if upload.key == key)

    def named(self, key: str, version: str | None) -> Upload | None:
        """Find an upload by its version, or the last of a key."""
        return next(
            (each for each in reversed(self.uploads) if each.key == key and version in (None, each.version)), None
        )

    def asked(self, batch: str, ending: str) -> Asked | None:
        """Return whether and when a client requested this end of a batch."""
        return self.endings.get(batch, {}).get(ending)
