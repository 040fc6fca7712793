"""How many recommendations for new users, and lists of similar items, a second, of 1,000,000 items of rank 50.

In process and over HTTP, with wrk (https://github.com/wg/wrk; Debian's package wrk), beside the bare product of the
items' factors with one factor, which reads them all once. The three run in turn. Leave OPENBLAS_* unset.

    python -m bench.recommending
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
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support import wait_for
from tests.support.serving_run import endpoint, trained_model

from tidemill import scoring
from tidemill.api.server import run_server
from tidemill.pipeline import Raw, parse
from tidemill.run.folder import Run, open_run
from tidemill.run.locks import locked
from tidemill.run.stage import Stage
from tidemill.scoring.als import als_scorer, packed
from tidemill.scoring.storage import write

ITEMS, RANK = 1_000_000, 50
RATINGS = {str(item): float(item % 5 + 1) for item in range(7, 400, 20)}  # of the new user
QUESTIONS = {"recommend": "/models/taste/recommend", "similar": "/models/taste/similar/4711"}
DOCUMENT: dict[str, Any] = {
    "name": "ratings",
    "source": {"path": "ratings.csv", "columns": {"user": "int", "item": "int", "rating": "float"}},
    "stream": {"topic": "ratings"},
    "batches": {"rows": 1000},
    "models": {"taste": {"estimator": "ALS", "user": "user", "item": "item", "rating": "rating"}},
}
SCRIPT = """
wrk.method, wrk.body = {method!r}, {body!r}
wrk.headers["content-type"] = "application/json"
"""


def open_bench_run(folder: Path) -> Run:
    return open_run(parse(Raw("ratings.toml", folder, DOCUMENT)), folder / "run")


def publish_model(folder: Path, items: int, rank: int) -> Path:
    """A run with one generation, of random factors; the path of its scorer."""
    random = np.random.default_rng(1)
    path = folder / "run" / "generations" / "00001" / "scorers" / "taste.npz"
    with closing(open_bench_run(folder)) as run:
        path.parent.mkdir(parents=True)
        settings = {"regularisation": 0.1, "implicit": False, "alpha": 1.0, "nonnegative": False}
        text = {"model": "taste", "estimator": "ALS", "rating": "rating", "settings": settings}
        arrays: dict[str, Any] = {
            "user_factors": random.normal(size=(1, rank)).astype(np.float32),
            "item_factors": random.normal(size=(items, rank)).astype(np.float32),
            "users": packed(pa.table({"user": [1]})),
            "items": packed(
                pa.table({"item": np.arange(items), "title": [f"Title of item {item}" for item in range(items)]})
            ),
            "rated_offsets": np.array([0, 1]),
            "rated_items": np.array([0], dtype=np.int32),
        }
        write(path, text, arrays)
        run.catalog.begin_generation(1, [], rows=1)
        run.catalog.publish_generation(1, [trained_model(run, 1, "taste", path)], [])
    return path


def in_process(path: Path, rounds: int) -> dict[str, float]:
    """The seconds of the bare scan, of a recommendation and of a list of similar items: medians of rounds in turn."""
    scorer = als_scorer(scoring.load(path))
    factor = scorer.user_factors[0]
    work: dict[str, Callable[[], object]] = {
        "scan": lambda: scorer.item_factors @ factor,
        "recommend": lambda: scorer.recommend(RATINGS, 10),
        "similar": lambda: scorer.similar("4711", 10),
    }
    return in_turn(work, rounds)


def in_turn(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, call in work.items():
            began = time.perf_counter()
            call()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def over_http(folder: Path, connections: int, seconds: int) -> dict[str, float]:
    """Answers a second of one process that serves the run, by the name of the question."""
    with api(folder) as address:
        wait_for(lambda: all(answers(address + path) for path in QUESTIONS.values()), "the model", seconds=60)
        return {name: wrk(address + path, connections, seconds) for name, path in QUESTIONS.items()}


@contextmanager
def api(folder: Path) -> Iterator[str]:
    with (folder / "bench.out").open("ab") as out, closing(open_bench_run(folder)) as run:
        run.catalog.forget_stage("serve")  # of an API that was ended before
        process = subprocess.Popen([sys.executable, __file__, "--serve", str(folder)], stdout=out, stderr=out)
        try:
            yield str(wait_for(lambda: endpoint(run), "the API", seconds=60))
        finally:
            process.terminate()
            process.wait()


def serve(folder: Path) -> None:
    with closing(open_bench_run(folder)) as run, locked(run.stage_lock("serve")):
        run_server(Stage(run, "serve"), "127.0.0.1", 0)


def answers(address: str) -> bool:
    try:
        if address.endswith("/recommend"):
            return httpx.post(address, json={"ratings": RATINGS}, timeout=30).status_code == 200
        return httpx.get(address, timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def wrk(address: str, connections: int, seconds: int) -> float:
    recommends = address.endswith("/recommend")
    script = SCRIPT.format(
        method="POST" if recommends else "GET", body=json.dumps({"ratings": RATINGS}) if recommends else ""
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        line = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", file.name, address]
        said = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if rate is None or "Non-2xx" in said:
        raise RuntimeError(said)
    return float(rate[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--rank", type=int, default=RANK)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: see https://github.com/wg/wrk, or install your system's package wrk")
    with tempfile.TemporaryDirectory() as name:
        path = publish_model(Path(name), given.items, given.rank)
        times = in_process(path, given.rounds)
        rates = over_http(Path(name), given.connections, given.seconds)
    print(f"{os.cpu_count()} cores, {given.items:,} items x rank {given.rank}, {given.connections} connections")
    for name, seconds in times.items():
        print(f"{name:10} in process {1 / seconds:8.1f}/s   {times['scan'] / seconds:5.2f} of the bare scan")
    for name, rate in rates.items():
        print(f"{name:10} over HTTP  {rate:8.1f}/s   {times['scan'] * rate:5.2f} of the bare scan")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]))
    else:
        main()
