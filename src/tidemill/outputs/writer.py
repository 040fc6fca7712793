"""Writes the predictions of one output: a transaction has some of them, and how far the rows are written by then."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from types import TracebackType

import numpy as np
from confluent_kafka import KafkaException, Message
from confluent_kafka.admin import AdminClient

from tidemill.collector.collector import CONFIRM_SECONDS, CONFIRM_WITHIN
from tidemill.collector.feed import Feed
from tidemill.collector.open_batch import Decoded
from tidemill.collector.reader import stamp_fault
from tidemill.errors import KafkaAway, StreamFailed
from tidemill.kafka.client import KafkaConnection, Topic, batch_limit, reason
from tidemill.kafka.messages import partition_of
from tidemill.kafka.transactions import (
    CALL_SECONDS,
    PATIENCE_SECONDS,
    open_before,
    transactional_producer,
    until_confirmed,
    until_done,
)
from tidemill.outputs.champions import Champion
from tidemill.outputs.predictions import Indices, OutputRows, predictions
from tidemill.outputs.recovery import Position, mark_of, topic_of
from tidemill.outputs.topics import BATCH, OutputReader, output_feed, output_topic, verify_output
from tidemill.pipeline import Output
from tidemill.run.catalog import Gap
from tidemill.run.failpoints import failpoint
from tidemill.run.folder import Run
from tidemill.run.marks import CLAIM
from tidemill.sources.topic import Patience, impatient

ROWS_AT_ONCE = 10_000
COMMIT_SECONDS = 0.25
COMMIT_ROWS = 50_000  # librdkafka queues at most 100,000 messages
FLUSH_SECONDS = 1.0
KEEP_SECONDS = 3600.0  # Kafka forgets what a silent consumer group has recorded, by default after a week


class OutputWriter:
    """Reads the stream's rows and writes them to one topic, each with its prediction. Opening it fences off any other
    writer of the same output, and aborts what that had not committed."""

    def __init__(
        self,
        run: Run,
        output: Output,
        connection: KafkaConnection,
        admin: AdminClient,
        source: Topic,
        patience: Patience = impatient,
    ) -> None:
        """``patience``: what to do where the schema registry of a topic of others does not answer."""
        self._run = run
        self._patience = patience
        self._output = output
        self._admin = admin
        self._key = run.pipeline.key
        self._state = output_topic(run, admin, output, source.partitions)
        self._marks = run.marks(self._state.topic_id)
        self._reader = OutputReader(connection, source, run, output.topic, ROWS_AT_ONCE)
        self._producer = transactional_producer(
            connection, f"{run.id}-{output.topic}", batch_limit(admin, output.topic)
        )
        self._feed: Feed[Message]
        self._committed: dict[int, Position] = {}
        self._rows: Counter[int] = Counter()  # by partition, as in its position
        self._missed: Counter[int] = Counter()
        self._source_ended: set[int] = set()
        self._begun = False
        self._open = 0  # rows that are sent and not committed
        self._committed_at = self._confirmed_at = time.monotonic()

    def __enter__(self) -> OutputWriter:
        with ExitStack() as opening:
            opening.push(self)
            self._until_done(lambda: self._producer.init_transactions(CALL_SECONDS), "open the topic")
            self._start(self._end_forgotten())
            opening.pop_all()
        return self

    def _end_forgotten(self) -> bool:
        """End a transaction of an earlier writer that Kafka believes ended, but that is still open in a partition or in
        the record of offsets: the next commit would commit it too. It is committed where a part of it is, by a message
        without a value in each of those partitions.

        Returns whether there may have been one.
        """
        forgotten = self._reader.forgotten(self._state, self._marks)
        if not forgotten.may_be:
            return False
        visible = self._reader.visible(self._state, self._marks)
        commit = forgotten.is_committed(self._state.offsets, visible)
        positions = {**visible, **forgotten.positions} if commit else {0: Position(0)}
        self._begin()
        with self._sending():
            for partition in forgotten.ends:
                claim = self._marks.write(CLAIM, partition)
                self._producer.produce(self._state.topic, None, partition=partition, headers=[claim])
        self._flush()
        record, group = self._reader.record(positions), self._reader.group
        end = self._producer.commit_transaction if commit else self._producer.abort_transaction
        action = "end an earlier transaction"
        self._until_done(lambda: self._producer.send_offsets_to_transaction(record, group, CALL_SECONDS), action)
        self._until_done(lambda: end(CALL_SECONDS), action)
        self._begun = False
        open_before(self._admin, topic_of(self._state), forgotten.ends, CALL_SECONDS)
        return True

    def _start(self, may_differ: bool) -> None:
        """Read on from what is written.

        Args:
            may_differ: whether the topic may hold more than Kafka's record of offsets says.

        Raises:
            LogLost: Kafka has lost rows that are not written yet.
        """
        self._committed = written = self._reader.written(self._state, self._marks, may_differ)
        self._rows.update({partition: position.rows for partition, position in written.items()})
        self._missed.update({partition: position.missed for partition, position in written.items()})
        self._source_ended.update(partition for partition, position in written.items() if position.source_ended)
        self._feed = output_feed(self._run, self._reader, written, self._note_missed, self._patience)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.leave()
        self._reader.__exit__()

    @property
    def model(self) -> str:
        return self._output.model

    @property
    def ended(self) -> bool:
        """Whether every row of a stream that has ended is written."""
        return self._state.ended

    def step(self, champion: Champion) -> None:
        """Write the rows that arrive soon, and commit when that is due."""
        self._confirm()
        self._take(self._feed.read(BATCH), champion)
        if self._positions() != self._committed:
            self._begin()
        waited = time.monotonic() - self._committed_at
        if self._begun and (waited >= COMMIT_SECONDS or self._open >= COMMIT_ROWS):
            self._commit()
        elif waited >= KEEP_SECONDS:
            self._begin()
            self._commit()
        elif not self._begun:
            self._save()  # Kafka may have told meanwhile that there are more messages, or no more

    def _confirm(self) -> None:
        """Refuse a stream whose topic was deleted, and read partitions that were added. If Kafka does not answer now,
        the next check asks again."""
        if time.monotonic() - self._confirmed_at > CONFIRM_SECONDS:
            with suppress(KafkaAway):
                new = self._feed.grow(self._reader.confirm(CONFIRM_WITHIN), BATCH)
                if new:
                    self._reader.seek({**self._reader.positions, **new})
            self._confirmed_at = time.monotonic()

    def _take(self, messages: Sequence[Message], champion: Champion) -> None:
        """Send the predictions of the rows among these messages."""
        rows, source_ends = self._feed.sift(messages)
        self._source_ended.update(source_ends)
        decoded = Decoded(rows, self._feed.decoder, self._feed.origins(rows))
        if len(decoded.table):
            self._begin()
            self._send(decoded, champion)
        self._rows.update(decoded.partitions[decoded.indices].tolist())

    def _positions(self) -> dict[int, Position]:
        """How far each partition is read. One that has ended stays at its end, which the next writer meets too."""
        return {
            partition: Position(
                self._feed.ends.get(partition, offset),
                self._rows[partition],
                self._missed[partition],
                partition in self._source_ended,
            )
            for partition, offset in self._reader.positions.items()
        }

    def _note_missed(self, gap: Gap) -> None:
        self._missed[gap.partition] += gap.last_offset - gap.first_offset + 1

    def _send(self, decoded: Decoded, champion: Champion) -> None:
        """Send a message for each decoded row, in order."""
        indices = decoded.indices.tolist()
        rows = [decoded.messages[index] for index in indices]
        offsets: Indices = np.array([row.offset() for row in rows], dtype=np.int64)
        found = OutputRows(decoded.table, decoded.partitions[decoded.indices], offsets)
        values = predictions(self._output, champion, found, self._key)
        failpoint("output.scored")
        topic, produce = self._state.topic, self._producer.produce
        where = self._partitions(rows, found)
        headers = self._headers(found, where)
        with self._sending():
            for row, value, partition, header in zip(rows, values, where, headers, strict=True):
                stamp = sent_at(row)
                try:
                    produce(topic, value, row.key(), partition, timestamp=stamp, headers=header)
                except BufferError:  # the user has set a smaller queue
                    self._producer.flush(CALL_SECONDS)
                    produce(topic, value, row.key(), partition, timestamp=stamp, headers=header)
            self._producer.poll(0)
        self._open += len(values)

    def _headers(self, found: OutputRows, where: Sequence[int]) -> list[list[tuple[str, bytes]] | None]:
        """The headers of each row's message: the last one of each partition says how far that is written then."""
        headers: list[list[tuple[str, bytes]] | None] = [None] * len(where)
        for source in np.unique(found.partitions).tolist():
            indices = np.flatnonzero(found.partitions == source)
            last = int(indices[-1])
            position = Position(
                int(found.offsets[last]) + 1,
                self._rows[source] + len(indices),
                self._missed[source],
                source in self._source_ended,
            )
            headers[last] = [mark_of(self._marks, where[last], source, position)]
        return headers

    @contextmanager
    def _sending(self) -> Iterator[None]:
        """Explain Kafka's errors, for example one after which the transaction can't continue.

        Raises:
            TopicError: the topic was deleted, deleted and created again, or is compacted.
            StreamFailed: there is another cause.
        """
        try:
            yield
        except KafkaException as error:
            self._explain()
            raise StreamFailed(f"can't write predictions: {reason(error)}", "see Kafka's log") from error

    def _partitions(self, rows: Sequence[Message], found: OutputRows) -> list[int]:
        """The partition that each row's message goes to: the row's own, where the topic has as many as the stream has
        now; else by the row's key, and without one by its own partition."""
        own: list[int] = found.partitions.tolist()
        count = self._state.partitions
        if count == len(self._feed.partitions):
            return own
        keys = (row.key() for row in rows)
        return [part % count if key is None else partition_of(key, count) for part, key in zip(own, keys, strict=True)]

    def _begin(self) -> None:
        if not self._begun:
            with self._sending():
                self._producer.begin_transaction()
            self._begun = True

    def _commit(self) -> None:
        """Commit everything sent, and how far the rows are read."""
        self._flush()
        failpoint("output.sent")
        until_confirmed(self._verify, PATIENCE_SECONDS)
        positions = self._positions()
        record, group = self._reader.record(positions), self._reader.group
        self._until_done(
            lambda: self._producer.send_offsets_to_transaction(record, group, CALL_SECONDS), "write predictions"
        )
        failpoint("output.committing")
        self._until_done(lambda: self._producer.commit_transaction(CALL_SECONDS), "write predictions")
        failpoint("output.committed")
        self._committed = positions
        self._open, self._begun, self._committed_at = 0, False, time.monotonic()
        self._save()

    def _flush(self) -> None:
        """Wait until the messages are in the log. The commit waits too, but looks for no cause meanwhile."""
        end = time.monotonic() + CALL_SECONDS
        with self._sending():
            while self._producer.flush(FLUSH_SECONDS) and time.monotonic() < end:
                self._explain()

    def _save(self) -> None:
        """Record for others how far the rows are written."""
        state = replace(
            self._state,
            model=self._output.model,
            offsets={partition: position.offset for partition, position in self._committed.items()},
            rows=sum(position.rows for position in self._committed.values()),
            missed=sum(position.missed for position in self._committed.values()),
            lag=self._lag(),
            ended=len(self._feed.ends) == len(self._feed.partitions),
        )
        if state != self._state:
            self._run.catalog.save_output(state)
            self._state = state

    def _lag(self) -> int:
        """How many messages of the stream follow, as far as Kafka has told."""
        if self._feed.lag is not None:
            return sum(self._feed.lag.values())
        return sum(count for partition, count in self._reader.behind.items() if partition not in self._feed.ends)

    def _verify(self) -> None:
        """Check that both topics are still those that were read and written."""
        verify_output(self._admin, self._state, CALL_SECONDS)
        self._reader.confirm(CALL_SECONDS)

    def _explain(self) -> None:
        """Raise the cause of an error, if it is the topic.

        Raises:
            TopicError: the topic was deleted, deleted and created again, or is compacted.
        """
        with suppress(StreamFailed):  # the error itself matters more
            self._verify()

    def _until_done(self, call: Callable[[], object], action: str) -> None:
        until_done(call, action, self._explain)


def sent_at(row: Message) -> int:
    """The timestamp of a row's message, in milliseconds; 0, for which Kafka's client takes the present, where it has no
    possible one."""
    kind, stamp = row.timestamp()
    return 0 if stamp_fault(kind, stamp) else stamp
