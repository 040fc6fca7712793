"""Whether a change made a hot path several times slower: the one place where tests assert what something costs.

Each bound is a ratio to what the same work costs at least, measured in the same process, in turn, in processor time,
the best of several rounds. A bound is about three times what an idle machine measures, so that no load of the machine
breaks it. `make bench` has the real figures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.json as pj
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.types import ASGIApp

from tests.support.memory_log import HandClock, MemoryLog, MemoryReader, own_stream
from tests.support.serving_run import ROW, new_run, publish
from tidemill.api.app import create_app
from tidemill.api.models.registry import ModelRegistry
from tidemill.collector.collector import Collector
from tidemill.collector.cutter import Rules
from tidemill.kafka.codec import encode
from tidemill.kafka.messages import messages
from tidemill.pipeline import arrow_schema, load
from tidemill.run.folder import open_run
from tidemill.run.stage import Stage
from tidemill.samples import find_sample, write_sample
from tidemill.sources.source import open_source

READING = 70.0
"""Reading a CSV file and making messages of its rows, against pyarrow's reading of the same columns alone."""
COLLECTING = 16.0
"""The collector's work from messages to a sealed batch, against pyarrow's reading of the same JSON alone."""
PREDICTING = 1.5
"""A prediction for one row, against an endpoint of FastAPI that parses the same body and answers a constant."""

ROWS = 10_000
REQUESTS = 200
ROUNDS = 5


def ratio(work: Callable[[], object], limit: Callable[[], object]) -> float:
    """How many times the processor time of ``limit`` the ``work`` takes; the best round of each counts."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for place, call in enumerate((work, limit)):
            began = time.process_time()
            call()
            best[place] = min(best[place], time.process_time() - began)
    return best[0] / best[1]


def test_reading_and_encoding_a_file_stays_near_reading_alone(tmp_path: Path) -> None:
    """Rows of a CSV file become messages in a bounded multiple of the time in which pyarrow only reads them."""
    path = tmp_path / "rows.csv"
    write_sample("smart-home", ROWS, path)
    pipeline = load("smart-home", data=str(path))
    reader = open_source(pipeline.pipeline, pipeline.folder)
    types = pc.ConvertOptions(column_types=arrow_schema(pipeline.pipeline.source.schema_))

    def work() -> None:
        made = [message for chunk in reader.chunks() for message in messages(chunk.rows, "UserID", 1).values]
        assert len(made) == ROWS

    assert ratio(work, lambda: pc.read_csv(path, convert_options=types)) <= READING


def test_collecting_messages_stays_near_reading_their_json_alone(tmp_path: Path) -> None:
    """The collector seals messages as a batch in a bounded multiple of the time in which pyarrow only reads them."""
    pipeline = load("smart-home", ["batches={rows=1000000}"])
    values = [value for table in find_sample("smart-home").chunks(ROWS) for value in encode(table)]
    rounds = iter([(open_run(pipeline, tmp_path / f"{number}"), in_memory(values)) for number in range(ROUNDS)])
    schema = arrow_schema(pipeline.pipeline.source.schema_)
    joined, options = b"\n".join(values), pj.ParseOptions(explicit_schema=schema)
    read = pj.ReadOptions(use_threads=False, block_size=len(joined) + 1)

    def work() -> None:
        run, reader = next(rounds)
        with closing(run):
            Collector(Stage(run, "collector"), own_stream(run, reader), Rules(rows=10 * ROWS)).collect()
            assert run.catalog.totals()["rows"] == ROWS

    assert ratio(work, lambda: pj.read_json(pa.BufferReader(joined), read, options)) <= COLLECTING


def in_memory(values: Sequence[bytes]) -> MemoryReader:
    """A log of these rows, and its end."""
    log = MemoryLog(partitions=1)
    log.append(0, None, 0, "claim")
    for value in values:
        log.append(0, value, 1_700_000_000_000)
    log.append(0, None, 1_700_000_000_000, "end")
    return MemoryReader(log, HandClock())


def test_a_prediction_stays_near_an_endpoint_that_does_nothing(tmp_path: Path) -> None:
    """The API answers a row in a bounded multiple of the time in which FastAPI parses it and answers a constant."""
    run = new_run(tmp_path)
    publish(run, 1)
    registry = ModelRegistry(run)
    ours, limit = create_app(run, registry), constant_app()
    body = orjson.dumps({name: ROW[name] for name in ("kind", "hours", "on")})
    registry.start()
    try:
        took = ratio(lambda: ask(ours, "/models/good/predict", body), lambda: ask(limit, "/predict", body))
    finally:
        registry.stop()
        run.close()
    assert took <= PREDICTING


def constant_app() -> FastAPI:
    app = FastAPI()
    answer = {"model": "good", "generation": 1, "prediction": 1, "probability": {"0": 0.25, "1": 0.75}, "label": "good"}

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        assert isinstance(orjson.loads(await request.body()), dict)
        return Response(orjson.dumps(answer), media_type="application/json")

    return app


def ask(app: ASGIApp, path: str, body: bytes) -> None:
    """Post the body again and again, as a server hands requests to an application; each must be answered with 200."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 5000),
    }  # fmt: skip
    statuses: list[int] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def all_requests() -> None:
        for _ in range(REQUESTS):
            await app(dict(scope), receive, send)

    asyncio.run(all_requests())
    assert statuses == [200] * REQUESTS
