"""The trainer as a process of its own: what it prints and leaves, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import ROOT, wait_for
from tests.support.training_run import SMALL, real_rows, seal_table, seal_tables, states, table_of
from tidemill.pipeline import load
from tidemill.run.folder import Run, open_run

STAGE = """
import sys
from pathlib import Path
from tidemill.pipeline import load
from tidemill.run.folder import open_run
from tidemill.run.stage import stage
from tidemill.training.trainer import run_trainer
run = open_run(load(sys.argv[1]), Path(sys.argv[2]))
with stage(run, "trainer") as me:
    run_trainer(me, None)
"""


@pytest.fixture
def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The ready pipeline; with a parameter the file of one with that text."""
    text = getattr(request, "param", None)
    if text is None:
        return "smart-home"
    path = tmp_path / "pipeline.toml"
    path.write_text(text)
    return str(path)


@pytest.fixture
def run(tmp_path: Path, pipeline: str) -> Iterator[Run]:
    """An empty run of the pipeline."""
    run = open_run(load(pipeline), tmp_path / "a [run] {of} *")
    yield run
    run.close()


@pytest.fixture
def process(run: Run, pipeline: str) -> Iterator[subprocess.Popen[bytes]]:
    """A trainer in a process of its own, in which Spark runs."""
    command = [sys.executable, "-c", STAGE, pipeline, str(run.folder)]
    with (
        (run.folder.parent / "printed").open("wb") as printed,
        subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT, cwd=ROOT) as process,
    ):
        yield process
        process.kill()


def running(run: Run) -> bool:
    status = run.catalog.stages().get("trainer")
    return status is not None and status.state == "running"


def jvms(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children(recursive=True) if "java" in child.name()]


@pytest.mark.parametrize(
    "pipeline", [SMALL, pytest.param(None, marks=pytest.mark.nightly)], indirect=True, ids=["small", "ready"]
)
def test_the_stage_trains_quietly_and_ends_with_the_stream(run: Run, process: subprocess.Popen[bytes]) -> None:
    """The trainer does the whole of it, prints only its own log, keeps Spark's words in files, and leaves no JVM."""
    wait_for(lambda: running(run), "the trainer")
    java = jvms(process)
    assert java
    assert all(connection.laddr.ip in ("127.0.0.1", "::1", "::ffff:127.0.0.1") for connection in listening(java))
    lines = [" ".join(one.cmdline()) for one in java]
    assert all("spark.authenticate=true" in line and "secret" not in line.lower() for line in lines)
    small = run.pipeline.name == "small"
    few = [{"x": float(x), "y": 2.0 * x} for x in range(40)]
    seal_tables(run, [table_of(run, few) if small else real_rows(run).slice(0, 900)])
    assert process.wait(120) == 0
    printed = (run.folder.parent / "printed").read_text()
    assert [line for line in printed.splitlines() if "[info" not in line] == []
    assert [state for _, state in states(run)] == ["published"]
    assert run.catalog.stages()["trainer"].progress.document() == {
        "generation": 1,
        "training": None,
        "training_rows": None,
        "published": 1,
    }
    assert (run.logs / "spark.out").stat().st_size > 0
    assert (run.logs / "spark.log").exists()
    psutil.wait_procs(java, timeout=5)
    assert not any(one.is_running() for one in java)
    assert not (run.generations / ".spark").exists()


def listening(processes: list[psutil.Process]) -> list[Any]:
    return [
        found for process in processes for found in process.net_connections("tcp") if found.status == psutil.CONN_LISTEN
    ]


@pytest.mark.nightly  # by day, the test of kills looks that nothing outlives a trainer
def test_the_jvm_dies_with_its_trainer(run: Run, process: subprocess.Popen[bytes]) -> None:
    """After kill -9 of the trainer its JVM ends by itself."""
    wait_for(lambda: running(run), "the trainer")
    java = jvms(process)
    assert java
    process.kill()
    _, alive = psutil.wait_procs(java, timeout=10)
    assert not alive


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.nightly)])
def test_the_stage_stops_in_the_middle_of_its_work(
    run: Run, process: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    """Asked to stop while it trains, the trainer is gone with its JVM in a few seconds, and publishes nothing half."""
    wait_for(lambda: running(run), "the trainer")
    java = jvms(process)
    seal_table(run, 1, real_rows(run))
    wait_for(lambda: run.catalog.generations(state="training"), "generation 1")
    os.kill(process.pid, number)
    process.wait(15)
    psutil.wait_procs(java, timeout=2)
    assert not any(one.is_running() for one in java)
    assert run.catalog.stages()["trainer"].state == "stopped"
    assert states(run) == [(1, "training")]


def test_the_death_of_spark_is_no_models_fault(run: Run, process: subprocess.Popen[bytes]) -> None:
    """When the JVM is killed the stage fails and says so; its generation is left to be trained again."""
    wait_for(lambda: running(run), "the trainer")
    java = jvms(process)
    seal_table(run, 1, real_rows(run))
    wait_for(lambda: run.catalog.generations(state="training"), "generation 1")
    for one in java:
        one.kill()
    assert process.wait(20) != 0
    status = run.catalog.stages()["trainer"]
    assert status.state == "failed"
    assert status.error is not None
    assert status.error["message"] == "Spark died"
    assert states(run) == [(1, "training")]


def test_a_stop_while_spark_starts_is_heard(run: Run, process: subprocess.Popen[bytes]) -> None:
    """Asked to stop before Spark is up, the trainer goes at once and leaves no JVM."""
    wait_for(lambda: jvms(process), "the JVM")
    java = jvms(process)
    process.terminate()
    process.wait(5)
    _, alive = psutil.wait_procs(java, timeout=10)
    assert not alive
