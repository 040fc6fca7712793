"""Recommendations among many items."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.support.bench import Bench
from bench.support.lines import Figure, Line, Trial
from bench.support.processes import finish
from bench.support.served_runs import ratings_run, served
from bench.support.wrk import wrk

SCAN = Path(__file__).parents[1] / "peers" / "bare_scan.py"
NEW_USER = {"ratings": {"10": 5.0, "2000": 1.0, "30000": 4.0, "40000": 3.5, "50000": 2.0}, "top": 10}
CONNECTIONS = 1


def recommend(address: str, seconds: float) -> Mapping[str, float]:
    load = wrk(f"{address}/models/taste/recommend", NEW_USER, CONNECTIONS, seconds)
    return {"recommend": load.rate, "recommend-p50": load.p50}


def similar(address: str, seconds: float) -> Mapping[str, float]:
    load = wrk(f"{address}/models/taste/similar/777", None, CONNECTIONS, seconds)
    return {"similar": load.rate, "similar-p50": load.p50}


def scan(items: int, rank: int) -> Mapping[str, float]:
    return {"scan": float(finish([sys.executable, SCAN, items, rank]).out)}


@contextmanager
def trials(bench: Bench) -> Iterator[Sequence[Trial]]:
    items, rank = bench.size("items", 1_000_000, 1_000_000), bench.size("rank", 50, 50)
    seconds = bench.size("seconds", 10, 4)
    with bench.scratch() as folder, served(ratings_run(folder, items, rank)) as address:
        recommend(address, 1)
        similar(address, 1)  # to be warm
        yield [
            partial(recommend, address, seconds),
            partial(scan, items, rank),
            partial(similar, address, seconds),
        ]


RECOMMEND = Line(
    key="recommend",
    title="Recommendations among many items",
    how="wrk asks over one connection for {seconds} s: `POST /models/taste/recommend` with five ratings of a user "
    "never seen, and `GET /models/taste/similar/{{item}}`; {items} items of rank {rank}, the ten best, exact. "
    "The limit: numpy's product of all items' factors with one user's, by itself.",
    figures=(
        Figure("recommend", "recommend for a new user", "ours", "requests/s"),
        Figure("recommend-p50", "its median time", "part", "ms"),
        Figure("similar", "items like one", "ours", "requests/s"),
        Figure("similar-p50", "its median time", "part", "ms"),
        Figure("scan", "one scan of all items", "limit", "requests/s"),
    ),
    trials=trials,
    needs=("wrk",),
)
