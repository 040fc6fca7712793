"""A collector of a topic that others write, killed at any step, and with its broker: each row is sealed once."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support import wait_for
from tests.support.commands import COMMAND
from tests.support.failpoint_run import KILLED, described, exit_code, file_names
from tests.support.stage_run import collect_to_end, collecting
from tests.support.topic_run import (
    OthersTopic,
    await_batches,
    rejects_of,
    sealed_ns,
    write_pipeline,
)
from tidemill.kafka.embedded.broker import EmbeddedBroker, free_port
from tidemill.pipeline import load
from tidemill.run.failpoints import FAILPOINTS, VARIABLE
from tidemill.run.files import sha256
from tidemill.run.folder import Run, open_run

OF_BATCHES = [name for name in FAILPOINTS if name.startswith(("batch.", "rejects.", "stream."))]
BY_DAY = ("batch.decided", "batch.placed", "batch.sealing", "stream.ending")
KILLS = [
    ("bounds.recording", 1),
    ("bounds.recorded", 1),
    *((name, 1 if name.startswith("stream.") else 2) for name in OF_BATCHES),
]
AT = [
    pytest.param(*kill, marks=() if kill[0] in BY_DAY or kill[0].startswith("bounds.") else pytest.mark.nightly)
    for kill in KILLS
]


class TopicStage:
    """A run of a topic, whose collector is a process of its own."""

    def __init__(self, folder: Path, topic: OthersTopic, *keys: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder / "run"
        self.file = write_pipeline(folder / "others.toml", topic, *keys)

    def start(self, faults: str = "") -> subprocess.Popen[bytes]:
        line = [*COMMAND, "collect", str(self.file), "--run-dir", str(self.folder)]
        return subprocess.Popen(line, stderr=subprocess.DEVNULL, env=os.environ | {VARIABLE: faults})

    def killed(self, faults: str) -> None:
        assert exit_code(self.start(faults)) == KILLED, f"not killed at {faults}"

    def open(self) -> Run:
        return open_run(load(str(self.file)), self.folder)


def assert_whole(run: Run) -> None:
    """Every file is as the catalog records it, and no other is there."""
    batches = run.catalog.batches()
    assert [sha256(run.folder / batch.path) for batch in batches] == [batch.sha256 for batch in batches]
    assert file_names(run.batches) == {Path(batch.path).name for batch in batches}
    assert run.catalog.undecided() is None


@pytest.fixture(scope="module")
def topic(kafka: str) -> OthersTopic:
    topic = OthersTopic(kafka, 2)
    for n in range(250):
        topic.put({"n": n}, partition=n % 2)
        if n % 25 == 0:
            topic.put(None, partition=n % 2)
    topic.flush()
    return topic


@pytest.fixture(scope="module")
def undisturbed(topic: OthersTopic, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = TopicStage(tmp_path_factory.mktemp("undisturbed"), topic, 'until = "now"').open()
    collect_to_end(run)
    return run


@pytest.mark.parametrize(("name", "passing"), AT)
def test_a_collector_killed_there(
    topic: OthersTopic, undisturbed: Run, tmp_path: Path, name: str, passing: int
) -> None:
    """Wherever the collector dies, the next one seals the batches of an undisturbed run, and no orphan stays."""
    stage = TopicStage(tmp_path, topic, 'until = "now"')
    stage.killed(f"{name}=kill:{passing}")
    run = stage.open()
    collect_to_end(run)
    assert_whole(run)
    assert described(run.catalog.batches()) == described(undisturbed.catalog.batches())
    assert rejects_of(run) == rejects_of(undisturbed)
    assert run.catalog.ended() == undisturbed.catalog.ended()


@pytest.mark.nightly  # by day, partitions are added without a kill
def test_a_collector_killed_as_it_takes_up_a_partition(kafka: str, tmp_path: Path) -> None:
    """A partition that was added is read once though the collector dies in the transaction that records it, and again
    after the cut was recorded."""
    topic = OthersTopic(kafka)
    topic.write(range(50))
    stage = TopicStage(tmp_path, topic)
    run = stage.open()
    with collecting(run):
        wait_for(run.catalog.topic_partitions, "the recorded beginning")
    topic.add_partitions(2)
    for n in range(50, 120):
        topic.put({"n": n}, partition=1)
    topic.flush()
    for faults in ("batch.sealing=kill", "batch.decided=kill", "batch.sealed=kill"):
        if not run.catalog.batches():
            stage.killed(faults if not run.catalog.undecided() else "batch.synced=kill")
    with collecting(run):
        await_batches(run, 1)
    topic.write(range(120, 200), 2)
    with collecting(run):
        await_batches(run, 2)
    assert sorted(sealed_ns(run)) == list(range(200))
    assert_whole(run)


def test_a_collector_killed_as_it_records_a_gap(kafka: str, tmp_path: Path) -> None:
    """A gap is recorded once though the collector dies in that transaction, and it covers all that is lost then."""
    topic = OthersTopic(kafka)
    topic.write(range(100))
    stage = TopicStage(tmp_path, topic, 'on_gap = "record"')
    run = stage.open()
    with collecting(run):
        await_batches(run, 1)
    topic.write(range(100, 400))
    topic.expire(0, 150)
    stage.killed("gap.recording=kill")
    assert run.catalog.gaps() == []
    topic.expire(0, 200)
    with collecting(run):
        await_batches(run, 3)
    assert [(gap.first_offset, gap.last_offset) for gap in run.catalog.gaps()] == [(100, 199)]
    assert sealed_ns(run) == [*range(100), *range(200, 400)]


# --- the headline test, on a topic ----------------------------------------------------------------------------------


class Writer(threading.Thread):
    """A plain client that writes numbered rows at a steady pace, whatever happens to its broker."""

    def __init__(self, topic: OthersTopic, rows: int, pause: float) -> None:
        super().__init__(daemon=True)
        self.topic, self.rows, self._seconds = topic, rows, pause
        self._pause = threading.Event()

    def run(self) -> None:
        for n in range(self.rows):
            self.topic.put({"n": n}, partition=n % 4)
            self.topic.producer.poll(0)
            if n % 50 == 0:
                self._pause.wait(self._seconds)
        assert self.topic.producer.flush(60) == 0


class Collector:
    """The collector's process, started again whenever it has ended, as `up` does."""

    def __init__(self, stage: TopicStage) -> None:
        self.stage = stage
        self.process = stage.start()

    def has_sealed(self, run: Run, rows: int) -> bool:
        if self.process.poll() is not None:
            self.process = self.stage.start()
        return run.catalog.totals()["rows"] >= rows


class OwnKafka:
    """A Kafka of the test's own, at one address for as long as the test takes."""

    def __init__(self, folder: Path, jars: Path) -> None:
        self.folder, self.jars = folder, jars
        self.port = free_port()
        self.start()

    def start(self) -> None:
        self.broker = EmbeddedBroker(self.folder / "broker", self.folder / "kafka.log", self.port, self.jars)
        self.broker.start()

    def kill(self) -> None:
        """SIGKILL, then start it again."""
        os.kill(self.broker.pid, signal.SIGKILL)
        wait_for(lambda: not self.broker.alive(), "Kafka to be dead", 5)
        self.broker.stop()
        self.start()


@pytest.fixture
def own_kafka(jars: Path, tmp_path: Path) -> Iterator[OwnKafka]:
    kafka = OwnKafka(tmp_path, jars)
    yield kafka
    kafka.broker.stop()


@pytest.mark.parametrize(("rows", "kills"), [(3_000, 1), pytest.param(100_000, 8, marks=pytest.mark.nightly)])
def test_no_row_is_lost_or_doubled(own_kafka: OwnKafka, tmp_path: Path, rows: int, kills: int) -> None:
    """While a plain client writes on, collector and broker are killed in turn: each row is sealed once, in the order of
    its partition, and no sealed file changes."""
    topic = OthersTopic(own_kafka.broker.bootstrap, 4)
    stage = TopicStage(tmp_path / "files", topic)
    run = stage.open()
    writer = Writer(topic, rows, pause=0.05)
    writer.start()
    collector = Collector(stage)
    seen: dict[str, str] = {}
    for kill in range(2 * kills):
        share = rows * (kill + 1) // (2 * kills + 2)
        wait_for(partial(collector.has_sealed, run, share), f"{share} sealed rows", 60)
        seen |= {batch.path: batch.sha256 for batch in run.catalog.batches()}
        if kill % 2:
            own_kafka.kill()
        else:
            collector.process.kill()
    try:
        wait_for(partial(collector.has_sealed, run, rows // 100 * 100), "all rows", 120)
    finally:
        collector.process.send_signal(signal.SIGTERM)
        exit_code(collector.process)
        writer.join(60)
    numbers = sealed_ns(run)
    assert len(numbers) == len(set(numbers)) == rows // 100 * 100
    for partition in range(4):
        mine = [n for n in numbers if n % 4 == partition]
        assert mine == sorted(mine)
    assert {path: sha256(run.folder / path) for path in seen} == seen
    assert_whole(run)
