"""Removing lines of replays, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.failpoint_run import arm
from tests.support.judged_run import MODEL, JudgedRun, fed, replayed
from tidemill.errors import InputError
from tidemill.process.replayed_lines import remove_leftovers, remove_lines
from tidemill.run.failpoints import Crash


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


def test_a_run_without_lines(tmp_path: Path) -> None:
    """Where nothing was replayed, the error says so."""
    run = fed(tmp_path, batches=1)
    with pytest.raises(InputError, match="nothing was replayed"):
        remove_lines(run.run, ["sliding-2"])
