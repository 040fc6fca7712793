"""The topic as the producer's checkpoint: the last row of each transaction, in each partition, says how many rows the
log has."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import islice, repeat
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from tidemill.errors import LogLost, StreamFailed, TopicError
from tidemill.kafka.client import MOST_BYTES, KafkaConnection, Topic, end_offsets, verify_topic
from tidemill.kafka.intake import RowMessage
from tidemill.kafka.messages import Messages
from tidemill.kafka.transactions import (
    AGAIN_SECONDS,
    CALL_SECONDS,
    OPEN_SECONDS,
    PATIENCE_SECONDS,
    open_before,
    open_offsets,
    sending,
    transactional_producer,
    until_confirmed,
    until_done,
)
from tidemill.producer.log_reader import (
    START_OVER,
    Checkpoint,
    Held,
    Mark,
    begins_later,
    committed,
    first_offsets,
    genuine_marks,
    is_claim,
)
from tidemill.run.catalog.account import Account, total_digest
from tidemill.run.failpoints import Failpoint, failpoint
from tidemill.run.marks import CLAIM, END, POSITION, SOURCE_END, Kind, Marks

COMMIT_SECONDS = 0.25
COMMIT_ROWS = 150_000
COMMIT_BYTES = 32 * 2**20
QUEUED_ROWS = 2 * COMMIT_ROWS  # that the client takes, unless the user sets another number
# A commit sends what waits, and readers see no row before it, so that batches have the time to fill. With a short time
# the client's thread polls without a pause whenever a batch is due that can't be sent yet.
LINGER_MS = 100
CLAIMS_WITHIN = 100  # messages from the start of the log
END_SECONDS = 5.0
END_ATTEMPTS = 3

logger = logging.getLogger(__name__)


class Log:
    """The run's log, open for writing by one producer. Opening it fences off any other.

    ``position`` counts the rows that were skipped or sent, including those that are not committed yet; ``accounts`` has
    the same rows by partition.
    """

    def __init__(self, connection: KafkaConnection, topic: Topic, marks: Marks, most_bytes: int = MOST_BYTES) -> None:
        """``most_bytes``: of a batch of messages that the topic accepts (its ``max.message.bytes``)."""
        self.topic = topic
        self._most_bytes = most_bytes
        self.position = 0
        self.accounts = dict.fromkeys(range(topic.partitions), Account())
        self._marks = marks
        self._connection = connection
        queued = int(connection.client.get("queue.buffering.max.messages", QUEUED_ROWS))
        self._commit_rows = min(COMMIT_ROWS, queued // 2)
        self._producer = transactional_producer(
            connection,
            marks.run_id,
            most_bytes,
            LINGER_MS,
            queue_buffering_max_messages=queued,
            delivery_report_only_error=True,  # a commit tells that all rows are there
        )
        self._admin = AdminClient(connection.settings())
        self._confirmed_at = 0.0
        self._held: dict[int, RowMessage] = {}
        self._open_rows = 0
        self._open_bytes = 0
        self._committed_at = time.monotonic()

    def __enter__(self) -> Log:
        self._until_done(self._producer.init_transactions, "open the log")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.leave()

    def claim(self, empty: bool) -> None:
        """Check that the topic is this run's. It belongs to the first run that wrote its claim into it.

        Args:
            empty: whether nothing was ever written to it, so that it can be claimed without reading it.

        Raises:
            TopicError: it holds another run's data, or another writer's.
        """
        claims = [] if empty else self._claims()
        if empty or not (claims or self._was_used()):
            self._begin()
            self._produce(None, None, 0, CLAIM)
            self._commit("claim the topic", "topic.claiming")
            failpoint("topic.claimed")
            claims = self._claims_with_own()
        if claims[:1] != [True]:
            others = "another run's data" + ("" if claims else ", or another writer's, or has lost its beginning")
            raise TopicError(
                f"the topic {self.topic.name} holds {others}",
                "use another topic (--set stream.topic=NAME), continue that run in its folder, or delete the topic",
            )

    def _claims(self) -> list[bool]:
        """For each claim in the topic, in order, whether it is this run's. Claims precede all rows of partition 0."""
        with closing(committed(self._connection, self.topic, {0: 0})) as messages:
            first = [message for message in islice(messages, CLAIMS_WITHIN) if is_claim(message)]
        return [self._marks.read(message, CLAIM) is not None for message in first]

    def _claims_with_own(self) -> list[bool]:
        """The claims, once this run's own is among them: Kafka answers a commit before its messages can be read."""
        end = time.monotonic() + CALL_SECONDS
        while not any(claims := self._claims()) and time.monotonic() < end:
            time.sleep(AGAIN_SECONDS)
        return claims

    def _was_used(self) -> bool:
        """Whether any message was ever committed. Opening this log has aborted the transaction of any producer that
        died before its first commit.
        """
        offsets = dict.fromkeys(range(self.topic.partitions), 0)
        with closing(committed(self._connection, self.topic, offsets)) as messages:
            first = next(messages, None)
        return first is not None or begins_later(self._connection, self.topic)

    def end_forgotten(self) -> None:
        """Abort a transaction of an earlier producer that Kafka believes ended, but that is still open in a partition.

        A power cut that takes the commit's marker leaves one. The next commit would commit its rows too.

        Raises:
            LogLost: a transaction stays open: it is another writer's, or Kafka has lost its record of it.
        """
        open_until = {partition: offsets.stop for partition, offsets in open_offsets(self._admin, self.topic).items()}
        if not open_until:
            return
        self._begin()
        for partition in open_until:
            self._produce(None, None, partition, CLAIM)
        self._flush()
        self._until_done(self._producer.abort_transaction, "abort an earlier producer's transaction")
        if left := open_before(self._admin, self.topic, open_until, OPEN_SECONDS):
            raise LogLost(
                f"a transaction in partition {min(left)} of {self.topic.name} does not end: Kafka has lost its record "
                "of it, or another writer keeps it open; the messages after it can't be read",
                "end it with Kafka's kafka-transactions.sh, or start over with --fresh; the sealed batches are whole",
            )

    def refuse_unreadable(self, sealed: dict[int, int]) -> None:
        """Refuse a log in which the last sealed message of a partition can no longer be read.

        A power cut took the end of its transaction, whose rows would be sent again.

        Args:
            sealed: for each partition the first offset that is not in a sealed batch.

        Raises:
            LogLost: there is such a partition.
        """
        last_sealed = {partition: offset - 1 for partition, offset in sealed.items()}
        for partition, offset in last_sealed.items():
            with closing(committed(self._connection, self.topic, {partition: offset})) as messages:
                first = next(messages, None)
            if (first is None or first.offset() != offset) and not self._begins_after(partition, offset):
                raise LogLost(
                    f"the rows of partition {partition} of {self.topic.name} up to offset {offset} are sealed, but "
                    "Kafka no longer has them as committed",
                    START_OVER,
                )

    def _begins_after(self, partition: int, offset: int) -> bool:
        """Whether retention removed the message at that offset from the start of the log."""
        return first_offsets(self._connection, self.topic)[partition] > offset

    def checkpoint(self, sealed: dict[int, int], accounts: Mapping[int, Account] | None = None) -> Checkpoint:
        """The producer's checkpoint, as the newest mark of the log records it.

        Args:
            sealed: for each partition the first offset that is not in a sealed batch. A log of one partition is read
                from there. With several, the newest mark may be in a partition that was sealed further.
            accounts: those of the sealed rows, which count for a log that was cut; None where none are kept.

        Raises:
            LogLost: rows are sealed, but the log has no mark.
        """
        alone = self.topic.partitions == 1 and sealed
        cut = self.topic.partitions > 1 and begins_later(self._connection, self.topic)
        held = Held(self.topic.partitions, self._marks, (accounts or {}) if cut else {}, sealed if cut else {})
        whole = dict.fromkeys(range(self.topic.partitions), 0)
        marks = (self._marks_from(sealed) if alone else []) or self._marks_from(whole, held)
        if sealed and not marks:
            raise LogLost(
                f"the topic {self.topic.name} no longer says how many rows are in it",
                "its retention removed them: set retention.ms=-1 on the topic, and start over with --fresh",
            )
        newest = max(marks, key=lambda mark: (mark.rows, mark.digest is not None), default=Mark(0, None, None))
        ended = {mark.ends for mark in marks} - {
            None
        }  # per partition: a stranger's copy of a marker ends only the partition that it was made for
        counted = self.topic.partitions > 1 and (not cut or accounts is not None)
        return Checkpoint(
            newest.rows, len(ended) == self.topic.partitions, newest.digest, held.accounts() if counted else {}
        )

    def _marks_from(self, offsets: dict[int, int], held: Held | None = None) -> list[Mark]:
        return genuine_marks(self._connection, self.topic, self._marks, offsets, held)

    @property
    def digest(self) -> str:
        """The digest over the accounts of all rows up to ``position``."""
        return total_digest(self.accounts)

    def rewind(self) -> None:
        """Count from the source's first row again."""
        self.position = 0
        self.accounts = dict.fromkeys(self.accounts, Account())

    def skip(self, messages: Messages) -> None:
        """Count messages, in order, that are already in the log."""
        self.position += len(messages)
        for partition, values in messages.values_by_partition().items():
            self.accounts[partition] = self.accounts[partition].add(values)

    def restore(self, messages: Messages, held: Mapping[int, Account]) -> None:
        """Skip messages that are in the log, in order, and send again those that a partition has lost.

        Args:
            held: the account of what each partition holds.

        Raises:
            LogLost: a partition does not hold the first rows that were sent to it.
        """
        there: list[int] = []
        lost: list[int] = []
        rows = {partition: account.rows for partition, account in self.accounts.items()}
        for position, partition in enumerate(messages.partitions):
            (there if rows[partition] < held[partition].rows else lost).append(position)
            rows[partition] += 1
        self.skip(messages.select(there))
        for partition in {messages.partitions[position] for position in lost}:
            account = self.accounts[partition]
            if account.rows == held[partition].rows and account.digest != held[partition].digest:
                raise LogLost(
                    f"partition {partition} of {self.topic.name} lost rows, and holds rows that are not this run's",
                    START_OVER,
                )
        if lost:
            self.send(messages.select(lost))
            self.commit_if_due()

    def send(self, messages: Messages) -> None:
        """Queue messages, in order. The newest of each partition is held back: the last one of a transaction carries
        the mark."""
        if not self._open_rows:
            self._begin()
        self._queue(self._without_last(messages))
        self._open_rows += len(messages)
        self._open_bytes += messages.value_bytes
        self.skip(messages)
        failpoint("rows.sent")

    def _without_last(self, messages: Messages) -> Messages:
        """The messages held back before and these ones, except the newest of each partition, which is held back now."""
        newest = messages.last_positions()
        before = [self._held[partition] for partition in newest if partition in self._held]
        self._held |= {
            partition: RowMessage(partition, messages.keys[position], messages.values[position])
            for partition, position in newest.items()
        }
        rest = messages.without(newest.values())
        return Messages(
            [*(message.value for message in before), *rest.values],
            [*(message.key for message in before), *rest.keys],
            [*(message.partition for message in before), *rest.partitions],
        )

    def commit_if_due(self) -> None:
        late = time.monotonic() - self._committed_at >= COMMIT_SECONDS
        if late or self._open_rows >= self._commit_rows or self._open_bytes >= COMMIT_BYTES:
            self.commit()

    def commit(self) -> None:
        """Commit everything sent, in all partitions at once."""
        if self._held:
            fields = {"rows": self.position, "digest": self.digest}
            for partition, held in self._held.items():
                self._produce(held.value, held.key, partition, POSITION, **fields)
            self._held.clear()
            self._commit("commit rows", "rows.committing")
            failpoint("rows.committed")
        self._open_rows = self._open_bytes = 0
        self._committed_at = time.monotonic()

    def end(self, stays_open: bool = False) -> None:
        """Close the stream with a marker, a message without a value, in each partition. The marker has the number and
        digest of the source's rows sent to its partition and to all partitions. In a stream that stays open it ends
        only the source.

        Nothing follows that would complete this transaction. So it is waited for, and where a broker that died has lost
        its end (see :mod:`tidemill.producer.row_recovery`), another one completes it.
        """
        for attempt in range(1, END_ATTEMPTS + 1):
            self._end(SOURCE_END if stays_open else END)
            try:
                if not open_before(self._admin, self.topic, end_offsets(self._admin, self.topic), END_SECONDS):
                    return
            except StreamFailed:  # a commit has more patience with a Kafka that is away
                if attempt == END_ATTEMPTS:
                    raise
        logger.warning("the end of %s can't be read yet: another writer keeps a transaction open", self.topic.name)

    def _end(self, kind: Kind) -> None:
        self._confirmed_at = 0.0  # the run ends with this, so the topic is verified in any case
        self._begin()
        for partition, account in self.accounts.items():
            fields = {"sent": account.rows, "digest": account.digest, "rows": self.position, "total": self.digest}
            self._produce(None, None, partition, kind, **fields)
        self._commit("close the stream", "end.committing")
        failpoint("end.committed")

    def _commit(self, action: str, committing: Failpoint) -> None:
        self._flush()  # the commit flushes too; at the failpoint the messages must be in the log
        failpoint(committing)
        if time.monotonic() - self._confirmed_at >= COMMIT_SECONDS:
            self._confirm()
        self._until_done(self._producer.commit_transaction, action)

    def _begin(self) -> None:
        with sending():
            self._producer.begin_transaction()

    def _flush(self) -> None:
        with sending():
            self._producer.flush(CALL_SECONDS)

    def _confirm(self, patience: float = PATIENCE_SECONDS) -> None:
        """Check that the messages went to the run's own topic, not to a new one of the same name.

        Raises:
            TopicError: the topic was deleted, or deleted and created again.
            KafkaAway: Kafka does not answer within ``patience`` seconds.
            StreamFailed: Kafka refuses to answer.
        """
        until_confirmed(lambda: verify_topic(self._admin, self.topic.name, self.topic.id, CALL_SECONDS), patience)
        self._confirmed_at = time.monotonic()

    def _queue(self, messages: Messages) -> None:
        """Queue messages, in order.

        Raises:
            StreamFailed: the client does not take them all.
        """
        produce, topic = self._producer.produce, repeat(self.topic.name)
        try:
            with self._explained():
                deque(map(produce, topic, messages.values, messages.keys, messages.partitions), maxlen=0)
        except (BufferError, KafkaException) as error:
            raise StreamFailed(
                f"Kafka's client would not take all rows: {error}", "the run continues from the last commit"
            ) from error
        with sending():
            self._producer.poll(0)

    def _produce(self, value: object, key: object, partition: int, kind: Kind, **fields: Any) -> None:
        headers = [self._marks.write(kind, partition, **fields)]
        with sending(), self._explained():
            self._producer.produce(self.topic.name, value=value, key=key, partition=partition, headers=headers)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise the cause of a refused message where a message before it has failed the transaction. The client calls
        that an erroneous state, and tells the cause only to the commit, which fails too.
        """
        try:
            yield
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:
                raise
            self._until_done(self._producer.commit_transaction, "send rows")
            raise

    def _refuse_too_large(self, error: object) -> None:
        """
        Raises:
            TopicError: Kafka refused a row because of its size.
        """
        if isinstance(error, KafkaError) and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise TopicError(
                f"a row is too large for the topic {self.topic.name}, whose max.message.bytes is {self._most_bytes:,}",
                "raise max.message.bytes on the topic, or use another topic (--set stream.topic=NAME)",
            )

    def _until_done(self, call: Callable[[float], object], action: str) -> None:
        """Repeat a call until it succeeds: it may fail while Kafka is away for a moment.

        Raises:
            TopicError: it fails because the topic was deleted, or deleted and created again.
            StreamFailed: it fails for another reason.
        """

        def explain() -> None:
            with suppress(StreamFailed):  # the error itself matters more
                self._confirm(patience=0)

        def attempt() -> None:
            try:
                call(CALL_SECONDS)
            except KafkaException as error:
                self._refuse_too_large(error.args[0])
                raise

        until_done(attempt, action, explain)
