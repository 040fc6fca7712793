"""How long each endpoint that the console reads takes, for a run of 1,000 judged generations of ten models, 1,000
batches, and generations of a million rows.

Prints the median and the longest of several requests, first and repeated, over HTTP on this machine.

    python bench/console_api.py
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import polars as pl
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.many_judgings import judge_many
from tests.support.many_run import many_run
from tests.support.serving_run import ROW, api_of, publish

from tidemill.collector.batch_file import Draft
from tidemill.pipeline import arrow_schema
from tidemill.run.catalog import Decision, Span
from tidemill.run.folder import Run

REQUESTS = 20
PREDICTED = {"kind": "lamp", "hours": 2.0, "count": 3, "on": True}


def large_batch(run: Run, number: int, rows: int) -> None:
    """Seal a batch of so many rows."""
    schema = arrow_schema(run.pipeline.source.schema_)
    seen = pl.Series("hours", range(rows), dtype=pl.Float64) % 24
    columns = {name: pa.array([ROW[name]]) for name in schema.names if name not in ("hours", "seen")}
    table = pa.table({name: pa.repeat(value[0], rows) for name, value in columns.items()})
    moment = pa.scalar(0, schema.field("seen").type)
    table = table.append_column("hours", seen.to_arrow()).append_column("seen", pa.repeat(moment, rows))
    draft = Draft(run, number, schema)
    draft.add(table.select(schema.names).cast(schema))
    draft.close()
    run.catalog.decide(Decision(number, "rows", (Span(0, 0, rows - 1),)))
    run.catalog.seal(number, draft.publish(None, None))


def measure(ask: Callable[[], httpx.Response]) -> tuple[float, float, float, int]:
    """Milliseconds of the first request, and median and longest of the next ones; bytes of the answer."""
    times = []
    for _ in range(REQUESTS + 1):
        began = time.perf_counter()
        answer = ask()
        times.append(1000 * (time.perf_counter() - began))
        answer.raise_for_status()
    return times[0], statistics.median(times[1:]), max(times[1:]), len(answer.content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", type=int, default=1000, help="generations and batches")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the newest generation")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = many_run(Path(folder), given.many, given.many)
        judge_many(run, given.many)
        large = list(range(given.many + 1, given.many + 5))
        for number in large:
            large_batch(run, number, given.rows // len(large))
        publish(run, given.many + 1, large)
        with api_of(run) as client:
            show(client, given.many, large[0])
        run.close()


def show(client: httpx.Client, many: int, large: int) -> None:
    paths = [
        *("/status", "/health", "/pipeline", "/models", "/generations?after=900", "/batches", f"/batches/{many // 2}"),
        *("/models/size", "/models/size?limit=100", "/models/size/history", "/models/group/profile"),
        *("/models/group/points", "/models/group/points?x=id&y=count", f"/batches/{large}/rows?offset=200000"),
        *("/verdict", "/models/good/verdict", "/models/good/verdicts", "/models/good/verdicts?limit=200"),
        *("/models/good/matrix", "/models/good/matrix?limit=200", "/metrics"),
        *("/rejects", "/openapi.json"),
    ]
    print(f"{'endpoint':<52} {'first':>9} {'median':>9} {'longest':>9} {'bytes':>9}")
    for path in paths:
        line(f"GET {path}", measure(lambda path=path: client.get(path)))  # type: ignore[misc]  # bound at once
    across = "/models/size/generations/predict"
    line(f"POST {across}", measure(lambda: client.post(across, json=PREDICTED)))


def line(what: str, measured: tuple[float, float, float, int]) -> None:
    first, median, longest, size = measured
    print(f"{what:<52} {first:>6.1f} ms {median:>6.1f} ms {longest:>6.1f} ms {size:>9,}")


if __name__ == "__main__":
    main()
