"""Many cumulative generations: what one costs as its rows grow."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import numpy as np

from bench.lines.pipeline import BARE, published
from bench.support.archives import with_archives
from bench.support.bench import Bench
from bench.support.lines import Figure, Line, Trial
from bench.support.processes import TIDEMILL, finish


def costs(bench: Bench, rows: int, generations: int) -> tuple[float, list[float]]:
    """The seconds from the start to the last generation, and those between each generation and the one before."""
    with bench.scratch() as folder:
        run, data = folder / "run", bench.data(rows)
        sets = ("--set", "stream.pause=0", "--set", f"batches={{rows={rows // generations}}}")
        words = ("up", "smart-home", "--data", data, *sets, "--run-dir", run, "--port", 0, "--no-console")
        at = time.time()
        finish([*TIDEMILL, *words, "--exit-when-trained"], timeout=3600)
        moments = published(run)
    assert len(moments) == generations
    return moments[-1] - at, [after - before for before, after in pairwise(moments)]


def straight_line(taken: Sequence[float], first: int = 2) -> tuple[float, float]:
    """The floor and the growth of the straight line nearest to the costs of generations ``first``, ``first`` + 1, ...:
    the seconds of a generation without rows, and those that each further batch adds."""
    growth, floor = np.polyfit(np.arange(first, len(taken) + first), taken, 1)
    return float(floor), float(growth)


def tidemill(bench: Bench, rows: int, generations: int) -> Mapping[str, float]:
    total, taken = costs(bench, rows, generations)
    floor, growth = straight_line(taken)
    return {"tidemill": total, "floor": floor, "growth": growth, "last": taken[-1]}


def bare(bench: Bench, rows: int, generations: int) -> Mapping[str, float]:
    ended = finish([sys.executable, BARE, bench.data(rows), generations], timeout=3600)
    taken = json.loads(ended.out)["taken"]
    floor, growth = straight_line(taken[1:])
    return {"bare": ended.seconds, "bare-floor": floor, "bare-growth": growth, "bare-last": taken[-1]}


def growth(bench: Bench, rows: int, generations: int) -> Mapping[str, float]:
    """The last quarter of the generations, beside the straight line through the half before it."""
    total, taken = costs(bench, rows, generations)
    quarter = generations // 4
    floor, slope = straight_line(taken[quarter - 1 : -quarter], quarter + 1)
    expected = [floor + slope * number for number in range(generations - quarter + 1, generations + 1)]
    return {"tidemill": total, "measured": float(np.mean(taken[-quarter:])), "expected": float(np.mean(expected))}


@contextmanager
def trials(bench: Bench) -> Iterator[Sequence[Trial]]:
    generations = bench.size("generations", 20, 4)
    rows = bench.size("rows", 200_000, 8_000)
    with_archives(partial(costs, bench, 3_000, 1))
    yield [partial(tidemill, bench, rows, generations), partial(bare, bench, rows, generations)]


@contextmanager
def growth_trials(bench: Bench) -> Iterator[Sequence[Trial]]:
    generations, rows = bench.size("generations", 40, 40), bench.size("rows", 400_000, 400_000)
    with_archives(partial(costs, bench, 3_000, 1))
    yield [partial(growth, bench, rows, generations)]


GENERATIONS = Line(
    key="generations",
    title="Cumulative generations",
    how="`tidemill up smart-home` with {generations} batches of equal size, {rows} rows in all; each generation "
    "has three models and is trained on all batches so far. From the start of the process to the last "
    "publication. The floor and the growth are those of the straight line through the times between two "
    "publications. The script of bare pyspark trains and evaluates the same models on the same parts.",
    figures=(
        Figure("tidemill", "`tidemill up`, start to the last generation's publication", "ours", "s"),
        Figure("floor", "a generation without rows, by the straight line", "ours", "s"),
        Figure("growth", "what each further batch adds", "part", "s"),
        Figure("last", "the last generation", "part", "s"),
        Figure("bare", "bare pyspark, the whole script", "peer", "s"),
        Figure("bare-floor", "its generation without rows", "part", "s"),
        Figure("bare-growth", "what each further batch adds to it", "part", "s"),
        Figure("bare-last", "its last generation", "part", "s"),
    ),
    trials=trials,
    most_rounds=1,
    quick=False,
)
GROWTH = Line(
    key="growth",
    title="The cost of a generation as its rows grow",
    how="As the line above, with {generations} generations and {rows} rows. The straight line through the "
    "generations of the second and third quarter says what those of the last one should take, on average, if the cost "
    "grows with the rows and no faster. In the first quarter Java still compiles Spark.",
    figures=(
        Figure("measured", "a generation of the last quarter", "ours", "s"),
        Figure("expected", "the same by the straight line through the half before it", "limit", "s"),
        Figure("tidemill", "`tidemill up`, start to the last generation's publication", "part", "s"),
    ),
    trials=growth_trials,
    most_rounds=1,
    quick=False,
)
