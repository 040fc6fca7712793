"""The benchmark's document follows from its results, and its promises are about figures that it measures."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import document, results
from bench.lines import LINES
from bench.promises import GOALS, PROMISES, Promise, broken
from bench.results import Results
from bench.support.lines import Measured

MACHINE = {"cores": "2", "processor": "a processor", "memory": "24 GiB", "system": "Linux 6.1"}
SIZES = ("rows", "peer_rows", "seconds", "items", "rank", "times", "batch", "warm", "generations", "gigabytes")


def made_up() -> Results:
    """Results of every line: its figures are 1, 2, 3 and so on, in three rounds."""
    made = Results(MACHINE, {"Python": "3.12.1", "wrk": "none"})
    for line in LINES:
        values = {figure.key: [float(number)] * 3 for number, figure in enumerate(line.figures, 1)}
        made.add(Measured(line.key, values, dict.fromkeys(SIZES, 1000)), "2026-01-02")
    return made


def test_each_promise_is_about_figures_of_a_line() -> None:
    """Each promise, and each goal, has one bound, and names figures that its line has."""
    figures = {line.key: {figure.key for figure in line.figures} for line in LINES}
    for promise in (*PROMISES, *GOALS):
        assert {promise.figure, promise.of or promise.figure} <= figures[promise.line], promise
        assert (promise.least is None) != (promise.most is None), promise


def test_the_document_follows_from_the_results(tmp_path: Path) -> None:
    """Results that are written and read give the same document, which keeps what other scripts wrote into it."""
    path, others = tmp_path / "benchmarks.md", "\n## What judging costs\n\nBy another script.\n"
    path.write_text(f"# Benchmarks\n\nFormer figures.\n{others}")
    results.write(tmp_path / "results.json", made_up())
    for _ in range(2):
        document.write(path, results.read(tmp_path / "results.json"))
        text = path.read_text()
        assert text == document.text(made_up()) + others
    assert all(f"## {line.title}\n" in text for line in LINES)
    assert "Former" not in text


@pytest.mark.parametrize(("reached", "missed"), [(0.69, True), (0.7, False)])
def test_a_figure_below_its_promise_is_told(monkeypatch: pytest.MonkeyPatch, reached: float, missed: bool) -> None:
    """A ratio of the medians below the bound breaks the promise; one at the bound keeps it."""
    promise = Promise("produce", "csv", of="perf-tool", least=0.7)
    monkeypatch.setattr("bench.promises.PROMISES", (promise,))
    measured = {"produce": Measured("produce", {"csv": [reached, 9.0, 0.0], "perf-tool": [1.0, 1.0, 1.0]})}
    assert broken(measured, quick=False) == [promise] * missed
    assert broken(measured, quick=True) == []  # its bound is one of a full run


def test_lines_of_another_machine_do_not_stay(tmp_path: Path) -> None:
    """A later run of some lines keeps the others' figures only if machine and versions are the same."""
    path, some = tmp_path / "results.json", Results(MACHINE, {"Python": "3.12.1", "wrk": "none"})
    some.add(Measured("start", {"help": [0.2]}), "2026-01-03")
    results.write(path, made_up())
    merged = results.merged(path, some)
    assert merged.lines["start"] == some.lines["start"]
    assert merged.lines.keys() == made_up().lines.keys()
    other = Results(MACHINE | {"cores": "64"}, some.versions, some.lines, some.dates)
    assert results.merged(path, other) == other
