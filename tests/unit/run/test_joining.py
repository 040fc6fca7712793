"""A run knows itself: whatever joins or looks at it needs none of the options that it was started with."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from tests.support import SMART_HOME
from tidemill.cli.main import app
from tidemill.errors import RunFolderError, SourceError, TidemillError
from tidemill.pipeline import Options, load
from tidemill.run.catalog import FILE_NAME, SourceState, schema
from tidemill.run.folder import Run, existing_run, open_run, recorded_options
from tidemill.run.settings import merge_options
from tidemill.sources.source import open_source

STAGES = ("broker", "produce", "collect", "train", "serve", "console")
LOOKS = ("status", "batches", "generations")
FILE = """
name = "p"
[source]
sample = "smart-home"
[source.columns]
UserID = "int"
DeviceType = "string"
UsageHoursPerDay = "float"
[stream]
topic = "t"
[batches]
rows = 10
[models.segment]
estimator = "KMeans"
features = ["UsageHoursPerDay"]
"""


class Started(Exception):
    """Raised in place of doing a stage, with its run."""

    def __init__(self, run: Run) -> None:
        self.run = run


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A pipeline file whose run was started with --data, --rows and --set."""
    shutil.copy(SMART_HOME, tmp_path / "home.csv")
    path = tmp_path / "p.toml"
    path.write_text(FILE)
    loaded = load(str(path), ["batches.rows=20", "stream.partitions=2"], str(tmp_path / "home.csv"), 30)
    open_run(loaded, tmp_path / "run").close()
    return path


def invoked(command: str, pipeline: Path, *options: str) -> Any:
    folder = pipeline.parent / "run"
    return CliRunner().invoke(app, [command, str(pipeline), "--run-dir", str(folder), *options])


def joined(monkeypatch: pytest.MonkeyPatch, command: str, pipeline: Path, *options: str) -> Run:
    """The run that a command joins; its stage is not done."""

    def instead(run: Run, name: str) -> Any:
        raise Started(run)

    monkeypatch.setattr("tidemill.run.stage.stage", instead)
    done = invoked(command, pipeline, *options)
    assert isinstance(done.exception, Started), done.exception
    return done.exception.run


@pytest.mark.parametrize("command", STAGES)
def test_a_stage_takes_the_options_of_the_start(monkeypatch: pytest.MonkeyPatch, pipeline: Path, command: str) -> None:
    """Every stage's command joins the run without an option of its start, and with each of them."""
    data = str(pipeline.parent / "home.csv")
    for options in ([], ["--rows", "30"], ["--data", data], ["--set", "batches.rows=20"]):
        run = joined(monkeypatch, command, pipeline, *options)
        assert (run.pipeline.source.path, run.pipeline.source.sample, run.pipeline.source.rows) == (data, None, 30)
        assert (run.pipeline.batches.rows, run.pipeline.stream.partitions) == (20, 2)


@pytest.mark.parametrize("command", [*STAGES, "up"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows", "31"], "source.rows was 30, now 31"),
        (["--set", "source.rows=31"], "source.rows was 30, now 31"),
        (["--set", "batches.rows=21"], "batches.rows was 20, now 21"),
        (["--set", "batches={rows = 21}"], "batches.rows was 20, now 21"),
    ],
)
def test_an_option_that_contradicts_the_run_is_refused(
    pipeline: Path, command: str, options: list[str], message: str
) -> None:
    """An option that says otherwise than the run's start is refused, and named, by each stage and by `up`."""
    done = invoked(command, pipeline, *options)
    assert isinstance(done.exception, RunFolderError)
    assert message in done.exception.message
    assert done.exception.exit_code == 2


@pytest.mark.parametrize("command", LOOKS)
def test_a_look_takes_the_settings_of_the_run(pipeline: Path, command: str) -> None:
    """A look needs no option, works though the pipeline file was edited, and refuses an option that contradicts."""
    assert invoked(command, pipeline).exit_code == 0
    pipeline.write_text(FILE.replace("rows = 10", "rows = 11").replace('"t"', '"another"'))
    assert invoked(command, pipeline).exit_code == 0
    done = invoked(command, pipeline, "--set", "stream.partitions=3")
    assert isinstance(done.exception, RunFolderError)
    assert "stream.partitions was 2, now 3" in done.exception.message
    assert "topic" not in done.exception.message
    assert existing_run(load(str(pipeline)), pipeline.parent / "run").pipeline.stream.partitions == 2


def test_a_look_works_though_the_options_of_the_start_no_longer_fit(pipeline: Path) -> None:
    """A model that the run was started with another parameter for is gone from the pipeline file."""
    assert invoked("status", pipeline).exit_code == 0
    run = existing_run(load(str(pipeline)), pipeline.parent / "run")
    given = {"options": {"assignments": ["models.gone.params.k=5"], "data": None, "rows": None}}
    with run.catalog.engine.begin() as connection:
        connection.execute(sa.update(schema.run).values(given=given))
    run.close()
    assert invoked("status", pipeline).exit_code == 0


def test_a_pipeline_file_that_was_edited_is_compared(pipeline: Path) -> None:
    """A stage refuses a file whose own settings were changed; the options of the start hide no change."""
    pipeline.write_text(FILE.replace('topic = "t"', 'topic = "another"'))
    for command in (*STAGES, "up"):
        done = invoked(command, pipeline)
        assert isinstance(done.exception, RunFolderError)
        assert "stream.topic was 't', now 'another'" in done.exception.message
        assert "batches.rows" not in done.exception.message


@pytest.mark.parametrize("command", [*STAGES, "up"])
def test_data_that_are_not_the_runs_are_refused(pipeline: Path, command: str) -> None:
    """Other data than those of the start are refused by each command, also once nothing is left to read of them."""
    with closing(existing_run(load(str(pipeline)), pipeline.parent / "run")) as run:
        fingerprint = open_source(run.pipeline, run.base).fingerprint
        run.catalog.save_source(SourceState(fingerprint, rows=30, produced=30, complete=True))
    other = pipeline.parent / "other.csv"
    other.write_text("UserID,DeviceType,UsageHoursPerDay\n1,Camera,2.5\n")
    done = invoked(command, pipeline, "--data", str(other))
    assert isinstance(done.exception, SourceError)
    assert "other.csv is not the source that this run started with" in done.exception.message


def test_data_of_the_same_content_are_the_runs(monkeypatch: pytest.MonkeyPatch, pipeline: Path) -> None:
    """A copy of the source is the source; the path of the start is not looked at, and may be gone."""
    with closing(existing_run(load(str(pipeline)), pipeline.parent / "run")) as run:
        run.catalog.save_source(SourceState(open_source(run.pipeline, run.base).fingerprint))
    copied = shutil.copy(pipeline.parent / "home.csv", pipeline.parent / "copy.csv")
    (pipeline.parent / "home.csv").unlink()
    for data in (str(copied), str(pipeline.parent / "home.csv")):
        assert joined(monkeypatch, "serve", pipeline, "--data", data).pipeline.source.path == data


def test_what_may_change_still_may(monkeypatch: pytest.MonkeyPatch, pipeline: Path) -> None:
    """The data may lie elsewhere, and the ports, pace and titles be others, than at the start."""
    moved = shutil.move(pipeline.parent / "home.csv", pipeline.parent / "moved.csv")
    options = ["--data", str(moved), "--set", "serve.port=1234", "--set", "stream.rate=5", "--set", "title=New"]
    run = joined(monkeypatch, "produce", pipeline, *options).pipeline
    assert (run.source.path, run.serve.port, run.stream.rate, run.title) == (str(moved), 1234, 5, "New")
    assert (run.source.rows, run.batches.rows) == (30, 20)


def test_up_looks_at_the_data_of_the_run(pipeline: Path) -> None:
    """`up` without options tries the file that the run was started with, and not the pipeline's own sample."""
    (pipeline.parent / "home.csv").unlink()
    done = invoked("up", pipeline)
    assert isinstance(done.exception, TidemillError)
    assert "home.csv" in done.exception.message


def test_data_are_recorded_by_their_whole_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative --data is found again from another folder."""
    monkeypatch.chdir(tmp_path)
    open_run(load("smart-home", [], "home.csv"), tmp_path / "run").close()
    assert recorded_options(tmp_path / "run", "smart-home").data == str(tmp_path / "home.csv")


def test_options_of_the_start_and_of_now() -> None:
    """Options of now come after, or in the place of, those of the start."""
    start = Options(("a.b=1",), "/data.csv", 5)
    assert merge_options(start, Options()) == start
    assert merge_options(start, Options(("a.b=2",), "/other.csv", 6)) == Options(("a.b=1", "a.b=2"), "/other.csv", 6)
    assert merge_options(start, Options(("source.rows=6",))).rows is None
    moved = Options(bootstrap="b:9092")
    assert merge_options(moved, Options()).bootstrap == "b:9092"
    assert merge_options(moved, Options(bootstrap="c:9092")).bootstrap == "c:9092"
    assert merge_options(moved, Options(("stream.bootstrap_servers=d:9092",))).bootstrap is None
    assert merge_options(start, Options(("source.path=x",))).data is None


def test_where_no_options_are_recorded(pipeline: Path, tmp_path: Path) -> None:
    """A folder without this pipeline's run, one of a version that recorded no options, and a damaged one have none."""
    folder = tmp_path / "run"
    assert recorded_options(folder, "p").rows == 30
    assert recorded_options(folder, "other") == Options()
    assert recorded_options(tmp_path / "none", "p") == Options()
    assert recorded_options(tmp_path / "\0", "p") == Options()
    for given in (None, json.dumps({"name": "p"}), "[1", "[1]", '{"options": 3}'):
        with closing(sqlite3.connect(folder / FILE_NAME)) as catalog:
            catalog.execute("UPDATE run SET given = ?", [given])
            catalog.commit()
        assert recorded_options(folder, "p") == Options()
    (folder / FILE_NAME).write_bytes(b"no catalog" * 100)
    assert recorded_options(folder, "p") == Options()
