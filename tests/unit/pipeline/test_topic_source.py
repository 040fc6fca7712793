"""A topic of others in the pipeline file: its keys, and what must not stand beside them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import PipelineInvalid, RunFolderError
from tidemill.pipeline import Loaded, Pipeline, Raw, override, parse
from tidemill.run.folder import open_run

BASE: dict[str, Any] = {
    "name": "others",
    "source": {"topic": "orders", "columns": {"n": "int", "at": "timestamp", "id": "string", "late": "timestamp?"}},
    "batches": {"rows": 10},
    "models": {"groups": {"estimator": "KMeans", "features": ["n"]}},
}


def loaded(*assignments: str) -> Loaded:
    raw = copy.deepcopy(BASE)
    assert override(raw, assignments) == []
    return parse(Raw("others.toml", Path(), raw))


def test_defaults_and_keys() -> None:
    """A topic needs no [stream]; its bounds are words or times, in UTC; its key, or any column, finds rows again."""
    plain = loaded().pipeline
    assert (plain.topic, plain.key, plain.source.from_, plain.source.until) == ("orders", None, "earliest", None)
    bounds = loaded("source.from=2026-01-01T01:00:00+01:00", "source.until=now", "source.key_column=id").pipeline
    assert (bounds.source.from_, bounds.source.until, bounds.key) == ("2026-01-01T00:00:00Z", "now", "id")
    assert Pipeline.recorded(bounds.document()) == bounds
    assert loaded("stream.key=n").pipeline.key == "n"


@pytest.mark.parametrize(
    ("assignments", "fault"),
    [
        (["source.path=x.csv"], "source: found both path and topic; expected one of them"),
        (["source.rows=5"], "source.rows: found a key of files; expected none with source.topic"),
        (["stream.topic=x"], "stream.topic: found a key of the run's own topic; expected none with source.topic"),
        (["stream.key=n", "source.key_column=id"], "stream.key: found a key beside source.key_column; expected one"),
        (["stream.key=nn"], 'stream.key: found "nn"; expected a declared column'),
        (["stream.partitions=2"], "stream.partitions: found a key of the run's own topic"),
        (["source.key_column=ids"], 'source.key_column: found "ids"; expected a declared column; did you mean "id"?'),
        (
            ["source.timestamp=n"],
            'source.timestamp: found "n", of the type "int"; expected a column of the type "timestamp"',
        ),
        (["source.timestamp=late"], 'source.timestamp: found "late", of the type "timestamp?"; expected a column'),
        (["source.timestamp=at", "source.key_column=at"], '"at", the column of the key; expected a column of'),
        (["source.from=first"], 'source.from: found \'first\'; expected "earliest" or "latest", or a time such as'),
        (["source.until=later"], "source.until: found 'later'; expected \"now\", or a time such as"),
        (["source.value=xml"], "source.value: found"),
        (["source.value=avro"], "source.registry: found nothing; expected the registry of the schemas of value"),
        (["source.registry={url='http://r'}"], 'source.registry: found a registry beside value = "json"'),
        (["batches={parts=3}"], "batches.parts: found a topic without an end; expected a finite source"),
    ],
)
def test_faults(assignments: list[str], fault: str) -> None:
    """What belongs to another kind of source is a fault, and so is a column that can't be the time or the key."""
    with pytest.raises(PipelineInvalid) as caught:
        loaded(*assignments)
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ("url='ftp://r'", "source.registry.url: found 'ftp://r'; expected an address such as http://127.0.0.1:8081"),
        ("url='r:8081'", "source.registry.url: found 'r:8081'; expected an address"),
        ("url='http://[x'", "source.registry.url: found 'http://[x'; expected an address"),
        ("url='http://ann:secret@r'", "source.registry.url: found a user in the address; expected the address alone"),
        ("url='http://r', token='secret'", 'source.registry.token: found a secret; expected { env = "NAME" }'),
        ("url='http://r', username='ann'", "source.registry: found one of username and password; expected both"),
        ("url='http://r', username='ann', password='secret'", "source.registry.password: found a secret; expected"),
        (
            "url='http://r', username='ann', password={env='P'}, token={env='T'}",
            "source.registry: found username and token; expected one of them",
        ),
        ("url='http://r', user='ann'", "source.registry.user: found an unknown key; expected no such key; did you"),
    ],
)
def test_faults_of_a_registry(keys: str, fault: str) -> None:
    """A registry has an address, and either a user with a password or a token; no secret is in the file or is shown."""
    with pytest.raises(PipelineInvalid) as caught:
        loaded("source.value=avro", f"source.registry={{{keys}}}")
    assert fault in str(caught.value)
    assert "secret@" not in str(caught.value)
    assert "'secret'" not in str(caught.value)


@pytest.mark.parametrize("key", ["from=earliest", "until=now", "unwrap=debezium", "on_gap=record", "key_column=id"])
def test_keys_of_a_topic_need_one(key: str) -> None:
    """The keys of a topic beside a file are faults."""
    with pytest.raises(PipelineInvalid, match=r"a key of a topic that is read; expected source\.topic beside it"):
        loaded("source={path='x.csv', columns={id='string', n='int'}}", "stream.topic=own", f"source.{key}")


def test_only_what_happens_at_a_gap_may_change(tmp_path: Path) -> None:
    """A run may be told to go on over a gap; its bounds and how its messages are read stay as they were."""
    open_run(loaded("source.until=now"), tmp_path).close()
    again = open_run(loaded("source.until=now", "source.on_gap=record"), tmp_path)
    assert again.pipeline.source.on_gap == "record"
    again.close()
    with pytest.raises(RunFolderError, match=r"source\.until was 'now', now not set"):
        open_run(loaded(), tmp_path)


def test_a_registry_may_move(tmp_path: Path) -> None:
    """The registry's address and who asks it may differ from start to start; a recorded one is read again."""
    first = loaded("source.value=avro", "source.registry={url='http://r', username='ann', password={env='P'}}")
    assert Pipeline.recorded(first.pipeline.document()) == first.pipeline
    open_run(first, tmp_path).close()
    again = open_run(loaded("source.value=avro", "source.registry={url='http://s', token={file='t'}}"), tmp_path)
    assert again.pipeline.source.registry is not None
    assert again.pipeline.source.registry.url == "http://s"
    again.close()
