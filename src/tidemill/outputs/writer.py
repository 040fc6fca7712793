"""Writes the predictions of one output: a transaction has some of them, and how far the rows are written by then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from types import TracebackType

import numpy as np
from confluent_kafka import KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from tidemill.collector.open_batch import Decoded
from tidemill.errors import StreamFailed
from tidemill.kafka.client import MOST_BYTES, KafkaConnection, Topic, batch_limit, reason
from tidemill.kafka.codec import OwnRows
from tidemill.kafka.messages import partition_of
from tidemill.kafka.transactions import CALL_SECONDS, PATIENCE_SECONDS, until_confirmed, until_done
from tidemill.outputs.champions import Champion
from tidemill.outputs.predictions import Indices, OutputRows, predictions
from tidemill.outputs.recovery import Position, mark_of
from tidemill.outputs.topics import OutputReader, output_topic, verify_output
from tidemill.pipeline import Output
from tidemill.run.failpoints import failpoint
from tidemill.run.folder import Run

ROWS_AT_ONCE = 10_000
COMMIT_SECONDS = 0.25
COMMIT_ROWS = 50_000  # librdkafka queues at most 100,000 messages
FLUSH_SECONDS = 1.0
KEEP_SECONDS = 3600.0  # Kafka forgets what a silent consumer group has recorded, by default after a week


class OutputWriter:
    """Reads the stream's rows and writes them to one topic, each with its prediction. Opening it fences off any other
    writer of the same output, and aborts what that had not committed."""

    def __init__(
        self, run: Run, output: Output, connection: KafkaConnection, admin: AdminClient, source: Topic
    ) -> None:
        self._run = run
        self._output = output
        self._admin = admin
        self._decoder = OwnRows(run.pipeline.source.schema_)
        self._key = run.pipeline.key
        self._state = output_topic(run, admin, output, source.partitions)
        self._marks = run.marks(self._state.topic_id)
        self._reader = OutputReader(connection, source, run, output.topic)
        self._producer = Producer(
            connection.settings(
                transactional_id=f"tidemill-{run.id}-{output.topic}",
                enable_idempotence=True,
                acks="all",
                compression_type="lz4",
                message_max_bytes=MOST_BYTES,
                batch_size=connection.batch_size(batch_limit(admin, output.topic)),
                linger_ms=5,
            )
        )
        self._positions: dict[int, Position] = {}
        self._ended: set[int] = set()
        self._begun = False
        self._open = 0  # rows that are sent and not committed
        self._committed_at = time.monotonic()

    def __enter__(self) -> OutputWriter:
        with ExitStack() as opening:
            opening.push(self)
            self._until_done(lambda: self._producer.init_transactions(CALL_SECONDS), "open the topic")
            self._positions = self._reader.start(self._state, self._marks)
            opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(KafkaException):  # a writer that was shut out is told so once more
            self._producer.purge()
            self._producer.poll(0)
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
        messages = self._reader.read(ROWS_AT_ONCE)
        if messages:
            self._take(messages, champion)
        waited = time.monotonic() - self._committed_at
        if self._begun and (waited >= COMMIT_SECONDS or self._open >= COMMIT_ROWS):
            self._commit()
        elif waited >= KEEP_SECONDS:
            self._begin()
            self._commit()
        elif not self._begun:
            self._save()  # Kafka may have told meanwhile that there are more messages, or no more

    def _take(self, messages: Sequence[Message], champion: Champion) -> None:
        """Send the predictions of the rows among these messages, and count all of them as read."""
        rows, read = self._without_marks(messages)
        decoded = Decoded(rows, self._decoder)
        self._begin()
        if len(decoded.table):
            self._send(decoded, champion)
        sent = np.bincount(decoded.partitions[decoded.indices], minlength=self._reader.partitions).tolist()
        for partition, offset in read.items():
            self._positions[partition] = Position(offset, self._positions[partition].rows + sent[partition])

    def _without_marks(self, messages: Sequence[Message]) -> tuple[list[Message], dict[int, int]]:
        """The messages that may be rows, and the next offset of each partition. That of a partition that has ended is
        its end marker's, so that the next writer meets the marker too."""
        rows: list[Message] = []
        read: dict[int, int] = {}
        for message in messages:
            partition = message.partition()
            if partition in self._ended:
                continue  # messages of others after the end marker are not part of the stream
            if message.value() is None and self._reader.end_of(message):
                self._ended.add(partition)
                read[partition] = message.offset()
                continue
            read[partition] = message.offset() + 1
            if message.value() is not None:
                rows.append(message)
        return rows, read

    def _send(self, decoded: Decoded, champion: Champion) -> None:
        """Send a message for each decoded row, in order."""
        indices = decoded.indices.tolist()
        rows = [decoded.messages[index] for index in indices]
        offsets: Indices = np.array([row.offset() for row in rows], dtype=np.int64)
        found = OutputRows(decoded.table, decoded.partitions[decoded.indices], offsets)
        values = predictions(self._output, champion, found, self._key)
        failpoint("output.scored")
        topic, produce = self._state.topic, self._producer.produce
        where, stamps = self._partitions(rows, found), decoded.stamps.tolist()
        headers = self._headers(found, where)
        with self._sending():
            for row, value, partition, stamp, header in zip(rows, values, where, stamps, headers, strict=True):
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
            position = Position(int(found.offsets[last]) + 1, self._positions[source].rows + len(indices))
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
        """The partition that each row's message goes to: the row's own, where the topic has as many as the stream;
        else by the row's key, and without one by its own partition."""
        own: list[int] = found.partitions.tolist()
        count = self._state.partitions
        if count == self._reader.partitions:
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
        record, group = self._reader.record(self._positions), self._reader.group
        self._until_done(
            lambda: self._producer.send_offsets_to_transaction(record, group, CALL_SECONDS), "write predictions"
        )
        failpoint("output.committing")
        self._until_done(lambda: self._producer.commit_transaction(CALL_SECONDS), "write predictions")
        failpoint("output.committed")
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
            offsets={partition: position.offset for partition, position in self._positions.items()},
            rows=sum(position.rows for position in self._positions.values()),
            lag=self._reader.lag(self._positions, self._ended),
            ended=len(self._ended) == self._reader.partitions,
        )
        if state != self._state:
            self._run.catalog.save_output(state)
            self._state = state

    def _verify(self) -> None:
        verify_output(self._admin, self._state, CALL_SECONDS)

    def _explain(self) -> None:
        """Raise the cause of an error, if it is the topic.

        Raises:
            TopicError: the topic was deleted, deleted and created again, or is compacted.
        """
        with suppress(StreamFailed):  # the error itself matters more
            self._verify()

    def _until_done(self, call: Callable[[], object], action: str) -> None:
        until_done(call, action, self._explain)
