"""Kafka leaves its log to the operating system, so a power cut takes the end of it: here it is cut off in each way."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import Producer

from tests.kafka.test_rows_by_http import in_log
from tests.support import wait_for
from tests.support.failpoint_run import (
    StagePipeline,
    assert_files_match_catalog,
    described,
    sealed_user_ids,
    smart_home_stages,
    user_ids,
)
from tests.support.open_stream import IN_TIME, open_stream, row_request, row_writer, sealed_numbers
from tests.support.source_run import (
    CHUNK,
    collect,
    lines,
    produce,
    run_of_source,
    sealed_ids,
    stop,
    topic_of,
    write_source,
)
from tests.support.source_run import ROWS as SOURCE_ROWS
from tests.support.stage_run import collect_to_end, collecting
from tidemill.collector.collector import run_collector
from tidemill.errors import LogLost, SourceError
from tidemill.kafka.client import KafkaConnection, connect_admin, end_offsets, requests_topic
from tidemill.kafka.embedded.broker import EmbeddedBroker
from tidemill.kafka.messages import partition_of
from tidemill.kafka.transactions import open_before
from tidemill.producer import log as log_module
from tidemill.producer.log_reader import committed
from tidemill.producer.producer import run_producer
from tidemill.producer.row_writer import RowWriter
from tidemill.run import failpoints
from tidemill.run.failpoints import Crash, parse
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage

pytestmark = pytest.mark.kafka

HEAD = struct.Struct(">qiibIhi")  # offset, length, leader's epoch, magic, checksum, attributes, last offset's distance
LENGTH_AND_OFFSET = 12
CONTROL = 0x20
ROWS, BATCH, TRANSACTION_ROWS = 1350, 375, 250
ALL_BATCHES = [375, 375, 375, 225]
AT_ONCE = 4


class RecordBatch(NamedTuple):
    """A batch of records as it stands in a file of Kafka's log; ``control``: it is the end of a transaction."""

    start: int
    end: int
    last_offset: int
    control: bool


def record_batches(path: Path) -> list[RecordBatch]:
    content, place, found = path.read_bytes(), 0, []
    while place + HEAD.size <= len(content):
        offset, length, *_, attributes, distance = HEAD.unpack_from(content, place)
        end = place + LENGTH_AND_OFFSET + length
        found.append(RecordBatch(place, end, offset + distance, bool(attributes & CONTROL)))
        place = end
    return found


def file_of(data: Path, topic: str, partition: int = 0) -> Path:
    return data / f"{topic}-{partition}" / "00000000000000000000.log"


# --- where it is cut: the size that is left of the file, told what is in it and the first offset that is not sealed ---

Cut = Callable[[list[RecordBatch], int], int]


def in_the_last_batch(batches: list[RecordBatch], sealed: int) -> int:
    return batches[-1].end - 7


def before_the_last_end(batches: list[RecordBatch], sealed: int) -> int:
    return [batch for batch in batches if batch.control][-1].start


def in_the_last_committed(batches: list[RecordBatch], sealed: int) -> int:
    return before_the_last_end(batches, sealed) - 7


def before_the_last_two_ends(batches: list[RecordBatch], sealed: int) -> int:
    return [batch for batch in batches if batch.control][-2].start


def before_the_end_of_what_is_sealed(batches: list[RecordBatch], sealed: int) -> int:
    return next(batch for batch in batches if batch.control and batch.last_offset >= sealed).start


def before_what_is_sealed(batches: list[RecordBatch], sealed: int) -> int:
    return next(batch for batch in batches if batch.last_offset >= sealed - 1).start


def everything(batches: list[RecordBatch], sealed: int) -> int:
    return 0


@dataclass(frozen=True)
class LogCut:
    """A run whose producer dies at ``crash``, with so many batches sealed, and whose log is cut then."""

    cut: Cut
    crash: str = "rows.committing=error:4"
    sealed: int = 1
    zeros: int = 0
    partitions: int = 1
    refused: str | None = None


CASES: Mapping[str, LogCut] = {
    "a transaction that was open": LogCut(in_the_last_batch),
    "the end of one, while another was open": LogCut(before_the_last_end),
    "the end of one": LogCut(before_the_last_end, crash="rows.committed=error:3"),
    "the end of one, with zeros in its place": LogCut(before_the_last_end, crash="rows.committed=error:3", zeros=9000),
    "rows of one": LogCut(in_the_last_committed, crash="rows.committed=error:3"),
    "all of it, nothing sealed": LogCut(everything, sealed=0),
    "the stream's end": LogCut(before_the_last_end, crash=""),
    "one of two partitions": LogCut(in_the_last_committed, crash="rows.committed=error:3", partitions=2),
    "the end of one in one of two partitions": LogCut(
        before_the_last_end, crash="rows.committed=error:3", partitions=2
    ),
    "the stream's end in one of two partitions": LogCut(before_the_last_two_ends, crash="", partitions=2),
    "the end of what is sealed": LogCut(
        before_the_end_of_what_is_sealed, crash="rows.committed=error:3", refused="no longer has them as committed"
    ),
    "what is sealed": LogCut(before_what_is_sealed, refused="ends at offset .* but rows up to .* are sealed"),
}
ROWS_TOPIC, REQUESTS_TOPIC = "its rows", "its requests"
POSTED: Mapping[str, tuple[str, ...]] = {
    "the end of its last transaction": (ROWS_TOPIC, REQUESTS_TOPIC),
    "that in its rows": (ROWS_TOPIC,),
    "that in its requests": (REQUESTS_TOPIC,),
    "that before one that is open": (ROWS_TOPIC, REQUESTS_TOPIC),
}
"""Of which topics of an open stream the end of the last transaction is cut."""
IN_TWO = [2, next(n for n in range(20, 99) if partition_of(str(n).encode(), 2) != partition_of(b"2", 2))]
"""Rows of one request in two partitions."""
FORGOTTEN = "no more than Kafka's record of its transaction"
FILLED = "what is sealed, with another writer's messages in its place"
FILLED_OF_TWO = "what is sealed in one of two partitions, with another writer's messages in its place"


class Streamed:
    """A run of a case, as far as it came before the power was cut."""

    def __init__(self, case: LogCut, folder: Path, bootstrap: str) -> None:
        self.case = case
        pipeline = pipeline_of(case)
        self.run = open_run(pipeline.loaded, folder)
        self._until(case.crash, lambda: run_producer(Stage(self.run, "producer"), bootstrap))
        if case.sealed:
            self._until(
                f"batch.sealed=error:{case.sealed}", lambda: run_collector(Stage(self.run, "collector"), bootstrap)
            )
        self.sealed = described(self.run.catalog.batches())

    def cut(self, data: Path) -> None:
        path = file_of(data, self.run.pipeline.topic)
        size = self.case.cut(record_batches(path), self.run.catalog.next_offsets().get(0, 0))
        os.truncate(path, size)
        os.truncate(path, size + self.case.zeros)

    @staticmethod
    def _until(faults: str, work: Callable[[], None]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(failpoints, "_armed", parse(faults))
            try:
                work()
            except Crash:
                return
        assert not faults, f"not passed: {faults}"


def pipeline_of(case: LogCut) -> StagePipeline:
    # A rate that is never reached, so that each row is sent by itself and a transaction has an exact number of them.
    settings = (f"source.rows={ROWS}", f"batches={{rows={BATCH}}}", f"stream.partitions={case.partitions}")
    return smart_home_stages("stream.rate=1_000_000", *settings)


@dataclass(frozen=True)
class AfterCut:
    broker: EmbeddedBroker
    streamed: Mapping[str, Streamed]
    posted: Mapping[str, Run]
    in_two: Run
    rowless: Run

    def cut_again(self, damage: Callable[[Path], None]) -> None:
        os.kill(self.broker.pid, signal.SIGKILL)
        self.broker.stop()
        damage(self.broker.folder / "data")
        self.broker.start()


@pytest.fixture(scope="module")
def cut_off(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AfterCut]:
    """Kafka after a power cut that took of each run's log what its case says."""
    folder = tmp_path_factory.mktemp("cut")
    with pytest.MonkeyPatch.context() as patch, EmbeddedBroker(folder / "broker", folder / "log", jars=jars) as broker:
        patch.setattr(log_module, "COMMIT_ROWS", TRANSACTION_ROWS)
        patch.setattr(log_module, "COMMIT_SECONDS", 30.0)
        patch.setattr(log_module, "OPEN_SECONDS", 2.0)
        cases = {**CASES, FORGOTTEN: LogCut(before_the_last_end, crash="rows.committed=error:3")}
        cases |= {FILLED: LogCut(before_what_is_sealed), FILLED_OF_TWO: LogCut(before_what_is_sealed, partitions=2)}
        streamed = {
            name: Streamed(case, folder / f"run-{number}", broker.bootstrap)
            for number, (name, case) in enumerate(cases.items())
        }
        posted = {name: posted_run(folder / f"posted-{n}", broker.bootstrap) for n, name in enumerate(POSTED)}
        before_open = posted["that before one that is open"]
        with RowWriter(Stage(before_open, "api"), broker.bootstrap)._opened() as log:
            log.begin()
            with closing(row_request(before_open, 13).messages) as rows:
                log.flush([log.send(rows)])
        in_two = posted_run(folder / "in-two", broker.bootstrap, IN_TWO, partitions=2)
        rowless = posted_run(folder / "rowless", broker.bootstrap)
        after_cut = AfterCut(broker, streamed, posted, in_two, rowless)

        def cut_all(data: Path) -> None:
            for one in streamed.values():
                one.cut(data)
            for name, run in posted.items():
                topic = run.pipeline.topic
                topics = {ROWS_TOPIC: topic, REQUESTS_TOPIC: requests_topic(topic, run.id)}
                for which in POSTED[name]:
                    cut_out_the_last_end(file_of(data, topics[which]))
            cut_out_the_last_end(file_of(data, in_two.pipeline.topic, partition=1))
            rows = file_of(data, rowless.pipeline.topic)
            os.truncate(rows, in_the_last_committed(record_batches(rows), 0))

        after_cut.cut_again(cut_all)
        yield after_cut
        for run in (*(one.run for one in streamed.values()), *posted.values(), in_two, rowless):
            run.close()


def posted_run(folder: Path, bootstrap: str, last: Sequence[int] = (2,), partitions: int = 1) -> Run:
    """A run with rows by HTTP, 1 and those of the ``last`` transaction, which Kafka has completed."""
    run = open_stream(folder, bootstrap, partitions=partitions)
    with row_writer(run, bootstrap) as writer:
        write_rows(writer, run, 1)
        write_rows(writer, run, *last)
    with row_writer(run, bootstrap) as writer:  # opens once Kafka has written all of the last commit
        wait_for(lambda: writer.hindrance is None, "the writer")
    return run


def cut_out_the_last_end(path: Path) -> None:
    """Remove the end of the last transaction that has one, and nothing behind it."""
    end = [batch for batch in record_batches(path) if batch.control][-1]
    content = path.read_bytes()
    path.write_bytes(content[: end.start] + content[end.end :])


def write_rows(writer: RowWriter, run: Run, *numbers: int) -> None:
    """Write the rows in one request, whose key is the first number."""
    wait_for(lambda: writer.hindrance is None, "the writer")
    request = row_request(run, *numbers, key=str(numbers[0]))
    assert writer.accept(request).result(IN_TIME).accepted == len(numbers)


@pytest.fixture(scope="module")
def gone_on(cut_off: AfterCut) -> Mapping[str, Future[None]]:
    """How each run that goes on did so, several at a time."""

    def go_on(run: Run) -> None:
        run_producer(Stage(run, "producer"), cut_off.broker.bootstrap)
        collect_to_end(run, cut_off.broker.bootstrap)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        goes_on = {name: cut_off.streamed[name].run for name, case in CASES.items() if not case.refused}
        return {name: pool.submit(go_on, run) for name, run in goes_on.items()}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.refused])
def test_rows_that_no_batch_holds_are_sent_again(
    cut_off: AfterCut, gone_on: Mapping[str, Future[None]], name: str
) -> None:
    """Whatever the power cut took of what is not sealed is sent again, once, in its order: the batches hold the source,
    and those that were sealed are as they were."""
    gone_on[name].result()
    streamed, wanted = cut_off.streamed[name], user_ids()[:ROWS]
    run, partitions = streamed.run, streamed.case.partitions
    ids = sealed_user_ids(run)
    assert sorted(ids) == sorted(wanted)
    for partition in range(partitions):
        ours = [number for number in wanted if partition_of(str(number).encode(), partitions) == partition]
        assert [number for number in ids if number in set(ours)] == ours
    assert [batch.rows for batch in run.catalog.batches()] == ALL_BATCHES
    assert described(run.catalog.batches())[: len(streamed.sealed)] == streamed.sealed
    assert_files_match_catalog(run)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.refused])
def test_a_log_that_ends_before_what_is_sealed_is_refused(cut_off: AfterCut, name: str) -> None:
    """A log that lost rows which are sealed is not filled anew, and what is sealed stays."""
    streamed = cut_off.streamed[name]
    assert streamed.case.refused
    with pytest.raises(LogLost, match=streamed.case.refused) as caught:
        run_producer(Stage(streamed.run, "producer"), cut_off.broker.bootstrap)
    assert "--fresh" in caught.value.hint
    assert_sealed_as_before(streamed)


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        (FILLED, b"{}", r"375 rows of .* are sealed, but it says that 250 were sent"),
        (FILLED_OF_TWO, None, r"\d+ rows of partition 0 of .* are sealed, but it holds \d+"),
    ],
)
def test_a_log_that_was_filled_by_another_writer_is_refused(
    cut_off: AfterCut, name: str, value: bytes | None, match: str
) -> None:
    """Where another writer's messages stand in the place of rows that are sealed, these are not sent again."""
    streamed = cut_off.streamed[name]
    topic, bootstrap = streamed.run.pipeline.topic, cut_off.broker.bootstrap
    end = streamed.run.catalog.next_offsets()[0]
    stranger = Producer({"bootstrap.servers": bootstrap})
    for _ in range(end + 5):
        stranger.produce(topic, value, partition=0)
    assert stranger.flush(30) == 0
    with pytest.raises(LogLost, match=match):
        run_producer(Stage(streamed.run, "producer"), bootstrap)
    assert_sealed_as_before(streamed)


def await_committed(run: Run, bootstrap: str) -> None:
    """Wait until Kafka, which confirms a commit before, has completed the last transaction."""
    admin, topic = connect_admin(KafkaConnection(bootstrap)), topic_of(run, bootstrap)
    assert not open_before(admin, topic, end_offsets(admin, topic), IN_TIME)


def test_a_source_that_was_edited_since_is_not_sent_again(cut_off: AfterCut, tmp_path: Path) -> None:
    """What one of two partitions lost is sent again only once the source is seen to be the one it came from: a row of
    it that was edited is refused before it is in the log."""
    path, bootstrap = tmp_path / "data.csv", cut_off.broker.bootstrap
    write_source(path, lines())
    run = run_of_source(tmp_path / "run", path, "stream.partitions=2")
    produce(run, bootstrap, 3 * CHUNK, stop)

    def cut(data: Path) -> None:
        file = file_of(data, run.pipeline.topic)
        os.truncate(file, in_the_last_committed(record_batches(file), 0))

    await_committed(run, bootstrap)
    cut_off.cut_again(cut)
    lost = max(number for number in range(3 * CHUNK) if partition_of(str(number).encode(), 2) == 0)
    edited = lines()
    edited[lost] = edited[lost][:-3] + "xx\n"
    write_source(path, edited)
    with pytest.raises(SourceError, match="is not the source that this run started with"):
        produce(run, bootstrap)
    write_source(path, lines())
    produce(run, bootstrap)
    collect(run, bootstrap)
    assert sorted(sealed_ids(run)) == list(range(SOURCE_ROWS))
    run.close()


@pytest.mark.parametrize("name", POSTED)
def test_rows_by_http_that_were_answered_are_not_lost(cut_off: AfterCut, name: str) -> None:
    """Kafka had confirmed the commit of a transaction of which the end is gone, also where the next API aborts one that
    followed: its rows are in a batch, once, its key is known with the place where they are, and rows that follow are in
    the batch too."""
    run, bootstrap = cut_off.posted[name], cut_off.broker.bootstrap
    with row_writer(run, bootstrap) as writer:
        for number in range(3, 12):
            write_rows(writer, run, number)
        again = writer.accept(row_request(run, 2, key="2")).result(IN_TIME)
    assert again.repeated
    topic = topic_of(run, bootstrap)
    place = again.offsets[0][0]
    with closing(committed(KafkaConnection(bootstrap), topic, {0: place}, {0: place + 1})) as messages:
        assert [(message.offset(), message.key()) for message in messages] == [(place, b"2")]
    run_producer(Stage(run, "producer"), bootstrap)
    with collecting(run, bootstrap):
        wait_for(run.catalog.batches, "a batch")
    assert sealed_numbers(run) == list(range(1, 11))


def test_rows_by_http_in_two_partitions_stay_together(cut_off: AfterCut) -> None:
    """Where the end of their transaction is gone in one of the two, all rows of the request are there, once."""
    run, bootstrap = cut_off.in_two, cut_off.broker.bootstrap
    with row_writer(run, bootstrap) as writer:
        write_rows(writer, run, 3)
        assert writer.accept(row_request(run, *IN_TWO, key="2")).result(IN_TIME).repeated
    assert in_log(run, bootstrap) == sorted([1, 3, *IN_TWO])


def test_rows_by_http_that_a_power_cut_took_hold_up_no_others(
    cut_off: AfterCut, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows that Kafka had not written to the disk are gone, which is logged, and others are written."""
    run, bootstrap = cut_off.rowless, cut_off.broker.bootstrap
    with row_writer(run, bootstrap) as writer:
        write_rows(writer, run, 3)
    assert in_log(run, bootstrap) == [1, 3]
    assert "they can't be restored" in caplog.text


def test_a_transaction_that_kafka_has_lost_is_told(cut_off: AfterCut) -> None:
    """Where Kafka's own record of a transaction is gone too, nobody can read behind it: the run says so, rather than to
    wait for ever. This comes last, as it takes the record of all."""
    cut_off.cut_again(lambda data: os.truncate(file_of(data, "__transaction_state"), 0))
    streamed = cut_off.streamed[FORGOTTEN]
    with pytest.raises(LogLost, match=r"a transaction in partition 0 of .* does not end"):
        run_producer(Stage(streamed.run, "producer"), cut_off.broker.bootstrap)
    assert_sealed_as_before(streamed)


def assert_sealed_as_before(streamed: Streamed) -> None:
    run = streamed.run
    assert described(run.catalog.batches()) == streamed.sealed
    assert {path.name for path in run.batches.glob("batch-*")} == {
        Path(batch["path"]).name for batch in streamed.sealed
    }
