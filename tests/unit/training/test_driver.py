"""How Spark's JVM is started: with which settings, and that none is left behind."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import wait_for
from tests.support.training_run import quiet_stage
from tidemill.class_archives import VARIABLE
from tidemill.errors import TrainingFailed
from tidemill.pipeline import load
from tidemill.run.folder import Run, open_run
from tidemill.training import driver as drivers
from tidemill.training.driver import MAIN, OF_THE_LAUNCHER, driver_of, is_little, settings, sparks_options


def run_of(folder: Path, *assignments: str) -> Run:
    return open_run(load("smart-home", list(assignments)), folder / "run")


@pytest.mark.parametrize(
    ("assignments", "little"),
    [
        (["source.rows=50_000"], True),  # 3 cumulative parts: 100,000 rows to train
        (["source.rows=55_000"], False),
        (["source.rows=55_000", 'generations.scheme="windowed"'], True),
        (["source.rows=100_001", 'generations.scheme="windowed"'], False),
        (["source.rows=100_000", "batches={rows=10_000}"], False),  # 10 cumulative generations: 550,000 rows
        (["source.rows=5_000", "batches={rows=1_000}"], True),
        (["source.rows=6_000", "batches={rows=1_000}"], False),  # little, but 6 times
        (["source.rows=40_000", "batches={rows=10_000}", 'generations={scheme="sliding", window=2}'], True),
        (["source.rows=40_000", "batches={rows=10_000}", 'generations={scheme="sliding", window=3}'], False),
        (["source.rows=5_000", 'batches={every="10m"}'], False),  # nobody knows how often
        (["source.rows=5_000", "batches={rows=1_000}", "source.open=true"], False),
    ],
)
def test_quick_settings_for_little_work(tmp_path: Path, assignments: list[str], little: bool) -> None:
    """Spark starts with the quick settings where there are few generations, and all together train on few rows."""
    assert is_little(run_of(tmp_path, *assignments)) is little


def test_the_size_of_files_stands_for_their_rows(tmp_path: Path) -> None:
    """The rows of files are estimated from their size, and ``rows`` bounds them."""
    data = tmp_path / "data.csv"
    data.write_bytes(b"x" * 12 * 2**20)  # about 150,000 rows
    for rows, little in ((None, False), (45_000, True)):
        loaded = load("smart-home", data=str(data), rows=rows)
        assert is_little(open_run(loaded, tmp_path / f"run of {rows}")) is little


@pytest.mark.parametrize("before", [[], ["-Djavax.net.ssl.trustStore=/etc/x"]])
def test_the_options_that_spark_adds(before: list[str]) -> None:
    """What is behind the class path and is not the driver's own is Spark's, whatever a wrapped Java put before it.
    Where one of the driver's own is missing, nothing is known."""
    line = [*before, "-cp", "jars/*", "-Xss4m", '-Da="b c"', "-Xmx1g", "--add-opens=x", MAIN, "--conf", "-Xmx2g"]
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *line])
    try:
        wait_for(lambda: MAIN in psutil.Process(process.pid).cmdline(), "the process")
        assert sparks_options(process.pid, ["-Xss4m", '-Da="b c"']) == ["-Xmx1g", "--add-opens=x"]
        assert sparks_options(process.pid, ["-Xss4m", "-Da=b"]) is None
    finally:
        process.kill()
        process.wait()
    assert sparks_options(process.pid, []) is None


def test_options_are_quoted_for_the_launcher(tmp_path: Path) -> None:
    """Quotes and backslashes in an option are its own."""
    found = settings(None, little=False, folder=tmp_path, options=["-Xss4m", '-Da=b "c" \\d'])
    assert found["spark.driver.extraJavaOptions"] == '"-Xss4m" "-Da=b \\"c\\" \\\\d"'


@pytest.mark.parametrize("name", OF_THE_LAUNCHER)
def test_the_users_own_way_to_start_spark_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Where a variable changes how the launcher starts the JVM, the launcher does, without an archive."""
    monkeypatch.setenv(VARIABLE, "on")
    monkeypatch.setenv(name, "-Dtidemill=1" if name == "SPARK_SUBMIT_OPTS" else str(tmp_path))
    (tmp_path / "logs").mkdir()
    driver = drivers.start(None, tmp_path / "scratch", tmp_path / "logs")
    driver.kill()
    driver.end()
    assert driver.archive is None


def test_a_jvm_that_no_session_takes_is_ended(tmp_path: Path) -> None:
    """A JVM whose trainer could not be loaded ends, with all that it has started."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with driver_of(quiet_stage(run_of(tmp_path)), None) as driver:
        assert driver
    assert driver.process.poll() is not None
    assert not driver.connection.parent.exists()
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_a_spark_that_cannot_be_run_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing launcher of Spark is reported as Spark's, and leaves no folder."""
    made: list[Path] = []
    make = tempfile.mkdtemp

    def mkdtemp(*given: Any) -> str:
        made.append(Path(make(*given)))
        return str(made[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    monkeypatch.setattr(drivers, "spark_home", lambda: tmp_path)
    (tmp_path / "jars").mkdir()
    (tmp_path / "logs").mkdir()
    with pytest.raises(TrainingFailed, match="Spark did not start"):
        drivers.start(None, tmp_path / "scratch", tmp_path / "logs")
    assert made
    assert not any(folder.exists() for folder in made)
