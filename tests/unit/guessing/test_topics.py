"""What the messages of a topic are like is guessed as a file's rows are, with the envelope and the keys."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from tidemill.errors import SourceError
from tidemill.guessing.document import pipeline_text
from tidemill.guessing.guess import FileGuess
from tidemill.guessing.proposal import propose_topic
from tidemill.guessing.topic_notation import TopicAccess, TopicSample
from tidemill.guessing.topic_values import guess_topic
from tidemill.pipeline import Raw, parse
from tidemill.pipeline.load import Loaded

ROWS = [{"n": n % 7, "size": n / 3, "at": f"2026-01-01T00:{n:02}:00Z", "who": {"id": f"c{n}"}} for n in range(60)]

ACCESS = TopicAccess("eu.orders", "kafka:9092")


def sample(values: Sequence[Any], keys: Sequence[bytes | None] | None = None) -> TopicSample:
    """All messages of a topic; ``values`` are bytes, None, or what is written as JSON."""
    texts = [value if value is None or isinstance(value, bytes) else orjson.dumps(value) for value in values]
    return TopicSample("the topic orders", keys or [None] * len(texts), texts, len(texts), whole=True)


def guessed(*arguments: Any) -> FileGuess:
    return guess_topic(sample(*arguments), ACCESS)


def proposed(*arguments: Any) -> Loaded:
    """The pipeline that is written, as it is read again."""
    text = pipeline_text(propose_topic(ACCESS, sample(*arguments)))
    return parse(Raw("eu-orders", Path(), tomllib.loads(text)))


def test_a_topic_becomes_a_pipeline() -> None:
    """The topic, its Kafka, an end, batches of a third and the only time that every row has are in the file, with
    nothing of a topic of the run's own."""
    pipeline = proposed(ROWS).pipeline
    source = pipeline.source
    assert (source.topic, source.until, source.timestamp, source.unwrap) == ("eu.orders", "now", "at", None)
    assert (pipeline.name, pipeline.stream.bootstrap_servers, pipeline.batches.rows) == ("eu-orders", "kafka:9092", 20)
    assert {column.name: column.kind for column in source.schema_} == {
        "n": "int",
        "size": "float",
        "at": "timestamp",
        "who.id": "string",
    }


def test_rows_are_found_by_an_identifier_or_by_the_key() -> None:
    """A column of identifiers finds rows again, or the messages' key where it has a column; a request shows it."""
    by_id = pipeline_text(propose_topic(ACCESS, sample([{"id": n, "size": n / 3} for n in range(60)])))
    assert parse(Raw("a", Path(), tomllib.loads(by_id))).pipeline.key == "id"
    assert "/rows/0" in by_id
    keyed = pipeline_text(
        propose_topic(ACCESS, sample([{"size": n / 3} for n in range(60)], [b"k%d" % n for n in range(60)]))
    )
    assert parse(Raw("b", Path(), tomllib.loads(keyed))).pipeline.key == "key"
    assert "/rows/k0" in keyed


def test_json_behind_the_id_of_a_schema() -> None:
    """Values of JSON Schema need no registry; the reason says what they begin with."""
    guess = guessed([b"\0\0\0\0\7" + orjson.dumps(row) for row in ROWS])
    assert guess.settings["value"] == "json"
    assert "60 of 60 values" in guess.reasons["value"]
    assert guess.columns[0].name == "n"


def test_objects_that_are_null_in_some_rows() -> None:
    """An object that is null in some rows is no column beside those within it; one that is a plain value in some, and
    what has no value at all, are not declared, with the reason."""
    rows = [
        {"n": n % 7, "to": {"city": "x"} if n % 2 else None, "or": {"a": n} if n else 1, "no": None} for n in range(60)
    ]
    guess = guessed(rows)
    assert {column.name: column.type for column in guess.columns} == {"n": "int", "to.city": "string?", "or.a": "int?"}
    assert guess.undeclared["or"] == "an object in some rows; the others, where it is none, will be rejects"
    assert "its type is not known" in guess.undeclared["no"]
    assert "to" not in guess.undeclared


@pytest.mark.parametrize("enveloped", [False, True])
def test_debezium_is_unwrapped(enveloped: bool) -> None:
    """Events of Debezium, with or without schema and payload, give the rows after the change; what holds none is
    counted."""
    events: list[Any] = [{"op": "c", "before": None, "after": row, "ts_ms": 1} for row in ROWS]
    events += [{"op": "d", "before": ROWS[0], "after": None, "ts_ms": 1}]
    guess = guessed([{"schema": {}, "payload": event} if enveloped else event for event in events] + [None])
    assert guess.settings["unwrap"] == "debezium"
    assert [column.name for column in guess.columns] == ["n", "size", "at", "who.id"]
    assert guess.rows == guess.looked_at == len(ROWS)
    assert guess.notes == ("2 of 62 messages hold no row, and will be rejects",)


@pytest.mark.parametrize(
    ("keys", "type_", "why"),
    [
        ([b"k%d" % n for n in range(60)], "string", "the messages' keys, 'k0' for one"),
        ([b"%d" % (n + 5) for n in range(60)], "int", "the messages' keys, '5' for one"),
        ([None, *(b"2026-01-%02d" % (n % 28 + 1) for n in range(59))], "string?", "'2026-01-01' for one; 1 have none"),
    ],
)
def test_keys_are_a_column(keys: list[bytes | None], type_: str, why: str) -> None:
    """Keys that are texts become a column: whole numbers, or texts as they are; one that may lack says so."""
    guess = guessed(ROWS, keys)
    column = next(column for column in guess.columns if column.name == guess.settings["key_column"])
    assert column.type == type_
    assert why in guess.reasons["key_column"]


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ([str(row["n"]).encode() for row in ROWS], "say the same as n"),
        ([b"\xff\x00"] * 60, "60 of 60 are no texts (its key is not UTF-8)"),
        ([b"\0\0\0\0\1\4ab"] * 60, "are no texts (its key has a byte 0, as a binary number or the id of a schema has"),
        ([b'{"id": 1}'] * 60, "are JSON objects"),
    ],
)
def test_keys_that_are_no_column_are_told(keys: list[bytes], note: str) -> None:
    """Keys that a column of the value repeats, bytes and JSON objects are no column, and a note says why."""
    guess = guessed(ROWS, keys)
    assert "key_column" not in guess.settings
    assert note in guess.notes[-1]


@pytest.mark.parametrize(
    ("values", "message"),
    [([], "has no message"), ([None], "1 messages have no values"), ([b"1;2", None], "none of 1 values .* '1;2'")],
)
def test_a_topic_without_rows_is_refused(values: list[Any], message: str) -> None:
    """An empty topic, and one whose messages are no JSON objects, are refused with the way out."""
    with pytest.raises(SourceError, match=message) as refused:
        guessed(values)
    assert "by hand" in refused.value.hint
