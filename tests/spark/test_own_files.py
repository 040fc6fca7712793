"""A person's own file, of several kinds: from the file that ``init`` writes to the answers of the served models."""

from __future__ import annotations

import json
import re
import shlex
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.support import assert_account_closed
from tests.support.pipeline_run import Ran, served
from tests.support.public_like import KINDS, PublicLike, price_paid
from tidemill.collector.collector import run_collector
from tidemill.pipeline import load
from tidemill.process.initiation import initiate, write
from tidemill.producer.producer import run_producer
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage
from tidemill.training.trainer import work

BY_DAY = price_paid  # one model, which trains fast
BY_NIGHT = [pytest.param(kind, marks=pytest.mark.nightly) for kind in KINDS if kind is not BY_DAY]


def trained(public: PublicLike, folder: Path, kafka: str, spark: SparkSession) -> tuple[Run, str]:
    """The run of the pipeline that ``init`` writes for the file, through every stage but the API; and its text."""
    data = public.write(folder)
    initiated = initiate(str(data), public.label, out=folder / "own.toml")
    write(initiated, force=False)
    run = open_run(load(str(folder / "own.toml"), [f"stream.topic=own-{uuid.uuid4().hex}"]), folder / "run")
    run_producer(Stage(run, "producer"), kafka)
    run_collector(Stage(run, "collector"), kafka)
    assert_account_closed(run.catalog)
    work(Stage(run, "trainer"), spark)
    return run, initiated.text


def requests_in(text: str) -> list[tuple[str, str | None]]:
    """The path and the body of each request that the comments of a pipeline file give."""
    found = []
    for line in re.findall(r"^#   curl (.*)$", text, re.MULTILINE):
        words = shlex.split(line)
        path = next(word for word in words if word.startswith("http")).partition(":8000")[2]
        found.append((path, words[-1] if "-d" in words else None))
    return found


def ask(ran: Ran, path: str, body: str | None) -> object:
    return ran.get(path) if body is None else ran.post(path, json.loads(body))


@pytest.mark.parametrize("kind", [BY_DAY, *BY_NIGHT], ids=lambda kind: kind.__name__)
def test_a_file_that_tidemill_has_never_seen_is_served(
    kind: Callable[[], PublicLike], tmp_path: Path, kafka: str, spark: SparkSession
) -> None:
    """Every row is streamed, every generation of every proposed model is trained, the requests in the written file are
    answered, and the API says what was guessed and why."""
    run, text = trained(kind(), tmp_path, kafka, spark)
    states = [(generation.generation, generation.state, generation.error) for generation in run.catalog.generations()]
    assert states == [(number, "published", None) for number in (1, 2, 3)]
    assert not any(batch.rejected for batch in run.catalog.batches())
    with served(run) as ran:
        assert all(ask(ran, path, body) for path, body in requests_in(text))
        home = ran.get("/")
        assert home["source_note"].startswith("Guessed by tidemill init")
        assert all(column["note"] for column in home["columns"])
        left_out = {name: model.left_out for name, model in run.pipeline.models.items() if model.left_out}
        assert {name: model["left_out"] for name, model in home["models"].items() if "left_out" in model} == left_out
