"""Rows from messages that others write: what their values, keys and envelopes mean."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
import pytest

from tidemill.pipeline import Source
from tidemill.sources.topic import decoder_of
from tidemill.sources.topic.json_values import FRAMED
from tidemill.sources.topic.rows import KEY_IS_BINARY


class Sent(NamedTuple):
    """A message; ``content`` is bytes, None, or what is written as JSON."""

    content: Any
    name: bytes | None = None

    def key(self) -> bytes | None:
        return self.name

    def value(self) -> bytes | None:
        return self.content if self.content is None or isinstance(self.content, bytes) else orjson.dumps(self.content)


def decoded(*sent: Sent, **settings: Any) -> tuple[list[dict[str, Any]], dict[int, str]]:
    source = Source.model_validate({"topic": "t", "columns": {"n": "int", "size": "float?"}} | settings)
    table, bad = decoder_of(source).decode(sent, [message.value() for message in sent])
    assert [message.position for message in bad] == sorted(message.position for message in bad)
    return table.to_pylist(), {message.position: message.reason for message in bad}


def test_json_objects() -> None:
    """Objects are rows however they are laid out; anything else is a reject with its reason, and no row is moved."""
    values = [{"n": 1}, b'{\n "n" : 2, "more": {}, "size": 0.5}', None, b"", b"[1]", {"n": 1.5}, {"n": None}, {"n": 9}]
    rows, reasons = decoded(*map(Sent, values))
    assert rows == [{"n": 1, "size": None}, {"n": 2, "size": 0.5}, {"n": 9, "size": None}]
    assert sorted(reasons) == [2, 3, 4, 5, 6]
    assert reasons[2] == "a tombstone: the message has no value"
    assert reasons[6] == "n is missing"


def test_no_message_at_all() -> None:
    """No message gives no row, in the declared columns."""
    table, bad = decoder_of(Source.model_validate({"topic": "t", "columns": {"n": "int"}})).decode([], [])
    assert (len(table), table.column_names, bad) == (0, ["n"], [])


EVENTS: list[tuple[object, int | str]] = [
    ({"op": "c", "before": None, "after": {"n": 1}}, 1),
    ({"schema": {}, "payload": {"op": "u", "before": {"n": 1}, "after": {"n": 2}}}, 2),
    ({"op": "r", "after": {"n": 3, "added": "x"}}, 3),
    ({"op": "d", "before": {"n": 3}, "after": None}, 'the row was deleted (Debezium\'s op "d")'),
    ({"op": "t"}, "the table was truncated"),
    ({"op": "x", "after": {"n": 1}}, "an unknown Debezium op: 'x'"),
    ({"op": "c", "after": None}, "no row after it"),
    ({"n": 1}, "not a Debezium event"),
    ({"schema": {}, "payload": None}, "not a Debezium event"),
    (b"x", "not JSON"),
    ({"op": "u", "after": {"n": "one"}}, "n is 'one', not a whole number of 64 bits"),
]


@pytest.mark.parametrize(("event", "expected"), EVENTS)
def test_a_change_of_debezium(event: object, expected: int | str) -> None:
    """The row after a change is a row, with or without the envelope of its schema; a deletion is a reject."""
    rows, reasons = decoded(Sent(event), unwrap="debezium")
    assert [row["n"] for row in rows] == ([expected] if isinstance(expected, int) else [])
    assert not reasons if isinstance(expected, int) else expected in reasons[0]


def test_many_changes_keep_their_places() -> None:
    """Among many events each reject has its own position."""
    rows, reasons = decoded(*[Sent(event) for event, _ in EVENTS], unwrap="debezium")
    assert [row["n"] for row in rows] == [1, 2, 3]
    assert sorted(reasons) == [index for index, (_, expected) in enumerate(EVENTS) if isinstance(expected, str)]


@pytest.mark.parametrize(
    ("kind", "key", "expected"),
    [
        ("string", b"a b", "a b"),
        ("string", b"", ""),
        ("int", b"12", 12),
        ("int?", None, None),
        ("float", b"1e3", 1000.0),
    ],
)
def test_a_key_as_a_column(kind: str, key: bytes | None, expected: object) -> None:
    """The key's text is read as the declared type; an optional one may be missing."""
    rows, reasons = decoded(Sent({"n": 1}, key), key_column="id", columns={"id": kind, "n": "int"})
    assert (rows, reasons) == ([{"id": expected, "n": 1}], {})


@pytest.mark.parametrize("key", [b"\0\0\0\x05", b"\0\0\0\0\0\0\0\x41", b"a\0"])
def test_a_key_that_is_a_number_in_binary(key: bytes) -> None:
    """Numbers as Kafka's serializers write them are no texts, though their bytes are UTF-8."""
    assert decoded(Sent({"n": 1}, key), key_column="id", columns={"id": "string", "n": "int"}) == (
        [],
        {0: KEY_IS_BINARY},
    )


DEEP = b"[" * 600 + b"]" * 600  # orjson reads it, but does not write it


@pytest.mark.parametrize("unwrap", [None, "debezium"])
def test_rows_are_the_same_with_and_without_an_envelope(unwrap: str | None) -> None:
    """Deep values, NaN, 3.0 and paths mean the same in a change of Debezium as in an object by itself."""
    rows = [b'{"n": 3.0, "size": NaN, "at": {"city": "A"}}', b'{"n": 1, "at": {"city": "B"}, "deep": %b}' % DEEP]
    columns = {
        "n": "int",
        "size": {"type": "float?", "missing": ["NaN"]},
        "city": {"type": "string", "from": "at.city"},
    }
    sent = [Sent(b'{"op": "c", "after": %b}' % row if unwrap else row) for row in rows]
    found, reasons = decoded(*sent, unwrap=unwrap, columns=columns)
    assert found == [{"n": 3, "size": None, "city": "A"}, {"n": 1, "size": None, "city": "B"}]
    assert reasons == {}


def test_json_behind_the_id_of_a_schema() -> None:
    """JSON as Confluent's serializer for JSON Schema writes it is read; other values with an id say what reads them."""
    rows, reasons = decoded(Sent(b'\0\0\0\0\x07{"n": 1}'), Sent(b"\0\0\0\0\x07\x02\x04"), Sent({"n": 2}))
    assert [row["n"] for row in rows] == [1, 2]
    assert reasons == {1: FRAMED}


def test_keys_and_values_that_do_not_fit() -> None:
    """Every fault of a message is told, of its value and of its key; rows keep their own keys."""
    sent = [
        Sent({"n": 1}, b"1"),
        Sent({"n": "x"}, b"x"),
        Sent({"n": 2}, b"y"),
        Sent(None, b"4"),
        Sent({"n": 3}, b"5"),
        Sent({"n": 4}, b"\xff"),
        Sent({"n": "z"}, b"7"),
        Sent({"n": 5}, b"8"),
        Sent({"n": 6}, b"\0\0\0\0\x07\x021"),
    ]
    rows, reasons = decoded(*sent, key_column="id", columns={"id": "int", "n": "int"})
    assert rows == [{"id": 1, "n": 1}, {"id": 5, "n": 3}, {"id": 8, "n": 5}]
    wrong = "{} is '{}', not a whole number of 64 bits"
    assert reasons == {
        1: f"{wrong.format('n', 'x')}; {wrong.format('id', 'x')}",
        2: wrong.format("id", "y"),
        3: "a tombstone: the message has no value",
        5: "its key is not UTF-8",
        6: wrong.format("n", "z"),
        8: KEY_IS_BINARY,
    }
