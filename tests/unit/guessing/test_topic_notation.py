"""Values with the id of a schema: found, read as the stream reads them, and refused where the registry is lacking."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from tests.support.registry import LittleRegistry, avro, framed, record
from tidemill.errors import RegistryError, SourceError
from tidemill.guessing.document import pipeline_text
from tidemill.guessing.proposal import propose_topic
from tidemill.guessing.topic_notation import TopicAccess, TopicSample
from tidemill.pipeline import Raw, Source, parse
from tidemill.sources.topic import decoder_of
from tidemill.sources.topic import registry as registry_module
from tidemill.sources.topic.protobuf import ROOT, compiled
from tidemill.sources.topic.registry import RegisteredSchema

ROW = record(("n", "int"), ("size", "double"))
ROWS = [{"n": n % 7, "size": n / 3} for n in range(60)]
CHANGE = record(
    ("before", ["null", ROW]),
    ("after", ["null", "Row"]),
    ("op", "string"),
    ("ts_ms", ["null", "long"]),
    name="Envelope",
)
PROTO = """
syntax = "proto3";
import "google/protobuf/timestamp.proto";
message Row { int32 n = 1; double size = 2; google.protobuf.Timestamp at = 3; }
"""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[LittleRegistry]:
    monkeypatch.setattr(registry_module, "UNKNOWN_PAUSES", (0.0, 0.01))
    with LittleRegistry() as little:
        yield little


def sample(values: Sequence[bytes | None]) -> TopicSample:
    return TopicSample("the topic orders", [None] * len(values), values, len(values), whole=True)


def access(registry: LittleRegistry | None, value: str | None = None, **settings: Any) -> TopicAccess:
    return TopicAccess("orders", "kafka:9092", {}, value, {"url": registry.url, **settings} if registry else {})


def source_of(values: Sequence[bytes | None], how: TopicAccess) -> Source:
    """``[source]`` of the pipeline that is written, as it is read again."""
    text = pipeline_text(propose_topic(how, sample(values)))
    return parse(Raw("orders", Path(), tomllib.loads(text))).pipeline.source


class Sent:
    def __init__(self, value: bytes | None) -> None:
        self.bytes = value

    def key(self) -> None:
        return None

    def value(self) -> bytes | None:
        return self.bytes


def read_again(source: Source, values: Sequence[bytes | None]) -> list[dict[str, Any]]:
    """The values as the stream reads them by the source, all of which fit."""
    table, bad = decoder_of(source).decode([Sent(value) for value in values], values)
    assert bad == []
    return table.to_pylist()  # type: ignore[no-any-return]  # pyarrow has no types


def test_avro_is_found(registry: LittleRegistry) -> None:
    """With a registry alone the notation is found, and the stream reads each value by what is written."""
    id = registry.add(ROW)
    values = [avro(id, ROW, row) for row in ROWS]
    source = source_of(values, access(registry))
    assert (source.value, source.unwrap) == ("avro", None)
    assert source.registry is not None
    assert source.registry.url == registry.url
    assert "60 of 60 values of the topic orders begin with the id of a schema, AVRO by the registry" in (
        source.note or ""
    )
    assert read_again(source, values) == ROWS


def test_protobuf_is_found(registry: LittleRegistry) -> None:
    """The same for Protobuf, whose kind the registry says."""
    id = registry.add(PROTO, "PROTOBUF")
    pool = DescriptorPool()
    for file in compiled(RegisteredSchema("PROTOBUF", PROTO)).file:
        pool.Add(file)
    row = GetMessageClass(pool.FindFileByName(ROOT).message_types_by_name["Row"])
    at = {"seconds": 1_767_225_600}
    values = [framed(id, b"\0" + row(at=at, **each).SerializeToString()) for each in ROWS]
    source = source_of(values, access(registry))
    assert (source.value, source.timestamp) == ("protobuf", "at")
    assert read_again(source, values)[1] == ROWS[1] | {"at": datetime(2026, 1, 1, tzinfo=UTC)}


def test_debezium_in_avro_is_unwrapped(registry: LittleRegistry) -> None:
    """Events of Debezium in Avro give the rows after the change."""
    id = registry.add(CHANGE)
    events = [{"before": None, "after": row, "op": "c", "ts_ms": 1} for row in ROWS]
    values = [avro(id, CHANGE, event) for event in events]
    source = source_of([*values, None], access(registry))
    assert (source.value, source.unwrap) == ("avro", "debezium")
    assert read_again(source, values) == ROWS


def test_columns_that_may_be_null_by_their_schema(registry: LittleRegistry) -> None:
    """A column may be missing where the schema lets it be null, itself or the record that it is in, also in the row of
    a change, whose own null is a deletion."""
    inner = record(("city", "string"), ("zip", ["null", "string"]), name="shop.Address")
    whole = record(("n", "int"), ("x", ["null", "double"]), ("a", inner), ("b", ["null", "shop.Address"]))
    change = record(("after", ["null", whole]), ("op", "string"), name="Envelope")
    address = {"city": "Delft", "zip": "1"}
    rows = [{"n": n % 7, "x": n / 3, "a": address, "b": address} for n in range(60)]
    types = {"n": "int", "x": "float?", "a.city": "string", "a.zip": "string?", "b.city": "string?", "b.zip": "string?"}
    plain, enveloped = registry.add(whole), registry.add(change)
    for values in (
        [avro(plain, whole, row) for row in rows],
        [avro(enveloped, change, {"after": row, "op": "c"}) for row in rows],
    ):
        source = source_of(values, access(registry))
        assert {name: column.type for name, column in source.columns.items()} == types
        assert "by its schema it may be null" in (source.columns["x"].note or "")


DAY = {"type": "int", "logicalType": "date"}
PRICE = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2}


@pytest.mark.parametrize(
    ("schema", "values", "type", "read", "why"),
    [
        ("long", [1, 2], "int", [1, 2], "whole numbers"),
        (["null", "double"], [1.0, None], "float?", [1.0, None], "30 of 60 are missing"),
        (PRICE, [Decimal("1.25"), Decimal("2.50")], "float", [1.25, 2.5], "exact decimals"),
        (PRICE, [Decimal("1.25"), Decimal("12345678901234567890.12")], "string", ["1.25", "12345678901234567890.12"],
         "a float would round 12345678901234567890.12"),
        ({"type": "long", "logicalType": "timestamp-micros"}, [datetime(2026, 1, 1, tzinfo=UTC)], "timestamp",
         [datetime(2026, 1, 1, tzinfo=UTC)], "such as"),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, [datetime(2026, 1, 1)], "timestamp",
         [datetime(2026, 1, 1, tzinfo=UTC)], "such as"),
        (["null", DAY], [date(2026, 1, 2), None], "timestamp?", [datetime(2026, 1, 2, tzinfo=UTC), None], "midnight"),
        ({"type": "int", "logicalType": "time-millis"}, [time(10, 30)], "string", ["10:30:00"], "texts such as"),
        ({"type": "string", "logicalType": "uuid"}, [UUID(int=7)], "string", [str(UUID(int=7))], "texts such as"),
        (["null", "bytes"], [b"12", None], "string?", ["12", None], "30 of 60 are missing"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, ["A", "B"], "string", ["A", "B"], "different texts"),
        ("float", [0.5, float("nan")], "float?", [0.5, None], "NaN is a missing value"),
    ],
)  # fmt: skip
def test_types_of_avro(
    registry: LittleRegistry, schema: Any, values: list[Any], type: str, read: list[Any], why: str
) -> None:
    """Each type of Avro becomes the column's that holds it, with the reason, and is read without a reject."""
    whole = record(("n", "int"), ("x", schema))
    id = registry.add(whole)
    sent = [avro(id, whole, {"n": n % 7, "x": values[n % len(values)]}) for n in range(60)]
    source = source_of(sent, access(registry))
    column = source.columns["x"]
    assert column.type == type
    assert why in (column.note or "")
    assert [row["x"] for row in read_again(source, sent)][: len(read)] == read


def test_bytes_and_lists_are_not_declared(registry: LittleRegistry) -> None:
    """Bytes that are no text, and lists, are no columns; the file says so."""
    whole = record(("n", "int"), ("x", "bytes"), ("tags", {"type": "array", "items": "string"}))
    id = registry.add(whole)
    values = [avro(id, whole, {"n": n % 7, "x": b"\xff", "tags": ["a"]}) for n in range(60)]
    text = pipeline_text(propose_topic(access(registry), sample(values)))
    assert "# Not declared: x: bytes that are no text in UTF-8." in text
    assert '"tags.0" is its first element' in text


AVRO = avro(1, ROW, ROWS[0])
JSON = b'{"n": 1, "size": 2.5}'


@pytest.mark.parametrize(
    ("values", "value", "known", "message", "hint"),
    [
        ([AVRO, AVRO, JSON], None, False, "2 of 3 values .* begin with the id of a schema, 1 for one", "--registry"),
        ([AVRO], "json", False, "none of 1 values .* is a JSON object", "--registry"),
        ([JSON, JSON], None, True, "only 0 of 2 values .* one begins with", "leave out --registry"),
        ([JSON], "avro", True, "a record of AVRO that can be read: no schema id: this looks like JSON", "--value"),
        ([AVRO], "protobuf", True, "it is AVRO, not PROTOBUF", "--value"),
        ([framed(77, b"x")], None, True, "has no schema 77", "their writers use"),
        ([framed(2, b"{}")], None, True, "are JSON by the registry", "AVRO and PROTOBUF alone"),
        ([b"\0\0\0\0\0\0\0\0\1x"], None, False, "Apicurio's ids of 8 bytes", "--registry"),
    ],
)
def test_what_is_not_clear_is_refused(
    registry: LittleRegistry, values: list[bytes], value: str | None, known: bool, message: str, hint: str
) -> None:
    """Nothing is guessed without the registry, against it, or where no value can be read: the error says what was
    found, and which option is needed."""
    registry.add(ROW)
    registry.add({"type": "object"}, "JSON")
    with pytest.raises(SourceError, match=message) as caught:
        propose_topic(access(registry if known else None, value), sample(values))
    assert hint in caught.value.hint


def test_the_registry_wants_a_login(registry: LittleRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry is asked with the login, of which the file has the place alone; a refusal is told."""
    monkeypatch.setenv("REGISTRY_WORD", "hunter2")
    id = registry.add(ROW)
    values = [avro(id, ROW, row) for row in ROWS]
    login: Mapping[str, Any] = {"username": "me", "password": {"env": "REGISTRY_WORD"}}
    text = pipeline_text(propose_topic(access(registry, **login), sample(values)))
    assert registry.authorized[-1] == "Basic bWU6aHVudGVyMg=="
    assert 'password = { env = "REGISTRY_WORD" }' in text
    assert "hunter2" not in text
    registry.failing = 401
    with pytest.raises(RegistryError, match="refuses the request"):
        propose_topic(access(registry), sample(values))
