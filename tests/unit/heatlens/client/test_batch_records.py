"""The records of staged batches have the fields of the API's schemas, with the same types."""

from datetime import UTC, datetime
from typing import get_args

import pytest
from pydantic import BaseModel

from heatlens.client import batch_records as records
from heatlens.client.batch_records import BatchStatus
from heatlens_web.schemas import batches as schemas
from tests.support.shapes import shape

NAMES = [
    "BatchLimits",
    "BatchCreated",
    "UploadLink",
    "UploadLinks",
    "MissingLinks",
    "PurgeProgress",
    "BatchStatus",
    "ResultLinks",
    "FileResult",
    "ResultsPage",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_record_has_the_fields_of_the_schema(name: str) -> None:
    assert shape(getattr(records, name)) == shape(getattr(schemas, name))


def test_every_answer_about_batches_has_a_record() -> None:
    answers = {
        each.__name__
        for each in vars(schemas).values()
        if isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == schemas.__name__
    }

    assert set(NAMES) == answers - {"BatchCreate", "FileDeclaration", "FilesDeclaration", "_Answer"}


@pytest.mark.parametrize("name", ["BatchState", "FileState", "Lane"])
def test_states_are_those_of_the_schema(name: str) -> None:
    assert get_args(getattr(records, name)) == get_args(getattr(schemas, name))


def test_a_status_says_whether_it_is_final() -> None:
    now = datetime.now(UTC)
    counts = dict.fromkeys(get_args(records.FileState), 2)
    running = BatchStatus("b", "running", "bulk", 9, 9, counts, None, None, now, now, None)
    ended = BatchStatus("b", "partial", "bulk", 9, 9, counts, None, None, now, now, None)

    assert (running.ended, ended.ended, running.ended_files) == (False, True, 8)
