"""What judging costs beside training, and what it costs the requests that are served meanwhile.

Runs the smart-home pipeline with real Kafka and Spark on the rows of the given file, repeated with a little noise to
four batches of each size. Then the run's API answers single predictions: alone, while another process judges the run's
batches again and again as the trainer does, with low priority, and while one does so with the same priority.

    python bench/judging.py ../shared/data/smart-home/smart_home_device_usage_data.csv
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import httpx
import polars as pl
import structlog

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in the trainer

from bench.support.served_runs import DEVICE, free_port
from tidemill.judging.judge import Judge
from tidemill.judging.low_priority import with_low_priority
from tidemill.pipeline import load
from tidemill.run.folder import existing_run
from tidemill.run.stage import Stage

BATCHES = 4
REQUESTS, ROUNDS = 2000, 3
PRIORITIES = ("low", "equal")
JUDGINGS = ("judgings", "cells", "comparisons", "drifts")
NOISY = ("UsageHoursPerDay", "EnergyConsumption")


class Cost(NamedTuple):
    """Seconds of one generation. ``judging``: of both looks at its batch."""

    judging: float
    fitting: float
    training: float


def repeated(data: Path, rows: int, folder: Path) -> Path:
    """A file of so many of the rows, repeated in random order, each with a little noise and a user of its own."""
    sample = pl.read_csv(data)
    drawn = sample.sample(rows, with_replacement=rows > len(sample), shuffle=True, seed=1)
    noise = pl.Series("noise", range(rows), dtype=pl.Float64).shuffle(seed=2) / rows * 0.01
    columns = [(pl.col(name) * (1 + noise)).alias(name) for name in NOISY]
    users = pl.Series("UserID", range(1, rows + 1))
    path = folder / f"{rows}.csv"
    drawn.with_columns(*columns, users).write_csv(path)
    return path


def settings(rows: int) -> list[str]:
    return [f"source.rows={rows}", f"batches.parts={BATCHES}", "stream.pause=0"]


def train(data: Path, rows: int, folder: Path) -> None:
    """Run the pipeline to its end."""
    sets = settings(rows)
    line = [sys.executable, "-m", "tidemill", "up", "smart-home", "--data", str(data), "--run-dir", str(folder)]
    line += ["--port", str(free_port()), "--exit-when-trained"]
    subprocess.run(
        [*line, *(word for value in sets for word in ("--set", value))], check=True, stdout=subprocess.DEVNULL
    )


def costs(folder: Path) -> list[Cost]:
    """What each generation took to judge, to fit, and to train with all that belongs to it."""
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as catalog:
        judging = dict(catalog.execute("SELECT batch, sum(seconds) FROM judgings GROUP BY batch"))
        fitting = dict(catalog.execute("SELECT generation, sum(fit_seconds) FROM models GROUP BY generation"))
        times = catalog.execute("SELECT generation, began_at, published_at FROM generations ORDER BY generation")
        return [
            Cost(judging[number], fitting[number], seconds_between(began, published))
            for number, began, published in times
        ]


def seconds_between(began: str, ended: str) -> float:
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()


@contextmanager
def process(*words: str) -> Iterator[None]:
    """Another process, ended with the context."""
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        try:
            yield
            if started.poll() is not None:
                raise SystemExit(f"{' '.join(words)} ended by itself")
        finally:
            started.terminate()


def latencies(client: httpx.Client) -> list[float]:
    """The milliseconds of each of many predictions, one after the other."""
    times = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        client.post("/predict_efficiency", json=DEVICE).raise_for_status()
        times.append(1000 * (time.perf_counter() - began))
    return times


def serve_and_judge(folder: Path, rows: int) -> dict[str, list[float]]:
    """The latencies of predictions alone, and while the run is judged; in turn, as the machine may do more and less."""
    port = free_port()
    serve = ("-m", "tidemill", "serve", "smart-home", "--run-dir", str(folder), "--port", str(port))
    with process(*serve), httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        wait_for(client)
        latencies(client)  # warm up
        served: defaultdict[str, list[float]] = defaultdict(list)
        for _ in range(ROUNDS):
            served["alone"] += latencies(client)
            for name in PRIORITIES:
                with process(__file__, "--judge", str(folder), "--rows", str(rows), "--priority", name):
                    time.sleep(5)  # it imports
                    served[f"beside a judge of {name} priority"] += latencies(client)
        return dict(served)


def wait_for(client: httpx.Client) -> None:
    for _ in range(600):
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.1)
    raise SystemExit("the API did not start")


def judge_again_and_again(folder: Path, rows: int) -> None:
    """Judge all batches of the run, forget it, and start over."""
    run = existing_run(load("smart-home", settings(rows)), folder)
    while True:
        with closing(sqlite3.connect(run.catalog.path, timeout=30)) as catalog, catalog:
            for table in JUDGINGS:
                catalog.execute(f"DELETE FROM {table}")
        Judge(run, structlog.get_logger()).catch_up(run.catalog.generation_numbers("published"))


def show(rows: int, found: list[Cost], served: dict[str, list[float]]) -> None:
    print(f"{rows:,} rows a batch")
    for number, cost in enumerate(found, 1):
        share = 100 * cost.judging / cost.training
        print(
            f"  generation {number}: judging {cost.judging:.2f} s, fitting {cost.fitting:.2f} s, "
            f"training {cost.training:.2f} s: {share:.0f} %"
        )
    judging, fitting, training = (sum(values) for values in zip(*found, strict=True))
    share, of_fits = 100 * judging / training, 100 * judging / fitting
    print(f"  all: {judging:.2f} of {training:.2f} s: {share:.1f} % of training, {of_fits:.1f} % of the fits alone")
    for what, times in served.items():
        cuts = statistics.quantiles(times, n=100)
        print(f"  predictions {what}: median {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms")
    print(json.dumps({"rows": rows, "cores": os.cpu_count(), "load": os.getloadavg()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_800, 100_000], help="of a batch")
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--priority", choices=PRIORITIES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.judge and given.priority == "low":
        stage = Stage(existing_run(load("smart-home", settings(BATCHES * given.rows[0])), given.judge), "trainer")
        with_low_priority(stage, lambda: judge_again_and_again(given.judge, BATCHES * given.rows[0]))
    if given.judge:
        judge_again_and_again(given.judge, BATCHES * given.rows[0])
    for rows in given.rows:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            train(repeated(given.data, BATCHES * rows, Path(folder)), BATCHES * rows, run)
            show(rows, costs(run), serve_and_judge(run, rows))


if __name__ == "__main__":
    main()
