"""The embedded broker: a real Kafka is started, killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support import wait_for
from tidemill.errors import BrokerFailed, PortInUse, TidemillError
from tidemill.kafka.embedded import broker as module
from tidemill.kafka.embedded.broker import EmbeddedBroker, free_port, run_broker
from tidemill.kafka.embedded.jars import kafka_jars
from tidemill.pipeline import load
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage

pytestmark = pytest.mark.kafka

TOPIC = "rows"
LOOPBACK = {"127.0.0.1", "::ffff:127.0.0.1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name has what folders' names may have."""
    path = tmp_path / "a rün, of mine"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a broker leaves that was given one row and stopped."""
    folder = tmp_path_factory.mktemp("written")
    with broker_in(folder) as broker:
        write(broker.bootstrap, [b"one"])
    return folder


@pytest.fixture
def stopped(written: Path, folder: Path) -> Path:
    """A folder of a broker that was given one row and stopped."""
    return Path(shutil.copytree(written, folder, dirs_exist_ok=True))


def broker_in(folder: Path, port: int = 0, jars: Path | None = None) -> EmbeddedBroker:
    return EmbeddedBroker(folder / "broker", folder / "kafka.log", port, jars)


def write(bootstrap: str, values: list[bytes]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, 1)])[TOPIC].result(20)
    produce(bootstrap, values)


def produce(bootstrap: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for value in values:
        producer.produce(TOPIC, value)
    assert producer.flush(30) == 0


def read(bootstrap: str) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "enable.auto.commit": False})
    try:
        where = TopicPartition(TOPIC, 0, 0)
        end = consumer.get_watermark_offsets(where, timeout=20)[1]
        consumer.assign([where])
        return [message.value() for message in consumer.consume(end, 20)]
    finally:
        consumer.close()


def is_running(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended may wait for the system to take note."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_data_and_port_outlive_a_stop(stopped: Path) -> None:
    """A stop leaves no process behind; the next start has what was written, at the same address."""
    before = set(psutil.Process().children())
    with broker_in(stopped) as broker:
        produce(broker.bootstrap, [b"two"])
        first, pid = broker.bootstrap, broker.pid
        ours = set(psutil.Process().children()) - before
        below = {process for one in ours for process in one.children(recursive=True)}
        assert len(ours) == 2, "Kafka and its guard"
        assert os.getsid(pid) == pid, "a Ctrl-C on our terminal would reach it"
        assert {where.laddr.ip for where in psutil.Process(pid).net_connections("tcp") if not where.raddr} <= LOOPBACK
    wait_for(lambda: not any(is_running(process) for process in ours | below), "the end of all of them", 5)
    with broker_in(stopped) as broker:
        assert broker.bootstrap == first
        assert read(broker.bootstrap) == [b"one", b"two"]


def test_data_outlives_new_ports(stopped: Path) -> None:
    """Where its port has been taken meanwhile, the broker takes another and has all its data."""
    former = int((stopped / "broker" / "port").read_text())
    with listening(former), broker_in(stopped) as broker:
        assert broker.port != former
        assert read(broker.bootstrap) == [b"one"]


def test_killed_kafka_is_seen_and_recovers(stopped: Path) -> None:
    """A Kafka that was killed is no longer alive, its failure says so, and the next start has what was acknowledged."""
    with broker_in(stopped) as broker:
        produce(broker.bootstrap, [b"two"])
        os.kill(broker.pid, signal.SIGKILL)
        wait_for(lambda: not broker.alive(), "Kafka to be seen dead", 5)
        assert "Kafka was killed" in broker.failure().message
    with broker_in(stopped) as again:
        assert read(again.bootstrap) == [b"one", b"two"]


PARENT = """
import sys
from pathlib import Path
from tidemill.kafka.embedded.broker import EmbeddedBroker
broker = EmbeddedBroker(Path(sys.argv[1], "broker"), Path(sys.argv[1], "kafka.log"))
broker.start()
print(broker.pid, broker.bootstrap, flush=True)
sys.stdin.read()
"""


def test_no_orphan_when_the_parent_is_killed(stopped: Path) -> None:
    """When the process that started Kafka is killed, Kafka ends at once, and another start has the data."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, stopped], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout
        pid, bootstrap = parent.stdout.readline().split()
        produce(bootstrap, [b"two"])
        parent.kill()
    with broker_in(stopped) as broker:
        assert not psutil.pid_exists(int(pid))
        assert read(broker.bootstrap) == [b"one", b"two"]


def test_port_in_use(folder: Path) -> None:
    """A port that was asked for and is taken is refused before anything starts."""
    port = free_port()
    with listening(port), pytest.raises(PortInUse, match=f"listens on port {port}"):
        broker_in(folder, port).start()


@pytest.mark.nightly
def test_port_taken_between_choice_and_start(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A free port that another program takes just before Kafka does is replaced by another."""
    (stopped / "broker" / "port").unlink()
    taken = free_port()
    choice = iter([taken])
    monkeypatch.setattr(module, "free_port", lambda but=0: next(choice, None) or free_port(but))
    with listening(taken), broker_in(stopped) as broker:
        assert broker.port != taken
        assert "Address already in use" in (stopped / "kafka.log").read_text()


def test_missing_jar(folder: Path) -> None:
    """A Kafka that lacks a jar says which class is missing and how to mend it."""
    jars = Path(shutil.copytree(kafka_jars(), folder / "jars"))
    next(jars.glob("kafka-raft-*.jar")).unlink()
    with pytest.raises(BrokerFailed, match=r"a jar is missing .*org[./]apache[./]kafka[./]raft") as caught:
        broker_in(folder, jars=jars).start()
    assert str(jars) in caught.value.hint


@pytest.mark.nightly
def test_two_on_one_folder(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder that another Kafka is at work on is refused, by us or, when it came later, by Kafka itself."""
    monkeypatch.setattr(module, "FREE_SECONDS", 0.2)
    with broker_in(stopped) as first:
        with pytest.raises(BrokerFailed, match="another Kafka uses the data folder"):
            broker_in(stopped).start()
        monkeypatch.setattr(module, "await_free", lambda data: None)
        with pytest.raises(BrokerFailed, match="another Kafka"):
            EmbeddedBroker(stopped / "broker", stopped / "second.log").start()
        assert first.alive()


def test_damaged_data_folder(stopped: Path) -> None:
    """A data folder that is not this Kafka's is refused with a way out."""
    noted = stopped / "broker" / "data" / "meta.properties"
    noted.write_text(noted.read_text().replace("node.id=1", "node.id=7"))
    with pytest.raises(BrokerFailed, match="its data folder is damaged, or another Kafka's") as caught:
        broker_in(stopped).start()
    assert "--fresh" in caught.value.hint


def test_full_disk(stopped: Path) -> None:
    """A Kafka that can't write for want of space says so."""
    epochs = stopped / "broker" / "data" / f"{TOPIC}-0" / "leader-epoch-checkpoint.tmp"
    epochs.symlink_to("/dev/full")
    with pytest.raises(BrokerFailed, match="the disk is full") as caught:
        live_until_death(broker_in(stopped))
    assert "free some space" in caught.value.hint


def live_until_death(broker: EmbeddedBroker) -> None:
    """Raises why Kafka dies, be that before it answers or later."""
    with broker:
        wait_for(lambda: not broker.alive(), "Kafka to give up")
        raise broker.failure()


@pytest.fixture
def run(written: Path, folder: Path) -> Iterator[Run]:
    """A run that has a broker's folder."""
    opened = open_run(load("smart-home"), folder / "run")
    shutil.copytree(written / "broker", opened.broker, dirs_exist_ok=True)
    yield opened
    opened.close()


class Attempt:
    """The stage at work in a thread, and the error that ended it."""

    def __init__(self, run: Run) -> None:
        self.stage = Stage(run, "broker")
        self.error: TidemillError | None = None
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def _work(self) -> None:
        try:
            run_broker(self.stage)
        except TidemillError as error:
            self.error = error


def test_stage_says_where_kafka_is_and_stops(run: Run) -> None:
    """The stage gives Kafka's address to the catalog once it answers, and takes Kafka along when it is stopped."""
    attempt = Attempt(run)
    status = wait_for(lambda: run.catalog.stages().get("broker"), "the address")
    assert status is not None
    assert status.state == "running"
    assert status.endpoint
    AdminClient({"bootstrap.servers": status.endpoint}).list_topics(timeout=10)
    kafka = kafka_below(run)
    attempt.stage.stop.set()
    attempt.thread.join(10)
    assert attempt.error is None
    assert not kafka.is_running()


def test_stage_fails_with_kafka(run: Run) -> None:
    """The stage ends with the reason when Kafka dies."""
    attempt = Attempt(run)
    wait_for(lambda: run.catalog.stages().get("broker"), "the address")
    kafka_below(run).kill()
    attempt.thread.join(10)
    assert isinstance(attempt.error, BrokerFailed)
    assert (run.logs / "kafka.log").stat().st_size > 0


def kafka_below(run: Run) -> psutil.Process:
    """The Kafka of this run among our child processes."""
    children = filter(is_running, psutil.Process().children())
    kafkas = [child for child in children if "kafka.Kafka" in child.cmdline()]
    return next(one for one in kafkas if one.cwd() == str(run.broker))


def listening(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))
