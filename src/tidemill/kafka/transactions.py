"""What all transactional producers share: their settings, and their patience with a Kafka that is away for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Producer

from tidemill.errors import KafkaAway, StreamFailed
from tidemill.kafka.client import MOST_BYTES, KafkaConnection, reason

CALL_SECONDS = 10.0
PATIENCE_SECONDS = 120.0
AGAIN_SECONDS = 0.1
REQUEST_SECONDS = 300  # in which the rows of one HTTP request get into the log: the largest one takes about half of it
OPEN_SECONDS = REQUEST_SECONDS + 15.0  # the transaction of a dead writer has ended then: Kafka looks every 10 s


def transactional_producer(
    connection: KafkaConnection, name: str, most_bytes: int, linger_ms: int = 5, **more: object
) -> Producer:
    """A producer whose rows Kafka takes once, in order, in all replicas.

    Args:
        name: of the writer, after Tidemill's own. Another producer of the same name is shut out.
        most_bytes: of a batch of messages that the topic accepts.
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
    return Producer(settings)


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
