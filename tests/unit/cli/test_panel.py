"""The panel that `up` shows on a terminal."""

from __future__ import annotations

import io
import os
from copy import deepcopy
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.judged_run import DOCUMENT, MODEL, JudgedRun, fed, turned
from tests.support.terminal import lines_of_run, panel_lines, publish_generation, run_in_training, terminal
from tidemill.cli.panel import ProgressPanel, rate_text, rows_table
from tidemill.cli.verdict_lines import NewestVerdicts
from tidemill.judging.promotion import promote
from tidemill.pipeline import load
from tidemill.process.supervisor import Supervisor
from tidemill.run.catalog import (
    ComparisonRecord,
    Decision,
    GenerationRef,
    Sealed,
    SourceState,
    Span,
    StageStatus,
    TrainerProgress,
)
from tidemill.run.folder import open_run
from tidemill.run.locks import locked
from tidemill.run.progress.status import Counts
from tidemill.run.stage import Stop


def test_what_the_run_has_come_to(tmp_path: Path) -> None:
    """Stages with their words, how far the rows are, batches and generations each have their lines."""
    run = run_in_training(tmp_path / "run")
    publish_generation(run, skipped=0)
    with locked(run.stage_lock("api")):
        run.catalog.save_stage(StageStatus("api", "running", os.getpid(), endpoint="http://127.0.0.1:5000"))
        run.catalog.save_stage(StageStatus("collector", "done", 1))
        lines = lines_of_run(run, terminal())
    assert "The only generation is trained." in lines
    assert "collector done sealed all 10 rows in 1 batch" in lines
    assert "api running http://127.0.0.1:5000 answers; generation 1 is the newest; try /docs" in lines
    assert next(line for line in lines if line.startswith("sealed ")).endswith("10 of 10")
    assert "rejected 10" in lines
    assert "batch 1 10 rows, 999 bytes, cut by end, sha256 abababababab…" in lines
    assert "generation 1 10 rows; segment cost 1" in lines


def test_the_generation_in_training_is_named(tmp_path: Path) -> None:
    """The sentence and the trainer's line say which generation is being trained."""
    run = run_in_training(tmp_path / "run")
    with locked(run.stage_lock("trainer")):
        run.catalog.save_stage(
            StageStatus("trainer", "running", os.getpid(), progress=TrainerProgress(training=1, training_rows=10))
        )
        lines = lines_of_run(run, terminal())
    assert "Training generation 1 on 10 rows." in lines
    assert "trainer running training generation 1 on 10 rows" in lines


@pytest.mark.parametrize("height", [12, 24, 60])
def test_it_stays_within_the_terminal(tmp_path: Path, height: int) -> None:
    """However many batches there are, and however small the terminal is, no line is lost above its top."""
    run = open_run(load("smart-home"), tmp_path / "run")
    run.catalog.save_source(SourceState("print", rows=300, produced=300, complete=True))
    for batch in range(1, 31):
        run.catalog.decide(Decision(batch, "rows", (Span(0, 10 * batch, 10 * batch + 9),)))
        run.catalog.seal(batch, Sealed(f"batches/{batch}.parquet", 10, 999, "ab" * 32))
    lines = lines_of_run(run, terminal(height))
    assert len(lines) <= height
    batches = [line for line in lines if line.startswith("batch ")]
    assert batches[0].startswith("batch 30 ")
    assert len(batches) <= 20


def test_a_narrow_terminal_cuts_lines_short(tmp_path: Path) -> None:
    """On 40 columns nothing is wrapped: each line is cut off where the panel ends."""
    lines = lines_of_run(run_in_training(tmp_path / "run"), terminal(width=40))
    assert any(line.startswith("batch 1 10 rows") and line.endswith("…") for line in lines)


def test_that_it_stops_is_told_at_once(tmp_path: Path) -> None:
    """After Ctrl-C the panel says that the stages are being stopped, though it was drawn an instant before."""
    run, stop = run_in_training(tmp_path / "run"), Stop()
    console = terminal()
    panel = ProgressPanel(run, console, stop)
    with locked(run.stage_lock("api")):
        run.catalog.save_stage(StageStatus("api", "running", os.getpid()))
        panel.begin()
        panel.show(Supervisor(run, []))
        stop.set()
        panel.show(Supervisor(run, []))
        panel.end()
    assert "Stopping all stages; Ctrl-C once more kills them." in panel_lines(console)


def test_what_was_started_again_stands_above(tmp_path: Path) -> None:
    """A stage that had to be started again is a line of its own, which stays."""
    run = run_in_training(tmp_path / "run")
    supervisor = Supervisor(run, [])
    supervisor.restarts.append("the trainer ended (killed by SIGKILL); starting it again")
    console = terminal()
    panel = ProgressPanel(run, console, Stop())
    panel.begin()
    for _ in range(2):
        panel.show(supervisor)
    panel.end()
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("killed by SIGKILL") == 1


def test_rates() -> None:
    """A rate is told where rows are moving; a bar is shown only where the whole is known."""
    assert (rate_text(None), rate_text(0.0), rate_text(1234.5)) == ("", "", "1,234 rows/s")
    counts = Counts(produced=812, collected=800)
    console = terminal()
    console.print(rows_table(counts, {"produced": 99.6}))
    assert isinstance(console.file, io.StringIO)
    assert "100 rows/s" in console.file.getvalue()
    assert "━" not in console.file.getvalue()


def test_rows_by_http_are_told_apart() -> None:
    """In a stream that stays open the panel counts the rows of requests apart, and no bar is fuller than full."""
    counts, console = (
        Counts(source=5, produced=5, posted=3, collected=8, sealed=8),
        Console(file=io.StringIO(), width=99),
    )
    console.print(rows_table(counts, {}))
    assert isinstance(console.file, io.StringIO)
    shown = [line.replace("━", "").split() for line in console.file.getvalue().splitlines()]
    assert [line for line in shown if line][:4] == [
        ["produced", "5", "of", "5"],
        ["by", "HTTP", "3"],
        ["collected", "8"],
        ["sealed", "8"],
    ]


def test_a_generation_that_failed_and_was_trained_anew(tmp_path: Path) -> None:
    """The panel shows a failed generation with its reason, and as it is once it is trained anew."""
    run = run_in_training(tmp_path / "run")
    run.catalog.fail_generation(1, "no room")
    console, stop = terminal(), Stop()
    panel = ProgressPanel(run, console, stop)
    panel.begin()
    panel.show(Supervisor(run, []))
    assert "generation 1 FAILED: no room" in panel_lines(console)
    run.catalog.begin_generation(1, [1], 10)
    publish_generation(run, skipped=0)
    stop.set()  # so that it is drawn at once
    panel.show(Supervisor(run, []))
    panel.end()
    assert "generation 1 10 rows; segment cost 1" in panel_lines(console)


STAGES = ("broker", "producer", "collector", "trainer", "api", "console")


def judged_run(folder: Path, models: int, *assignments: str) -> JudgedRun:
    """A judged run of as many models, with all stages."""
    document = deepcopy(DOCUMENT)
    document["models"] |= {f"m{number}": {**DOCUMENT["models"][MODEL]} for number in range(1, models)}
    run = JudgedRun(folder, *assignments, document=document)
    for batch in range(1, 5):
        run.step(turned(batch, 0))
    for stage in STAGES:
        run.run.catalog.save_stage(StageStatus(stage, "done", 1))
    return run


@pytest.mark.parametrize(
    ("models", "room"), [(1, {18: False, 24: True}), (3, {18: False, 24: True}), (10, {18: False, 24: False, 40: True})]
)
def test_the_newest_verdicts_and_decision_are_shown(tmp_path: Path, models: int, room: dict[int, bool]) -> None:
    """Within 18 lines of 80 columns the panel has the newest verdicts, for each model where there is room, and the
    newest decision; batches and generations keep their place below."""
    run = judged_run(tmp_path, models, "gate.policy=better")
    for height, for_each in room.items():
        lines = lines_of_run(run.run, terminal(height, 80))
        assert len(lines) <= height
        each = [line for line in lines if line.endswith("4 against 3: paid (+86 %, 405 held-out rows)")]
        together = [line for line in lines if line.startswith("verdict paid for value")]
        assert (len(each), len(together)) == ((models, 0) if for_each else (0, 1))
        (decision,) = [line for line in lines if line.startswith("gate ")]
        subject = "all models" if models > 1 else MODEL
        assert decision.startswith(f"gate {subject}: generation 4 is promoted")
        assert sum(line.startswith(("generation ", "batch ")) for line in lines) >= 2


def test_what_serves_is_shown_where_no_verdict_decides(tmp_path: Path) -> None:
    """Under ``report`` the panel says which generation serves; a person's choice is shown as such, with its reason, and
    beside the verdict stands that another one serves."""
    run = fed(tmp_path, batches=2)
    console = terminal(24, 80)
    assert "serves generation 2" in lines_of_run(run.run, console)
    promote(run.run, MODEL, GenerationRef(1), "two saw a broken sensor", "ada")
    lines = lines_of_run(run.run, console)
    assert "champion value: generation 1 is chosen: two saw a broken sensor" in lines
    assert any(line.startswith("value 1 serves; 2 against 1: can't tell (+0.7") for line in lines)


def test_a_choice_is_shown_as_long_as_it_stands(tmp_path: Path) -> None:
    """A choice is about its own model alone, however often it was made; once a newer generation took over by itself the
    panel says what serves."""
    run = judged_run(tmp_path, 2)
    for chosen in (1, 2, 1):
        promote(run.run, "m1", GenerationRef(chosen), "a sensor broke", "ada")
    assert "champion m1: generation 1 is chosen: a sensor broke" in lines_of_run(run.run, terminal(24, 80))
    run.step(turned(5, 0))
    lines = lines_of_run(run.run, terminal(24, 80))
    assert "serves generation 5" in lines
    assert not any(line.startswith("champion") for line in lines)


def test_what_could_not_be_judged_is_shown(tmp_path: Path) -> None:
    """The panel says how many looks the next trainer repeats, and has the newest error."""
    run = fed(tmp_path, batches=2)
    with run.run.catalog.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE judgings SET error = 'value: gone' WHERE evidence = 'settled'")
    errors = [line for line in lines_of_run(run.run, terminal(24, 80)) if line.startswith("not judged")]
    assert errors == ["not judged 2 looks, the newest at batch 2 (settled): value: gone"]


def test_before_the_first_generation_nothing_serves(tmp_path: Path) -> None:
    """A batch that is sealed before any generation is published makes no empty line about what serves."""
    run = fed(tmp_path, batches=0)
    run.judge.settle(run.seal(turned(1, 0)))
    assert not any(line.startswith("serves") for line in lines_of_run(run.run, terminal(24, 80)))


def test_the_catalog_is_read_again_only_for_news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times a second verdicts are read from the catalog only where something was judged or decided since."""
    run = fed(tmp_path, batches=2)
    newest, read = NewestVerdicts(run.run), list[int]()
    whole = run.run.catalog.comparisons

    def watched(model: str, generations: range) -> list[ComparisonRecord]:
        read.append(1)
        return whole(model, generations)

    monkeypatch.setattr(run.run.catalog, "comparisons", watched)
    for _ in range(3):
        newest.lines(9)
    assert len(read) == 1
    run.step(turned(3, 0))
    assert newest.lines(9)[0][1].startswith("3 against 2: ")
    assert len(read) == 2
