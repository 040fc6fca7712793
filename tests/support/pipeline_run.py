"""A ready pipeline from its source to its answers: real Kafka, real Spark, the API over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pyspark.sql import SparkSession

from tests.support import assert_account_closed
from tests.support.serving_run import api_of, json_of
from tidemill.collector.collector import run_collector
from tidemill.pipeline import load
from tidemill.producer.producer import run_producer
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage
from tidemill.training.trainer import work

SHORTER = {"movie-ratings": ("source.rows=15000", "batches.rows=5000")}
"""Settings for the samples that are longer than is needed for three generations."""


@dataclass(frozen=True)
class Ran:
    """A pipeline that has been streamed and trained to its end, and the client that asks its API."""

    run: Run
    client: httpx.Client

    def get(self, path: str, **params: Any) -> Any:
        """The JSON that a GET answers with, which must be good."""
        return json_of(self.client.get(path, params=params or None))

    def post(self, path: str, document: Any) -> Any:
        """The JSON that a POST of a JSON document answers with, which must be good."""
        return json_of(self.client.post(path, json=document))

    def form(self, path: str, **fields: Any) -> Any:
        """The JSON that a POST of a form answers with, which must be good."""
        return json_of(self.client.post(path, data=fields))

    @property
    def published(self) -> list[int]:
        return [generation.generation for generation in self.run.catalog.generations(state="published")]


def train_pipeline(name: str, folder: Path, kafka: str, spark: SparkSession, data: str | None = None) -> Run:
    """Run the ready pipeline ``name`` on its sample, or on ``data``, through every stage but the API; fails where a
    generation failed."""
    run = stream_pipeline(name, folder, kafka, data)
    work(Stage(run, "trainer"), spark)
    failed = [(generation.generation, generation.error) for generation in run.catalog.generations(state="failed")]
    assert failed == []
    return run


@contextmanager
def served(run: Run) -> Iterator[Ran]:
    """Serve the API of a trained run."""
    with api_of(run) as client:
        yield Ran(run, client)


def stream_pipeline(name: str, folder: Path, kafka: str, data: str | None = None) -> Run:
    """Stream the source of a ready pipeline through a topic of its own into sealed batches."""
    settings = [f"stream.topic={name}-{uuid.uuid4().hex}", "stream.pause=0", *(() if data else SHORTER.get(name, ()))]
    run = open_run(load(name, settings, data), folder)
    run_producer(Stage(run, "producer"), kafka)
    run_collector(Stage(run, "collector"), kafka)
    assert_account_closed(run.catalog)
    return run
