"""Removing lines of replays, and what a crash leaves."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.failpoint_run import arm
from tests.support.judged_run import MODEL, JudgedRun, fed, replayed, turned
from tidemill.errors import BackupError, InputError, PromotionRefused
from tidemill.judging.promotion import promote
from tidemill.process import backup
from tidemill.process.replayed_lines import remove_leftovers, remove_lines
from tidemill.run.failpoints import Crash
from tidemill.run.folder import Run


@pytest.fixture(autouse=True)
def no_failpoints() -> Iterator[None]:
    yield
    arm("")


@pytest.fixture
def run(tmp_path: Path) -> JudgedRun:
    """A judged run with two lines."""
    run = fed(tmp_path, batches=3)
    for line in ("sliding-2", "cumulative"):
        replayed(run, line, 3)
    return run


def folders(run: JudgedRun) -> list[str]:
    return sorted(path.name for path in run.run.judgings.iterdir() if path.is_dir())


def test_all_of_a_line_is_removed(run: JudgedRun) -> None:
    """Records and files of the line are gone; the run's own, and those of the other line, stay."""
    catalog = run.run.catalog
    before = catalog.cells(MODEL), catalog.judgings(), catalog.judgings("cumulative"), catalog.line_models("cumulative")
    assert remove_lines(run.run, ["sliding-2", "sliding-2"]) == ["removed sliding-2: 1 generation"]
    assert list(catalog.lines()) == folders(run) == ["cumulative"]
    assert {cell.line for cell in catalog.cells(MODEL, line=None)} == {"", "cumulative"}
    assert (catalog.judgings("sliding-2"), catalog.line_models("sliding-2")) == ([], {})
    assert before == (
        catalog.cells(MODEL),
        catalog.judgings(),
        catalog.judgings("cumulative"),
        catalog.line_models("cumulative"),
    )
    replayed(run, "sliding-2", 3)  # it may be trained again
    assert folders(run) == ["cumulative", "sliding-2"]


@pytest.mark.parametrize(("failpoint", "lines"), [("replay.removing", 2), ("replay.forgotten", 1)])
def test_a_crash_while_a_line_is_removed(run: JudgedRun, failpoint: str, lines: int) -> None:
    """The line is whole, or nothing of it is named; its files are removed by the next replay or removal, and those of
    other lines and other folders stay."""
    arm(f"{failpoint}=error")
    (run.run.judgings / "notes-2").mkdir()
    with pytest.raises(Crash):
        remove_lines(run.run, ["sliding-2"])
    assert len(run.run.catalog.lines()) == lines
    assert folders(run) == ["cumulative", "notes-2", "sliding-2"]
    remove_leftovers(run.run)
    assert folders(run) == ["cumulative", "notes-2", "sliding-2"][: 1 + lines]


def test_a_line_that_serves_stays(tmp_path: Path) -> None:
    """A line is not removed while one of its generations serves, and not promoted once it is removed."""
    run = fed(tmp_path, batches=3)
    chosen, other = run.replay("sliding-2", 2, [1, 2]), run.replay("windowed", 2, [2])
    decision = promote(run.run, MODEL, chosen, "why", "ada").decision
    with pytest.raises(PromotionRefused, match=f"a generation of sliding-2 serves for {MODEL}") as refused:
        remove_lines(run.run, ["windowed", "sliding-2"])
    assert refused.value.hint == f"promote another generation of {MODEL} first"
    assert sorted(run.run.catalog.lines()) == folders(run) == ["sliding-2", "windowed"]
    remove_lines(run.run, ["windowed"])
    late = dataclasses.replace(decision, champion=other.number, line=other.line)
    with pytest.raises(PromotionRefused, match="the replay windowed was removed"):
        run.run.catalog.decide_champion(late)
    assert run.run.catalog.champions() == {MODEL: chosen}


def test_a_line_that_served_may_go(tmp_path: Path) -> None:
    """Once the run's own generation has taken over, the line may be removed; judging goes on without it, and says
    nothing of an error."""
    run = fed(tmp_path, batches=3)
    promote(run.run, MODEL, run.replay("sliding-2", 2, [1, 2]), "why", "ada")
    run.step(turned(4, 0))
    remove_lines(run.run, ["sliding-2"])
    run.new_judge()
    run.step(turned(5, 0))
    assert run.run.catalog.judging_errors(range(1, 6)) == []
    assert run.champion() == 5


@pytest.mark.parametrize("removed", [True, False])
def test_a_line_that_is_removed_while_a_backup_is_made(
    run: JudgedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    """The backup does not call its files damaged, as it does those that are missing for no reason; the next one is
    whole."""
    copy_catalog = backup.snapshot

    def and_then(of: Run, folder: Path) -> None:
        copy_catalog(of, folder)
        if removed:
            remove_lines(of, ["sliding-2"])
        else:
            shutil.rmtree(of.judgings / "sliding-2")

    with monkeypatch.context() as patched:
        patched.setattr(backup, "snapshot", and_then)
        with pytest.raises(BackupError, match="was removed while" if removed else "can't be read") as refused:
            backup.back_up(run.run, tmp_path / "backup")
    if removed:
        assert refused.value.hint == "make the backup again"
        names = [file.path for file in backup.back_up(run.run, tmp_path / "backup").files]
        assert not any("sliding-2" in name for name in names)


def test_a_run_without_lines(tmp_path: Path) -> None:
    """Where nothing was replayed, the error says so."""
    run = fed(tmp_path, batches=1)
    with pytest.raises(InputError, match="there is no replay") as raised:
        remove_lines(run.run, ["sliding-2"])
    assert "nothing was replayed" in (raised.value.hint or "")
