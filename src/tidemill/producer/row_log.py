"""The run's topic, open for rows by HTTP: transactions of rows, each with a record of the requests that it answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient

from tidemill.errors import StreamFailed
from tidemill.kafka.client import (
    MOST_BYTES,
    KafkaConnection,
    Topic,
    await_topic,
    batch_limit,
    describe_topic,
    end_offsets,
    make_topic,
    reason,
    requests_topic,
    topic_settings,
    verify_topic,
)
from tidemill.kafka.intake import MessageLimit, RowMessage
from tidemill.kafka.transactions import (
    AGAIN_SECONDS,
    CALL_SECONDS,
    PATIENCE_SECONDS,
    REQUEST_SECONDS,
    open_before,
    sending,
    transactional_producer,
)
from tidemill.producer.answered import RETENTION, Extents, Record
from tidemill.producer.log_reader import refuse_lost
from tidemill.run.failpoints import failpoint
from tidemill.run.folder import Run
from tidemill.run.marks import CLAIM, REQUESTS, ROW

ROWS = "/rows"  # in the producer's name; no topic's name has a slash, so that it is no output's
CONFIRM_SECONDS = 0.25
LIMIT_SECONDS = 10.0  # how old what is known of the topic's settings may be
COMPLETE_SECONDS = 1.0  # within which a transaction is complete after its commit; other writers' may be open before it
ASK_SECONDS = 1.0  # that rows wait while Kafka is asked for them
FRAME_BYTES = 80  # at most, of a batch of one message beside its key, value and header (Kafka's message format 2)


@dataclass
class Delivery:
    """What Kafka said of the rows of one request: their offsets, by partition the first and the last, and an error."""

    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    error: KafkaError | None = None

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Kafka's report on one row; those of a partition come in order."""
        if error is not None:
            self.error = self.error or error
            return
        partition, offset = message.partition(), message.offset()
        self.offsets[partition] = (self.offsets.get(partition, (offset, offset))[0], offset)


class RowLog:
    """The topics, open for writing by one API. Opening them fences off any other, and ends its last transaction."""

    def __init__(
        self, run: Run, connection: KafkaConnection, admin: AdminClient, topic: Topic, give_up: Callable[[], bool]
    ) -> None:
        """``give_up``: whether to stop waiting for a Kafka that does not answer."""
        self._run = run
        self.connection = connection
        self.admin = admin
        self.topic = topic
        self._give_up = give_up
        self.marks = run.marks(topic.id)
        self._confirmed_at = 0.0
        most_bytes = batch_limit(admin, topic.name)
        self._limit = MessageLimit(most_bytes, FRAME_BYTES + sum(map(len, self.marks.sign_value(ROW, 0, b""))))
        self._limit_read_at = time.monotonic()
        timeout = int(connection.client.get("transaction.timeout.ms", REQUEST_SECONDS * 1000))
        self._error: KafkaError | None = None
        # The newest offset written to each partition, if it is not yet complete.
        self._last: dict[tuple[Topic, int], int] = {}
        self._producer = transactional_producer(
            connection,
            f"{run.id}{ROWS}",
            most_bytes,
            linger_ms=1,
            on_error=self._note,
            log_connection_close=True,  # else a connection that is lost may be no error
            transaction_timeout_ms=timeout,
        )

    def __enter__(self) -> RowLog:
        self._until_done(self._producer.init_transactions, "open the log")
        refuse_lost(self.topic, self._run.catalog.next_offsets(), end_offsets(self.admin, self.topic))
        self.requests = self._requests_topic()
        self.request_marks = self._run.marks(self.requests.id)
        self._error = None  # what was met while the log was opened
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.leave()

    def _requests_topic(self) -> Topic:
        """The topic of answered requests: the one that the run has on record, else the one of its name, which is made
        where there is none.

        Raises:
            TopicError: the one on record was deleted.
        """
        name, catalog = requests_topic(self.topic.name, self._run.id), self._run.catalog
        known = catalog.posting()
        if known.topic_id is not None:
            return self._verified(Topic(name, known.topic_id, 1))
        topic = describe_topic(self.admin, name)
        created = known.topic_created
        if topic is None:
            catalog.save_requests_topic(None, created=True)  # first, so that no crash leaves a topic that no run owns
            created = make_topic(self.admin, name, 1, RETENTION)
            topic = await_topic(self.admin, name)
        catalog.save_requests_topic(topic.id, created)
        return topic

    def _verified(self, requests: Topic) -> Topic:
        """The topic of answered requests, if it still has its id.

        Raises:
            TopicError: it was deleted, or deleted and created again.
        """
        loss = "the keys of answered requests were in it"
        way_out = f"`tidemill forget-keys {self._run.pipeline.name}` lets rows be written without knowing these keys"
        return verify_topic(self.admin, requests.name, requests.id, CALL_SECONDS, loss, way_out)

    def _note(self, error: KafkaError) -> None:
        self._error = error

    def _refuse_disturbed(self) -> None:
        """After an error of a connection, check that the last transactions are complete.

        Raises:
            StreamFailed: one may be lost; opening the log again settles that, by :mod:`.row_recovery`.
        """
        with sending():
            self._producer.poll(0)
        if self._error is None:
            return
        for topic in {topic for topic, _ in self._last}:
            self._refuse_incomplete(topic, self._error.str())
        self._error = None
        self._last.clear()

    def _refuse_incomplete(self, topic: Topic, why: str) -> None:
        """
        Raises:
            StreamFailed: what was written to the topic can't be read after a moment.
        """
        ends = {partition: last + 1 for (where, partition), last in self._last.items() if where == topic}
        if open_before(self.admin, topic, ends, COMPLETE_SECONDS):
            raise StreamFailed(f"the last rows may be lost: {why}")

    def limit(self) -> MessageLimit:
        """How large a message may be, as the topic's settings said a moment ago, or when Kafka told them last."""
        if time.monotonic() - self._limit_read_at >= LIMIT_SECONDS:
            settings = topic_settings(self.admin, self.topic.name, ASK_SECONDS, logging.DEBUG)
            if settings is not None:
                self._limit = self._limit._replace(most_bytes=min(settings.max_bytes, MOST_BYTES))
            self._limit_read_at = time.monotonic()
        return self._limit

    def begin(self) -> None:
        """Begin a transaction.

        Raises:
            StreamFailed: the log is to be opened again before.
        """
        self._refuse_disturbed()
        with sending():
            self._producer.begin_transaction()

    def send(self, messages: Iterable[RowMessage], delivery: Delivery | None = None) -> Delivery:
        """Queue the rows of one request. After :meth:`flush`, ``delivery`` has their offsets; it is returned."""
        delivery = Delivery() if delivery is None else delivery
        for partition, key, value in messages:
            self._produce(
                self.topic.name, partition, key, value, self.marks.sign_value(ROW, partition, value), delivery
            )
        return delivery

    def end_open(self, partitions: Iterable[int], requests: bool, commit: bool) -> None:
        """End what is still open of an earlier transaction that Kafka believes ended, in these ``partitions`` and, with
        ``requests``, in the topic of requests: the next commit would commit it too. Other writers' transactions are
        neither touched nor waited for.

        Args:
            commit: whether to commit it; otherwise it is aborted.
        """
        open_in = [(self.topic, partition, self.marks) for partition in partitions]
        open_in += [(self.requests, 0, self.request_marks)] if requests else []
        if not open_in:
            return
        deliveries = {self.topic: Delivery(), self.requests: Delivery()}
        self.begin()
        for topic, partition, marks in open_in:
            self._produce(topic.name, partition, None, None, marks.write(CLAIM, partition), deliveries[topic])
        self._flush(deliveries.values())
        end = self._producer.commit_transaction if commit else self._producer.abort_transaction
        self._until_done(end, "end an earlier API's transaction")
        self._note_written({topic: delivery.offsets for topic, delivery in deliveries.items()})

    def _note_written(self, extents: Mapping[Topic, Extents]) -> None:
        for topic, of_topic in extents.items():
            self._last |= {(topic, partition): last for partition, (_, last) in of_topic.items()}

    def flush(self, deliveries: Iterable[Delivery]) -> None:
        """Wait until the rows of these requests are in the log, in all replicas, but not committed.

        Raises:
            StreamFailed: Kafka did not take one of them.
        """
        failpoint("posts.sent")
        self._flush(deliveries)

    def _flush(self, deliveries: Iterable[Delivery]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        with sending():
            while self._producer.flush(AGAIN_SECONDS):
                if time.monotonic() > end or self._give_up():
                    raise StreamFailed("Kafka does not take the rows", "see Kafka's log")
        failed = next((delivery.error for delivery in deliveries if delivery.error is not None), None)
        if failed is not None:
            raise StreamFailed(f"Kafka does not take the rows: {failed.str()}", "see Kafka's log")

    def commit(self, record: Record) -> None:
        """Commit the rows together with the record of their requests.

        Raises:
            StreamFailed: it is not known whether they were committed. The next :class:`RowLog` settles that.
            TopicError: a topic was deleted, or deleted and created again.
        """
        self._refuse_disturbed()  # the record of the transaction before must not be aborted with this one
        value, delivery = record.encode(), Delivery()
        self._produce(self.requests.name, 0, None, value, self.request_marks.sign_value(REQUESTS, 0, value), delivery)
        self._flush([delivery])
        failpoint("posts.committing")
        if time.monotonic() - self._confirmed_at >= CONFIRM_SECONDS:
            verify_topic(self.admin, self.topic.name, self.topic.id, CALL_SECONDS)
            self._verified(self.requests)
            self._confirmed_at = time.monotonic()
        self._until_done(self._producer.commit_transaction, "commit rows")
        self._note_written({self.topic: record.rows, self.requests: delivery.offsets})
        failpoint("posts.committed")

    def refuse_moved(self) -> None:
        """Let Kafka's client report what it has to, and fail if Kafka is at another address.

        Raises:
            StreamFailed: it is, or the last transaction may be lost.
        """
        self._refuse_disturbed()
        if (self.requests, 0) in self._last:  # nobody else writes to that topic, so that this is soon complete
            self._refuse_incomplete(self.requests, "Kafka does not complete their transaction")
            del self._last[self.requests, 0]
        if self._give_up():
            raise StreamFailed("Kafka is at another address now")

    def _produce(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        mark: tuple[str, bytes],
        delivery: Delivery,
    ) -> None:
        with sending():
            while True:
                try:
                    self._producer.produce(
                        topic, value=value, key=key, partition=partition, headers=[mark], on_delivery=delivery
                    )
                    return
                except BufferError:  # its queue is full
                    if self._give_up():
                        raise StreamFailed("Kafka does not take the rows", "see Kafka's log") from None
                    self._producer.poll(AGAIN_SECONDS)

    def _until_done(self, call: Callable[[float], object], action: str) -> None:
        """Repeat a call until it succeeds: it may fail while Kafka is away for a moment.

        Raises:
            StreamFailed: it fails for good, or Kafka stays away.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                call(1.0)
                return
            except KafkaException as error:
                first = error.args[0]
                again = isinstance(first, KafkaError) and first.retriable() and time.monotonic() < end
                if not again or self._give_up():
                    raise StreamFailed(f"can't {action}: {reason(error)}", "see Kafka's log") from error
