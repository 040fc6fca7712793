"""How fast predictions are answered, with wrk (https://github.com/wg/wrk; Debian's package wrk).

One row a request, beside a FastAPI route that parses the JSON body and answers a constant; both servers are processes
of their own under uvicorn with uvloop and httptools, and are measured in turn. Then ten thousand rows in one request,
beside what Python and numpy take for them at least: parse the JSON, make arrays, score these, write the JSON. The
models are those of the smallest kept run, which Spark trained. Then the API with one and with two workers, in turn: wrk
and the workers share the machine's cores, so the rate per second of the workers' processor time is told too.

    python -m bench.predicting
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import orjson
import psutil
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support import wait_for
from tests.support.kept_run import copy_of, versions

from tidemill import scoring
from tidemill.api.server import run_server
from tidemill.pipeline import load
from tidemill.run.folder import existing_run
from tidemill.run.stage import stage
from tidemill.scoring import row_scorer
from tidemill.web.server import bound

MODELS = ("efficiency", "malfunction", "segment")
ROW = {
    "DeviceType": "Camera",
    "UsageHoursPerDay": 19.97,
    "EnergyConsumption": 2.61,
    "UserPreferences": 1,
    "MalfunctionIncidents": 0,
    "DeviceAgeMonths": 29,
}
ROWS = 10_000
SCRIPT = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = '%s'
"""


class Rate(NamedTuple):
    """Requests a second, and the median of their times in milliseconds."""

    requests: float
    p50: float


# --- the servers --------------------------------------------------------------------------------------------------


def constant_app() -> FastAPI:
    """The peer: a FastAPI route that parses the JSON body and answers a constant."""
    app = FastAPI()
    answer = orjson.dumps({"model": "efficiency", "generation": 3, "prediction": 1, "label": "Efficient"})

    @app.post("/constant")
    async def constant(request: Request) -> Response:
        orjson.loads(await request.body())
        return Response(answer, media_type="application/json")

    return app


def serve_constant(port: int) -> None:
    with bound("127.0.0.1", port) as listener:
        config = uvicorn.Config(
            constant_app(), loop="uvloop", http="httptools", log_level="warning", access_log=False, ws="none"
        )
        uvicorn.Server(config).run(sockets=[listener])


def serve_run(folder: Path, workers: int, port: int) -> None:
    """The API of a run, as ``tidemill serve --workers N`` has it."""
    run = existing_run(load("smart-home"), folder)
    run.logs.mkdir(exist_ok=True)
    with stage(run, "serve") as at_work:
        run_server(at_work, "127.0.0.1", port, workers=workers)


@contextmanager
def server(*arguments: str, port: int) -> Iterator[str]:
    """A server of this module as a process; yields its address."""
    process = subprocess.Popen([sys.executable, __file__, "--serve", *arguments, str(port)])
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: process.poll() is not None or answers(address), "the server")
        yield address
    finally:
        process.terminate()
        process.wait()


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health").status_code in (200, 404)
    except httpx.TransportError:
        return False


@contextmanager
def both(port: int) -> Iterator[tuple[str, str]]:
    """The addresses of the constant route's server and of the API."""
    with tempfile.TemporaryDirectory() as name:
        folder = copy_of(versions()[-1], Path(name) / "run")
        with server("constant", port=port) as constant, server(str(folder), "1", port=port + 1) as api:
            yield constant, api


# --- one row ------------------------------------------------------------------------------------------------------


def wrk(address: str, connections: int, seconds: float) -> Rate:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % json.dumps(ROW))
        script.flush()
        line = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", script.name, address]
        said = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    if re.search(r"Non-2xx", said):
        raise RuntimeError(f"{address} refused requests: {said}")
    rate, p50 = re.search(r"Requests/sec:\s+([\d.]+)", said), re.search(r"50%\s+([\d.]+)(us|ms|s)", said)
    assert rate
    assert p50
    return Rate(float(rate[1]), float(p50[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p50[2]])


def one_row(constant: str, api: str, connections: int = 8, seconds: int = 3, rounds: int = 3) -> dict[str, list[Rate]]:
    """The rates of the constant route and of each model, in turn, so that all see the same machine."""
    paths = {"constant": f"{constant}/constant"}
    paths |= {model: f"{api}/models/{model}/predict" for model in MODELS}
    for path in paths.values():
        wrk(path, connections, 1)
    rates: dict[str, list[Rate]] = {name: [] for name in paths}
    for _ in range(rounds):
        for name, path in paths.items():
            rates[name].append(wrk(path, connections, seconds))
    return rates


# --- workers ------------------------------------------------------------------------------------------------------


class Worked(NamedTuple):
    """A rate, and the processor time that the API's processes had for it, in seconds a second."""

    rate: Rate
    busy: float

    @property
    def by_processor(self) -> float:
        """Requests per second of processor time."""
        return self.rate.requests / self.busy


def by_workers(
    port: int, connections: int = 8, seconds: int = 3, rounds: int = 3, counts: Sequence[int] = (1, 2)
) -> dict[int, list[Worked]]:
    """What the API does with each number of workers, in turn; the servers run side by side, and idle in between."""
    measured: dict[int, list[Worked]] = {workers: [] for workers in counts}
    with tempfile.TemporaryDirectory() as name, ExitStack() as started:
        servers = {}
        for place, workers in enumerate(counts):
            folder = copy_of(versions()[-1], Path(name) / f"run-{workers}")
            address = started.enter_context(server(str(folder), str(workers), port=port + place))
            servers[workers] = f"{address}/models/{MODELS[0]}/predict", port + place
        for path, _ in servers.values():
            wrk(path, connections, 1)
        for _ in range(rounds):
            for workers, (path, at) in servers.items():
                before, began = processor_seconds(at), time.perf_counter()
                rate = wrk(path, connections, seconds)
                busy = (processor_seconds(at) - before) / (time.perf_counter() - began)
                measured[workers].append(Worked(rate, busy))
    return measured


def processor_seconds(port: int) -> float:
    """The processor time of the server on this port, with its workers."""
    (served,) = (child for child in psutil.Process().children() if child.cmdline()[-1:] == [str(port)])
    times = [process.cpu_times() for process in (served, *served.children(recursive=True))]
    return float(sum(spent.user + spent.system for spent in times))


# --- many rows ----------------------------------------------------------------------------------------------------


def rows_body(model: str, folder: Path) -> bytes:
    """A request with ten thousand different rows."""
    dice = np.random.default_rng(1)
    names = load("smart-home").pipeline.models[model].features
    categories = ["Camera", "Lights", "Thermostat", "Security System", "Smart Speaker"]
    columns: dict[str, Any] = {
        "DeviceType": dice.choice(categories, ROWS).tolist(),
        "UsageHoursPerDay": dice.uniform(0, 24, ROWS).tolist(),
        "EnergyConsumption": dice.uniform(0, 10, ROWS).tolist(),
        "UserPreferences": dice.integers(0, 2, ROWS).tolist(),
        "MalfunctionIncidents": dice.integers(0, 5, ROWS).tolist(),
        "DeviceAgeMonths": dice.integers(1, 60, ROWS).tolist(),
    }
    return orjson.dumps({"rows": [{name: columns[name][index] for name in names} for index in range(ROWS)]})


def by_numpy(model: str, folder: Path) -> Callable[[bytes], bytes]:
    """What a service in Python and numpy does with these rows at least: parse, make arrays, score them, and write a
    list of answers. It checks nothing."""
    scorer = row_scorer(scoring.load(next(iter(sorted(folder.glob(f"generations/*/scorers/{model}.npz"))[-1:]))))
    numbers = [feature.column for feature in scorer.encoder.numeric]
    strings = [feature.column for feature in scorer.encoder.strings]

    def answer(body: bytes) -> bytes:
        rows = json.loads(body)["rows"]
        block = np.array([[row[name] for name in numbers] for row in rows], dtype=np.float64)
        codes = [
            np.array([known.get(row[name], len(known)) for row in rows])
            for name, known in zip(strings, scorer.encoder.codes, strict=True)
        ]
        scored = scorer.scores(scoring.features.Encoded(scorer.encoder.scale(block), codes))
        predicted = {"model": model, "generation": 3}
        if scored.probability is None:
            return orjson.dumps([{**predicted, "prediction": value} for value in scored.prediction.tolist()])
        return orjson.dumps(
            [
                {**predicted, "prediction": int(value), "probability": {"0": shares[0], "1": shares[1]}}
                for value, shares in zip(scored.prediction.tolist(), scored.probability.tolist(), strict=True)
            ]
        )

    return answer


def many_rows(api: str, folder: Path, rounds: int = 5) -> dict[str, tuple[list[float], list[float]]]:
    """For each model the seconds that the API takes for ten thousand rows, and those of :func:`by_numpy` in turn."""
    seconds: dict[str, tuple[list[float], list[float]]] = {}
    for model in MODELS:
        body, reference = rows_body(model, folder), by_numpy(model, folder)
        served: list[float] = []
        bare: list[float] = []
        with httpx.Client(base_url=api, timeout=60) as client:
            for _ in range(rounds + 1):
                served.append(timed(lambda: client.post(f"/models/{model}/predict", content=body).raise_for_status()))  # noqa: B023  # called at once
                bare.append(timed(lambda: reference(body)))  # noqa: B023  # called at once
        seconds[model] = served[1:], bare[1:]
    return seconds


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# --- the command --------------------------------------------------------------------------------------------------


def median(rates: Sequence[Rate]) -> float:
    return statistics.median(rate.requests for rate in rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=18_471, help="this one and the next three")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: see https://github.com/wg/wrk, or install your system's package wrk")
    print(
        f"{os.cpu_count()} cores, {given.connections} connections, {given.rounds} times {given.seconds} s each, in turn"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = copy_of(versions()[-1], Path(name) / "run")
        with both(given.port) as (constant, api):
            rates = one_row(constant, api, given.connections, given.seconds, given.rounds)
            seconds = many_rows(api, folder, given.rounds)
    worked = by_workers(given.port + 2, given.connections, given.seconds, given.rounds)
    for title, measured in rates.items():
        p50 = statistics.median(rate.p50 for rate in measured)
        ratio = median(measured) / median(rates["constant"])
        print(
            f"{title:12} {median(measured):8,.0f} requests/s   p50 {p50:6.2f} ms   {ratio:5.2f} of the constant route"
        )
    for title, (served, bare) in seconds.items():
        ours, theirs = statistics.median(served), statistics.median(bare)
        print(f"{title:12} {ROWS} rows in {ours * 1e3:6.1f} ms   numpy {theirs * 1e3:6.1f} ms   {theirs / ours:5.2f} x")
    for workers, each in worked.items():
        rate = statistics.median(one.rate.requests for one in each)
        ratio = rate / statistics.median(one.rate.requests for one in worked[1])
        busy, efficiency = (
            statistics.median(one.busy for one in each),
            statistics.median(one.by_processor for one in each),
        )
        print(
            f"{workers} workers {rate:8,.0f} requests/s   {ratio:5.2f} of one   {busy:4.2f} processors busy   "
            f"{efficiency:8,.0f} requests per second of processor time"
        )


if __name__ == "__main__":
    if sys.argv[1:2] != ["--serve"]:
        main()
    elif sys.argv[2] == "constant":
        serve_constant(int(sys.argv[3]))
    else:
        serve_run(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
