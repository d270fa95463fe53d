"""Errors of watching a PACS: of the file of rules, of the PACS as a whole, and of one instance."""

from pydicom.dataset import Dataset

from heatlens.errors import HeatlensError


class BadWatchFile(HeatlensError):
    """The file of settings and rules cannot be used; the message names the file, the rule and the key."""


class CannotWatch(HeatlensError):
    """The queue's folder or a port cannot be used."""


class PacsUnavailable(HeatlensError):
    """The PACS does not answer, or answers nobody now: all instances wait, and none is to blame."""


class PacsFailed(HeatlensError):
    """The PACS failed at one instance; the next attempt may succeed."""

    retryable = True


class PacsRefused(HeatlensError):
    """The PACS refuses one instance, and would refuse it again."""


class AlreadyStored(PacsRefused):
    """The PACS refuses objects because it has them; `answer` lists them."""

    def __init__(self, text: str, answer: Dataset) -> None:
        super().__init__(text)
        self.answer = answer


class InstanceGone(PacsRefused):
    """The PACS no longer has an instance."""
