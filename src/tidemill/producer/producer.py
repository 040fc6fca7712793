"""The producer: sends every row of the source to the topic, once and in order, and a marker at the end.

The log is the checkpoint. Rows are sent in transactions. In each partition, a header of a transaction's last row says
how many rows of the source the log has, with a digest of them. A producer that starts reads the newest such mark, skips
that many rows, checks their digest, and continues. Opening a transactional producer fences off an earlier one that is
still alive and aborts what it had not committed, so no row arrives late or twice. Rows that a power cut took from the
log are sent again first, unless a batch holds them.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from confluent_kafka.admin import AdminClient

from tidemill.errors import LogLost, SourceError, TidemillError, TopicError
from tidemill.kafka.client import (
    MOST_BYTES,
    Topic,
    await_topic,
    connect_cluster,
    describe_topic,
    end_offsets,
    make_topic,
    topic_settings,
    verify_topic,
)
from tidemill.kafka.messages import Messages
from tidemill.pipeline import Stream
from tidemill.producer.log import COMMIT_SECONDS, Log
from tidemill.producer.log_reader import START_OVER, Checkpoint, refuse_lost
from tidemill.producer.read_ahead import EncodedChunk, ReadAhead, encoded_chunks
from tidemill.run.catalog import ProducerProgress, SourceState
from tidemill.run.catalog.account import Account
from tidemill.run.failpoints import failpoint
from tidemill.run.progress.status import source_sealed
from tidemill.run.rejects import Rejects
from tidemill.run.stage import Stage
from tidemill.sources.source import SourceReader, open_source, open_tables
from tidemill.sources.tables import read_tables

logger = logging.getLogger(__name__)


def run_producer(stage: Stage, bootstrap: str | None) -> None:
    """Run the stage: read the side tables, claim the topic, find the checkpoint, send the other rows, mark the end."""
    run = stage.run
    reader = open_source(run.pipeline, run.base)
    read_tables(stage, open_tables(run.pipeline, run.base))
    state = plan(stage, reader)
    if stage.stop.is_set() or (state.complete and (run.catalog.ended() or source_sealed(run))):
        return
    connection, admin = connect_cluster(run, bootstrap, stage.stop)
    known = state.topic_id is not None
    state, topic = topic_of(stage, admin, state)
    most_bytes = accepted_bytes(admin, topic)
    with Log(connection, topic, run.marks(topic.id), most_bytes) as log:
        ends = end_offsets(admin, topic)
        if not (known and run.catalog.removed_batches()):  # else the log was cut, and its claim is no longer needed
            log.claim(empty=not any(ends.values()))
        run.catalog.save_source(state)
        sealed, accounts = run.catalog.next_offsets(), run.catalog.accounts()
        refuse_lost(topic, sealed, ends)
        log.end_forgotten()
        log.refuse_unreadable(sealed)
        checkpoint = log.checkpoint(sealed, accounts)
        refuse_fewer(topic, accounts or {}, checkpoint)
        if state.complete and checkpoint.ended:
            return  # it ended before; otherwise a power cut took the end of a complete log
        stage.report(ProducerProgress(state.rows, checkpoint.rows))
        stage.ready()
        rows, rejected = send(stage, reader, log, checkpoint, checkpoint.rows if checkpoint.ended else state.rows)
        if stage.stop.is_set():
            return
        reader.refuse_changed()
        if not checkpoint.ended:
            log.end(stays_open=run.pipeline.source.open)
    done = replace(state, rows=rows, rejected=rejected, produced=rows, complete=True)
    run.catalog.save_source(done)


def plan(stage: Stage, reader: SourceReader) -> SourceState:
    """The state of the source before it is sent. Its rows are counted if ``batches.parts`` needs their number.

    Raises:
        SourceError: it is not the source that the run started with, none of its rows fits, or it has fewer rows than
            parts.
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
            return state  # the count is incomplete
        if rows < parts:
            raise SourceError(
                f"{reader.title} has {rows} rows, fewer than the {parts} parts it is to be cut into",
                f"lower batches.parts to {rows} or less (--set batches.parts={rows})",
            )
        state = replace(state, rows=rows)
        catalog.save_source(state)
    return state


def count_rows(stage: Stage, reader: SourceReader) -> int:
    """The number of rows that fit.

    Raises:
        SourceError: none fits.
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
    """The run's topic, created if needed. :meth:`Log.claim` checks that it belongs to the run.

    Raises:
        TopicError: it is not the topic that the run started with, or has another number of partitions.
    """
    catalog, spec, name = stage.run.catalog, stage.run.pipeline.stream, stage.run.pipeline.topic
    if state.topic_id is not None:
        return state, verify_topic(admin, name, state.topic_id)
    topic = describe_topic(admin, name)
    if topic is None:
        state = replace(state, topic_created=True)
        catalog.save_source(state)  # recorded first: a crash in between must not leave a topic that no run owns
        try:
            state = replace(state, topic_created=make_topic(admin, name, spec.partitions))
        except TidemillError:
            catalog.save_source(replace(state, topic_created=False))  # a topic that appears later may be another's
            raise
        failpoint("topic.created")
        topic = await_topic(admin, name)
    if topic.partitions != spec.partitions:
        raise TopicError(
            f"the topic {topic.name} has {topic.partitions} partitions, the pipeline says {spec.partitions}",
            f"--set stream.partitions={topic.partitions}, or another --set stream.topic=NAME",
        )
    return replace(state, topic_id=topic.id), topic


def accepted_bytes(admin: AdminClient, topic: Topic) -> int:
    """How many bytes a batch of messages may have in the topic, whose settings are the user's.

    Raises:
        TopicError: the topic would lose rows.
    """
    settings = topic_settings(admin, topic.name)
    if settings is None:
        return MOST_BYTES
    if settings.compacted:
        raise TopicError(
            f"the topic {topic.name} is compacted (cleanup.policy), so that Kafka would drop rows with an older key",
            "set cleanup.policy=delete on it, or use another topic (--set stream.topic=NAME)",
        )
    if settings.expiring:
        logger.warning(
            "the topic %s removes messages (%s): rows that are not sealed by then are lost, and the run stops; set "
            "retention.ms=-1 and retention.bytes=-1 on it",
            topic.name,
            ", ".join(settings.expiring),
        )
    return min(settings.max_bytes, MOST_BYTES)


def refuse_fewer(topic: Topic, accounts: Mapping[int, Account], checkpoint: Checkpoint) -> None:
    """Refuse a log with fewer rows than are sealed: the missing ones would be sent and sealed again.

    Raises:
        LogLost: more rows are sealed than the log says were sent.
    """
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
        f"{reader.title} has {rows} rows, but had {before}", "put the old source back, or start over with --fresh"
    )


def send(stage: Stage, reader: SourceReader, log: Log, checkpoint: Checkpoint, all_rows: int | None) -> tuple[int, int]:
    """Send the rows that the log does not have yet. Returns how many rows it then has, and how many were rejected.

    The source is read from its start each time. The rejects of an earlier producer are kept until the rows in the log
    are known to be those of this source.

    Args:
        all_rows: how many rows the source has; None where that is not known. It is known once the stream has ended: no
            row may follow the end marker.

    Raises:
        SourceError: the rows in the log are not this source's, or it has another number of rows than before.
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
    pacer = Pacer(stage.run.pipeline.stream, time.monotonic)
    seen, example = 0, ""
    with read_ahead(stage, reader) as chunks:
        for chunk in chunks:
            rejects.extend([reject.document() for reject in chunk.rejects])
            example = example or chunk.first_reason
            skipped = min(max(checkpoint.rows - seen, 0), len(chunk))
            seen += len(chunk)
            for part in chunk.part(0, skipped):
                log.skip(part)
                refuse_other_rows(reader, log, checkpoint)
                if log.position == checkpoint.rows and checkpoint.held and log.accounts != checkpoint.held:
                    send_again(stage, reader, log, checkpoint)
            if seen >= checkpoint.rows:
                rejects.show()
            if all_rows is not None and seen > all_rows:
                raise other_length(reader, f"more than {all_rows}", all_rows)
            for part in paced_parts(chunk.part(skipped, len(chunk)), pacer):
                if not pace(stage, log, pacer):
                    break
                log.send(part)
                stage.report(ProducerProgress(all_rows, log.position, rejects.count))
            if stage.stop.is_set():
                break
    log.commit()
    stage.report(ProducerProgress(all_rows, max(log.position, checkpoint.rows), rejects.count))
    if reader.parts and not seen and not stage.stop.is_set():
        raise reader.nothing_fits(example)
    return seen


def read_ahead(stage: Stage, reader: SourceReader) -> ReadAhead[EncodedChunk]:
    """The source's chunks from its first row on, read and encoded ahead."""
    spec = stage.run.pipeline.stream
    return ReadAhead(lambda: encoded_chunks(reader, spec), lambda chunk: chunk.value_bytes)


def paced_parts(parts: Iterator[Messages], pacer: Pacer) -> Iterator[Messages]:
    """The parts as they are sent: whole at full speed, else row by row."""
    return parts if pacer.full_speed else (message for part in parts for message in part.each())


def send_again(stage: Stage, reader: SourceReader, log: Log, checkpoint: Checkpoint) -> None:
    """Send the rows before ``checkpoint`` that a partition has lost, reading the source from its start again.

    The digest of the rows in the log has just shown that they came from this source.
    """
    log.rewind()
    with read_ahead(stage, reader) as chunks:
        for chunk in chunks:
            for part in chunk.part(0, checkpoint.rows - log.position):
                log.restore(part, checkpoint.held)
            if stage.stop.is_set():
                return
            if log.position == checkpoint.rows:
                break
    refuse_other_rows(reader, log, checkpoint)


def refuse_other_rows(reader: SourceReader, log: Log, checkpoint: Checkpoint) -> None:
    """Refuse a source whose first rows are not those in the log, once as many rows were skipped as the log has.

    Raises:
        SourceError: their digest differs.
    """
    if log.position == checkpoint.rows and checkpoint.digest not in (None, log.digest):
        raise SourceError(
            f"{reader.title} is not the source that this run started with: its first {checkpoint.rows} rows "
            "differ from those in the topic",
            "put the old one back, give another --run-dir, or --fresh to start over",
        )


class Pacer:
    """Paces the rows: a random pause between them, a rate, or full speed.

    The first row is due after one pause from the first call of :meth:`wait`. From then on the due times add up
    independently of how long the sending takes, so that rows that are late are sent at once.
    """

    def __init__(self, spec: Stream, clock: Callable[[], float]) -> None:
        self._random = random.Random(spec.seed)
        self._clock = clock
        self._due: float | None = None
        self._least, self._most = (1 / spec.rate, 1 / spec.rate) if spec.rate else spec.pause

    @property
    def full_speed(self) -> bool:
        return self._most == 0

    def wait(self) -> float:
        """Seconds until the next row is due; 0 or less where it is late. Each call is for one row."""
        now = self._clock()
        self._due = (now if self._due is None else self._due) + self._random.uniform(self._least, self._most)
        return self._due - now


def pace(stage: Stage, log: Log, pacer: Pacer) -> bool:
    """Wait until the next row is due, and commit meanwhile when that is due. False when asked to stop."""
    left = 0.0 if pacer.full_speed else pacer.wait()
    log.commit_if_due()
    while left > 0 and not stage.stop.is_set():
        nap = min(left, COMMIT_SECONDS)
        time.sleep(nap)
        left -= nap
        log.commit_if_due()
    return not stage.stop.is_set()
