"""The run's topic, open for rows by HTTP: transactions of rows, each with a record of the requests that it answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient

from tidemill.errors import LogLost, StreamFailed
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
    OPEN_SECONDS,
    PATIENCE_SECONDS,
    REQUEST_SECONDS,
    sending,
    transactional_producer,
)
from tidemill.producer.answered import RETENTION, AnsweredRequests, Record
from tidemill.producer.log import behind
from tidemill.producer.log_reader import committed, refuse_lost
from tidemill.run.failpoints import failpoint
from tidemill.run.folder import Run
from tidemill.run.marks import CLAIM, REQUESTS, ROW

ROWS = "/rows"  # in the producer's name; no topic's name has a slash, so that it is no output's
CONFIRM_SECONDS = 0.25
LIMIT_SECONDS = 10.0  # how old what is known of the topic's settings may be
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
        self._connection = connection
        self._admin = admin
        self._topic = topic
        self._give_up = give_up
        self._marks = run.marks(topic.id)
        self._confirmed_at = 0.0
        most_bytes = batch_limit(admin, topic.name)
        self._limit = MessageLimit(most_bytes, FRAME_BYTES + sum(map(len, self._marks.sign_value(ROW, 0, b""))))
        self._limit_read_at = time.monotonic()
        timeout = int(connection.client.get("transaction.timeout.ms", REQUEST_SECONDS * 1000))
        self._producer = transactional_producer(
            connection, f"{run.id}{ROWS}", most_bytes, linger_ms=1, transaction_timeout_ms=timeout
        )

    def __enter__(self) -> RowLog:
        self._until_done(self._producer.init_transactions, "open the log")
        refuse_lost(self._topic, self._run.catalog.next_offsets(), end_offsets(self._admin, self._topic))
        self._requests = self._requests_topic()
        self._request_marks = self._run.marks(self._requests.id)
        self._end_forgotten()
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
        name, catalog = requests_topic(self._topic.name, self._run.id), self._run.catalog
        known = catalog.posting()
        if known.topic_id is not None:
            return self._verified(Topic(name, known.topic_id, 1))
        topic = describe_topic(self._admin, name)
        created = known.topic_created
        if topic is None:
            catalog.save_requests_topic(None, created=True)  # first, so that no crash leaves a topic that no run owns
            created = make_topic(self._admin, name, 1, RETENTION)
            topic = await_topic(self._admin, name)
        catalog.save_requests_topic(topic.id, created)
        return topic

    def _verified(self, requests: Topic) -> Topic:
        """The topic of answered requests, if it still has its id.

        Raises:
            TopicError: it was deleted, or deleted and created again.
        """
        loss = "the keys of answered requests were in it"
        way_out = f"`tidemill forget-keys {self._run.pipeline.name}` lets rows be written without knowing these keys"
        return verify_topic(self._admin, requests.name, requests.id, CALL_SECONDS, loss, way_out)

    def _end_forgotten(self) -> None:
        """Abort a transaction of an earlier API that Kafka believes ended, but that is still open in a partition; see
        :meth:`tidemill.producer.log.Log.end_forgotten`. Another one's, which may be at work, is not touched, nor waited
        for.
        """
        open_in = [
            (topic.name, partition)
            for topic in (self._topic, self._requests)
            for partition in behind(end_offsets(self._admin, topic), end_offsets(self._admin, topic, stable=True))
        ]
        if not open_in:
            return
        delivery = Delivery()
        self.begin()
        for topic, partition in open_in:
            self._produce(topic, partition, None, b"", self._marks.write(CLAIM, partition), delivery)
        self._flush([delivery])
        self._until_done(self._producer.abort_transaction, "abort an earlier API's transaction")

    def limit(self) -> MessageLimit:
        """How large a message may be, as the topic's settings said a moment ago, or when Kafka told them last."""
        if time.monotonic() - self._limit_read_at >= LIMIT_SECONDS:
            settings = topic_settings(self._admin, self._topic.name, ASK_SECONDS, logging.DEBUG)
            if settings is not None:
                self._limit = self._limit._replace(most_bytes=min(settings.max_bytes, MOST_BYTES))
            self._limit_read_at = time.monotonic()
        return self._limit

    def read_answered(self, answered: AnsweredRequests, now: float) -> set[str]:
        """Add the answers of all committed transactions to ``answered``, as given ``now``: their age is not known by a
        clock that can't step. Returns the ids of those transactions.

        Raises:
            StreamFailed: the end of the topic can't be read.
        """
        transactions = set()
        ends = self._stable_ends()
        for message in committed(self._connection, self._requests, {0: 0}, ends):
            value = message.value()
            if value is not None and self._request_marks.signs_value(message, REQUESTS, value):
                record = Record.decode(value)
                answered.add(record.answers, now)
                transactions.add(record.transaction)
        return transactions

    def _stable_ends(self) -> dict[int, int]:
        """Where the topic of requests ends, once every transaction before that has ended.

        Raises:
            LogLost: one does not end.
        """
        ends = end_offsets(self._admin, self._requests)
        limit = time.monotonic() + OPEN_SECONDS
        while end_offsets(self._admin, self._requests, stable=True)[0] < ends[0]:
            if time.monotonic() > limit:
                raise LogLost(
                    f"a transaction in {self._requests.name} does not end",
                    "end it with Kafka's kafka-transactions.sh",
                )
            time.sleep(AGAIN_SECONDS)
        return ends

    def begin(self) -> None:
        """Begin a transaction."""
        with sending():
            self._producer.begin_transaction()

    def send(self, messages: Iterable[RowMessage]) -> Delivery:
        """Queue the rows of one request. After :meth:`flush`, the result has their offsets."""
        delivery = Delivery()
        for partition, key, value in messages:
            self._produce(
                self._topic.name, partition, key, value, self._marks.sign_value(ROW, partition, value), delivery
            )
        return delivery

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
        value, delivery = record.encode(), Delivery()
        self._produce(self._requests.name, 0, None, value, self._request_marks.sign_value(REQUESTS, 0, value), delivery)
        self._flush([delivery])
        failpoint("posts.committing")
        if time.monotonic() - self._confirmed_at >= CONFIRM_SECONDS:
            verify_topic(self._admin, self._topic.name, self._topic.id, CALL_SECONDS)
            self._verified(self._requests)
            self._confirmed_at = time.monotonic()
        self._until_done(self._producer.commit_transaction, "commit rows")
        failpoint("posts.committed")

    def refuse_moved(self) -> None:
        """Let Kafka's client report what it has to, and fail if Kafka is at another address.

        Raises:
            StreamFailed: it is.
        """
        with sending():
            self._producer.poll(0)
        if self._give_up():
            raise StreamFailed("Kafka is at another address now")

    def _produce(
        self, topic: str, partition: int, key: bytes | None, value: bytes, mark: tuple[str, bytes], delivery: Delivery
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
