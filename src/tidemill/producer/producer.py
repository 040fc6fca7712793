"""The producer: every row of the source into the topic, once, in order, and a marker at the end.

The log is its own checkpoint. Rows go out in transactions; the last row of each transaction, in each partition,
carries in a header how many rows of the source are in the log by then, and a digest of them. A producer that starts
reads the newest such mark, skips so many rows, sees that they have that digest, and goes on. Opening a transactional
producer fences off an earlier one that is still alive somewhere and aborts what it had not committed, so no row can
come in late or twice. What a power cut took of the log is sent again first, as far as no batch holds it.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace

import orjson
import pyarrow as pa
from confluent_kafka.admin import AdminClient

from tidemill.errors import LogLost, SourceError, TidemillError, TopicError
from tidemill.kafka.client import (
    Topic,
    await_topic,
    connect_cluster,
    describe_topic,
    end_offsets,
    make_topic,
    verify_topic,
)
from tidemill.kafka.codec import encode
from tidemill.pipeline import Stream
from tidemill.producer.log import COMMIT_SECONDS, START_OVER, Log, Messages
from tidemill.producer.log_reader import Checkpoint
from tidemill.run.catalog import ProducerProgress, SourceState
from tidemill.run.catalog.account import Account
from tidemill.run.failpoints import failpoint
from tidemill.run.rejects import Rejects
from tidemill.run.stage import Stage
from tidemill.sources.source import SourceReader, open_source, open_tables
from tidemill.sources.tables import read_tables


def run_producer(stage: Stage, bootstrap: str | None) -> None:
    """The stage's work: read the side tables, claim the topic, find the place in it, send the rest, mark the end."""
    run = stage.run
    reader = open_source(run.pipeline, run.base)
    read_tables(stage, open_tables(run.pipeline, run.base))
    state = plan(stage, reader)
    if stage.stop.is_set() or (state.complete and run.catalog.ended()):
        return
    connection, admin = connect_cluster(run, bootstrap, stage.stop)
    state, topic = topic_of(stage, admin, state)
    with Log(connection, topic, run.marks(topic.id)) as log:
        ends = end_offsets(admin, topic)
        log.claim(empty=not any(ends.values()))
        run.catalog.save_source(state)
        sealed, accounts = run.catalog.next_offsets(), run.catalog.accounts()
        refuse_lost(topic, sealed, ends)
        log.end_forgotten()
        log.refuse_unreadable(sealed)
        checkpoint = log.checkpoint(sealed)
        refuse_fewer(topic, accounts or {}, checkpoint)
        if state.complete and checkpoint.ended:
            return  # a power cut may have taken the end of a log that was complete
        stage.report(ProducerProgress(state.rows, checkpoint.rows))
        stage.ready()
        rows, rejected = send(stage, reader, log, checkpoint, checkpoint.rows if checkpoint.ended else state.rows)
        if stage.stop.is_set():
            return
        reader.refuse_changed()
        if not checkpoint.ended:
            log.end()
    done = replace(state, rows=rows, rejected=rejected, produced=rows, complete=True)
    run.catalog.save_source(done)


def plan(stage: Stage, reader: SourceReader) -> SourceState:
    """What is known of the source before it is sent: counted through where ``parts`` need to know its length.

    Raises:
        SourceError: another source than the run began with, none of its rows fits, or it has fewer rows than parts.
    """
    catalog, parts = stage.run.catalog, stage.run.pipeline.batches.parts
    state = catalog.source()
    if state is None:
        state = SourceState(reader.fingerprint)
        catalog.save_source(state)
    reader.refuse_other(state.fingerprint)
    if parts is not None and state.rows is None:
        rows = count_rows(stage, reader)
        if stage.stop.is_set():
            return state  # what was counted so far is not the number of rows
        if rows < parts:
            raise SourceError(
                f"{reader.title} has {rows} rows, fewer than the {parts} parts it is to be cut into",
                f"lower batches.parts to {rows} or less (--set batches.parts={rows})",
            )
        state = replace(state, rows=rows)
        catalog.save_source(state)
    return state


def count_rows(stage: Stage, reader: SourceReader) -> int:
    """How many rows fit.

    Raises:
        SourceError: none does.
    """
    rows, example = 0, ""
    for chunk in reader.chunks():
        rows += len(chunk.rows)
        example = example or chunk.first_reason()
        stage.report(ProducerProgress(rows))
        if stage.stop.is_set():
            break
    if not rows and not stage.stop.is_set():
        raise reader.nothing_fits(example)
    return rows


def topic_of(stage: Stage, admin: AdminClient, state: SourceState) -> tuple[SourceState, Topic]:
    """The run's topic, made if need be; whether it is the run's to use is seen by :meth:`Log.claim`.

    Raises:
        TopicError: it is not the one that the run began with, or has other partitions.
    """
    catalog, spec = stage.run.catalog, stage.run.pipeline.stream
    if state.topic_id is not None:
        return state, verify_topic(admin, spec.topic, state.topic_id)
    topic = describe_topic(admin, spec.topic)
    if topic is None:
        state = replace(state, topic_created=True)
        catalog.save_source(state)  # said before it is so: a crash in between must not leave the topic unowned
        try:
            state = replace(state, topic_created=make_topic(admin, spec.topic, spec.partitions))
        except TidemillError:
            catalog.save_source(replace(state, topic_created=False))  # one that is there later may be anybody's
            raise
        failpoint("topic.created")
        topic = await_topic(admin, spec.topic)
    if topic.partitions != spec.partitions:
        raise TopicError(
            f"the topic {topic.name} has {topic.partitions} partitions, the pipeline says {spec.partitions}",
            f"--set stream.partitions={topic.partitions}, or another --set stream.topic=NAME",
        )
    return replace(state, topic_id=topic.id), topic


def refuse_lost(topic: Topic, sealed: dict[int, int], ends: dict[int, int]) -> None:
    """Raise where the log ends before what is sealed: it lost rows, to a power cut perhaps, and would be filled anew at
    offsets that the catalog takes for sealed ones."""
    for partition, offset in sealed.items():
        if ends.get(partition, 0) < offset:
            raise LogLost(
                f"partition {partition} of {topic.name} ends at offset {ends.get(partition, 0)}, but rows up to "
                f"{offset - 1} are sealed",
                START_OVER,
            )


def refuse_fewer(topic: Topic, accounts: Mapping[int, Account], checkpoint: Checkpoint) -> None:
    """Raise where more rows are sealed than the log says were sent, which would be sent, and sealed, again."""
    sealed = sum(account.rows for account in accounts.values())
    if sealed > checkpoint.rows:
        raise LogLost(
            f"{sealed:,} rows of {topic.name} are sealed, but it says that {checkpoint.rows:,} were sent: "
            "it lost its end, or rows of another writer are among them",
            START_OVER,
        )
    for partition, account in accounts.items():
        if partition in checkpoint.held and account.rows > checkpoint.held[partition].rows:
            raise LogLost(
                f"{account.rows:,} rows of partition {partition} of {topic.name} are sealed, but it holds "
                f"{checkpoint.held[partition].rows:,}: it lost its end, and another writer's messages are in its place",
                START_OVER,
            )


def other_length(reader: SourceReader, rows: str, before: int) -> SourceError:
    return SourceError(
        f"{reader.title} has {rows} rows, but had {before}", "put the old source back, or begin anew with --fresh"
    )


def send(stage: Stage, reader: SourceReader, log: Log, checkpoint: Checkpoint, all_rows: int | None) -> tuple[int, int]:
    """Send the rows after those that the log has; how many rows are in it then, and how many were rejected.

    The source is read from its start each time. What an earlier producer rejected stays until the rows that the log has
    are seen to be those of this source.

    Args:
        all_rows: how many rows the source has; None where that is not known. After the stream's end it is: a row more
            would stand behind the end.

    Raises:
        SourceError: they are not, or it has fewer, or others than ``all_rows``.
    """
    path = stage.run.rejects / "source.jsonl"
    rejects = Rejects(path, live=True, apart=path.with_name(".source.jsonl.next") if checkpoint.rows else None)
    try:
        rows = send_rows(stage, reader, log, checkpoint, all_rows, rejects)
        if stage.stop.is_set():
            return rows, rejects.count
        if rows < (before := max(checkpoint.rows, all_rows or 0)):
            raise other_length(reader, str(rows), before)
        rejects.publish()
    finally:
        rejects.drop_apart()
    return rows, rejects.count


def send_rows(
    stage: Stage, reader: SourceReader, log: Log, checkpoint: Checkpoint, all_rows: int | None, rejects: Rejects
) -> int:
    spec = stage.run.pipeline.stream
    pacer = Pacer(spec, time.monotonic)
    seen, example = 0, ""
    for chunk in reader.chunks():
        rejects.extend([asdict(one) for one in chunk.rejects])
        example = example or chunk.first_reason()
        skipped = min(max(checkpoint.rows - seen, 0), len(chunk.rows))
        seen += len(chunk.rows)
        for part in messages(chunk.rows.slice(0, skipped), spec.key, spec.partitions, together=True):
            log.pass_over(part)
            refuse_other_rows(reader, log, checkpoint)
            if log.position == checkpoint.rows and checkpoint.held and log.accounts != checkpoint.held:
                send_again(stage, reader, log, checkpoint)
        if seen >= checkpoint.rows:
            rejects.show()
        if all_rows is not None and seen > all_rows:
            raise other_length(reader, f"more than {all_rows}", all_rows)
        for part in messages(chunk.rows.slice(skipped), spec.key, spec.partitions, together=pacer.full_speed):
            if not pace(stage, log, pacer):
                break
            log.send(part)
            stage.report(ProducerProgress(all_rows, log.position, rejects.count))
        if stage.stop.is_set():
            break
    log.commit()
    stage.report(ProducerProgress(all_rows, max(log.position, checkpoint.rows), rejects.count))
    if not seen and not stage.stop.is_set():
        raise reader.nothing_fits(example)
    return seen


def send_again(stage: Stage, reader: SourceReader, log: Log, checkpoint: Checkpoint) -> None:
    """Send what a partition has lost of the rows before ``place``, reading the source from its start once more: only
    now is it known to be the one that they came from."""
    spec = stage.run.pipeline.stream
    log.rewind()
    for chunk in reader.chunks():
        first = chunk.rows.slice(0, checkpoint.rows - log.position)
        for part in messages(first, spec.key, spec.partitions, together=True):
            log.restore(part, checkpoint.held)
        if stage.stop.is_set():
            return
        if log.position == checkpoint.rows:
            break
    refuse_other_rows(reader, log, checkpoint)


def refuse_other_rows(reader: SourceReader, log: Log, checkpoint: Checkpoint) -> None:
    """Raise where all rows that the log has were passed over, and are not those."""
    if log.position == checkpoint.rows and checkpoint.digest not in (None, log.digest):
        raise SourceError(
            f"{reader.title} is not the source that this run began with: its first {checkpoint.rows} rows "
            "differ from those in the topic",
            "put the old one back, give another --run-dir, or --fresh to begin anew",
        )


def messages(rows: pa.Table, key: str | None, partitions: int, together: bool) -> Iterator[Messages]:
    """The rows as messages for their partitions: in one list, or each in a list of its own."""
    values = encode(rows)
    keys = [None] * len(values) if key is None else [wire_key(value) for value in rows[key].to_pylist()]
    batch: Messages = [
        {"value": value, "key": one, "partition": partition_of(value if one is None else one, partitions)}
        for value, one in zip(values, keys, strict=True)
    ]
    if together:
        return iter([batch] if batch else [])
    return ([message] for message in batch)


def wire_key(value: object) -> bytes | None:
    """A message's key: a string as it is, anything else as JSON."""
    if value is None:
        return None
    return value.encode() if isinstance(value, str) else orjson.dumps(value, default=str)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a row, from its key (from the whole row where it has none): CRC-32, as librdkafka's
    ``consistent`` partitioner has it."""
    return zlib.crc32(key) % partitions


class Pacer:
    """Says how long to wait before the next row, so that the pauses add up whatever the sending itself takes."""

    def __init__(self, spec: Stream, clock: Callable[[], float]) -> None:
        self._random = random.Random(spec.seed)
        self._clock = clock
        self._due = clock()
        self._least, self._most = (1 / spec.rate, 1 / spec.rate) if spec.rate else spec.pause

    @property
    def full_speed(self) -> bool:
        return self._most == 0

    def wait(self) -> float:
        """Seconds until the next row is due; 0 or less where it is late. Each call is for one row."""
        self._due += self._random.uniform(self._least, self._most)
        return self._due - self._clock()


def pace(stage: Stage, log: Log, pacer: Pacer) -> bool:
    """Wait until the next row is due, committing meanwhile what is due to be seen; False when asked to stop."""
    left = 0.0 if pacer.full_speed else pacer.wait()
    log.commit_if_due()
    while left > 0 and not stage.stop.is_set():
        nap = min(left, COMMIT_SECONDS)
        time.sleep(nap)
        left -= nap
        log.commit_if_due()
    return not stage.stop.is_set()
