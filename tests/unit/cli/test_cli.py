"""The command line: one JSON document where asked for, clear errors with a way out, the right exit codes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support import SMART_HOME
from tests.support.commands import COMMAND, call_command, run_command
from tidemill.cli import main
from tidemill.cli.main import app
from tidemill.errors import InputError
from tidemill.pipeline import load
from tidemill.run.catalog import TrainedModel
from tidemill.run.files import CACHE_VARIABLE, cache_folder
from tidemill.run.folder import open_run
from tidemill.run.locks import locked


def test_pipelines_are_listed() -> None:
    """`pipelines --json` is one JSON document with each ready pipeline."""
    done = call_command("pipelines", "--json")
    assert done.returncode == 0
    names = [one["name"] for one in json.loads(done.stdout)]
    assert "smart-home" in names
    assert "smart-home" in call_command("pipelines").stdout


def test_check_finds_nothing_in_a_good_pipeline() -> None:
    """A good pipeline passes, on its sample and on the real file."""
    for more in ((), ("--data", str(SMART_HOME))):
        done = run_command("check", "smart-home", *more)
        assert (done.returncode, done.stderr) == (0, "")
        assert "no fault found" in done.stdout


def test_check_reports_all_faults_in_json() -> None:
    """`check --json` lists the faults with path, found and expected, and exits with 2."""
    done = call_command("check", "smart-home", "--json", "--set", "stream.topc=x", "--set", "batches.parts=0")
    assert done.returncode == 2
    faults = json.loads(done.stdout)["faults"]
    assert {fault["path"] for fault in faults} == {"stream.topc", "batches.parts"}


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("smart-hom",), 'no pipeline or file "smart-hom"', 'did you mean "smart-home"?'),
        (("nowhere/p.toml",), 'no pipeline or file "nowhere/p.toml"', "give the path of a pipeline file"),
        (("smart-home", "--set", "stream.topc=x"), 'did you mean "topic"?', "tidemill check"),
        (("smart-home", "--set", "batches.parts=three"), "batches.parts: found 'three'; expected a whole number", ""),
        (("smart-home", "--set", "models.segment.estimator=KMean"), 'did you mean "KMeans"?', ""),
        (("smart-home", "--set", "models.segment.params.kk=3"), "models.segment.params.kk", ""),
        (("smart-home", "--set", "models.efficiency.label=Efficiency"), "models.efficiency.label", ""),
        (("smart-home", "--data", "no-such.csv"), "no-such.csv", ""),
        (("smart-home", "--set", "source.columns.Colour=string"), "Colour", ""),
    ],
)
def test_what_the_user_got_wrong_is_said_before_anything_starts(
    tmp_path: Path, arguments: tuple[str, ...], message: str, hint: str
) -> None:
    """Bad input ends `up` with exit code 2 and one clear message; no run folder is made."""
    done = call_command("up", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not any(tmp_path.iterdir())


def test_an_empty_source(tmp_path: Path) -> None:
    """A source without a row is refused before anything starts."""
    (tmp_path / "empty.csv").write_text(SMART_HOME.read_text().splitlines()[0] + "\n")
    done = call_command("up", "smart-home", "--data", "empty.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "empty.csv" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_fewer_rows_than_parts_ends_the_run(tmp_path: Path) -> None:
    """What a stage finds wrong with the input ends `up` in the stage's own words, with exit code 2."""
    done = run_command("up", "smart-home", "--rows", "2", "--port", "0", "--no-console", "--json", cwd=tmp_path)
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "source"
    assert "has 2 rows, fewer than the 3 parts" in error["message"]
    assert "batches.parts=2" in error["hint"]


@pytest.mark.nightly  # by day: the test above, and the one of this name in test_stream.py
def test_a_bootstrap_server_that_does_not_answer(tmp_path: Path) -> None:
    """No Kafka at --bootstrap-servers ends the run, with exit code 2, and leaves nobody waiting."""
    options = ["--port", "0", "--no-console", "--bootstrap-servers", "127.0.0.1:1"]
    done = run_command("up", "smart-home", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert "no Kafka answers at 127.0.0.1:1" in done.stderr


def test_another_pipelines_folder(tmp_path: Path) -> None:
    """A run folder of another pipeline is refused with exit code 2."""
    open_run(load("smart-home", ["name=other"]), tmp_path / "run").close()
    done = call_command("up", "smart-home", "--run-dir", str(tmp_path / "run"), "--port", "0")
    assert done.returncode == 2
    assert "holds a run of the pipeline other" in done.stderr


def test_a_port_in_use(tmp_path: Path) -> None:
    """A taken API port ends the run with exit code 2 and says how to get another."""
    open_run(load("smart-home"), tmp_path / "runs" / "smart-home").close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_command("serve", "smart-home", "--port", str(port), cwd=tmp_path)
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "--port 0" in done.stderr


@pytest.mark.parametrize("option", ["--port", "--console-port"])
def test_up_tries_its_ports_before_it_makes_anything(tmp_path: Path, option: str) -> None:
    """A taken port of the API, or of the console if it is asked for, ends `up` before a folder is made or an address
    is printed; the error names the process that has it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = call_command("up", "smart-home", "--port", "0", option, port, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"port {port} is in use by " in done.stderr
    assert f"(process {os.getpid()})" in done.stderr
    assert f"{option} 0" in done.stderr
    assert not any(tmp_path.iterdir())


def test_one_port_for_both_is_refused(tmp_path: Path) -> None:
    """The API and the console can't be asked to listen on the same port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    done = run_command("up", "smart-home", "--port", port, "--console-port", port, cwd=tmp_path)
    assert done.returncode == 2
    assert f"port {port} is in use by tidemill up" in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
def test_a_second_up_is_told_so(tmp_path: Path, fresh: list[str]) -> None:
    """Where the run is up already, that is the error, not the port that it holds; --fresh does not change that."""
    open_run(load("smart-home"), tmp_path / "run").close()
    with locked(tmp_path / "run" / "locks" / "up.lock"), socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = call_command("up", "smart-home", "--run-dir", str(tmp_path / "run"), "--port", port, *fresh)
    assert done.returncode == 2
    assert f"the run in {tmp_path / 'run'} is up already (process {os.getpid()})" in done.stderr


@pytest.mark.parametrize("command", ["status", "batches", "generations"])
def test_looking_where_there_is_no_run(tmp_path: Path, command: str) -> None:
    """Looking at a run that is not there says so in JSON too, and makes nothing."""
    done = call_command(command, "smart-home", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "no-run"
    assert not any(tmp_path.iterdir())


def test_a_stage_by_hand_without_a_broker(tmp_path: Path) -> None:
    """A stage that finds no Kafka says which command starts one."""
    done = run_command("produce", "smart-home", cwd=tmp_path)
    assert done.returncode == 2
    assert "tidemill broker smart-home" in done.stderr


@pytest.mark.parametrize("command", ["serve", "collect", "train"])
def test_a_stage_by_hand_joins_a_run(tmp_path: Path, command: str) -> None:
    """A stage that can only go on with a run refuses where there is none, making nothing, or one of other settings."""
    done = call_command(command, "smart-home", cwd=tmp_path)
    assert done.returncode == 2
    assert "no run of smart-home in" in done.stderr
    assert not any(tmp_path.iterdir())
    open_run(load("smart-home"), tmp_path / "run").close()
    done = call_command(command, "smart-home", "--run-dir", str(tmp_path / "run"), "--set", "batches.parts=2")
    assert done.returncode == 2
    assert "with other settings: batches.parts was 3, now 2" in done.stderr


def test_generations_fit_a_narrow_terminal(tmp_path: Path) -> None:
    """`generations` shows each generation as `up` tells it: a line, and one for each model."""
    run = open_run(load("smart-home"), tmp_path / "run")
    rows = {"train": 8, "holdout": 2, "skipped": 0}
    run.catalog.begin_generation(1, [1], 10)
    run.catalog.publish_generation(
        1, [TrainedModel("segment", "KMeans", {"cost": 1.0}, 0.5, {}, rows, "m.npz", "cd" * 32, "m")]
    )
    run.catalog.begin_generation(2, [2], 10)
    run.close()
    done = call_command("generations", "smart-home", "--run-dir", str(tmp_path / "run"))
    assert [line.split(maxsplit=2) for line in done.stdout.splitlines()] == [
        ["generation", "1", "10 rows of batch 1; serves"],
        ["segment:", "cost", "1; fitted in 0.5 s"],
        ["generation", "2", "10 rows of batch 2, in training"],
    ]


def test_an_empty_run_is_shown(tmp_path: Path) -> None:
    """A run that has just begun can be looked at."""
    open_run(load("smart-home"), tmp_path / "run").close()
    document = json.loads(call_command("status", "smart-home", "--run-dir", str(tmp_path / "run"), "--json").stdout)
    assert document["rows"] == {"source": None, "produced": 0, "collected": 0, "sealed": 0, "rejected": 0}
    assert (document["api"], document["console"], document["stages"]) == (None, None, {})
    for command in ("batches", "generations"):
        done = call_command(command, "smart-home", "--run-dir", str(tmp_path / "run"), "--json")
        assert json.loads(done.stdout) == []


def test_a_sample_is_written(tmp_path: Path) -> None:
    """`sample` writes as many rows as asked for."""
    done = call_command("sample", "smart-home", "--rows", "12", "--out", str(tmp_path / "s.csv"))
    assert done.returncode == 0
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 13
    assert call_command("sample", "smart-hom", "--out", str(tmp_path / "s.csv")).returncode == 2


@pytest.mark.slow
def test_help_and_version() -> None:
    """Every command has help, and the version is told."""
    text = run_command("--help").stdout
    commands = [
        "up",
        "broker",
        "produce",
        "collect",
        "train",
        "serve",
        "pipelines",
        "check",
        "status",
        "batches",
        "generations",
        "sample",
        "doctor",
    ]
    for command in commands:
        assert command in text
        assert "--help" in CliRunner().invoke(app, [command, "--help"]).stdout
    assert run_command("--version").stdout.startswith("tidemill 0")
    assert run_command("no-such-command").returncode == 2


@pytest.mark.parametrize("as_json", [True, False])
def test_a_fault_of_the_program_is_the_documented_error(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, as_json: bool
) -> None:
    """An exception that nobody expected is the error `internal` on the terminal; its traceback is in a file."""

    def broken() -> None:
        raise ZeroDivisionError("no \udcff here")

    monkeypatch.setattr(main, "app", broken)
    monkeypatch.setattr(sys, "argv", ["tidemill", "status", *(["--json"] if as_json else [])])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    out, err = capfdbinary.readouterr()
    (written,) = tmp_path.iterdir()
    assert b"ZeroDivisionError" in err
    assert str(written).encode() in err
    assert b"Traceback" not in out + err
    assert "in broken" in written.read_text()
    assert written.stat().st_mode & 0o777 == 0o600
    if as_json:
        error = json.loads(out)["error"]
        assert error["code"] == "internal"
        assert str(written) in error["hint"]
    else:
        assert out == b""


def test_a_fault_whose_traceback_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no room for the traceback, the error still has its message and says so."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    error = main.internal(ValueError("x"))
    assert "ValueError" in error.message
    assert "could not be written" in error.hint


def test_a_folder_whose_name_is_no_utf_8_is_shown(tmp_path: Path) -> None:
    """The commands show a path with a byte that is no UTF-8 as `\\udcff`, in JSON and in text."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    open_run(load("smart-home"), folder).close()
    for more in (("--json",), ()):
        done = run_command("status", "smart-home", "--run-dir", str(folder), *more)
        assert (done.returncode, done.stderr) == (0, "")
        assert "udcff" in done.stdout
    document = json.loads(run_command("status", "smart-home", "--run-dir", str(folder), "--json").stdout)
    assert document["run_dir"] == f"{tmp_path}/\\udcff"
    missing = run_command("status", "smart-home", "--run-dir", str(folder / "none"), "--json")
    assert json.loads(missing.stdout)["error"]["code"] == "no-run"


def test_an_output_that_takes_nothing(tmp_path: Path) -> None:
    """A full disk behind standard output is an error on standard error, not a traceback."""
    with Path("/dev/full").open("wb") as full:
        line = [*COMMAND, "pipelines", "--json"]
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("unknown", [RuntimeError("Could not determine home directory."), None])
def test_no_home_folder(monkeypatch: pytest.MonkeyPatch, unknown: RuntimeError | None) -> None:
    """Without a home folder the cache has no place; the error names the variable that gives it one."""

    def look(_: str) -> Path:
        if unknown:
            raise unknown
        return Path("~/.cache/tidemill")

    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setattr("tidemill.run.files.user_cache_path", look)
    with pytest.raises(InputError) as error:
        cache_folder()
    assert CACHE_VARIABLE in error.value.hint
