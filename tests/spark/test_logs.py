"""Logs: each is bounded, and the newest lines are there."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tidemill.pipeline import load
from tidemill.process.supervisor import Supervisor
from tidemill.run import files, stage_log
from tidemill.run.files import roll
from tidemill.run.folder import open_run
from tidemill.run.stage_log import LogFile
from tidemill.training import driver

MOST = 4000
LINES = 2000
ODD = "a%d ${sys:user.name} $${x} %% {} \\u0041 ü\U0001f600 #=:!"


def assert_bounded(log: Path, last: str) -> None:
    """There are the log and three files before it, each in its bound, and the log ends with that line."""
    files = [path for path in log.parent.iterdir() if path.name.startswith(log.name)]
    assert len(files) == 4, files
    assert sum(path.stat().st_size for path in files) <= 4 * (MOST + 200)
    assert log.read_text().splitlines()[-1].endswith(last)


def test_a_stages_log_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that logs for long leaves four bounded files, of which the first has the newest lines."""
    monkeypatch.setattr(stage_log, "ROLLED_BYTES", MOST)
    handler = LogFile(tmp_path / "trainer.log")
    for number in range(LINES):
        handler.emit(logging.makeLogRecord({"msg": f"line {number}"}))
    handler.close()
    assert_bounded(tmp_path / "trainer.log", f"line {LINES - 1}")
    assert "line 0\n" not in (tmp_path / "trainer.log.3").read_text()


def test_what_a_process_prints_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the starts of a stage print is bounded: a file over its size is put aside when the stage starts again."""
    monkeypatch.setattr(files, "ROLLED_BYTES", MOST)
    out = tmp_path / "api.out"
    for number in range(10):
        roll(out)
        with out.open("a") as file:
            file.write("x" * MOST + f"\nstart {number}\n")
    assert_bounded(out, "start 9")
    assert out.with_name("api.out.3").read_text().endswith("start 6\n")


def test_the_supervisor_puts_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that is started begins a new file where the last one is over its size, and adds to a smaller one."""
    monkeypatch.setattr(files, "ROLLED_BYTES", MOST)
    run = open_run(load("smart-home"), tmp_path / "run")
    (run.logs / "api.out").write_text("x" * (MOST + 1))
    (run.logs / "console.out").write_text("y")
    with Supervisor(run, ["no-such-pipeline"]) as supervisor:
        supervisor.start(["api", "console"])
    assert (run.logs / "api.out.1").stat().st_size == MOST + 1
    assert (run.logs / "api.out").stat().st_size <= MOST
    assert (run.logs / "console.out").read_text().startswith("y")
    assert not (run.logs / "console.out.1").exists()
    run.close()


def test_a_log_that_cannot_rotate_is_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log that can't be rotated stops no stage: standard error says so, once."""
    monkeypatch.setattr(stage_log, "ROLLED_BYTES", MOST)
    for number in (2, 3):
        (tmp_path / f"x.log.{number}").mkdir()
    handler = LogFile(tmp_path / "x.log")
    for number in range(LINES):
        handler.emit(logging.makeLogRecord({"msg": f"line {number}"}))
    handler.close()
    assert capsys.readouterr().err.count("x.log can't be written: Is a directory") == 1


def test_sparks_log_rotates(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spark's log is bounded too, in a folder with every sign that log4j or Java would take for more than itself."""
    monkeypatch.setattr(driver, "ROLLED_BYTES", MOST)
    logs = tmp_path / ODD
    logs.mkdir()
    driver.jvm_options(tmp_path, logs, little=True)
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    context = jvm.org.apache.logging.log4j.core.LoggerContext("a test's own")
    context.setConfigLocation(jvm.java.io.File(str(tmp_path / "log4j2.properties")).toURI())
    context.start()
    logger = context.getLogger("test")
    for number in range(LINES // 4):
        logger.info(f"line {number}")
    context.stop()
    assert_bounded(logs / "spark.log", f"line {LINES // 4 - 1}")
