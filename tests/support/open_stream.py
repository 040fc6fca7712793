"""Runs whose stream stays open, the writer of their rows by HTTP, and the rows that their batches hold."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from tidemill.kafka.intake import MessageSpool, RowRequest
from tidemill.kafka.messages import message_of
from tidemill.pipeline import Loaded, Raw, parse
from tidemill.producer.producer import run_producer
from tidemill.producer.row_writer import RowWriter
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage

IN_TIME = 60.0


def open_pipeline(
    path: Path | None = None, rows: int = 10, partitions: int = 1, topic: str = "", **source: Any
) -> Loaded:
    """A pipeline whose stream stays open; its rows have a number ``n`` and perhaps a ``note``."""
    data = {} if path is None else {"path": str(path)}
    document = {
        "name": "open",
        "source": {"open": True, "columns": {"n": "int", "note": "string?"}} | data | source,
        "stream": {"topic": topic or f"open-{uuid.uuid4().hex}", "key": "n", "partitions": partitions},
        "batches": {"rows": rows},
        "models": {"groups": {"estimator": "KMeans", "features": ["n"]}},
    }
    return parse(Raw("open.toml", Path(), document))


def open_stream(folder: Path, kafka: str, path: Path | None = None, **settings: Any) -> Run:
    """A run whose producer has claimed the topic and sent the file."""
    run = open_run(open_pipeline(path, **settings), folder)
    run_producer(Stage(run, "producer"), kafka)
    return run


def row_request(run: Run, *numbers: int, key: str | None = None, digest: str = "") -> RowRequest:
    """A request with these rows, as the API makes it."""
    column, spool = run.pipeline.source.schema_[0], MessageSpool()
    for number in numbers:
        spool.add(message_of({"n": number, "note": None}, column, run.pipeline.stream.partitions))
    return RowRequest(spool, key=key, digest=digest or orjson.dumps(numbers).decode())


@contextmanager
def row_writer(run: Run, kafka: str | None) -> Iterator[RowWriter]:
    with RowWriter(Stage(run, "api"), kafka) as writer:
        yield writer


def sealed_numbers(run: Run) -> list[int]:
    tables = [pq.read_table(run.folder / batch.path, columns=["n"]) for batch in run.catalog.batches()]
    return [number for table in tables for number in table["n"].to_pylist()]
