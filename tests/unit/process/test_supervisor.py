"""What the supervisor does about stages that end, and about a user in a hurry."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import psutil
import pytest

from tests.support import wait_for
from tests.support.serving_run import api_of, new_run
from tidemill.pipeline import load
from tidemill.process.supervisor import Supervisor
from tidemill.process.up import forget_unwanted, stages_needed
from tidemill.run.catalog import OutputState, StageStatus
from tidemill.run.folder import Run, open_run
from tidemill.run.locks import locked
from tidemill.run.progress.status import status


def arguments_of(run: Run, *options: str) -> list[str]:
    return ["smart-home", "--run-dir", str(run.folder), *options]


def test_a_console_that_is_refused_ends_nothing(tmp_path: Path) -> None:
    """A port that another program has keeps the console from being shown, not the run from going on."""
    run = open_run(load("smart-home"), tmp_path / "run")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with Supervisor(run, arguments_of(run, "--console-port", port)) as supervisor:
            supervisor.start(["console"])

            def told() -> list[str]:
                supervisor.watch()
                return supervisor.restarts

            [text] = wait_for(told, "a word on the console", 120)
            supervisor.watch()
    assert re.search(rf"port {port} is in use by \S+ \(process {os.getpid()}\)", text)
    assert text.endswith("the run continues without it")
    assert len(supervisor.restarts) == 1
    lost = supervisor.given_up("console")
    assert lost
    assert text.startswith(lost.message)
    assert supervisor.over("console")
    assert supervisor.given_up("outputs") is None


def test_a_stage_starts_until_it_works(tmp_path: Path) -> None:
    """A stage is starting from its process's start until it reports that it works; one that is not needed never is."""
    run = open_run(load("smart-home"), tmp_path / "run")
    run.catalog.save_stage(StageStatus("api", "running", os.getpid()))  # of an earlier `up`
    with Supervisor(run, arguments_of(run, "--port", "0")) as supervisor:
        assert not supervisor.is_starting("api")
        supervisor.start(["api"])
        assert supervisor.is_starting("api")
        wait_for(lambda: not supervisor.is_starting("api"), "the API")
        assert run.catalog.stages()["api"].state == "running"
        assert not supervisor.is_starting("trainer")


def test_the_stages_of_a_run_with_outputs(tmp_path: Path) -> None:
    """Predictions are written to the end though all else is done; then the broker alone stays, for their readers."""
    run = new_run(tmp_path, 'outputs=[{model="size", topic="scored"}]')
    run.catalog.end_stream({0: 0}, {})
    assert stages_needed(run, {"console"}) == ["broker", "outputs", "api"]
    assert stages_needed(run, {"console", "broker"}) == ["outputs", "api"]
    run.catalog.save_output(OutputState("scored", "size", "id", True, 1, {0: 7}, rows=6, ended=True))
    assert stages_needed(run, {"console"}) == ["broker", "api"]
    (counts,) = status(run).outputs
    assert (counts.rows, counts.ended, counts.lag) == (6, True, 0)


def test_a_second_ctrl_c_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks again while the stages are being stopped does not wait for one that hangs."""
    run = open_run(load("smart-home"), tmp_path / "run")

    def interrupted(supervisor: Supervisor) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Supervisor, "stop", interrupted)
    supervisor = Supervisor(run, arguments_of(run, "--port", "0"))
    before = {child.pid for child in psutil.Process().children()}
    supervisor.start(["api"])
    [child] = [child for child in psutil.Process().children() if child.pid not in before]
    child.suspend()
    with pytest.raises(KeyboardInterrupt), supervisor:
        pass
    assert not child.is_running()


def test_stages_that_are_not_wanted_have_nothing_to_say(tmp_path: Path) -> None:
    """The word of a console that failed is gone when `up` is started without one; that of one at work stays."""
    run = open_run(load("smart-home"), tmp_path / "run")
    run.catalog.save_stage(StageStatus("console", "failed", 1, error={"code": "x", "message": "y", "hint": ""}))
    run.catalog.save_stage(StageStatus("producer", "done", 1))
    with locked(run.stage_lock("broker")):
        run.catalog.save_stage(StageStatus("broker", "running", os.getpid()))
        forget_unwanted(run, {"console", "broker"})
    assert set(run.catalog.stages()) == {"broker", "producer"}


def test_a_failed_console_is_a_problem_of_a_waiting_run(tmp_path: Path) -> None:
    """The API tells of it, and goes on saying what the run waits for."""
    run = new_run(tmp_path)
    run.catalog.save_stage(StageStatus("console", "failed", 1, error={"code": "x", "message": "no port", "hint": ""}))
    with api_of(run) as client:
        answer = client.get("/health")
        assert answer.status_code == 503
        assert answer.json()["status"] == "waiting"
        assert answer.json()["problems"] == ["the console failed: no port"]
        assert "console" not in answer.json()["reason"]
        assert "console" not in client.get("/status").json()["waiting"]
