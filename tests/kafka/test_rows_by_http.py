"""Rows by HTTP through a real Kafka: each request whole or not at all, each row in one batch, whatever dies."""

from __future__ import annotations

from pathlib import Path

from tests.support import wait_for
from tests.support.open_stream import IN_TIME, collecting, open_stream, row_request, row_writer, sealed_numbers
from tidemill.producer.row_writer import RowWriter


def ready(writer: RowWriter) -> None:
    """Wait until the writer takes rows."""
    wait_for(lambda: writer.hindrance is None, "the writer")


def test_rows_of_file_and_requests_get_into_batches(kafka: str, tmp_path: Path) -> None:
    """The file's rows and those of requests are in sealed batches, each once, and the answer has their offsets."""
    (tmp_path / "data.csv").write_text("n,note\n" + "".join(f"{n},x\n" for n in range(5)))
    run = open_stream(tmp_path / "run", kafka, tmp_path / "data.csv")
    with row_writer(run, kafka) as writer, collecting(run, kafka):
        ready(writer)
        first = writer.accept(row_request(run, 5, 6, key="a"))
        second = writer.accept(row_request(run, 7, 8, 9))
        assert first.result(IN_TIME).accepted == 2
        (ends,) = second.result(IN_TIME).offsets.values()
        assert ends[1] - ends[0] == 2
        wait_for(run.catalog.batches, "a batch")
    assert sorted(sealed_numbers(run)) == list(range(10))
