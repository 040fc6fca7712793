"""Runs whose stream stays open: their topics, what these take, and what a backup and a new start make of them."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from tests.support import wait_for
from tests.support.open_stream import (
    IN_TIME,
    open_pipeline,
    open_stream,
    row_request,
    row_writer,
    sealed_numbers,
)
from tests.support.serving_run import api_of
from tests.support.source_run import topic_with
from tests.support.stage_run import collecting
from tidemill.errors import RowsRefused
from tidemill.kafka.client import (
    KafkaConnection,
    await_topic,
    connect_admin,
    delete_topic,
    describe_topic,
    make_topic,
    requests_topic,
)
from tidemill.kafka.intake import Outcome, RowMessage
from tidemill.kafka.transactions import transactional_producer
from tidemill.process.backup import back_up
from tidemill.process.restore import restore
from tidemill.process.start_over import delete_run_topics
from tidemill.producer import row_log
from tidemill.producer.row_writer import RowWriter
from tidemill.run.catalog import FILE_NAME
from tidemill.run.folder import Run, join_run
from tidemill.run.progress.status import status

LIMIT = 3000


@contextmanager
def ready(run: Run, kafka: str) -> Iterator[RowWriter]:
    """A writer that takes rows."""
    with row_writer(run, kafka) as writer:
        wait_for(lambda: writer.hindrance is None, "the writer")
        yield writer


def write(writer: RowWriter, run: Run, *numbers: int, key: str | None = None) -> Outcome:
    return writer.accept(row_request(run, *numbers, key=key)).result(IN_TIME)


def row_of_size(number: int, size: int) -> dict[str, object]:
    """A row whose value has that size and can't be compressed."""
    note = base64.b64encode(os.urandom(size)).decode()
    row = {"n": number, "note": note}
    return row | {"note": note[: size - len(orjson.dumps(row | {"note": ""}))]}


def test_a_row_that_the_topic_does_not_take_is_rejected(kafka: str, tmp_path: Path) -> None:
    """It is told with its size and the limit, and counted; the others of its request are written, up to the largest one
    that the topic takes. Where no row fits, nothing is written."""
    run = open_stream(tmp_path, kafka, topic=topic_with(kafka, max_message_bytes=str(LIMIT)), rows=2)
    with ready(run, kafka) as writer, api_of(run, intake=writer) as client:
        sizes = range(LIMIT, 0, -1)
        largest = next(size for size in sizes if writer.objection(RowMessage(0, b"1", bytes(size))) is None)
        rows = [row_of_size(1, largest), row_of_size(2, largest + 1), {"n": 3}, {"n": "x"}]
        answer = client.post("/rows", json=rows).json()
        assert (answer["accepted"], [row["row"] for row in answer["rejected"]]) == (2, [2, 4])
        assert answer["rejected"][0]["reason"].startswith(
            "its message has 3,001 bytes, and the topic takes 3,000: raise"
        )
        lines = b"\n".join(map(orjson.dumps, rows[1::-1]))
        as_lines = client.post("/rows?strict=true", content=lines, headers={"content-type": "application/x-ndjson"})
        assert (as_lines.status_code, "row 1: its message has" in as_lines.text) == (422, True)
        alone = client.post("/rows", json=rows[1])
        assert (alone.status_code, alone.json()["error"]["code"]) == (422, "rows-unfit")
        assert (writer.counts.rows, writer.counts.rejected) == (2, 4)
        assert "tidemill_posted_rejected_total 4.0" in client.get("/metrics").text
        with collecting(run, kafka):
            wait_for(run.catalog.batches, "a batch")
    assert (sealed_numbers(run), status(run).rows.posted_rejected) == ([1, 3], 4)
    run.close()


def test_a_topic_of_keys_that_was_made_anew_is_told(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the topic of answered requests was deleted and created again, rows are refused, and the reason says how to
    go on. A topic whose id no crash let the run record is removed with the run."""
    monkeypatch.setattr(row_log, "CONFIRM_SECONDS", 0.0)
    run, admin = open_stream(tmp_path, kafka), connect_admin(KafkaConnection(kafka))
    name = requests_topic(run.pipeline.topic, run.id)
    with ready(run, kafka) as writer:
        write(writer, run, 1, key="a")
        topic = describe_topic(admin, name)
        assert topic
        delete_topic(admin, topic)
        wait_for(lambda: describe_topic(admin, name) is None, "the deletion")
        make_topic(admin, name, 1)
        await_topic(admin, name)
        doubtful = writer.accept(row_request(run, 2))
        wait_for(lambda: writer.hindrance is not None, "the refusal")
        with pytest.raises(RowsRefused, match=r"was deleted and created again.*`tidemill forget-keys open`"):
            write(writer, run, 3)
        run.catalog.save_requests_topic(None, created=False)
        assert doubtful.result(IN_TIME).accepted == 1
        assert not write(writer, run, 1, key="a").repeated
    run.catalog.save_requests_topic(None, created=True)
    delete_run_topics(run.folder / FILE_NAME, KafkaConnection(kafka))
    wait_for(lambda: describe_topic(admin, name) is None, "the deletion with the run")
    run.close()


def test_an_output_to_a_topic_named_rows(kafka: str, tmp_path: Path) -> None:
    """Its producer has another name than that of the rows by HTTP, so that neither shuts the other out."""
    run = open_stream(tmp_path, kafka)
    with ready(run, kafka) as writer:
        output = transactional_producer(KafkaConnection(kafka), f"{run.id}-rows", LIMIT)
        output.init_transactions(IN_TIME)
        output.begin_transaction()
        output.produce(run.pipeline.topic, b"{}", partition=0)
        assert write(writer, run, 1).accepted == 1
        output.commit_transaction(IN_TIME)
    run.close()


def test_a_restored_run_takes_rows_once(kafka: str, tmp_path: Path) -> None:
    """A run that was backed up with rows in no batch goes on where it is restored: each row is in a batch once, also
    those that follow, and a request that was answered before is not written again. Started over, it keeps the
    original's topics, which the original removes."""
    run = open_stream(tmp_path / "run", kafka, rows=4)
    with ready(run, kafka) as writer:
        write(writer, run, 1, key="a")
        with collecting(run, kafka):
            write(writer, run, 2, 3, 4, 5)
            wait_for(run.catalog.batches, "a batch")
    back_up(run, tmp_path / "saved")
    restore(tmp_path / "saved", tmp_path / "again")
    again = join_run(open_pipeline(rows=4, topic=run.pipeline.topic), tmp_path / "again")
    with ready(again, kafka) as writer, collecting(again, kafka):
        assert write(writer, again, 1, key="a").repeated
        write(writer, again, 6, 7, 8)
        wait_for(lambda: len(again.catalog.batches()) == 2, "a batch of the restored run")
    assert sorted(sealed_numbers(again)) == list(range(1, 9))
    admin, names = (
        connect_admin(KafkaConnection(kafka)),
        [run.pipeline.topic, requests_topic(run.pipeline.topic, run.id)],
    )
    delete_run_topics(again.folder / FILE_NAME, KafkaConnection(kafka))
    assert all(describe_topic(admin, name) for name in names)
    delete_run_topics(run.folder / FILE_NAME, KafkaConnection(kafka))
    wait_for(lambda: not any(describe_topic(admin, name) for name in names), "the deletion")
    run.close()
    again.close()
