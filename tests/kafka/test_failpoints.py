"""A process killed at any step of sealing, sending or publishing leaves nothing that the next cannot put right."""

from __future__ import annotations

import ast
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import OFFSET_END, Producer, TopicPartition

from tests.support import ROOT, new_topic
from tests.support.commands import wait_until_stopped
from tests.support.failpoint_run import (
    TRAINER_FAILPOINTS,
    assert_files_match_catalog,
    described,
    exit_code,
    sealed_user_ids,
    smart_home_stages,
    user_ids,
)
from tests.support.stage_run import collect_to_end
from tidemill.errors import InputError, PipelineInvalid, TopicError
from tidemill.kafka import client as kafka_module
from tidemill.kafka.client import KafkaConnection
from tidemill.kafka.messages import messages, partition_of
from tidemill.pipeline import load
from tidemill.producer.log import Log
from tidemill.producer.producer import run_producer
from tidemill.run import failpoints
from tidemill.run.catalog import SourceState
from tidemill.run.failpoints import FAILPOINTS, VARIABLE, Crash, Trigger, failpoint, parse
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage
from tidemill.sources.source import open_source

# At which passing a stage is killed: a later one where there are several, so that something is done already.
COLLECTOR: dict[str, int] = {
    **dict.fromkeys([name for name in FAILPOINTS if name.startswith(("batch.", "rejects."))], 2),
    **dict.fromkeys([name for name in FAILPOINTS if name.startswith("stream.")], 1),
}
# By day; others by day too, by the test that kills a collector again and again, and each of them within one process by
# tests/unit/collector/test_collector_model.py.
COLLECTOR_BY_DAY = ("batch.cut", "batch.written", "batch.placed", "batch.sealed", "rejects.renamed", "stream.ending")
PRODUCER = [
    ("source.saving", 1),
    ("source.saving", 3),
    ("source.saved", 1),
    ("source.saved", 2),
    ("topic.created", 1),
    ("topic.claiming", 1),
    ("topic.claimed", 1),
    ("source.saved", 3),
    ("rows.sent", 3000),
    ("rows.committing", 2),
    ("rows.committed", 2),
    ("end.committing", 1),
    ("end.committed", 1),
    ("source.saving", 4),
    ("source.saved", 4),
]
PRODUCER_BY_NIGHT = [("source.saving", 1), ("source.saving", 4), *(("source.saved", passing) for passing in (1, 3, 4))]
"""Further passings of failpoints at which the producer is killed by day."""
CATALOG = ["catalog.migrating"]  # killed there in test_versions.py
BACKUP = [name for name in FAILPOINTS if name.startswith(("backup.", "restore."))]  # killed there in test_backup.py


def by_day(values: object, is_by_day: bool) -> Any:
    """These values of a test's parameters, by day or in the night."""
    all_values = values if isinstance(values, tuple) else (values,)
    return pytest.param(*all_values, marks=() if is_by_day else pytest.mark.nightly)


# --- the collector --------------------------------------------------------------------------------------------------

JUNK = [b"no json", b"[]", b'{"UserID": "x"}']


class Written:
    """A run whose log is there to its end, with another writer's junk in it, in a folder to be copied."""

    def __init__(self, folder: Path, kafka: str) -> None:
        self.kafka = kafka
        self.folder = folder / "written"
        self.pipeline = smart_home_stages("stream.partitions=2")
        run = open_run(self.pipeline.loaded, self.folder)
        self._write(run)
        run.close()
        self.run = self.copy(folder / "undisturbed")
        collect_to_end(self.run, kafka)

    def _write(self, run: Run) -> None:
        spec = run.pipeline.stream
        topic = new_topic(kafka_module.connect_admin(KafkaConnection(self.kafka)), run.pipeline.topic, 2)
        (chunk,) = open_source(run.pipeline, run.base).chunks()
        rows = messages(chunk.rows, spec.key, 2)
        with Log(KafkaConnection(self.kafka), topic, run.marks(topic.id)) as log:
            log.claim(empty=True)
            for start in range(0, len(rows), 1000):
                log.send(rows[start : start + 1000])
                log.commit()
                self._write_junk(topic.name)
            log.end()
        state = SourceState("by hand", rows=len(rows), produced=len(rows), complete=True, topic_id=topic.id)
        run.catalog.save_source(state)

    def _write_junk(self, topic: str) -> None:
        producer = Producer({"bootstrap.servers": self.kafka})
        for number, value in enumerate(JUNK):
            producer.produce(topic, value=value, partition=number % 2)
        assert producer.flush(10) == 0

    def copy(self, folder: Path) -> Run:
        """The same run, once more: its topic can be read as often as one likes."""
        shutil.copytree(self.folder, folder)
        return open_run(self.pipeline.loaded, folder)


@pytest.fixture(scope="module")
def written(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written(tmp_path_factory.mktemp("log"), kafka)


def rejected(run: Run) -> list[tuple[int, int]]:
    """Partition and offset of each message in the rejects."""
    lines = [orjson.loads(line) for path in run.rejects.iterdir() for line in path.read_bytes().splitlines()]
    return sorted((line["partition"], line["offset"]) for line in lines)


def assert_undisturbed(run: Run, written: Written) -> None:
    """The batches, and the rejects, are those of a run in which nothing happened."""
    assert_files_match_catalog(run)
    assert described(run.catalog.batches()) == described(written.run.catalog.batches())
    assert rejected(run) == rejected(written.run)
    assert run.catalog.ended() == written.run.catalog.ended()
    assert run.catalog.totals() == written.run.catalog.totals()


def test_what_an_undisturbed_collector_seals(written: Written) -> None:
    """Each row of the source is sealed once, in the order of its partition, and each message that is none rejected."""
    assert sorted(sealed_user_ids(written.run)) == sorted(user_ids())
    of_partition = {number: partition_of(str(number).encode(), 2) for number in user_ids()}
    for partition in (0, 1):
        ours = [number for number in sealed_user_ids(written.run) if of_partition[number] == partition]
        assert ours == [number for number in user_ids() if of_partition[number] == partition]
    assert len(rejected(written.run)) == len(set(rejected(written.run))) == 6 * len(JUNK)
    assert [batch.rows for batch in written.run.catalog.batches()] == [2000, 2000, 1403]


@pytest.mark.parametrize("name", [by_day(name, name in COLLECTOR_BY_DAY) for name in COLLECTOR])
def test_a_collector_killed_there_seals_the_same_batches(written: Written, tmp_path: Path, name: str) -> None:
    """Wherever the collector dies, the next one seals the very batches of an undisturbed run, and no orphan stays."""
    run = written.copy(tmp_path / "run")
    written.pipeline.killed("collect", run, written.kafka, f"{name}=kill:{COLLECTOR[name]}")
    before = described(run.catalog.batches())
    collect_to_end(run, written.kafka)
    assert_undisturbed(run, written)
    assert described(run.catalog.batches())[: len(before)] == before


def test_a_collector_killed_again_while_it_makes_a_batch_again(written: Written, tmp_path: Path) -> None:
    """A batch whose cut is recorded is the same though its making again is cut off too, at one step after the other."""
    run = written.copy(tmp_path / "run")
    for faults in ("batch.decided=kill:2", "batch.synced=kill", "batch.renamed=kill", "rejects.placed=kill"):
        written.pipeline.killed("collect", run, written.kafka, faults)
        pending = run.catalog.undecided()
        assert pending
        assert pending.spans == written.run.catalog.batches()[1].partitions
    collect_to_end(run, written.kafka)
    assert_undisturbed(run, written)


def test_a_collector_that_stood_still_goes_on(written: Written, tmp_path: Path) -> None:
    """Stopped in the middle of sealing, and let go on, it seals what it would have."""
    run = written.copy(tmp_path / "run")
    process = written.pipeline.start("collect", run, written.kafka, "batch.renamed=stop:2")
    try:
        wait_until_stopped(process.pid, "it to stand still")
        assert len(run.catalog.batches()) == 1
    finally:
        process.send_signal(signal.SIGCONT)
        code = exit_code(process)
    assert code == 0
    assert_undisturbed(run, written)


# --- the producer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "passing"), [by_day(kill, kill not in PRODUCER_BY_NIGHT) for kill in PRODUCER])
def test_a_producer_killed_there_sends_each_row_once(kafka: str, tmp_path: Path, name: str, passing: int) -> None:
    """Wherever the producer dies, the next one sends what is missing: the batches are the source, once, in order."""
    pipeline = smart_home_stages(
        *["stream.rate=4000"] * name.startswith("rows.")
    )  # so that there is more than one commit
    run = open_run(pipeline.loaded, tmp_path / "run")
    pipeline.killed("produce", run, kafka, f"{name}=kill:{passing}")
    run_producer(Stage(run, "producer"), kafka)
    collect_to_end(run, kafka)
    assert sealed_user_ids(run) == user_ids()
    assert [batch.rows for batch in run.catalog.batches()] == [2000, 2000, 1403]
    assert_files_match_catalog(run)
    source = run.catalog.source()
    assert source
    assert (source.complete, source.produced) == (True, 5403)
    assert run.catalog.totals()["rejected"] == 0


def test_a_topic_that_others_wrote_to_is_not_claimed(kafka: str, tmp_path: Path) -> None:
    """Only a topic to which nothing was ever committed is the run's to claim: not one with another writer's messages,
    nor one from which they were removed."""
    run = open_run(smart_home_stages().loaded, tmp_path / "run")
    admin = kafka_module.connect_admin(KafkaConnection(kafka))
    topic = new_topic(admin, run.pipeline.topic, 1)
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(topic.name, value=b"theirs")
    assert producer.flush(10) == 0
    with pytest.raises(TopicError, match="holds another run's data"):
        run_producer(Stage(run, "producer"), kafka)
    all_of_it = TopicPartition(topic.name, 0, OFFSET_END)
    admin.delete_records([all_of_it])[TopicPartition(topic.name, 0)].result(10)
    with pytest.raises(TopicError, match="holds another run's data"):
        run_producer(Stage(run, "producer"), kafka)


# --- the failpoints themselves --------------------------------------------------------------------------------------


def sources() -> Iterator[tuple[Path, str]]:
    for path in sorted((ROOT / "src").rglob("*.py")):
        yield path, path.read_text(encoding="utf-8")


def test_a_stage_is_killed_at_every_failpoint() -> None:
    """None is left out here, and so each is known to be passed through: no kill, no green test.

    Those of judging and of choosing a champion are in tests/unit/judging, those of a replay in
    tests/pipelines/test_verdicts.py, those of an output in test_outputs.py, those of rows by HTTP in
    test_rows_by_http.py, those of a topic that others write in test_topic_failpoints.py, those of what is kept in
    tests/unit/training.
    """
    elsewhere = ("judging.", "champion.", "replay.", "output.", "posts.", "bounds.", "gap.", "keep.")
    assert {*COLLECTOR, *dict(PRODUCER), *TRAINER_FAILPOINTS, *CATALOG, *BACKUP} == {
        name for name in FAILPOINTS if not name.startswith(elsewhere)
    }


def test_every_failpoint_stands_in_one_place_of_the_program() -> None:
    """Each name of the list is written once outside of it, and what is given to a failpoint is a name of the list."""
    literals: list[object] = []
    given: list[object] = []
    for path, text in sources():
        if path.name == "failpoints.py":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and node.value in FAILPOINTS:
                literals.append(node.value)
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("failpoint", "Steps")
            ):
                given += [one.value for one in node.args if isinstance(one, ast.Constant)]
    assert sorted(map(str, literals)) == sorted(FAILPOINTS)
    assert set(given) <= set(FAILPOINTS)


def test_only_the_environment_switches_them_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pipeline file and no option knows of them, no other part of the program can arm one, and the environment is
    read once, as the process starts."""
    for path, text in sources():
        if path.name != "failpoints.py":
            assert "_armed" not in text, path
            assert VARIABLE not in text, path
            assert "import failpoints" not in text, path
    for key in ("failpoints", "stream.failpoints", "serve.failpoints", VARIABLE):
        with pytest.raises((PipelineInvalid, InputError)):
            load("smart-home", [f"{key}=batch.cut=kill"])
    monkeypatch.setenv(VARIABLE, "batch.cut=kill")
    failpoint("batch.cut")


def test_switched_off_they_cost_nothing_to_speak_of() -> None:
    """Passing one takes less than a microsecond."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(10_000):
            failpoint("rows.sent")
        times.append(time.perf_counter() - began)
    assert min(times) < 0.01


def test_a_failpoint_acts_once_at_its_passing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lets pass what comes before, acts, and is over; others are let pass."""
    monkeypatch.setattr(failpoints, "_armed", parse("batch.cut=error:2"))
    failpoint("batch.cut")
    failpoint("batch.sealed")
    failpoint(None)
    with pytest.raises(Crash, match=r"batch\.cut"):
        failpoint("batch.cut")
    failpoint("batch.cut")


def test_faults_as_text() -> None:
    """A text names failpoint, kind and passing; several stand with commas between; none is no fault."""
    assert parse("") == {}
    assert parse("batch.cut=kill, rows.sent=stop:12,") == {
        "batch.cut": Trigger("kill", 1),
        "rows.sent": Trigger("stop", 12),
    }


@pytest.mark.parametrize(
    "text", ["batch.cutt=kill", "batch.cut", "batch.cut=die", "batch.cut=kill:0", "batch.cut=kill:x"]
)
def test_a_fault_that_is_none_is_refused(text: str) -> None:
    """A wrong name, kind or number stops the process as it starts, rather than being no fault at all."""
    with pytest.raises(ValueError, match=VARIABLE):
        parse(text)
