"""Producers that another one of the same name shuts out."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.support.source_run import topic_with
from tidemill.errors import StreamFailed
from tidemill.kafka.client import KafkaConnection, connect_admin, existing_topic
from tidemill.kafka.messages import Messages
from tidemill.kafka.transactions import TransactionalProducer, transactional_producer
from tidemill.producer.log import Log
from tidemill.run.marks import Marks


def opened(kafka: str, name: str) -> TransactionalProducer:
    producer = transactional_producer(KafkaConnection(kafka), name, 1_000_000, debug="all")
    producer.init_transactions(10)
    return producer


def test_a_fatal_error_is_told_though_the_client_logs_on(kafka: str) -> None:
    """The client hands over what it has to log together with its errors: here much of it."""
    topic, name = topic_with(kafka), uuid.uuid4().hex
    first = opened(kafka, name)
    first.begin_transaction()
    with opened(kafka, name):
        with suppress(KafkaException):
            while True:  # until the client knows that it is shut out, and has logged that
                first.produce(topic, b"late")
                time.sleep(0.05)
        with pytest.raises(KafkaException) as caught:
            first.flush(10)
        assert caught.value.args[0].code() == KafkaError._FENCED
        first.leave()


def test_a_log_that_is_shut_out_says_so(kafka: str) -> None:
    """A second producer of the same run takes over: the first one commits nothing any more, and ends with the cause."""
    connection = KafkaConnection(kafka)
    topic = existing_topic(connect_admin(connection), topic_with(kafka))
    marks = Marks(uuid.uuid4().hex, None, topic.id)
    with Log(connection, topic, marks) as first:
        first.send(Messages([b"1", b"2"], [None, None], [0, 0]))
        with Log(connection, topic, marks), pytest.raises(StreamFailed, match=r"can't (send|commit) rows"):
            first.commit()
