"""What cumulative generations cost: the time of each, of its fits and of all else, as the rows grow.

Seals batches of the smart-home sample without Kafka, as the collector leaves them, then runs the trainer on them.

    python bench/generations.py                                   # 20 generations, of 10,000 to 200,000 rows
    python bench/generations.py --generations 40 --rows 2000      # how the cost of generation k grows
    python bench/generations.py --quick                           # 5 generations, in well under a minute
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in the trainer

from tidemill.pipeline import Raw, find, parse, read
from tidemill.run import files
from tidemill.run.catalog import Decision, Sealed, Span
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage
from tidemill.samples.smart_home import BLOCK_ROWS, block
from tidemill.training.trainer import started, work

GENERATIONS, ROWS = 20, 10_000
QUICK_GENERATIONS = 5


class Cost(NamedTuple):
    """Seconds of one generation. ``fits``: the sum of its models' fits, which run side by side. ``judging``: both looks
    at its batch, which are no part of ``training``."""

    generation: int
    rows: int
    training: float
    fits: float
    judging: float

    @property
    def total(self) -> float:
        return self.training + self.judging


class Measured(NamedTuple):
    """``start``: seconds until Spark is ready. ``work``: from then on until the last generation is published and
    judged."""

    start: float
    work: float
    costs: list[Cost]


def sealed_run(folder: Path, generations: int, rows: int) -> Run:
    """A run of the ready pipeline smart-home, whose stream has ended with so many batches of so many rows."""
    raw = read(find("smart-home"))
    raw["source"]["rows"] = generations * rows
    raw["batches"] = {"rows": rows}
    run = open_run(parse(Raw("smart-home", folder, raw)), folder / "run")
    for number, table in enumerate(tables(generations, rows), start=1):
        path = run.batches / f"batch-{number:05d}.parquet"
        run.catalog.decide(Decision(number, "rows", (Span(0, (number - 1) * rows, number * rows - 1),)))
        pq.write_table(table, path)
        run.catalog.seal(number, Sealed(run.relative(path), len(table), path.stat().st_size, files.sha256(path)))
    run.catalog.end_stream({0: generations * rows}, {})
    return run


def tables(count: int, rows: int) -> Iterator[pa.Table]:
    """``count`` tables of the sample, of so many rows each."""
    blocks = -(-count * rows // BLOCK_ROWS)
    sample = pa.concat_tables([block(number) for number in range(blocks)])
    return (sample.slice(number * rows, rows) for number in range(count))


def measure(generations: int, rows: int) -> Measured:
    """Train that many cumulative generations."""
    with tempfile.TemporaryDirectory() as folder:
        run = sealed_run(Path(folder), generations, rows)
        stage = Stage(run, "trainer")
        began = time.perf_counter()
        with started(stage, None, None) as spark:
            ready = time.perf_counter()
            work(stage, spark)
            ended = time.perf_counter()
        return Measured(ready - began, ended - ready, costs(run))


def costs(run: Run) -> list[Cost]:
    with closing(sqlite3.connect(run.catalog.path)) as catalog:
        judging = dict(catalog.execute("SELECT batch, sum(seconds) FROM judgings GROUP BY batch"))
        fits = dict(catalog.execute("SELECT generation, sum(fit_seconds) FROM models GROUP BY generation"))
        times = "SELECT generation, rows, began_at, published_at FROM generations WHERE state = 'published' ORDER BY 1"
        return [
            Cost(number, rows, seconds_between(began, published), fits[number], judging.get(number, 0.0))
            for number, rows, began, published in catalog.execute(times)
        ]


def seconds_between(began: str, ended: str) -> float:
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()


def growth(found: Sequence[Cost]) -> tuple[float, float, float]:
    """The least-squares line through the costs of all generations but the first: its floor, its seconds for each
    million rows, and the same slope of the second half alone, which is greater where costs grow faster than rows."""
    later = found[1:]
    rows, seconds = (np.array(values) for values in ([cost.rows / 1e6 for cost in later], [c.total for c in later]))
    slope, floor = np.polyfit(rows, seconds, 1)
    half = len(later) // 2
    return float(floor), float(slope), float(np.polyfit(rows[half:], seconds[half:], 1)[0])


def show(measured: Measured) -> None:
    print("generation     rows   training   fits (sum)   judging   total")
    for cost in measured.costs:
        print(
            f"{cost.generation:10} {cost.rows:8,} {cost.training:8.2f} s {cost.fits:10.2f} s {cost.judging:7.2f} s "
            f"{cost.total:5.2f} s"
        )
    floor, slope, late = growth(measured.costs)
    print(f"Spark ready after {measured.start:.1f} s, all generations {measured.work:.1f} s after that")
    print(f"floor {floor:.2f} s, {slope:.2f} s for each million rows; {late:.2f} s in the second half")
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()}), file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--generations", type=int, default=GENERATIONS)
    parser.add_argument("--rows", type=int, default=ROWS, help="of a batch")
    parser.add_argument("--quick", action="store_true", help=f"only {QUICK_GENERATIONS} generations")
    given = parser.parse_args()
    show(measure(QUICK_GENERATIONS if given.quick else given.generations, given.rows))


if __name__ == "__main__":
    main()
