"""What judging costs beside training, and what it costs the requests that are served meanwhile.

Runs the smart-home pipeline with real Kafka and Spark on the rows of the given file, repeated with a little noise to
four batches of each size. Then the run's API answers single predictions, first alone, then while another process judges
the run's batches again and again, as the trainer does.

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
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import httpx
import polars as pl
import structlog

sys.path.insert(0, str(Path(__file__).parents[1]))

from smart_home import DEVICE, free_port
from tidemill.judging.judge import Judge
from tidemill.pipeline import load
from tidemill.run.folder import open_run

BATCHES = 4
REQUESTS = 2000
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


def train(data: Path, rows: int, folder: Path) -> None:
    """Run the pipeline to its end."""
    sets = [f"source.rows={rows}", f"batches.parts={BATCHES}", "stream.pause=0"]
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


def serve_and_judge(folder: Path) -> dict[str, list[float]]:
    """The latencies of predictions alone, and while the run is judged."""
    port = free_port()
    serve = ("-m", "tidemill", "serve", "smart-home", "--run-dir", str(folder), "--port", str(port))
    with process(*serve), httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        wait_for(client)
        latencies(client)  # warm up
        alone = latencies(client)
        with process(__file__, "--judge", str(folder)):
            time.sleep(3)  # it imports
            return {"alone": alone, "while a judge works": latencies(client)}


def wait_for(client: httpx.Client) -> None:
    for _ in range(600):
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.1)
    raise SystemExit("the API did not start")


def judge_again_and_again(folder: Path) -> None:
    """Judge all batches of the run, forget it, and start over."""
    run = open_run(load("smart-home"), folder)
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
    given = parser.parse_args()
    if given.judge:
        judge_again_and_again(given.judge)
    for rows in given.rows:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            train(repeated(given.data, BATCHES * rows, Path(folder)), BATCHES * rows, run)
            show(rows, costs(run), serve_and_judge(run))


if __name__ == "__main__":
    main()
