"""Predictions over HTTP: one row a request, and many."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import httpx
import orjson

from bench.support.bench import Bench
from bench.support.lines import Figure, Line, Trial
from bench.support.processes import Failed, Words, finish, serving
from bench.support.served_runs import DEVICE, KINDS, answers, devices_run, free_port, served
from bench.support.waiting import wait_for
from bench.support.wrk import wrk

PEERS = Path(__file__).parents[1] / "peers"
PATH = "/models/efficiency/predict"
CONNECTIONS = 8
START_SECONDS = 180.0
SLOW_SECONDS = 6  # at least, for the peer that answers a few requests a second
REQUESTS = 5
"""How many requests of many rows a trial asks."""


@contextmanager
def constant_route(folder: Path) -> Iterator[str]:
    """The address of the FastAPI route that answers a constant."""
    port = free_port()
    with serving([sys.executable, PEERS / "fastapi_constant.py", port], folder / "constant.log"):
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/docs"), "the constant route", START_SECONDS)
        yield f"http://127.0.0.1:{port}/predict"


@contextmanager
def flask_spark(bench: Bench, folder: Path) -> Iterator[str]:
    """The address of the Flask route with a Spark ``transform``."""
    port, log = free_port(), folder / "flask.log"
    words: Words = ("-m", "gunicorn", "--threads", 8, "--timeout", 300, "--bind", f"127.0.0.1:{port}")
    data = {"BENCH_CSV": str(bench.data(5_403))}
    with serving([sys.executable, *words, "bench.peers.flask_spark:app"], log, data) as process:
        address = f"http://127.0.0.1:{port}/predict"

        def ready() -> bool:
            if process.poll() is not None:
                raise Failed(f"Flask with Spark ended: {log.read_text()[-2000:]}")
            try:
                return httpx.post(address, json=DEVICE, timeout=60).status_code == 200
            except httpx.TransportError:
                return False

        wait_for(ready, "Flask with Spark", START_SECONDS, every=0.3)
        yield address


def one_row(address: str, key: str, seconds: float) -> Mapping[str, float]:
    load = wrk(address, DEVICE, CONNECTIONS, seconds)
    return {key: load.rate, f"{key}-p50": load.p50, f"{key}-p99": load.p99}


def at_once(addresses: Sequence[str], key: str, seconds: float) -> Mapping[str, float]:
    """Addresses that are asked at the same time, each by a client of its own over its share of the connections."""
    with ThreadPoolExecutor(len(addresses)) as threads:
        each = CONNECTIONS // len(addresses)
        loads = list(threads.map(lambda address: wrk(address, DEVICE, each, seconds), addresses))
    return {key: sum(load.rate for load in loads)}


@contextmanager
def one_row_trials(bench: Bench) -> Iterator[Sequence[Trial]]:
    seconds = bench.size("seconds", 10, 3)
    with ExitStack() as stack:
        folder = stack.enter_context(bench.scratch())
        flask = stack.enter_context(flask_spark(bench, folder))
        constant = stack.enter_context(constant_route(folder))
        ours = stack.enter_context(served(devices_run(folder)))
        work = {"tidemill": f"{ours}{PATH}", "constant": constant, "flask-spark": flask}
        folder = stack.enter_context(bench.scratch())
        workers = [stack.enter_context(served(devices_run(folder), "--workers", 2)) + PATH] * 2
        folder = stack.enter_context(bench.scratch())
        apart = [work["tidemill"], stack.enter_context(served(devices_run(folder))) + PATH]
        for key, address in work.items():
            wrk(address, DEVICE, CONNECTIONS, SLOW_SECONDS if key == "flask-spark" else 1)  # to be warm
        two = [partial(at_once, apart, "apart"), partial(at_once, workers, "workers")]
        for both in two:
            both(1)
        one_after_the_other: list[Trial] = [
            partial(one_row, address, key, max(seconds, SLOW_SECONDS) if key == "flask-spark" else seconds)
            for key, address in work.items()
        ]
        yield [*one_after_the_other, *(partial(both, seconds) for both in two)]


def device(number: int) -> dict[str, object]:
    """One of many rows, each another one."""
    return DEVICE | {
        "DeviceType": KINDS[number % len(KINDS)],
        "UsageHoursPerDay": number * 0.37 % 24,
        "EnergyConsumption": number * 0.011 % 10,
        "DeviceAgeMonths": number % 60,
    }


@contextmanager
def many_row_trials(bench: Bench) -> Iterator[Sequence[Trial]]:
    rows = bench.size("rows", 10_000, 10_000)
    body = orjson.dumps({"rows": [device(number) for number in range(rows)]})
    with bench.scratch() as folder, served(devices_run(folder)) as address:
        file = folder / "rows.json"
        file.write_bytes(body)
        yield [partial(many_rows, address, body, rows), partial(numpy_rows, file, rows)]


def many_rows(address: str, body: bytes, rows: int) -> Mapping[str, float]:
    taken = []
    with httpx.Client(timeout=60) as client:
        for _ in range(REQUESTS):
            began = time.perf_counter()
            answer = client.post(f"{address}{PATH}", content=body, headers={"content-type": "application/json"})
            taken.append(time.perf_counter() - began)
            if answer.status_code != 200:
                raise Failed(f"{rows} rows in one request: {answer.text[:500]}")
    return {"tidemill": rows / median(taken)}


def numpy_rows(file: Path, rows: int) -> Mapping[str, float]:
    return {"numpy": rows / float(finish([sys.executable, PEERS / "numpy_rows.py", file]).out)}


PREDICT = Line(
    key="predict",
    title="One row a request",
    how="wrk asks one process over 8 connections for {seconds} s: `POST /models/efficiency/predict` with a row of "
    "a category and five numbers, by a logistic regression. A FastAPI route under uvicorn (uvloop, httptools) "
    "that parses the body and answers a constant of the same form. Flask under gunicorn, one worker of eight "
    "threads, with a Spark `transform` of the same row for each request. Two workers "
    "are asked by two clients, over half of the connections each. As these take a part of the processor, what the "
    "workers can reach is what two servers of one process each reach, asked in the same way.",
    figures=(
        Figure("tidemill", "`tidemill serve`", "ours", "requests/s"),
        Figure("tidemill-p50", "its median time", "part", "ms"),
        Figure("tidemill-p99", "its 99th percentile", "part", "ms"),
        Figure("workers", "`tidemill serve --workers 2`", "ours", "requests/s"),
        Figure("apart", "two servers of one process each, together", "limit", "requests/s"),
        Figure("constant", "a FastAPI route that answers a constant", "limit", "requests/s"),
        Figure("constant-p50", "its median time", "part", "ms"),
        Figure("constant-p99", "its 99th percentile", "part", "ms"),
        Figure("flask-spark", "Flask with a Spark `transform`", "peer", "requests/s"),
        Figure("flask-spark-p50", "its median time", "part", "ms"),
        Figure("flask-spark-p99", "its 99th percentile", "part", "ms"),
    ),
    trials=one_row_trials,
    needs=("wrk", "flask", "gunicorn"),
)
PREDICT_ROWS = Line(
    key="predict-rows",
    title="Many rows in one request",
    how="`POST /models/efficiency/predict` with {rows} rows, one request after the other. The limit: orjson reads "
    "the same body, numpy predicts all rows at once, orjson writes the answers, in one process without HTTP "
    "and without a check of any row.",
    figures=(
        Figure("tidemill", "`tidemill serve`", "ours", "rows/s"),
        Figure("numpy", "orjson and numpy alone", "limit", "rows/s"),
    ),
    trials=many_row_trials,
)
