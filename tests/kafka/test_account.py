"""The stream is closed only where the rows that were read are those that were sent; a row's time may be any."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support import assert_account_closed
from tests.support.source_run import collect, lines, produce, run_of_source, sealed_ids, stop, topic_of, write_source
from tidemill.collector import merge
from tidemill.collector.collector import run_collector
from tidemill.errors import AccountError
from tidemill.kafka.client import KafkaConnection
from tidemill.run.catalog import StageProgress
from tidemill.run.catalog.account import Account, total_digest
from tidemill.run.files import sha256
from tidemill.run.folder import Run
from tidemill.run.marks import END, POSITION, Marks
from tidemill.run.stage import Stage

ROWS = 3_000
FIRST_CHUNK = 1_000
IMPOSSIBLE = [2**62, 253_402_300_800_000]
STEP_MS = 3_000


def row(number: int) -> bytes:
    """A row of the source, as it goes over the wire."""
    return orjson.dumps({"id": number, "name": f"{number:060d}"})


def write(kafka: str, run: Run, values: Sequence[bytes], partition: int = 0, stamp: int = 0) -> None:
    """Write to the run's topic as any client may."""
    producer = Producer(KafkaConnection(kafka).settings())
    for value in values:
        producer.produce(run.pipeline.topic, value=value, partition=partition, timestamp=stamp)
    assert producer.flush(20) == 0


def half_sent(kafka: str, folder: Path, *assignments: str) -> Run:
    """A run whose producer was stopped when some of its rows were in the topic."""
    path = folder / "data.csv"
    write_source(path, lines(rows=ROWS * 10))
    run = run_of_source(folder / "run", path, *assignments)
    produce(run, kafka, FIRST_CHUNK, stop)
    return run


def as_said(run: Run, kafka: str, rows: Sequence[Sequence[tuple[int, int]]]) -> None:
    """Write a whole stream as the run's own producer does, with the timestamps that are given: each partition's rows,
    a number and milliseconds each, then its end marker."""
    produce(run, kafka, 0, stop)
    recorded = run.catalog.run()
    assert recorded
    topic = topic_of(run, kafka)
    marks = Marks(run.id, recorded.secret, topic.id)
    producer = Producer(KafkaConnection(kafka).settings())
    total = sum(map(len, rows))
    for partition, ours in enumerate(rows):
        account = Account().add([row(number) for number, _ in ours])
        for number, stamp in ours:
            producer.produce(topic.name, value=row(number), partition=partition, timestamp=stamp, on_delivery=delivered)
            producer.poll(0)
        end = marks.write(END, partition, rows=total, sent=account.rows, digest=account.digest)
        producer.produce(topic.name, partition=partition, headers=[end], on_delivery=delivered)
    assert producer.flush(30) == 0


def delivered(error: object, message: object) -> None:
    assert error is None, error


def make_topic(kafka: str, run: Run, config: dict[str, str]) -> None:
    """Make the run's topic as its user may have, before the run begins."""
    stream = run.pipeline.stream
    topic = NewTopic(stream.topic, stream.partitions, config=config)
    admin = AdminClient(KafkaConnection(kafka).settings())  # which is to live until it has answered
    admin.create_topics([topic])[topic.topic].result(20)


def new_topic_run(folder: Path, *assignments: str) -> Run:
    """A run whose producer never sends a row of its own: its source is not read before it is asked to stop."""
    path = folder / "data.csv"
    write_source(path, lines(rows=10))
    return run_of_source(folder / "run", path, *assignments)


@pytest.mark.parametrize("partitions", [1, 2])
def test_rows_of_another_writer_are_found_at_the_end(kafka: str, tmp_path: Path, partitions: int) -> None:
    """Rows that fit, but were not sent by the run, end it with an error that says how many; the stream is not recorded
    as ended, and what is sealed stays as it is, however often the collector starts."""
    run = half_sent(kafka, tmp_path, f"stream.partitions={partitions}", "batches={rows=7000}")
    write(kafka, run, [row(7), row(8)], partition=partitions - 1)
    produce(run, kafka)
    for _ in range(2):
        with pytest.raises(AccountError, match=rf"rows were sent to partition {partitions - 1} of .*, but [\d,]+ were"):
            collect(run, kafka)
        batches = run.catalog.batches()
        assert run.catalog.ended() == {}
        assert batches
        assert [sha256(run.folder / batch.path) for batch in batches] == [batch.sha256 for batch in batches]
    run.close()


def test_a_position_copied_from_what_was_aborted_is_found(kafka: str, tmp_path: Path) -> None:
    """A producer that a genuine mark of rows which never arrived makes skip them can't close the stream in silence."""
    run = half_sent(kafka, tmp_path)
    recorded, topic = run.catalog.run(), topic_of(run, kafka)
    assert recorded
    skipped = Account().add([row(number) for number in range(20_000)])
    header = Marks(run.id, recorded.secret, topic.id).write(POSITION, 0, rows=20_000, digest=total_digest({0: skipped}))
    producer = Producer(KafkaConnection(kafka).settings())
    producer.produce(topic.name, value=b"no row", partition=0, headers=[header])
    assert producer.flush(20) == 0
    produce(run, kafka)
    with pytest.raises(AccountError, match="30,000 rows were sent"):
        collect(run, kafka)
    assert run.catalog.ended() == {}
    run.close()


@pytest.mark.parametrize("partitions", [1, 2])
def test_a_row_at_an_impossible_time_is_a_reject(kafka: str, tmp_path: Path, partitions: int) -> None:
    """A row that fits, at a time that no calendar has, is kept in the rejects with its reason, and stops nobody; the
    account counts it, as it was sent."""
    run = new_topic_run(tmp_path, f"stream.partitions={partitions}", "batches={rows=4}")
    make_topic(kafka, run, {"message.timestamp.after.max.ms": str(2**63 - 1)})  # Kafka before 4 takes any time
    now = 1_700_000_000_000
    odd = [(100 + n, stamp) for n, stamp in enumerate(IMPOSSIBLE)]
    rows = [[(n, now + n) for n in range(5)] + odd + [(n, now + n) for n in range(5, 9)]]
    rows += [[(n, now + n) for n in range(20, 23)]] * (partitions - 1)
    as_said(run, kafka, rows)
    collect(run, kafka)
    assert sorted(sealed_ids(run)) == [*range(9), *range(20, 20 + 3 * (partitions - 1))]
    rejects = [orjson.loads(line) for path in run.rejects.glob("*-*.jsonl") for line in path.read_bytes().splitlines()]
    assert len(rejects) == len(IMPOSSIBLE)
    assert all("Kafka timestamp" in reject["reason"] for reject in rejects)
    assert_account_closed(run.catalog)
    run.close()


def test_a_clock_that_steps_back(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two partitions whose clock steps back by 3 s, with far more rows in that time than may wait, are sealed to the
    end in the very order of a collector that was never stopped, though this one is stopped after each batch."""
    monkeypatch.setattr(merge, "CROWDED", 200)
    now, step = 1_700_000_000_000, STEP_MS
    times = [*range(0, 4_000, 2), *range(4_000 - step, 8_000, 2)]
    rows = [[(2 * n + partition, now + at) for n, at in enumerate(times)] for partition in (0, 1)]
    runs = []
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
        run = new_topic_run(tmp_path / name, "stream.partitions=2", "batches={rows=900}")
        as_said(run, kafka, rows)
        runs.append(run)
    collect(runs[0], kafka)
    while not runs[1].catalog.ended():
        collect_one_batch(runs[1], kafka)
    whole, stopped = (sealed_ids(run) for run in runs)
    assert whole == stopped
    assert sorted(whole) == list(range(2 * len(times)))
    for run in runs:
        assert_account_closed(run.catalog)
        run.close()


def collect_one_batch(run: Run, kafka: str) -> None:
    """A collector that is asked to stop as soon as it has sealed a batch, or has reached the end."""
    stage, before = Stage(run, "collector"), run.catalog.totals()["batches"]
    original = stage.report

    def report(progress: StageProgress) -> None:
        original(progress)
        if run.catalog.totals()["batches"] > before:
            stage.stop.set()

    stage.report = report  # type: ignore[method-assign]  # a stop at a moment that can be named
    run_collector(stage, kafka)


def test_a_topic_with_the_brokers_own_times(kafka: str, tmp_path: Path) -> None:
    """A topic whose times are the broker's (LogAppendTime) is sealed like any other, in order, whatever the writer's
    clock says."""
    run = new_topic_run(tmp_path, "batches={rows=4}")
    make_topic(kafka, run, {"message.timestamp.type": "LogAppendTime"})
    began = int(time.time() * 1000)
    as_said(run, kafka, [[(n, 2**62 - n) for n in range(10)]])
    collect(run, kafka)
    assert sealed_ids(run) == list(range(10))
    assert all((batch.first_timestamp or "") >= iso_year(began) for batch in run.catalog.batches())
    assert_account_closed(run.catalog)
    run.close()


def iso_year(milliseconds: int) -> str:
    return time.strftime("%Y", time.gmtime(milliseconds / 1000))
