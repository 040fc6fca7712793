"""The whole pipeline beside a script of bare pyspark that trains the same models."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import httpx

from bench.support.archives import with_archives
from bench.support.bench import Bench
from bench.support.lines import Figure, Line, Trial
from bench.support.processes import TIDEMILL, Words, finish
from bench.support.runs import asked
from bench.support.served_runs import DEVICE, free_port

BARE = Path(__file__).parents[1] / "peers" / "bare_pyspark.py"
ASK_SECONDS = 0.1
FIGURES = (
    Figure("first", "`tidemill up`, start to the first answer of the first generation", "ours", "s"),
    Figure("last", "`tidemill up`, start to the last generation's publication", "ours", "s"),
    Figure("bare", "bare pyspark, the whole script", "peer", "s"),
    Figure("end", "`tidemill up`, start to the end of all processes", "part", "s"),
    Figure("memory", "memory of all processes of `tidemill up`", "part", "MiB"),
    Figure("largest", "memory of its largest process", "part", "MiB"),
    Figure("bare-memory", "memory of the bare script", "part", "MiB"),
)
HOW = (
    "{rows} rows of the sample, nine models: three on each of three cumulative thirds. The script "
    "(`bench/peers/bare_pyspark.py`) reads the CSV file, trains and evaluates them, and ends. `tidemill up "
    "smart-home --data FILE --set stream.pause=0 --exit-when-trained` starts Kafka, streams every row through "
    "it, seals three batches, trains and evaluates the same models, checks each one's export against Spark's "
    "own predictions, judges the generations, and serves them. Spark's class-data archive is there: the first run on a "
    "machine leads to it."
)


class FirstAnswer:
    """Asks an API for a prediction until it answers. ``seconds``: from ``began`` to then; None before."""

    def __init__(self, port: int, began: float) -> None:
        self.seconds: float | None = None
        self._address = f"http://127.0.0.1:{port}/predict_efficiency"
        self._began = began
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(timeout=5) as client:
            while not self._over.is_set():
                try:
                    if client.post(self._address, json=DEVICE).status_code == 200:
                        self.seconds = time.perf_counter() - self._began
                        return
                except httpx.TransportError:
                    pass  # nobody listens yet
                self._over.wait(ASK_SECONDS)


def tidemill(bench: Bench, data: Path) -> Mapping[str, float]:
    with bench.scratch() as folder:
        port, run = free_port(), folder / "run"
        sets: Words = ("--set", "stream.pause=0", "--console-port", 0, "--exit-when-trained")
        words: Words = ("up", "smart-home", "--data", data, "--run-dir", run, "--port", port, *sets)
        began, at = time.perf_counter(), time.time()
        first = FirstAnswer(port, began)
        try:
            done = finish([*TIDEMILL, *words])
        finally:
            first.end()
        assert first.seconds is not None, "the API never answered"
        last = published(run)[-1] - at
    memory = {"memory": done.peak, "largest": done.largest}
    return {"first": first.seconds, "last": last, "end": done.seconds, **memory}


def published(run: Path, pipeline: str | Path = "smart-home") -> list[float]:
    """When each generation was published, in seconds since the epoch."""
    return [datetime.fromisoformat(each["published_at"]).timestamp() for each in asked("generations", run, pipeline)]


def bare(data: Path) -> Mapping[str, float]:
    done = finish([sys.executable, BARE, data])
    return {"bare": done.seconds, "bare-memory": done.peak}


@contextmanager
def trials(bench: Bench) -> Iterator[Sequence[Trial]]:
    rows = bench.size("rows", 5_403, 5_403)
    with_archives(partial(tidemill, bench, bench.data(rows)))
    yield [partial(bare, bench.data(rows)), partial(tidemill, bench, bench.data(rows))]


@contextmanager
def large_trials(bench: Bench) -> Iterator[Sequence[Trial]]:
    rows = bench.size("rows", 2_000_000, 2_000_000)
    with_archives(partial(tidemill, bench, bench.data(5_403)))
    yield [partial(bare, bench.data(rows)), partial(tidemill, bench, bench.data(rows))]


PIPELINE = Line("pipeline", "The whole pipeline, few rows", HOW, FIGURES, trials)
LARGE_PIPELINE = Line(
    "pipeline-large", "The whole pipeline, many rows", HOW, FIGURES, large_trials, most_rounds=1, quick=False
)
