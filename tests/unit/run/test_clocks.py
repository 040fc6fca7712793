"""A wall clock that steps, forwards or back, changes what is shown and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tidemill.run.catalog import FILE_NAME, Catalog, TrainedModel, database

SOURCES = ROOT / "src" / "tidemill"
# Where the wall clock is looked at: what the catalog records to be shown, how long ago that was on the screen, when a
# report was made, and whether the end of a stream that the user sets is in the future.
ALLOWED = {
    "run/catalog/database.py": {"now"},
    "run/catalog/freshness.py": {"time"},  # the parts of freshness that span two processes
    "console/pages/stream.py": {"now"},
    "cli/verdict_commands.py": {"now"},
    "collector/topic_feed.py": {"now"},
    "api/oryx/writes.py": {"now"},  # the time of a rating that comes without one
    "class_archives.py": {"time"},  # how old a file is
}
WALL = {
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
MODEL = TrainedModel("m", "KMeans", {}, 0.5, {}, {}, "m.npz", "cd" * 32, "m")


def looks_at_the_wall_clock(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
            if node.attr in WALL.get(owner, ()):
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (name.name for name in node.names if name.name in WALL["time"])


def test_only_what_is_shown_comes_from_the_wall_clock() -> None:
    """Every duration, deadline and rate is measured by a clock that cannot step."""
    found = {path.relative_to(SOURCES).as_posix(): set(looks_at_the_wall_clock(path)) for path in SOURCES.rglob("*.py")}
    assert {name: names for name, names in found.items() if names} == ALLOWED


class WallClock:
    """A wall clock that is set by hand, as the catalog reads it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.minute = 30
        patch.setattr(database, "now", self)

    def __call__(self) -> str:
        return f"2026-03-01T12:{self.minute:02}:00.000Z"


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    return WallClock(monkeypatch)


def fail(catalog: Catalog, number: int) -> None:
    catalog.begin_generation(number, [number], 1)
    catalog.fail_generation(number, "in vain")


@pytest.mark.parametrize("step", [-20, 0, 20])
def test_a_generation_that_failed_again_is_seen_after_a_step(tmp_path: Path, wall: WallClock, step: int) -> None:
    """Whoever follows the generations sees one that was begun again and failed again, though the clock stepped back
    between the two."""
    catalog = Catalog(tmp_path / FILE_NAME)
    fail(catalog, 1)
    wall.minute += 1
    fail(catalog, 2)
    before = catalog.generations_pulse()
    assert catalog.generations_pulse() == before
    wall.minute += step
    fail(catalog, 1)
    assert catalog.generations_pulse() != before
    catalog.close()


def test_order_is_by_number_not_by_time(tmp_path: Path, wall: WallClock) -> None:
    """Generations that are published while the clock steps back stay in the order of their numbers, and the newest is
    the one with the greatest."""
    catalog = Catalog(tmp_path / FILE_NAME)
    for number in (1, 2, 3):
        before = catalog.generations_pulse()
        catalog.begin_generation(number, [number], 1)
        begun = catalog.generations_pulse()
        catalog.publish_generation(number, [MODEL])
        assert len({before, begun, catalog.generations_pulse()}) == 3
        wall.minute -= 7
    assert [one.generation for one in catalog.generations()] == [1, 2, 3]
    assert catalog.newest_generation() == 3
    catalog.close()
