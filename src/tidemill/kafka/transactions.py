"""What all transactional producers share: their settings, and their patience with a Kafka that is away for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from tidemill.errors import KafkaAway, StreamFailed
from tidemill.kafka.client import MOST_BYTES, KafkaConnection, Topic, end_offsets, reason

CALL_SECONDS = 10.0
PATIENCE_SECONDS = 120.0
AGAIN_SECONDS = 0.1
LOOK_SECONDS = 0.02
REQUEST_SECONDS = 300  # in which the rows of one HTTP request get into the log: the largest one takes about half of it
OPEN_SECONDS = REQUEST_SECONDS + 15.0  # the transaction of a dead writer has ended then: Kafka looks every 10 s


class TransactionalProducer(Producer):  # type: ignore[misc]  # the client has no types
    """Kafka's producer, whose fatal errors, such as that it is shut out, always come as a KafkaException."""

    def poll(self, timeout: float = -1) -> int:
        with fatal_errors():
            events: int = super().poll(timeout)
            return events

    def flush(self, timeout: float = -1) -> int:
        with fatal_errors():
            left: int = super().flush(timeout)
            return left

    def commit_transaction(self, timeout: float = -1) -> None:
        with fatal_errors():
            super().commit_transaction(timeout)

    def abort_transaction(self, timeout: float = -1) -> None:
        with fatal_errors():
            super().abort_transaction(timeout)

    def leave(self) -> None:
        """Drop what is not sent yet."""
        with suppress(KafkaException):  # one that is shut out is told so once more
            self.purge()
            self.poll(0)


@contextmanager
def fatal_errors() -> Iterator[None]:
    """Raise the client's own error where it comes as a SystemError: with a fatal error on its way the client may still
    call its logger, which Python refuses."""
    try:
        yield
    except SystemError as error:
        cause = error.__cause__
        while isinstance(cause, SystemError):
            cause = cause.__cause__
        if isinstance(cause, KafkaException):
            raise cause from None
        raise


@contextmanager
def sending() -> Iterator[None]:
    """Explain what a producer raises.

    Raises:
        StreamFailed: it can't go on, for example as another one has taken over.
    """
    try:
        yield
    except KafkaException as error:
        raise StreamFailed(f"can't send rows: {reason(error)}", "see Kafka's log") from error


def transactional_producer(
    connection: KafkaConnection,
    name: str,
    most_bytes: int,
    linger_ms: int = 5,
    on_error: Callable[[KafkaError], None] | None = None,
    **more: object,
) -> TransactionalProducer:
    """A producer whose rows Kafka takes once, in order, in all replicas.

    Args:
        name: of the writer, after Tidemill's own. Another producer of the same name is shut out.
        most_bytes: of a batch of messages that the topic accepts.
        on_error: what is called, within a call of the producer, where the client meets an error that it recovers from
            by itself, such as a connection that is lost.
        more: further settings.
    """
    settings = connection.settings(
        transactional_id=f"tidemill-{name}",
        enable_idempotence=True,
        acks="all",
        compression_type="lz4",
        message_max_bytes=MOST_BYTES,
        batch_size=connection.batch_size(most_bytes),
        linger_ms=linger_ms,
        **more,
    )
    return TransactionalProducer(settings if on_error is None else {**settings, "error_cb": on_error})


def until_done(call: Callable[[], object], action: str, explain: Callable[[], None]) -> None:
    """Repeat a call of a producer until it succeeds: it may fail while Kafka is away for a moment.

    Args:
        explain: raises the cause of an error, where it finds one.

    Raises:
        TidemillError: what ``explain`` raises.
        StreamFailed: it fails for another reason.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            call()
            return
        except KafkaException as error:
            explain()
            first = error.args[0]
            again = isinstance(first, KafkaError) and first.retriable() and time.monotonic() < end
            if not again:
                raise StreamFailed(f"can't {action}: {reason(error)}", "see Kafka's log") from error


def until_confirmed(confirm: Callable[[], object], patience: float) -> None:
    """Call ``confirm`` until Kafka answers it.

    Raises:
        KafkaAway: Kafka does not answer within ``patience`` seconds.
        TidemillError: what ``confirm`` raises.
    """
    end = time.monotonic() + patience
    while True:
        try:
            confirm()
            return
        except KafkaAway:
            if time.monotonic() >= end:
                raise
            time.sleep(AGAIN_SECONDS)


def open_offsets(admin: AdminClient, topic: Topic) -> dict[int, range]:
    """The offsets of each partition that has an open transaction: from its first message to the partition's end.

    Raises:
        StreamFailed: Kafka does not answer.
    """
    ends = end_offsets(admin, topic)
    stable = end_offsets(admin, topic, stable=True)
    return {partition: range(stable[partition], end) for partition, end in ends.items() if stable[partition] < end}


def open_before(
    admin: AdminClient,
    topic: Topic,
    ends: Mapping[int, int],
    seconds: float,
    meanwhile: Callable[[], object] = lambda: None,
) -> dict[int, int]:
    """Wait until the transactions before the offsets ``ends`` have ended, so that consumers of committed messages read
    up to there. Returns these offsets of the partitions where one is still open after so many ``seconds``.

    Args:
        meanwhile: called after each look in vain.

    Raises:
        StreamFailed: Kafka does not answer.
        TidemillError: what ``meanwhile`` raises.
    """
    limit = time.monotonic() + seconds
    while True:
        stable = end_offsets(admin, topic, stable=True)
        left = {partition: end for partition, end in ends.items() if stable[partition] < end}
        if not left or time.monotonic() > limit:
            return left
        meanwhile()
        time.sleep(LOOK_SECONDS)
