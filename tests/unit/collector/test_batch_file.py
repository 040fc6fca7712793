"""A batch's file depends on its rows alone, and no error in writing it is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.memory_log import one_column
from tidemill.collector import batch_file
from tidemill.collector.batch_file import Draft
from tidemill.run.files import temporary
from tidemill.run.folder import Run, open_run

SCHEMA = pa.schema([("n", pa.int64())])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = open_run(one_column(), tmp_path_factory.mktemp("drafts") / "run")
    yield run
    run.close()


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_file, "ROW_GROUP", 4)


def rows_of(numbers: list[int]) -> pa.Table:
    return pa.table({"n": numbers}, SCHEMA)


def written(run: Run, portions: list[list[int]]) -> bytes:
    """The bytes of the file of a batch that gets these rows in these portions."""
    draft = Draft(run, 1, SCHEMA)
    for portion in portions:
        draft.add(rows_of(portion))
    draft.close()
    content = temporary(run.batches / "batch-00001.parquet").read_bytes()
    draft.discard()
    return content


@given(st.lists(st.lists(st.integers(0, 99), max_size=11), max_size=6))
def test_the_same_rows_give_the_same_bytes(run: Run, portions: list[list[int]]) -> None:
    """Rows in many portions give the file that they give all at once."""
    assert written(run, portions) == written(run, [[number for portion in portions for number in portion]])


@pytest.mark.parametrize("rows", [4, 40])
def test_an_error_while_rows_are_written_is_raised(tmp_path: Path, rows: int) -> None:
    """Rows that can't be written end in an error before the file is closed, whether or not more rows follow."""
    run = open_run(one_column(), tmp_path / "run")
    shutil.rmtree(run.batches)
    draft = Draft(run, 1, SCHEMA)
    with pytest.raises(FileNotFoundError):  # noqa: PT012 - the call that raises it depends on the number of rows
        for number in range(rows):
            draft.add(rows_of([number]))
        draft.close()
    run.batches.mkdir()
    draft.discard()
    assert list(run.batches.iterdir()) == []
    run.close()
