"""The Kafka client of producer and collector: connections and topics."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec

from tidemill.errors import BootstrapError, KafkaAway, NoRun, StreamFailed, TopicError
from tidemill.kafka.refusals import await_kafka, way_out
from tidemill.pipeline import Pipeline, Secret, Stream, secret_value
from tidemill.run.folder import Run
from tidemill.run.stage import Stop
from tidemill.texts import did_you_mean

log = logging.getLogger(__name__)
client_log = logging.getLogger("librdkafka")
client_log.addHandler(logging.NullHandler())  # a command that writes no log shows the one error that matters

ANSWER_SECONDS = 10.0
AT_ONCE_SECONDS = 1.0  # within which a Kafka that is well answers
SPREAD_SECONDS = 1.0  # after this time every broker knows a new topic

# Errors that pass: the client, or a retry, recovers from them.
TRANSIENT = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
}

BATCH_BYTES = 1_000_000  # librdkafka's default
WITHIN_LIMIT = 0.9

# A row has at most 1 MiB in its source, and JSON may write one character as six.
MOST_BYTES = 8_000_000


class TopicSettings(NamedTuple):
    """The settings of a topic that can keep a run's rows out of it, or take them away again.

    Attributes:
        compacted: whether Kafka keeps only the newest message of each key.
        max_bytes: of a batch of messages that Kafka accepts.
        expiring: the settings by which Kafka removes messages, such as ``retention.ms=3600000``.
    """

    compacted: bool
    max_bytes: int
    expiring: tuple[str, ...]


class Topic(NamedTuple):
    """A topic as Kafka describes it. ``id`` is unique, even among topics of the same name."""

    name: str
    id: str
    partitions: int


@dataclass(frozen=True)
class KafkaConnection:
    """How to connect to a Kafka: its address and the user's client settings. They may hold secrets: never show them."""

    address: str
    client: Mapping[str, str] = field(default_factory=dict, repr=False)

    def settings(self, **more: Any) -> dict[str, Any]:
        """The settings of a client. librdkafka logs to the stage's log, not to the terminal."""
        common = {
            "client.id": "tidemill",
            "reconnect.backoff.max.ms": 1000,
            "topic.metadata.refresh.interval.ms": 10_000,
        }
        fixed = {"bootstrap.servers": self.address, "logger": client_log}
        return common | dict(self.client) | fixed | {name.replace("_", "."): value for name, value in more.items()}

    def batch_size(self, most_bytes: int) -> int:
        """The size at which a producer sends a batch, so that a topic that accepts ``most_bytes`` takes it: a little
        less, as compression may add something, and no more than the user's own setting."""
        own = int(self.client.get("batch.size", BATCH_BYTES))
        return max(1, min(own, int(most_bytes * WITHIN_LIMIT)))


def client_settings(stream: Stream, folder: Path) -> dict[str, str]:
    """The user's settings of the Kafka client, secrets resolved; relative paths start at ``folder``.

    Raises:
        BootstrapError: a secret's file or environment variable is missing.
    """
    return {name: value_of(name, setting, folder) for name, setting in stream.kafka.items()}


def value_of(name: str, setting: str | Secret, folder: Path) -> str:
    try:
        return secret_value(setting, folder)
    except ValueError as error:
        raise BootstrapError(f"stream.kafka, {name}: {error}", "put the secret there") from error


def connect_admin(connection: KafkaConnection, seconds: float = ANSWER_SECONDS) -> AdminClient:
    """An admin client, once Kafka has answered.

    Raises:
        BootstrapError: Kafka does not answer within ``seconds``, or refuses the login or TLS; or the client refuses the
            user's settings.
    """
    try:
        admin = AdminClient(connection.settings())
    except KafkaException as error:
        raise BootstrapError(f"the Kafka client refuses its settings: {reason(error)}", "see [stream.kafka]") from error
    try:
        admin.list_topics(timeout=min(seconds, AT_ONCE_SECONDS))
    except KafkaException:
        await_kafka(connection.settings(), connection.address, seconds)
    return admin


def describe_topic(admin: AdminClient, name: str, seconds: float = ANSWER_SECONDS) -> Topic | None:
    """The topic of that name; None where there is none.

    Raises:
        KafkaAway: Kafka does not answer within ``seconds``.
        StreamFailed: Kafka refuses to answer.
    """
    try:
        description = admin.describe_topics(TopicCollection([name]), request_timeout=seconds)[name].result()
    except KafkaException as error:
        code = error.args[0].code()
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        kind = KafkaAway if code in TRANSIENT else StreamFailed
        raise kind(f"Kafka can't describe the topic {name}: {reason(error)}", way_out(error.args[0])) from error
    return Topic(name, str(description.topic_id), len(description.partitions))


def existing_topic(admin: AdminClient, name: str) -> Topic:
    """The topic of that name.

    Raises:
        TopicError: there is none.
        KafkaAway, StreamFailed: as for :func:`describe_topic`.
    """
    topic = describe_topic(admin, name)
    if topic is None:
        meant = did_you_mean(name, topic_names(admin))
        raise TopicError(f"there is no topic {name}", meant or "check its name, and the address of the Kafka")
    return topic


def topic_names(admin: AdminClient) -> list[str]:
    """The names of all topics that the user may see, but for Kafka's own."""
    return sorted(name for name in admin.list_topics(timeout=ANSWER_SECONDS).topics if not name.startswith("__"))


def verify_topic(
    admin: AdminClient,
    name: str,
    id: str,
    seconds: float = ANSWER_SECONDS,
    loss: str = "this run's rows were in it",
    hint: str = "start over with --fresh",
) -> Topic:
    """Check that the topic of that name still has that id, and return it.

    Clients know a topic by its name alone: they continue in a new topic of the same name without an error. So this
    confirms all that was read and written before.

    Args:
        loss, hint: of the error: what was in the topic, and the way out.

    Raises:
        TopicError: the topic was deleted, or deleted and created again.
        KafkaAway: Kafka does not answer within ``seconds``.
        StreamFailed: Kafka refuses to answer.
    """
    topic = describe_topic(admin, name, seconds)
    if topic is None:
        time.sleep(SPREAD_SECONDS)
        topic = describe_topic(admin, name, seconds)
    if topic is None or topic.id != id:
        fate = "is gone" if topic is None else "was deleted and created again"
        raise TopicError(f"the topic {name} {fate}: {loss}", hint)
    return topic


KEEP_ALL = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
KEEP_AS_KAFKA = {"cleanup.policy": "delete"}


def make_topic(admin: AdminClient, name: str, partitions: int, retention: Mapping[str, str] = KEEP_ALL) -> bool:
    """Create the topic, with unlimited retention unless told otherwise, as a run is resumed from the log. False if
    another process has created it meanwhile.

    Raises:
        TopicError: Kafka refuses.
        StreamFailed: Kafka can't create it now.
    """
    most_bytes = MOST_BYTES + 100_000  # a little more than the client's, for headers
    config = {**retention, "max.message.bytes": str(most_bytes)}
    try:
        admin.create_topics([NewTopic(name, partitions, config=config)])[name].result(ANSWER_SECONDS)
    except KafkaException as error:
        if error.args[0].code() in TRANSIENT:
            raise StreamFailed(f"the topic {name} can't be created now: {reason(error)}") from error
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise TopicError(f"the topic {name} can't be created: {reason(error)}", "see Kafka's own log") from error
        return False
    return True


def requests_topic(topic: str, run_id: str) -> str:
    """The name of the topic that has the answered requests of a run, beside its own ``topic``."""
    return f"{topic[:200]}-requests-{run_id}"


def topic_settings(
    admin: AdminClient, name: str, seconds: float = ANSWER_SECONDS, level: int = logging.WARNING
) -> TopicSettings | None:
    """The topic's settings; None where Kafka does not tell them to this user, or not within ``seconds``, which is
    logged at ``level``."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    try:
        entries = admin.describe_configs([resource], request_timeout=seconds)[resource].result()
    except KafkaException as error:
        log.log(level, "the settings of the topic %s are not known: %s", name, reason(error))
        return None
    values = {key: entry.value for key, entry in entries.items()}
    limits = {key: values.get(key, "-1") for key in ("retention.ms", "retention.bytes")}
    return TopicSettings(
        compacted="compact" in values.get("cleanup.policy", "delete").split(","),
        max_bytes=int(values.get("max.message.bytes", MOST_BYTES)),
        expiring=tuple(f"{key}={value}" for key, value in limits.items() if value != "-1"),
    )


def batch_limit(admin: AdminClient, name: str) -> int:
    """How many bytes a batch of messages may have in the topic; where Kafka does not tell, as many as in a new one."""
    settings = topic_settings(admin, name)
    return MOST_BYTES if settings is None else min(settings.max_bytes, MOST_BYTES)


def await_topic(admin: AdminClient, name: str) -> Topic:
    """The topic, once Kafka lists it with its partitions.

    Raises:
        StreamFailed: Kafka does not list it within :data:`ANSWER_SECONDS`.
    """
    end = time.monotonic() + ANSWER_SECONDS
    while (topic := describe_topic(admin, name)) is None or topic.partitions == 0:
        if time.monotonic() > end:
            raise StreamFailed(f"the topic {name} was created but Kafka does not list it")
        time.sleep(0.02)
    return topic


def end_offsets(admin: AdminClient, topic: Topic, stable: bool = False) -> dict[int, int]:
    """The offset of the next message of each partition.

    Args:
        stable: give the last stable offset instead: every transaction before it has ended, and consumers of committed
            messages read no further.

    Raises:
        StreamFailed: Kafka does not answer. A partition without a leader, as after a start, is waited for.
    """
    isolation = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
    return list_offsets(admin, topic, OffsetSpec.latest(), isolation)


def first_offsets(admin: AdminClient, topic: Topic) -> dict[int, int]:
    """The first offset that each partition still holds; raises as :func:`end_offsets`."""
    return list_offsets(admin, topic, OffsetSpec.earliest())


def offsets_at(admin: AdminClient, topic: Topic, milliseconds: int) -> dict[int, int]:
    """The first offset of each partition with that timestamp or a later one; where there is none, its end. Raises as
    :func:`end_offsets`."""
    ends = end_offsets(admin, topic)
    found = list_offsets(admin, topic, OffsetSpec.for_timestamp(milliseconds))
    return {partition: ends[partition] if offset < 0 else offset for partition, offset in found.items()}


def list_offsets(
    admin: AdminClient,
    topic: Topic,
    which: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[int, int]:
    """An offset of each partition."""
    asked = {TopicPartition(topic.name, partition): which for partition in range(topic.partitions)}
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            offsets = admin.list_offsets(asked, isolation_level=isolation, request_timeout=ANSWER_SECONDS)
            return {where.partition: future.result().offset for where, future in offsets.items()}
        except KafkaException as error:
            code = error.args[0].code()
            passes = code in TRANSIENT or code == KafkaError._NOENT  # the client's word where no partition has a leader
            if not passes or time.monotonic() > end:
                message = f"Kafka can't say which offsets {topic.name} has: {reason(error)}"
                raise StreamFailed(message, way_out(error.args[0])) from error
            with suppress(KafkaException):  # the next call says it too
                admin.list_topics(topic.name, timeout=AT_ONCE_SECONDS)  # else the client may go by the former leaders
            time.sleep(0.05)


def delete_topic(admin: AdminClient, topic: Topic) -> None:
    """Delete the topic, if it still has the same id."""
    if describe_topic(admin, topic.name) == topic:
        admin.delete_topics([topic.name])[topic.name].result(ANSWER_SECONDS)


def reason(error: KafkaException) -> str:
    """Kafka's text for an error."""
    first = error.args[0]
    return first.str() if isinstance(first, KafkaError) else str(error)


def connect_cluster(run: Run, given: str | None, stop: Stop) -> tuple[KafkaConnection, AdminClient]:
    """Connect to a run's Kafka: the given one, else the embedded one. Returns an admin client too.

    Raises:
        BootstrapError: the given Kafka does not answer.
        NoRun: none was given, and the embedded one is not running.
        StreamFailed: the embedded one does not answer, or ``stop`` was set first.
    """
    chosen = given or run.pipeline.stream.bootstrap_servers
    if run.pipeline.source.topic:
        refuse_without_address(run.pipeline, chosen)
    connection = KafkaConnection(chosen or await_embedded(run, stop), client_settings(run.pipeline.stream, run.base))
    source = run.catalog.source()
    known = chosen is None or (source is not None and source.topic_id is not None)
    try:
        return connection, connect_admin(connection)
    except BootstrapError as error:
        if not known:
            raise
        raise StreamFailed(error.message, "this run has worked with it before: check that it runs again") from error


def refuse_without_address(pipeline: Pipeline, address: str | None) -> None:
    """Refuse to read a topic of others where it is not known in which Kafka it is.

    Raises:
        BootstrapError: there is no ``address``.
    """
    if pipeline.source.topic and not address:
        raise BootstrapError(
            f"the topic {pipeline.source.topic} is read from a Kafka of yours, whose address is not given",
            'set stream.bootstrap_servers = "HOST:PORT" in the pipeline file, or give --bootstrap-servers HOST:PORT',
        )


def broker_moved(run: Run, address: str) -> bool:
    """Whether the embedded broker, which was at ``address``, is now at another address."""
    broker = run.catalog.stages().get("broker")
    return broker is not None and broker.endpoint not in (None, address) and run.at_work(broker)


def await_embedded(run: Run, stop: Stop) -> str:
    """The embedded broker's address, once it runs. Its first start fetches Kafka, which may take minutes.

    Raises:
        NoRun: nothing starts the broker.
        StreamFailed: ``stop`` was set first.
    """
    started_by_up = "TIDEMILL_LIFELINE" in os.environ
    while not stop.is_set():
        broker = run.catalog.stages().get("broker")
        at_work = broker is not None and run.at_work(broker)
        if broker and at_work and broker.endpoint and broker.state == "running":
            return broker.endpoint
        if not (started_by_up or at_work):
            raise NoRun(
                "this run's Kafka is not running",
                f"start `tidemill broker {run.pipeline.name}`, or give --bootstrap-servers HOST:PORT",
            )
        stop.wait(0.05)
    raise StreamFailed("asked to stop before Kafka was ready")
