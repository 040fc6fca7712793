"""A topic that others write: read exactly once into batches, with nothing written to it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.support import wait_for
from tests.support.commands import run_command
from tests.support.stage_run import collect_to_end, collecting
from tests.support.topic_run import (
    OthersTopic,
    await_batches,
    rejects_of,
    sealed_ns,
    sealed_rows,
    topic_pipeline,
    topic_run,
    write_pipeline,
)
from tidemill.collector import collector as collector_module
from tidemill.errors import BootstrapError, LogLost, SourceError, TopicError
from tidemill.guessing.topic_notation import TopicAccess
from tidemill.kafka.client import end_offsets
from tidemill.process.initiation import initiate_topic
from tidemill.process.topic_preview import preview_topic
from tidemill.run.catalog import CollectorProgress
from tidemill.run.folder import Run
from tidemill.run.progress.status import status
from tidemill.run.stage import Stage


@pytest.mark.parametrize("partitions", [1, 8])
def test_what_is_there_is_sealed_once(kafka: str, tmp_path: Path, partitions: int) -> None:
    """A run until now seals every message that was there at its start, once and in the order of its partition."""
    topic = OthersTopic(kafka, partitions)
    topic.write(range(1050), partitions)
    run = topic_run(tmp_path / "run", topic, until="now")
    collect_to_end(run)
    assert sorted(sealed_ns(run)) == list(range(1050))
    for partition in range(partitions):
        mine = [n for n in sealed_ns(run) if n % partitions == partition]
        assert mine == sorted(mine)
    assert [batch.rows for batch in run.catalog.batches()] == [100] * 10 + [50]


def test_a_run_without_an_end_reads_on(kafka: str, tmp_path: Path) -> None:
    """Rows that are written before, during and between the starts of a run are each sealed once; the status says how
    many messages are still to be read."""
    topic = OthersTopic(kafka)
    topic.write(range(150))
    run = topic_run(tmp_path / "run", topic)
    with collecting(run) as stage:
        await_batches(run, 1)
        topic.write(range(150, 250))
        await_batches(run, 2)
        wait_for(lambda: progress_of(stage).lag == {"0": 0}, "no message to be behind")
    topic.write(range(250, 300))
    with collecting(run):
        await_batches(run, 3)
    assert sealed_ns(run) == list(range(300))
    assert status(run).rows.source is None


def test_nothing_is_written_and_no_group_is_joined(kafka: str, tmp_path: Path) -> None:
    """A run leaves the topic's end where it was, other consumers' groups as they were, and makes none of its own."""
    topic = OthersTopic(kafka, 2)
    topic.write(range(100), 2)
    theirs = f"theirs-{uuid.uuid4().hex}"
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": theirs})
    consumer.subscribe([topic.name])
    wait_for(lambda: consumer.assignment() or consumer.poll(0.1), "the other consumer")
    assert topic.groups() == {theirs}
    ends = end_offsets(topic.admin, topic.topic)
    run = topic_run(tmp_path / "run", topic, until="now")
    collect_to_end(run)
    assert len(sealed_ns(run)) == 100
    assert topic.groups(run.id) == {theirs}
    assert end_offsets(topic.admin, topic.topic) == ends
    assert consumer.assignment()
    consumer.close()


def test_a_resumed_run_ends_where_it_was_to_end(kafka: str, tmp_path: Path) -> None:
    """The end is recorded once: what is written after the first start is not read by the second."""
    topic = OthersTopic(kafka)
    topic.write(range(150))
    run = topic_run(tmp_path / "run", topic, until="now")
    with collecting(run), pytest.MonkeyPatch.context() as patch:
        patch.setattr(collector_module.Collector, "over", False)
        await_batches(run, 1)
    topic.write(range(150, 300))
    collect_to_end(topic_run(tmp_path / "run", topic, until="now"))
    assert sealed_ns(run) == list(range(150))


def test_from_and_until_a_time(kafka: str, tmp_path: Path) -> None:
    """Both bounds may be times: of the messages' own timestamps, the first included, the last not."""
    topic = OthersTopic(kafka)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for n in range(100):
        topic.put({"n": n}, stamp=int((start + timedelta(hours=n)).timestamp() * 1000))
    topic.flush()
    run = topic_run(tmp_path / "run", topic, from_="2026-01-02T00:00:00Z", until="2026-01-03T01:00:00+01:00")
    collect_to_end(run)
    assert sealed_ns(run) == list(range(24, 48))


def test_only_what_comes_later(kafka: str, tmp_path: Path) -> None:
    """From "latest" nothing is read that was there at the first start, even if that sealed nothing."""
    topic = OthersTopic(kafka)
    topic.write(range(50))
    run = topic_run(tmp_path / "run", topic, from_="latest", batches={"rows": 10})
    with collecting(run):
        wait_for(run.catalog.topic_partitions, "the recorded beginning")
    topic.write(range(50, 60))
    with collecting(run):
        await_batches(run, 1)
    assert sealed_ns(run) == list(range(50, 60))


def test_what_can_not_be_read_is_refused(kafka: str, tmp_path: Path) -> None:
    """No such topic, an end in the future, nothing between the bounds, and no address: each says the way out."""
    topic = OthersTopic(kafka)
    with pytest.raises(SourceError, match='no message from "earliest" until "now"'):
        collect_to_end(topic_run(tmp_path / "empty", topic, until="now"))
    with pytest.raises(SourceError, match="in the future"):
        collect_to_end(topic_run(tmp_path / "future", topic, until="2999-01-01T00:00:00Z"))
    misspelt = OthersTopic(kafka)
    misspelt.name = f"{topic.name[:-1]}x"
    with pytest.raises(TopicError, match="no topic") as refused:
        collect_to_end(topic_run(tmp_path / "misspelt", misspelt))
    assert topic.name in refused.value.hint
    topic.kafka = ""
    with pytest.raises(BootstrapError, match="address is not given") as without:
        collect_to_end(topic_run(tmp_path / "nowhere", topic))
    assert "--bootstrap-servers" in without.value.hint


def test_keys_tombstones_and_other_schemas(kafka: str, tmp_path: Path) -> None:
    """The key is a column, tombstones and what does not fit are rejects with their offset, a new field is ignored and
    an optional column that is absent is missing; headers don't matter."""
    topic = OthersTopic(kafka)
    topic.put({"n": 1}, key="a1")
    topic.put({"n": 2, "size": 2.5, "new": [1]}, key="a2")
    topic.put(None, key="a1")
    topic.put({"n": "three"}, key="a3")
    topic.put({"n": 4})
    topic.put({"n": 5}, key=b"\xff")
    topic.producer.produce(topic.name, value=b'{"n": 6}', key="a6", headers=[("h", b"x"), ("\u00e9", None)])
    topic.flush()
    columns = {"id": "string", "size": "float?"}
    run = topic_run(tmp_path / "run", topic, until="now", key_column="id", columns=columns)
    collect_to_end(run)
    assert sealed_rows(run) == [
        {"n": 1, "id": "a1", "size": None},
        {"n": 2, "id": "a2", "size": 2.5},
        {"n": 6, "id": "a6", "size": None},
    ]
    assert rejects_of(run) == [
        (0, 2, "a tombstone: the message has no value"),
        (0, 3, "n is 'three', not a whole number of 64 bits"),
        (0, 4, "id is missing"),
        (0, 5, "its key is not UTF-8"),
    ]


def test_transactions_of_others(kafka: str, tmp_path: Path) -> None:
    """Committed rows are sealed and aborted ones are not; a transaction that is open at the recorded end is waited for,
    and the status says so."""
    topic = OthersTopic(kafka)
    writer = Producer({"bootstrap.servers": kafka, "transactional.id": topic.name})
    writer.init_transactions(10)
    for numbers, commit in ((range(10), True), (range(10, 20), False), (range(20, 30), True)):
        writer.begin_transaction()
        for n in numbers:
            writer.produce(topic.name, value=b'{"n": %d}' % n)
        (writer.commit_transaction if commit else writer.abort_transaction)(10)
    writer.begin_transaction()
    writer.produce(topic.name, value=b'{"n": 30}')
    writer.flush(10)
    run = topic_run(tmp_path / "run", topic, until="now")
    with pytest.MonkeyPatch.context() as patch, collecting(run) as stage:
        patch.setattr("tidemill.collector.topic_feed.OPEN_SECONDS", 0.0)
        wait_for(lambda: "open transaction" in (progress_of(stage).waiting or ""), "it to be told")
        assert not run.catalog.ended()
        writer.commit_transaction(10)
        wait_for(run.catalog.ended, "the end")
    assert sealed_ns(run) == [*range(10), *range(20, 31)]


def test_a_run_may_begin_behind_an_open_transaction(kafka: str, tmp_path: Path) -> None:
    """From "latest", where a transaction of others is open, the run waits for its end, and then reads what came after
    the run's start; meanwhile the status says for what it waits, and how many messages follow."""
    topic = OthersTopic(kafka)
    topic.write(range(5))
    writer = Producer({"bootstrap.servers": kafka, "transactional.id": topic.name})
    writer.init_transactions(10)
    writer.begin_transaction()
    writer.produce(topic.name, value=b'{"n": 5}')
    writer.flush(10)
    topic.write([6])
    run = topic_run(tmp_path / "run", topic, from_="latest", batches={"rows": 3})
    with pytest.MonkeyPatch.context() as patch, collecting(run) as stage:
        patch.setattr("tidemill.collector.topic_feed.OPEN_SECONDS", 0.0)
        wait_for(run.catalog.topic_partitions, "the recorded beginning")
        topic.write(range(7, 10))
        wait_for(lambda: "open transaction" in (progress_of(stage).waiting or ""), "it to be told")
        assert progress_of(stage).lag == {"0": 3}
        writer.commit_transaction(10)
        await_batches(run, 1)
    assert sealed_ns(run) == [7, 8, 9]


def test_retention_that_overtakes(kafka: str, tmp_path: Path) -> None:
    """Where retention removed messages before they were sealed, the run stops with the range of each partition; told to
    record that, it goes on, and the gap is in the catalog, the status and the batch."""
    topic = OthersTopic(kafka, 2)
    topic.write(range(200), 2)
    run = topic_run(tmp_path / "run", topic)
    with collecting(run):
        await_batches(run, 2)
    topic.write(range(200, 400), 2)
    topic.expire(0, 150)
    with pytest.raises(LogLost, match="offsets 100 to 149 of partition 0") as stopped:
        collect_to_end(run)
    assert "source.on_gap=record" in stopped.value.hint
    again = topic_run(tmp_path / "run", topic, on_gap="record")
    topic.write(range(400, 450), 2)
    with collecting(again):
        await_batches(again, 4)
    lost = set(range(200, 300, 2))
    assert sorted(sealed_ns(again)) == [n for n in range(450) if n not in lost]
    assert [(gap.partition, gap.first_offset, gap.last_offset, gap.batch) for gap in again.catalog.gaps()] == [
        (0, 100, 149, 3)
    ]
    assert status(again).gaps == tuple(again.catalog.gaps()) == again.catalog.batches()[2].gaps


def test_what_was_sealed_may_expire(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic whose messages expire after they were sealed has no gap, though its last offset is a transaction's
    mark."""
    monkeypatch.setattr(collector_module, "CONFIRM_SECONDS", 0.1)
    topic = OthersTopic(kafka)
    writer = Producer({"bootstrap.servers": kafka, "transactional.id": topic.name})
    writer.init_transactions(10)
    writer.begin_transaction()
    for n in range(100):
        writer.produce(topic.name, value=b'{"n": %d}' % n)
    writer.commit_transaction(10)
    run = topic_run(tmp_path / "run", topic)
    with collecting(run):
        await_batches(run, 1)
        wait_for(lambda: run.catalog.next_offsets() == {0: 101}, "the mark to be passed")
    topic.expire(0, 101)
    topic.write(range(100, 200))
    with collecting(run):
        await_batches(run, 2)
    assert sealed_ns(run) == list(range(200))
    assert run.catalog.gaps() == []


def test_partitions_that_are_added(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions that are added to the topic are read from their first offset on, during the run and between starts,
    and are in the catalog with the batch that was open."""
    monkeypatch.setattr(collector_module, "CONFIRM_SECONDS", 0.1)
    topic = OthersTopic(kafka)
    topic.write(range(50))
    run = topic_run(tmp_path / "run", topic)
    with collecting(run) as stage:
        wait_for(lambda: progress_of(stage).open_rows == 50, "the collector")
        topic.add_partitions(2)
        for n in range(50, 100):
            topic.put({"n": n}, partition=1)
        topic.flush()
        await_batches(run, 1)
    assert since_batches(run) == {0: 1, 1: 1}
    topic.add_partitions(4)
    for n in range(100, 200):
        topic.put({"n": n}, partition=3)
    topic.flush()
    with collecting(run):
        await_batches(run, 2)
    assert sorted(sealed_ns(run)) == list(range(200))
    assert {number: one.since_batch for number, one in run.catalog.topic_partitions().items()} == {
        0: 1,
        1: 1,
        2: 2,
        3: 2,
    }


def since_batches(run: Run) -> dict[int, int]:
    return {number: partition.since_batch for number, partition in run.catalog.topic_partitions().items()}


def test_a_topic_that_is_made_anew_is_refused(kafka: str, tmp_path: Path) -> None:
    """A topic that was deleted, or deleted and created again, is not read on, whatever is in it."""
    topic = OthersTopic(kafka)
    topic.write(range(100))
    run = topic_run(tmp_path / "run", topic)
    with collecting(run):
        await_batches(run, 1)
    topic.admin.delete_topics([topic.name])[topic.name].result(10)
    with pytest.raises(TopicError, match="is gone"):
        collect_to_end(run)
    wait_for(lambda: recreated(topic), "the topic to be created again")
    topic.write(range(200))
    with pytest.raises(TopicError, match="deleted and created again"):
        collect_to_end(run)
    assert sealed_ns(run) == list(range(100))


def recreated(topic: OthersTopic) -> bool:
    try:
        topic.create(1)
    except Exception:  # noqa: BLE001  # Kafka may still be deleting the old one
        return False
    return True


def test_exact_parts_of_a_topic(kafka: str, tmp_path: Path) -> None:
    """Equal parts of a topic with an end are of its rows: tombstones, marks and rejects don't count."""
    topic = OthersTopic(kafka, 2)
    for n in range(100):
        topic.put({"n": n}, partition=n % 2)
        topic.put(None if n % 3 else b"junk", partition=n % 2)
    topic.flush()
    run = topic_run(tmp_path / "run", topic, until="now", batches={"parts": 3})
    collect_to_end(run)
    assert [(batch.rows, batch.cut) for batch in run.catalog.batches()] == [(33, "parts"), (33, "parts"), (34, "parts")]
    assert sorted(sealed_ns(run)) == list(range(100))
    few = topic_run(tmp_path / "few", topic, until="now", batches={"parts": 101})
    with pytest.raises(SourceError, match="100 rows, fewer than the 101 parts"):
        collect_to_end(few)


def test_windows_of_the_rows_own_time(kafka: str, tmp_path: Path) -> None:
    """With a column as the time, windows are of its values: a late row goes into the open batch, and none is lost."""
    topic = OthersTopic(kafka)
    minutes = [0, 1, 4, 5, 3, 9, 10, 2, 11]
    start = datetime(1950, 1, 1, tzinfo=UTC)
    for n, minute in enumerate(minutes):
        topic.put({"n": n, "at": (start + timedelta(minutes=minute)).isoformat()})
    topic.flush()
    columns = {"at": "timestamp"}
    run = topic_run(tmp_path / "run", topic, until="now", timestamp="at", columns=columns, batches={"every": "5m"})
    collect_to_end(run)
    batches = run.catalog.batches()
    assert [batch.rows for batch in batches] == [3, 3, 3]
    assert sealed_ns(run) == list(range(9))
    assert [batch.first_timestamp for batch in batches] == [
        "1950-01-01T00:00:00.000Z",
        "1950-01-01T00:03:00.000Z",
        "1950-01-01T00:02:00.000Z",
    ]


def test_an_idle_topic_is_cut(kafka: str, tmp_path: Path) -> None:
    """A topic that falls silent ends its open batch, though some of its partitions never had a message."""
    topic = OthersTopic(kafka, 3)
    topic.write(range(0, 30, 3), 3)
    run = topic_run(tmp_path / "run", topic, batches={"rows": 1000, "idle": "300ms"})
    with collecting(run):
        await_batches(run, 1)
    assert [(batch.rows, batch.cut) for batch in run.catalog.batches()] == [(10, "idle")]


def test_init_looks_at_a_topic(kafka: str, tmp_path: Path) -> None:
    """The pipeline that ``init`` writes after a look at the first and the last messages passes its check; the topic's
    end stays as it was, and no group is made."""
    topic = OthersTopic(kafka, 3)
    for n in range(6_000):
        topic.put({"n": n, "late": "x"} if n > 5_900 else {"n": n}, key=f"k{n}", partition=n % 3)
    topic.flush()
    initiated = initiate_topic(TopicAccess(topic.name, kafka), out=tmp_path / "orders.toml")
    assert initiated.report.tried["source"].rejects == ()
    assert {column.name: column.type for column in initiated.proposal.columns} == {
        "n": "int",
        "late": "string?",
        "key": "string",
    }
    assert initiated.proposal.cut[:2] == ("rows", 2_000)
    assert sum(end_offsets(topic.admin, topic.topic).values()) == 6_000
    assert topic.groups("tidemill-init") == set()


@pytest.mark.parametrize("unwrap", [None, "debezium"])
def test_a_column_that_no_message_has_is_told(kafka: str, unwrap: str | None) -> None:
    """A check names each declared column that none of the tried messages has, with the name that may be meant."""
    topic = OthersTopic(kafka)
    row = {"n": 1, "client": {"city": "Delft"}, "amount": 2.5}
    topic.put({"op": "c", "after": row} if unwrap else row, key="k")
    topic.put(None)
    topic.flush()
    columns = {"id": "string", "amonut": "float?", "client.city": "string", "size": {"type": "int", "default": 1}}
    loaded = topic_pipeline(topic, columns=columns, key_column="id", **({"unwrap": unwrap} if unwrap else {}))
    notes = {note.path: str(note) for note in preview_topic(loaded, None).notes}
    assert list(notes) == ["source.columns.amonut", "source.columns.size"]
    assert "messages tried of the topic" in notes["source.columns.amonut"]
    assert 'no amonut: every value is missing; did you mean "amount"' in notes["source.columns.amonut"]


def progress_of(stage: Stage) -> CollectorProgress:
    """What the collector reported last."""
    progress = stage._status.progress
    return progress if isinstance(progress, CollectorProgress) else CollectorProgress()


@pytest.mark.nightly
def test_a_compacted_topic(kafka: str, tmp_path: Path) -> None:
    """Compaction leaves offsets without messages: they are no gap, and every message that is left is sealed once."""
    topic = OthersTopic(
        kafka,
        cleanup_policy="compact",
        max_compaction_lag_ms="100",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.01",
    )
    for n in range(300):
        topic.put({"n": n}, key=str(n % 10))
    topic.flush()
    wait_for(lambda: compacted(topic), "Kafka to compact the topic", 120)
    run = topic_run(tmp_path / "run", topic, until="now")
    collect_to_end(run)
    numbers = [n for n in sealed_ns(run) if n != 300]  # the others were written to wait for it
    assert set(range(290, 300)) <= set(numbers)
    assert len(numbers) == len(set(numbers)) < 300
    assert run.catalog.gaps() == []


def compacted(topic: OthersTopic) -> bool:
    """Whether fewer messages are left than were written. A further message closes the segment that is written."""
    topic.put({"n": 300}, key="last")
    topic.flush()
    consumer = Consumer({"bootstrap.servers": topic.kafka, "group.id": topic.name, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic.name, 0, 0)])
    left = 0
    while (message := consumer.poll(10)) is not None and message.error() is None:
        left += 1
    consumer.close()
    return left < 250


@pytest.mark.nightly
def test_the_commands_of_the_readme(kafka: str, tmp_path: Path) -> None:
    """Three commands make generations of a topic: check tries its messages, up trains, status says what is left."""
    topic = OthersTopic(kafka, 2)
    topic.write(range(100), 2)
    file = write_pipeline(tmp_path / "orders.toml", topic, 'until = "now"')
    checked = run_command("check", file)
    assert "first 100 messages: all fit" in checked.stdout
    options = ("--run-dir", tmp_path / "run")
    up = run_command("up", file, *options, "--port", "0", "--no-console", "--exit-when-trained")
    assert up.returncode == 0, up.stderr
    assert "the only generation" in up.stdout
    status_now = run_command("status", file, *options)
    assert "still to be read: no message" in status_now.stdout
    again = run_command("up", file, *options, "--port", "0", "--no-console", "--exit-when-trained", "--fresh")
    assert again.returncode == 0, again.stderr
    assert sum(end_offsets(topic.admin, topic.topic).values()) == 100
