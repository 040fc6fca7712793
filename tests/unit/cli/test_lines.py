"""What `up` says where there is no terminal, and how a generation is shown."""

from __future__ import annotations

import io
from copy import deepcopy
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.judged_run import DOCUMENT, MODEL, JudgedRun, planted, turned
from tests.support.terminal import printed_lines, publish_generation, run_in_training
from tidemill.cli.lines import ProgressLines
from tidemill.cli.verdict_lines import RECENT, VerdictLines
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
    assert printed_lines(console) == ["stopped the same command, without --fresh, resumes the run"]


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


def test_verdicts_are_told_as_they_come(tmp_path: Path) -> None:
    """Each look at a generation is one line however many models there are, printed once; the gate's decisions too."""
    document = deepcopy(DOCUMENT)
    document["models"] |= {f"m{number}": {**DOCUMENT["models"][MODEL]} for number in range(6)}
    run = JudgedRun(tmp_path, "models.m3.gate.policy=better", document=document)
    console = Console(file=io.StringIO(), width=80)
    lines, supervisor = ProgressLines(run.run, console), Supervisor(run.run, [])
    for batch in range(1, 4):
        run.step(turned(batch, 0))
    for _ in range(2):
        lines.show(supervisor)
    printed = printed_lines(console)
    assert [line for line in printed if line.startswith("verdict")] == [
        "verdict generation 1, on its held-out rows: better than guessing for value, m0, m1, m2, m3 and 2 more",
        "verdict generation 1, on the next batch: better than guessing for value, m0, m1, m2, m3 and 2 more",
        "verdict generation 2 against 1, on its held-out rows: can't tell for value, m0, m1, m2, m3 and 2 more",
        "verdict generation 2 against 1, on the next batch: no difference for value, m0, m1, m2, m3 and 2 more",
        "verdict generation 3 against 2, on its held-out rows: can't tell for value, m0, m1, m2, m3 and 2 more",
    ]
    assert [line.split(":")[1] for line in printed if line.startswith("gate")] == [
        " generation 2 is held, generation 1 serves",
        " generation 3 is held, generation 1 serves",
    ]
    for number in (2, 3):
        (run.run.generations / f"{number:05d}" / "scorers" / "m1.npz").unlink()
    run.new_judge()
    run.step(turned(4, 0))
    lines.show(supervisor)
    failed = [line for line in printed_lines(console) if "could not be judged" in line]
    assert len(failed) == 2
    assert failed[0].startswith("verdict batch 4 could not be judged in part: m1, generation ")


def test_each_look_that_a_trainer_repeats_is_told(tmp_path: Path) -> None:
    """However old a look is that ended with an error, it is told with its error at the start, and again once it was
    repeated; other old looks are not."""
    run = JudgedRun(tmp_path)
    for batch in range(1, RECENT + 3):
        run.step(planted(60, batch))

    def set_error(error: str | None) -> None:
        with run.run.catalog.engine.begin() as connection:
            values = (error, f"9{error}")
            connection.exec_driver_sql("UPDATE judgings SET error = ?, judged_at = ? WHERE batch = 2", values)

    set_error("value: gone")
    lines = VerdictLines(run.run)
    told = [line.partition(":")[0] for line in lines.new()]
    looks = ["generation 1, on the next batch", "generation 2 against 1, on its held-out rows"]
    error = "batch 2 could not be judged in part"
    assert told[:5] == [error, looks[0], error, looks[1], "generation 2 against 1, on the next batch"]
    assert list(lines.new()) == []
    set_error(None)
    assert [line.partition(":")[0] for line in lines.new()] == looks
