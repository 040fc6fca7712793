"""Predictions exactly once, while the stage that writes them and the broker are killed again and again under load."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from tests.support import wait_for
from tests.support.torture import Job, UpProcess
from tidemill.kafka.client import KafkaConnection, connect_admin, describe_topic
from tidemill.producer.log_reader import committed

OUTPUT = """
[[outputs]]
model = "line"
topic = "scored"
columns = ["id"]
"""
PLAN = [(share / 10, stage) for share in range(2, 9, 2) for stage in ("outputs", "broker")]
"""What is killed, at which share of the rows."""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[UpProcess]:
    job = Job(tmp_path, rows=60_000, batch=2_500, rate=1_500)
    job.write()
    with job.pipeline.open("a", encoding="utf-8") as file:
        file.write(OUTPUT)
    up = UpProcess(job)
    yield up
    up.stop()


def has_written(up: UpProcess, share: float) -> bool:
    return sum(state.rows for state in up.catalog.outputs().values()) >= share * up.job.rows


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_each_prediction_is_written_once_whatever_is_killed(up: UpProcess) -> None:
    """Every row is in the topic once, in order, each with an answer of a generation of its time."""
    for share, stage in PLAN:
        wait_for(partial(has_written, up, share), "further progress", 300)
        assert up.at_work(stage), f"the {stage} was done before it could be killed"
        up.kill(stage)
    wait_for(lambda: all(state.ended for state in up.catalog.outputs().values()), "all predictions", 300)
    broker = up.catalog.stages()["broker"].endpoint
    assert broker
    connection = KafkaConnection(broker)
    topic = describe_topic(connect_admin(connection), "scored")
    assert topic
    values = [orjson.loads(message.value()) for message in committed(connection, topic, {0: 0})]
    assert [value["id"] for value in values] == list(range(up.job.rows))
    assert all(before["offset"] < after["offset"] for before, after in pairwise(values))
    assert {value["generation"] for value in values} <= set(up.catalog.generation_numbers("published"))
    assert all(abs(value["prediction"] - 3 * up.job.source()["x"][value["id"]] - 1) < 0.1 for value in values[::1000])
