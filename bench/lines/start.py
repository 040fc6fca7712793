"""How soon the command answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from bench.support.bench import Bench
from bench.support.lines import Figure, Line, Trial
from bench.support.processes import TIDEMILL, Words, finish
from bench.support.served_runs import devices_run

SMALL = Path(__file__).parents[1] / "peers" / "small_command.py"
LIBRARIES = "pydantic, rich.console, sqlalchemy, typer"
TIMES = 5


def timed(key: str, words: Words) -> Mapping[str, float]:
    return {key: median(finish(words).seconds for _ in range(TIMES))}


@contextmanager
def trials(bench: Bench) -> Iterator[Sequence[Trial]]:
    bench.size("times", TIMES, TIMES)
    with bench.scratch() as folder:
        pipeline = devices_run(folder)
        lines: dict[str, Words] = {
            "help": [*TIDEMILL, "--help"],
            "status": [*TIDEMILL, "status", pipeline, "--run-dir", folder / "run"],
            "typer": [sys.executable, SMALL, "--help"],
            "libraries": [sys.executable, "-c", f"import {LIBRARIES}"],
            "python": [sys.executable, "-c", "pass"],
        }
        yield [partial(timed, key, words) for key, words in lines.items()]


START = Line(
    key="start",
    title="How soon the command answers",
    how="From the start of the process to its end, each round the median of {times}. `status` is asked of a run "
    "with one generation.",
    figures=(
        Figure("help", "`tidemill --help`", "ours", "s"),
        Figure("status", "`tidemill status`", "ours", "s"),
        Figure("typer", "`--help` of a program of typer with one command", "peer", "s"),
        Figure("libraries", f"`import {LIBRARIES}`: the libraries that `status` needs", "limit", "s"),
        Figure("python", "`python -c pass`", "limit", "s"),
    ),
    trials=trials,
)
