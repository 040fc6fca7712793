"""Oryx's paths that write, through a real Kafka into a sealed batch."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq

from tests.support import wait_for
from tests.support.open_stream import row_writer
from tests.support.serving_run import api_of
from tests.support.source_run import topic_with
from tests.support.stage_run import collecting
from tidemill.pipeline import Raw, parse
from tidemill.producer.producer import run_producer
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage

LINE_TIME = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def ratings_run(folder: Path, kafka: str, topic: str, rows: int) -> Run:
    """An open stream of ratings without data, with a recommender and a clustering; batches have so many rows."""
    document = {
        "name": "ratings",
        "source": {
            "open": True,
            "columns": {"user": "string", "item": "int", "stars": "float", "at": "timestamp", "note": "string?"},
        },
        "stream": {"topic": topic, "key": "user", "partitions": 1},
        "batches": {"rows": rows},
        "models": {
            "taste": {"estimator": "ALS", "user": "user", "item": "item", "rating": "stars"},
            "groups": {"estimator": "KMeans", "features": ["stars"]},
        },
        "serve": {"oryx": ["taste", "groups"]},
    }
    run = open_run(parse(Raw("ratings.toml", folder, document)), folder)
    run_producer(Stage(run, "producer"), kafka)
    return run


def sealed(run: Run) -> list[dict[str, Any]]:
    (batch,) = run.catalog.batches()
    rows: list[dict[str, Any]] = pq.read_table(run.folder / batch.path).to_pylist()
    return rows


def write(client: httpx.Client, path: str, body: bytes = b"", key: str | None = None, **headers: str) -> httpx.Response:
    return client.post(path, content=body, headers=headers | ({} if key is None else {"Idempotency-Key": key}))


def test_what_oryx_writes_is_in_a_batch_once(kafka: str, tmp_path: Path) -> None:
    """Ratings and data points by each path are sealed with their values, in order, each once, though requests with a
    key are repeated; what is refused, also for its size, leaves nothing there."""
    began = datetime.now(UTC)
    run = ratings_run(tmp_path, kafka, topic_with(kafka, max_message_bytes="3000"), rows=8)
    with row_writer(run, kafka) as writer, api_of(run, intake=writer) as client:
        wait_for(lambda: writer.hindrance is None, "the writer")
        lines = gzip.compress(b'"b,c",2,3.5\ncy,3,-1,1700000000000\n')
        answers = [
            write(client, "/pref/a%2Fb/1", b"4.5\n", "one"),
            write(client, "/pref/a%2Fb/1", b"4.5\n", "one"),
            write(client, "/pref/ann/1"),
            write(client, "/ingest", lines, "two", **{"Content-Encoding": "gzip"}),
            write(client, "/ingest", lines, "two", **{"Content-Encoding": "gzip"}),
            write(client, "/add/di,4,2,2023-11-14T22:13:20Z,"),
            write(client, "/add", b"ed,5,1,2023-11-14T22:13:20Z,hi\ned,6,1,2023-11-14T22:13:20Z,\n"),
        ]
        assert [answer.status_code for answer in answers] == [204] * len(answers), [one.text for one in answers]
        long = b"ed,7,1,2023-11-14T22:13:20Z,%s\n" % (b"x" * 3000)
        refused = [
            write(client, "/pref/ann/1", b"5", "one"),
            write(client, "/ingest", b"ann,1,1\nann,1,many\n"),
            write(client, "/add", b"ed,8,1,2023-11-14T22:13:20Z,\n" + long),
        ]
        assert [answer.status_code for answer in refused] == [422, 400, 400], [one.text for one in refused]
        assert "row 2: its message has 3," in refused[-1].json()["error"]["message"]
        assert write(client, "/pref/last/9", b"1").status_code == 204
        with collecting(run, kafka):
            wait_for(run.catalog.batches, "a batch")
    rows = sealed(run)
    assert [(row["user"], row["item"], row["stars"], row["note"]) for row in rows] == [
        ("a/b", 1, 4.5, None),
        ("ann", 1, 1.0, None),
        ("b,c", 2, 3.5, None),
        ("cy", 3, -1.0, None),
        ("di", 4, 2.0, None),
        ("ed", 5, 1.0, "hi"),
        ("ed", 6, 1.0, None),
        ("last", 9, 1.0, None),
    ]
    assert [row["at"] == LINE_TIME for row in rows] == [False, False, False, True, True, True, True, False]
    assert all(began <= row["at"] <= datetime.now(UTC) for row in rows if row["at"] != LINE_TIME)
    assert run.catalog.posting().rejected == 1
    run.close()
