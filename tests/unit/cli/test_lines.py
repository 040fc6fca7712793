"""What `up` says where there is no terminal, and how a generation is shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.terminal import printed_lines, publish_generation, run_in_training
from tidemill.cli.lines import ProgressLines
from tidemill.process.supervisor import Supervisor


@pytest.mark.parametrize("exits", [False, True])
def test_the_end_of_a_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exits: bool) -> None:
    """Rejects, rows left out, the last generation and a stop are told in plain lines, each once when it is so."""
    monkeypatch.chdir(tmp_path)
    run = run_in_training(tmp_path / "runs" / "bad")
    console = Console(file=io.StringIO(), width=80)
    progress = ProgressLines(run, console, exit_when_trained=exits)
    supervisor = Supervisor(run, [])
    progress.show(supervisor)
    assert printed_lines(console)[1:] == ["rejected 10 rows; see runs/bad/rejects/"]
    publish_generation(run, skipped=532)
    progress.show(supervisor)
    assert printed_lines(console) == [
        "generation 1 10 rows of batch 1",
        "segment: cost 1; fitted in 0.5 s; 532 rows left out (a value is missing)",
        "trained the only generation" + ("" if exits else "; the API answers until Ctrl-C"),
    ]
    progress.show(supervisor)
    assert printed_lines(console) == []
    progress.sum_up(stopped=True)
    assert printed_lines(console) == [
        "rejected 10 rows; see runs/bad/rejects/",
        "stopped `tidemill up` resumes the run",
    ]


def test_a_generation_that_failed_is_told_again_once_it_is_trained(tmp_path: Path) -> None:
    """A failed one is told of as such; when it was trained anew that is told too, once."""
    run = run_in_training(tmp_path / "run")
    run.catalog.fail_generation(1, "no room")
    console = Console(file=io.StringIO(), width=120)
    lines, supervisor = ProgressLines(run, console), Supervisor(run, [])
    lines.show(supervisor)
    assert "generation 1 FAILED: no room" in printed_lines(console)
    run.catalog.begin_generation(1, [1], 10)
    lines.show(supervisor)
    publish_generation(run, skipped=0)
    lines.show(supervisor)
    lines.show(supervisor)
    assert [line for line in printed_lines(console) if line.startswith("generation 1")] == [
        "generation 1 10 rows of batch 1"
    ]
