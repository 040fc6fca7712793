"""What `up` says where there is no terminal, and how a generation is shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tidemill.cli.lines import ProgressLines
from tidemill.pipeline import load
from tidemill.process.supervisor import Supervisor
from tidemill.run.catalog import Decision, Sealed, SourceState, Span, TrainedModel
from tidemill.run.folder import Run, open_run


def said(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    console.file.seek(0)
    console.file.truncate()
    return [" ".join(line.split()) for line in text.splitlines()]


def trained_run(folder: Path) -> Run:
    """A run whose stream of 10 rows and 10 rejects has ended, with its only generation in training."""
    run = open_run(load("smart-home", ["stream.partitions=1"]), folder)
    run.catalog.save_source(SourceState("print", rows=10, rejected=9, produced=10, complete=True))
    run.catalog.decide(Decision(1, "end", (Span(0, 0, 9),)))
    run.catalog.seal(1, Sealed("batches/batch-00001.parquet", 10, 999, "ab" * 32, rejected=1))
    run.catalog.end_stream({0: 11}, {})
    run.catalog.begin_generation(1, [1], 10)
    return run


def publish(run: Run, skipped: int) -> None:
    rows = {"train": 8, "holdout": 2, "skipped": skipped}
    run.catalog.publish_generation(
        1, [TrainedModel("segment", "KMeans", {"cost": 1.0}, 0.5, {}, rows, "m.npz", "cd" * 32, "m")]
    )


@pytest.mark.parametrize("exits", [False, True])
def test_the_end_of_a_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exits: bool) -> None:
    """Rejects, rows left out, the last generation and a stop are told in plain lines, each once when it is so."""
    monkeypatch.chdir(tmp_path)
    run = trained_run(tmp_path / "runs" / "bad")
    console = Console(file=io.StringIO(), width=80)
    progress = ProgressLines(run, console, exit_when_trained=exits)
    supervisor = Supervisor(run, [])
    progress.show(supervisor)
    assert said(console)[1:] == ["rejected 10 rows; see runs/bad/rejects/"]
    publish(run, skipped=532)
    progress.show(supervisor)
    assert said(console) == [
        "generation 1 10 rows of batch 1",
        "segment: cost 1; fitted in 0.5 s; 532 rows left out (a value is missing)",
        "trained the only generation" + ("" if exits else "; the API answers until Ctrl-C"),
    ]
    progress.show(supervisor)
    assert said(console) == []
    progress.sum_up(stopped=True)
    assert said(console) == ["rejected 10 rows; see runs/bad/rejects/", "stopped the same command resumes the run"]


def test_a_generation_that_failed_is_told_again_once_it_is_trained(tmp_path: Path) -> None:
    """A failed one is told of as such; when it was trained anew that is told too, once."""
    run = trained_run(tmp_path / "run")
    run.catalog.fail_generation(1, "no room")
    console = Console(file=io.StringIO(), width=120)
    lines, supervisor = ProgressLines(run, console), Supervisor(run, [])
    lines.show(supervisor)
    assert "generation 1 FAILED: no room" in said(console)
    run.catalog.begin_generation(1, [1], 10)
    lines.show(supervisor)
    publish(run, skipped=0)
    lines.show(supervisor)
    lines.show(supervisor)
    assert [line for line in said(console) if line.startswith("generation 1")] == ["generation 1 10 rows of batch 1"]
