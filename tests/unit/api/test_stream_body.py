"""The stream's topic by partition, as the API tells it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from tests.support.serving_run import DOCUMENT, api_of, json_of, new_run, seal
from tidemill.run.catalog import Gap, SourceState, TopicPartition
from tidemill.run.folder import Run


def stream_of(run: Run) -> Any:
    with api_of(run) as client:
        return json_of(client.get("/stream"))


def test_a_topic_of_the_runs_own(tmp_path: Path) -> None:
    """Each partition has the offset before which all is sealed, also one without a row yet."""
    run = new_run(tmp_path, "stream.partitions=2")
    seal(run, 1, [{"id": 1}, {"id": 2}])
    body = stream_of(run)
    run.close()
    assert (body["topic"], body["of_others"], body["since"], body["until"]) == ("devices", False, None, None)
    assert (body["ends"], body["rows"], body["posted"], body["gaps"]) == (True, None, None, [])
    none = {"end_offset": None, "lag": None, "removed": 0, "first_offset": 0}
    assert body["partitions"] == [
        none | {"partition": 0, "next_offset": 5},
        none | {"partition": 1, "next_offset": None},
    ]


def test_a_topic_of_others(tmp_path: Path) -> None:
    """Each partition has its bounds and how much of it was removed; the gaps are listed; with an `until` it ends."""
    document = deepcopy(DOCUMENT)
    columns = document["source"]["columns"]
    document["source"] = {"topic": "orders", "until": "now", "on_gap": "record", "columns": columns}
    document["stream"] = {"bootstrap_servers": "127.0.0.1:9"}
    run = new_run(tmp_path, document=document)
    run.catalog.begin_topic(SourceState("print", topic_id="id"), [TopicPartition(0, 7, 50), TopicPartition(1, 0, 0)])
    run.catalog.save_gap(Gap(0, 7, 16, 1))
    body = stream_of(run)
    run.close()
    assert (body["topic"], body["of_others"], body["since"], body["until"]) == ("orders", True, "earliest", "now")
    assert body["ends"] is True
    assert [(gap["partition"], gap["first_offset"], gap["last_offset"]) for gap in body["gaps"]] == [(0, 7, 16)]
    assert body["partitions"][0] == {
        "partition": 0,
        "first_offset": 7,
        "next_offset": None,
        "end_offset": 50,
        "lag": None,
        "removed": 10,
    }
