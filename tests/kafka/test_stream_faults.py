"""What others do to the topic while a run is at work on it: never skipped in silence, never waited for without end."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from confluent_kafka import OFFSET_END, Message, Producer, TopicPartition

from tests.support import SMART_HOME, assert_account_closed, new_topic, wait_for
from tests.support.commands import COMMAND, wait_until_stopped
from tests.support.failpoint_run import sealed_user_ids, user_ids
from tests.support.source_run import run_of_source, smart_home_run, topic_of, topic_with
from tidemill.collector import kafka_reader
from tidemill.collector.collector import run_collector
from tidemill.errors import KafkaAway, LogLost, TidemillError, TopicError
from tidemill.kafka import client as kafka_module
from tidemill.kafka.client import MOST_BYTES, KafkaConnection, Topic
from tidemill.kafka.embedded.broker import EmbeddedBroker
from tidemill.kafka.embedded.copy import stands_still
from tidemill.pipeline import load
from tidemill.producer import log as stream_log
from tidemill.producer.log_reader import committed
from tidemill.producer.producer import Pacer, run_producer
from tidemill.run.failpoints import VARIABLE
from tidemill.run.files import sha256
from tidemill.run.folder import Run, open_run
from tidemill.run.marks import CLAIM, END, POSITION
from tidemill.run.stage import Stage, Stopped

pytestmark = pytest.mark.kafka

IN_TIME = 40.0
ROWS = 5403
MIB = 2**20


class Work:
    """A stage at work in a thread of its own, and how it ended."""

    def __init__(self, run: Run, name: str, kafka: str, start: bool = True) -> None:
        self.stage = Stage(run, name)
        self.error: TidemillError | None = None
        do = {"producer": run_producer, "collector": run_collector}[name]
        self._thread = threading.Thread(target=self._do, args=(do, kafka), daemon=True)
        if start:
            self.start()

    def start(self) -> None:
        self._thread.start()

    def _do(self, do: Callable[[Stage, str], None], kafka: str) -> None:
        try:
            do(self.stage, kafka)
        except Stopped:
            assert self.stage.stop.is_set()
        except TidemillError as error:
            self.error = error

    def end(self) -> TidemillError | None:
        """The error it ended with, if any; it must end in time."""
        self._thread.join(IN_TIME)
        assert not self._thread.is_alive(), f"the {self.stage.name} is stuck"
        return self.error

    def stop(self) -> None:
        self.stage.stop.set()
        assert self.end() is None


@contextmanager
def at_work(run: Run, kafka: str) -> Iterator[tuple[Work, Work]]:
    """A producer and a collector; none is at work afterwards."""
    both = Work(run, "producer", kafka), Work(run, "collector", kafka)
    try:
        yield both
    finally:
        for one in both:
            one.stage.stop.set()
            one.end()


# --- messages that are no rows ----------------------------------------------------------------------------------------


class Poison:
    """A message of another writer, and how the reason begins for which it is no row; the place that Kafka gave it."""

    def __init__(self, value: bytes | None, reason: str, **headers: bytes | None) -> None:
        self.value = value
        self.reason = reason
        self.headers = [(name.replace("_", "-"), text) for name, text in headers.items()]
        self.place: tuple[int, int] = (-1, -1)

    def sent(self, _: object, message: Message) -> None:
        self.place = (message.partition(), message.offset())


def poisons() -> list[Poison]:
    """One of every kind."""
    claim, end, position = (name.replace("-", "_") for name in (CLAIM, END, POSITION))
    theirs = b'{"run": "another", "rows": 99999}'
    large = orjson.dumps({"UserID": "x" * 2 * MIB})
    return [
        Poison(b"no json", "not JSON: "),
        Poison(b'{"UserID": 1', "not JSON: "),
        Poison(b'{"UserID": NaN}', "UserID is NaN, not a whole number"),
        Poison(b'{"UserID": "\xff\xfe"}', "not JSON: "),
        Poison(b"x" * 2 * MIB, "not JSON: "),
        Poison(large, "UserID is 'xxx"),
        Poison(b"[1, 2]", "not a JSON object but [1, 2]"),
        Poison(b'"text"', "not a JSON object but 'text'"),
        Poison(b"null", "not a JSON object but None"),
        Poison(b"{}", "UserID is missing"),
        Poison(b'{"UserID": "x"}', "UserID is 'x', not a whole number"),
        Poison(b'{"UserID": 99999999999999999999}', "UserID is "),
        Poison(b"", "an empty message"),
        Poison(None, "an empty message"),
        Poison(None, "an empty message", **{end: b"no json"}),
        Poison(None, "an empty message", **{end: theirs}),
        Poison(None, "an empty message", **{end: None}),
        Poison(None, "an empty message", **{claim: b"[]"}),
        Poison(None, "an empty message", **{claim: theirs}),
        Poison(b"not ours", "not JSON: ", **{position: theirs}),
        Poison(b"not ours", "not JSON: ", **{position: b"7", "other": b"\xff"}),
    ]


def write(kafka: str, topic: str, messages: list[Poison]) -> None:
    """As another program would, which knows nothing of Tidemill's partitions."""
    producer = Producer(KafkaConnection(kafka).settings(message_max_bytes=MOST_BYTES, sticky_partitioning_linger_ms=0))
    for message in messages:
        producer.produce(topic, value=message.value, headers=message.headers, on_delivery=message.sent)
        producer.flush(10)
    assert all(message.place >= (0, 0) for message in messages)


def rejects_of(run: Run) -> dict[tuple[int, int], dict[str, Any]]:
    """All that was rejected from the topic, by partition and offset."""
    lines = [line for path in run.rejects.glob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    rejects = [json.loads(line) for line in lines]
    assert len({(reject["partition"], reject["offset"]) for reject in rejects}) == len(rejects)
    return {(reject["partition"], reject["offset"]): reject for reject in rejects}


@pytest.mark.parametrize("partitions", [1, 3])
def test_poison_while_a_run_is_at_work(kafka: str, tmp_path: Path, partitions: int) -> None:
    """Each message that is no row is counted and kept once, with its partition, offset and reason; the producer finds
    its place among them, and every row is sealed once."""
    run = smart_home_run(
        tmp_path, "stream.rate=3000", "batches={rows=1000}", f"stream.partitions={partitions}", "stream.key=UserID"
    )
    messages = poisons()
    with at_work(run, kafka) as (producer, collector):
        wait_for(lambda: len(run.catalog.batches()) >= 1, "a batch")
        write(kafka, run.pipeline.topic, messages[::2])
        producer.stop()
        write(kafka, run.pipeline.topic, messages[1::2])
        assert Work(run, "producer", kafka).end() is None
        assert collector.end() is None
    rejects = rejects_of(run)
    assert set(rejects) == {message.place for message in messages}
    for message in messages:
        assert rejects[message.place]["reason"].startswith(message.reason)
        assert len(rejects[message.place]["text"]) <= 500
    assert run.catalog.totals()["rejected"] == len(messages)
    assert_account_closed(run.catalog)
    assert [batch.rows for batch in run.catalog.batches()] == [1000] * 5 + [403]
    assert sorted(sealed_user_ids(run)) == sorted(user_ids())
    if partitions == 1:
        assert sealed_user_ids(run) == user_ids()


@pytest.mark.parametrize("value", [b"no json", b"[]", b"{}", b'"text"', None])
def test_a_claim_that_is_none(kafka: str, tmp_path: Path, value: bytes | None) -> None:
    """A topic whose first message has a claim's header with something else in it is another writer's: refused."""
    run = smart_home_run(tmp_path)
    new_topic(kafka_module.connect_admin(KafkaConnection(kafka)), run.pipeline.topic, 1)
    write(kafka, run.pipeline.topic, [Poison(None, "", **{CLAIM: value})])
    with pytest.raises(TopicError, match="holds another run's data"):
        run_producer(Stage(run, "producer"), kafka)


# --- a topic that is deleted or made anew -----------------------------------------------------------------------------


def alien_rows(count: int) -> list[bytes]:
    """Rows that would fit, of somebody else."""
    with SMART_HOME.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    kinds = {"DeviceType": str, "UsageHoursPerDay": float, "EnergyConsumption": float}
    fits = {name: kinds.get(name, int)(value) for name, value in row.items()}
    return [orjson.dumps(fits | {"UserID": -1})] * count


@pytest.mark.parametrize("made_anew", ["no", pytest.param("empty", marks=pytest.mark.nightly), "with more rows in it"])
def test_a_topic_that_is_deleted_at_work(kafka: str, tmp_path: Path, made_anew: str) -> None:
    """Producer and collector both end in time and say so. Nothing goes into a topic made anew under its name, however
    much of it looks like the old one, and nothing is sealed from it: Kafka's clients would go on there unasked."""
    run = smart_home_run(tmp_path, "stream.rate=1000", "batches={rows=400}")
    admin = kafka_module.connect_admin(KafkaConnection(kafka))
    with at_work(run, kafka) as both:
        wait_for(lambda: len(run.catalog.batches()) >= 1, "a batch")
        topic = topic_of(run, kafka)
        kafka_module.delete_topic(admin, topic)
        if made_anew != "no":
            wait_for(lambda: kafka_module.describe_topic(admin, topic.name) is None, "the deletion")
            topic = new_topic(admin, topic.name, 1)
        if made_anew == "with more rows in it":
            write_all(kafka, topic.name, alien_rows(4 * ROWS))
        errors = [one.end() for one in both]
    what = "is gone" if made_anew == "no" else "was deleted and created again"
    for error in errors:
        assert isinstance(error, TopicError)
        assert what in error.message
        assert topic.name in error.message
        assert "--fresh" in error.hint
    ids = sealed_user_ids(run)
    assert ids == user_ids()[: len(ids)]
    source = run.catalog.source()
    assert source is not None
    assert not source.complete
    assert run.catalog.ended() == {}
    if made_anew == "empty":
        assert readable(kafka, topic) == 0


def write_all(kafka: str, topic: str, values: list[bytes]) -> None:
    producer = Producer(KafkaConnection(kafka).settings())
    for value in values:
        producer.produce(topic, value=value)
    assert producer.flush(20) == 0


def readable(kafka: str, topic: Topic) -> int:
    """How many messages of a topic were committed."""
    return sum(1 for _ in committed(KafkaConnection(kafka), topic, dict.fromkeys(range(topic.partitions), 0)))


# --- a Kafka that is away when it is asked for the topic --------------------------------------------------------------


class Absence:
    """Takes the broker away (SIGSTOP) at the moment at which it is asked for the topic, once; ``ask`` is how. It is
    back as soon as the first question was in vain."""

    def __init__(self, broker: EmbeddedBroker, ask: Callable[..., Any], then: Callable[[], object] = str) -> None:
        self._broker = broker
        self._ask = ask
        self._then = then
        self._left = True
        self.in_vain = 0

    def __call__(self, *given: Any) -> Any:
        if self._left:
            os.kill(self._broker.pid, signal.SIGSTOP)
            kafka = psutil.Process(self._broker.pid)  # the signal reaches its threads one after another
            wait_for(lambda: stands_still(kafka), "Kafka to stand still")
        self._left = False
        try:
            return self._ask(*given)
        except KafkaAway:
            self.in_vain += 1
            self._then()
            raise
        finally:
            os.kill(self._broker.pid, signal.SIGCONT)


def test_a_batch_waits_for_a_kafka_that_is_away(
    own_broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that can't ask whether the topic is still the run's own waits until it can, and seals then. Asked to
    stop meanwhile it does so, with the batch not sealed; the next collector makes the same."""
    run = smart_home_run(tmp_path, "batches={rows=2000}")
    assert Work(run, "producer", own_broker.bootstrap).end() is None
    for stops in (True, False):
        work = Work(run, "collector", own_broker.bootstrap, start=False)
        then = work.stage.stop.set if stops else str
        with monkeypatch.context() as patch:
            absence = Absence(own_broker, kafka_module.verify_topic, then)
            patch.setattr(kafka_reader, "verify_topic", absence)
            work.start()
            assert work.end() is None
        assert absence.in_vain == 1
        assert [batch.rows for batch in run.catalog.batches()] == ([] if stops else [2000, 2000, 1403])
    assert sealed_user_ids(run) == user_ids()


def test_rows_wait_for_a_kafka_that_is_away(
    own_broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer that can't ask whether the topic is still the run's own asks again, and sends every row once."""
    run = smart_home_run(tmp_path, "batches={rows=2000}")
    absence = Absence(own_broker, kafka_module.verify_topic)
    monkeypatch.setattr(stream_log, "CALL_SECONDS", 1.0)
    monkeypatch.setattr(stream_log, "verify_topic", absence)
    assert Work(run, "producer", own_broker.bootstrap).end() is None
    assert absence.in_vain == 1
    assert Work(run, "collector", own_broker.bootstrap).end() is None
    assert sealed_user_ids(run) == user_ids()


# --- retention --------------------------------------------------------------------------------------------------------


def expire(run: Run, kafka: str, before: int) -> None:
    """Remove what stands before that offset, as retention does."""
    admin = kafka_module.connect_admin(KafkaConnection(kafka))
    place = TopicPartition(run.pipeline.topic, 0, before)
    admin.delete_records([place])[TopicPartition(place.topic, 0)].result(10)


def stopped_collector(run: Run, kafka: str, topic: str) -> subprocess.Popen[str]:
    """A collector in a process of its own that stands still once its first batch is sealed."""
    sets = ["--set", f"stream.topic={topic}", "--set", "stream.pause=0", "--set", "batches={rows=400}"]
    where = ["--run-dir", str(run.folder), "--bootstrap-servers", kafka, "--data", str(SMART_HOME)]
    line = [*COMMAND, "collect", "smart-home", *sets, *where]
    environment = os.environ | {VARIABLE: "batch.sealed=stop"}
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment)
    wait_until_stopped(process.pid, "the first batch")
    return process


class Gate:
    """Lets a producer send that many rows at once, then a row each 0.2 s until it is opened, then all the others."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.sent = 0
        self.opened = threading.Event()

    def wait(self) -> float:
        self.sent += 1
        return 0.0 if self.sent <= self.rows or self.opened.is_set() else 0.2


def test_retention_at_work(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are removed before a collector at work could read them are missed: it ends, and says what is lost. So
    does each one after it. What is sealed stays."""
    topic = f"faults-{uuid.uuid4().hex}"
    data = ["stream.pause=0", "batches={rows=400}", f"stream.topic={topic}"]
    run = open_run(load("smart-home", [*data, "stream.rate=1500"], data=str(SMART_HOME)), tmp_path)
    gate = Gate(1000)
    monkeypatch.setattr(Pacer, "wait", lambda _: gate.wait())
    producer = Work(run, "producer", kafka)
    process = stopped_collector(run, kafka, topic)
    try:
        before = gate.sent
        wait_for(lambda: gate.sent > before + 10, "rows that answer the request which the collector had under way")
        gate.opened.set()
        assert producer.end() is None
        expire(run, kafka, OFFSET_END)
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=IN_TIME)
    finally:
        process.kill()
    assert process.returncode == 1
    assert re.search(rf"partition 0 of {topic} begins at offset \d+; \d+ is needed next", said)
    assert "retention.ms=-1" in said
    assert "Traceback" not in said
    sealed = run.catalog.batches()
    ids = sealed_user_ids(run)
    assert ids == user_ids()[: len(ids)]
    with pytest.raises(LogLost, match=rf"partition 0 of {topic} begins at offset \d+; \d+ is needed next") as caught:
        run_collector(Stage(run, "collector"), kafka)
    assert "retention.ms=-1" in caught.value.hint
    assert run.catalog.batches() == sealed
    assert [sha256(run.folder / batch.path) for batch in sealed] == [batch.sha256 for batch in sealed]


# --- settings of a topic that the user made ---------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_a_compacted_topic_is_refused(kafka: str, tmp_path: Path, policy: str) -> None:
    """A topic that would drop rows is refused before anything is written to it, with the setting that it needs."""
    run = smart_home_run(tmp_path, topic=topic_with(kafka, cleanup_policy=policy))
    with pytest.raises(TopicError, match="is compacted") as refused:
        run_producer(Stage(run, "producer"), kafka)
    assert "cleanup.policy=delete" in refused.value.hint
    assert set(
        kafka_module.end_offsets(kafka_module.connect_admin(KafkaConnection(kafka)), topic_of(run, kafka)).values()
    ) == {0}


def test_a_topic_with_a_small_limit_gets_all_rows(kafka: str, tmp_path: Path) -> None:
    """The limit of a topic is of a batch of messages: the rows go in smaller batches."""
    data = tmp_path / "rows.csv"
    data.write_text("id,name\n" + "".join(f"{n},{os.urandom(60).hex()}\n" for n in range(300)), encoding="utf-8")
    run = run_of_source(tmp_path / "run", data, f"stream.topic={topic_with(kafka, max_message_bytes='4096')}")
    run_producer(Stage(run, "producer"), kafka)
    run_collector(Stage(run, "collector"), kafka)
    assert run.catalog.totals()["rows"] == 300


@pytest.mark.parametrize("refused_first", [True, False])
def test_a_row_beyond_the_topics_limit_is_told(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused_first: bool
) -> None:
    """A row that the topic can't hold stops the run with the limit's name, as a restart would not help; also where
    Kafka has refused it before the last row of its transaction is sent."""
    if refused_first:
        commit = stream_log.Log.commit
        monkeypatch.setattr(stream_log.Log, "commit", lambda log: (log._flush(), commit(log)))
    data = tmp_path / "long.csv"
    data.write_text("id,name\n" + "".join(f"{n},{os.urandom(4000).hex()}\n" for n in range(3)), encoding="utf-8")
    run = run_of_source(tmp_path / "run", data, f"stream.topic={topic_with(kafka, max_message_bytes='2000')}")
    with pytest.raises(TopicError, match=r"max\.message\.bytes is 2,000"):
        run_producer(Stage(run, "producer"), kafka)
