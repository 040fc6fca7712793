"""Values with the id of their schema: what Avro and Protobuf mean in the declared columns.

The registry is a fake that speaks the documented protocol; ``tests/kafka/test_registry.py`` has a real one.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from tests.support.certificate import CERTIFICATE
from tests.support.registry import LittleRegistry, avro, framed, record
from tidemill.errors import RegistryAway, RegistryError, SourceError
from tidemill.pipeline import Source
from tidemill.sources import topic
from tidemill.sources.topic import decoder_of
from tidemill.sources.topic import registry as registry_module
from tidemill.sources.topic.framed_values import id_of
from tidemill.sources.topic.protobuf import ROOT, compiled, message_path
from tidemill.sources.topic.registry import RegisteredSchema
from tidemill.sources.topic.rows import TopicRows
from tidemill.sources.topic.typed_values import decimal_value


class Sent:
    def __init__(self, value: bytes | None) -> None:
        self._value = value

    def key(self) -> None:
        return None

    def value(self) -> bytes | None:
        return self._value


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[LittleRegistry]:
    monkeypatch.setattr(registry_module, "UNKNOWN_PAUSES", (0.0, 0.01))
    with LittleRegistry() as little:
        yield little


def decoder(registry: LittleRegistry, columns: dict[str, Any], value: str = "avro", **more: Any) -> TopicRows:
    auth = {key: more.pop(key) for key in ("username", "password", "token", "ca") if key in more}
    settings: dict[str, Any] = {
        "topic": "t",
        "columns": columns,
        "value": value,
        "registry": {"url": registry.url, **auth},
        **more,
    }
    return decoder_of(Source.model_validate(settings))


def decoded(rows: TopicRows, *values: bytes | None) -> tuple[list[dict[str, Any]], dict[int, str]]:
    table, bad = rows.decode([Sent(value) for value in values], values)
    return table.to_pylist(), {message.position: message.reason for message in bad}


def single(registry: LittleRegistry, type: Any, value: Any, column: Any) -> Any:
    """A value of an Avro type as it is read into a column, or the reason why it is not."""
    schema = record(("x", type))
    rows, reasons = decoded(decoder(registry, {"x": column}), avro(registry.add(schema), schema, {"x": value}))
    return rows[0]["x"] if rows else reasons[0]


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 2}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
LOCAL = {"type": "long", "logicalType": "local-timestamp-micros"}
NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, UTC)
ENUM = {"type": "enum", "name": "Color", "symbols": ["RED", "BLUE"]}
INNER = record(("city", "string"), ("nr", ["null", "int"]), name="Address")
WRONG = "not a whole number of 64 bits"


@pytest.mark.parametrize(
    ("type", "value", "column", "expected"),
    [
        ("long", -(2**63), "int", -(2**63)),
        ("int", 7, "float", 7.0),
        ("double", 3.0, "int", 3),
        ("double", 3.5, "int", f"x is 3.5, {WRONG}"),
        ("double", float("nan"), "float", "x is NaN, not a finite number"),
        ("double", float("nan"), {"type": "float?", "missing": ["NaN"]}, None),
        ("float", 0.5, "float", 0.5),
        ("boolean", True, "bool", True),
        ("boolean", True, "int", f"x is True, {WRONG}"),
        ("string", "é", "string", "é"),
        ("string", "1", "int", f"x is '1', {WRONG}"),
        ("string", "1,5", {"type": "float", "strip": [","]}, 15.0),
        ("string", "2026-01-31T12:00:00.123456Z", "timestamp", NOON),
        (["null", "string"], None, "timestamp", "x is missing"),
        ("string", "noon", "timestamp", "x is 'noon', not a timestamp (ISO 8601)"),
        (["null", "long"], None, "int?", None),
        (["null", "long"], None, "int", "x is missing"),
        (["null", "long"], None, {"type": "int", "default": 9}, 9),
        (["null", "string", "long"], 5, "int", 5),
        (DECIMAL, Decimal("12.50"), "float", 12.5),
        (DECIMAL, Decimal("12.50"), "string", "12.50"),
        (DECIMAL, Decimal("12.00"), "int", 12),
        (DECIMAL, Decimal("12.50"), "int", f"x is 12.5, {WRONG}"),
        (DECIMAL, Decimal("12345678901234567890.12"), "string", "12345678901234567890.12"),
        (DECIMAL, Decimal("12345678901234567890.12"), "float", 'which a float would round (a "string" holds it)'),
        ({"type": "int", "logicalType": "date"}, date(2026, 1, 31), "string", "2026-01-31"),
        ({"type": "int", "logicalType": "date"}, date(2026, 1, 31), "timestamp", datetime(2026, 1, 31, tzinfo=UTC)),
        ({"type": "int", "logicalType": "time-millis"}, time(12, 30), "string", "12:30:00"),
        (MILLIS, datetime(2026, 1, 31, tzinfo=UTC), "timestamp", datetime(2026, 1, 31, tzinfo=UTC)),
        (MILLIS, NOON, "int", WRONG),
        (MICROS, NOON, "timestamp", NOON),
        (["null", MICROS], None, "timestamp?", None),
        (LOCAL, NOON.replace(tzinfo=None), "timestamp", NOON),
        ({"type": "string", "logicalType": "uuid"}, UUID(int=1), "string", str(UUID(int=1))),
        (ENUM, "BLUE", "string", "BLUE"),
        ("bytes", "é".encode(), "string", "é"),
        ("bytes", b"\xff", "string", "x is b'\\xff', which is not UTF-8"),
        ("bytes", b"1", "int", WRONG),
        (INNER, {"city": "Ede", "nr": 1}, {"type": "string", "from": "x.city"}, "Ede"),
        (INNER, {"city": "Ede", "nr": None}, {"type": "int?", "from": "x.nr"}, None),
        (INNER, {"city": "Ede", "nr": 1}, {"type": "int?", "from": "x.gone"}, None),
        (INNER, {"city": "Ede", "nr": 1}, "string", '(from = "x.city" reads a part of it)'),
        (INNER, {"city": "Ede", "nr": 1}, {"type": "string", "missing": ["-"]}, '(from = "x.city" reads a part of it)'),
        ({"type": "map", "values": "int"}, {"a": 5}, {"type": "int", "from": "x.a"}, 5),
        ({"type": "map", "values": DECIMAL}, {"a": Decimal(5)}, "string", '(from = "x.a" reads a part of it)'),
        ({"type": "array", "items": "int"}, [4, 5], {"type": "int", "from": "x.1"}, 5),
        ({"type": "array", "items": "int"}, [4, 5], "int", '(from = "x.0" reads a part of it)'),
        ("long", 1769860800123, {"type": "timestamp", "format": "epoch_ms"}, NOON.replace(microsecond=123000)),
        ("int", 4, {"type": "int", "from": "x.y"}, "x is 4, which has no y"),
    ],
)  # fmt: skip
def test_a_value_of_avro(registry: LittleRegistry, type: Any, value: Any, column: Any, expected: Any) -> None:
    """Each type of Avro, logical ones too, is read into the columns that hold it exactly; else it is a reject that
    says why."""
    found = single(registry, type, value, column)
    if isinstance(expected, str) and isinstance(found, str):
        assert expected in found
    else:
        assert found == expected
        assert isinstance(found, expected.__class__)


@given(st.integers(-(10**20), 10**20), st.integers(0, 10))
def test_no_decimal_is_rounded(unscaled: int, scale: int) -> None:
    """A decimal that becomes a float has the same shortest notation; no other becomes one."""
    exact = Decimal(unscaled).scaleb(-scale)
    column = Source.model_validate({"topic": "t", "columns": {"x": "float"}}).schema_[0]
    try:
        assert Decimal(repr(decimal_value(exact, column))) == exact
    except ValueError:
        assert Decimal(repr(float(exact))) != exact


def test_schemas_that_change(registry: LittleRegistry) -> None:
    """Each value is read with the schema it was written with: a field that is gained is read from then on, one that is
    lost or renamed is missing, and every schema is asked for once."""
    versions = [
        record(("n", "int"), ("old", "string")),
        record(("n", "long"), ("old", "string"), ("size", {"type": "double"})),
        {"type": "record", "name": "Row", "fields": [{"name": "m", "type": "int", "aliases": ["n"]}]},
        record(("size", ["null", "double"]), ("n", ["null", "long"])),
    ]
    ids = [registry.add(schema) for schema in versions]
    written = [{"n": 1, "old": "a"}, {"n": 2, "old": "b", "size": 0.5}, {"m": 3}, {"size": None, "n": 4}]
    values = [avro(id, *pair) for id, *pair in zip(ids, versions, written, strict=True)]
    rows = decoder(registry, {"n": "int", "size": "float?"})
    for _ in range(2):
        found, reasons = decoded(rows, *values)
        assert found == [{"n": 1, "size": None}, {"n": 2, "size": 0.5}, {"n": 4, "size": None}]
        assert reasons == {2: "n is missing"}
    assert len(registry.asked) == len(ids)


def test_what_does_not_decode(registry: LittleRegistry) -> None:
    """Each value that can't be decoded is a reject with its own reason, and those around it are rows."""
    schema = record(("n", "int"), ("s", "string"))
    id = registry.add(schema)
    good = avro(id, schema, {"n": 1, "s": "abc"})
    other = registry.add('syntax = "proto3"; message M { int32 n = 1; }', "PROTOBUF")
    broken = registry.add(record(("n", "nowhere.Type")))
    bare = registry.add('"int"')
    values = [
        good, b"", b'{"n": 1}', b"\x12\x34", b"\0\0\0", framed(0, b"\0\0\0\x07"), framed(99, b"\x02"), good[:-1],
        good + b"x", framed(other, b"\0"), framed(broken, b"\x02"), framed(bare, b"\x02"), None, good,
    ]  # fmt: skip
    rows, reasons = decoded(decoder(registry, {"n": "int"}), *values)
    assert rows == [{"n": 1}, {"n": 1}]
    expected = {
        1: "an empty message",
        2: 'no schema id: this looks like JSON (value = "json" reads it)',
        3: "no schema id: it begins with 0x12, not 0x00; ids in headers are not read",
        4: "truncated: 3 bytes",
        5: "schema id 0: Apicurio's ids of 8 bytes are not read",
        6: "the registry has no schema 99",
        7: "not a value of its Avro schema, or truncated: it ends early",
        8: "not a value of its Avro schema: 1 bytes are left behind it",
        9: f"schema {other} can't be used: it is PROTOBUF, not AVRO: see source.value",
        10: f"schema {broken} can't be used: the type nowhere.Type is not in it",
        11: f"schema {bare} is no record but a single value",
        12: "a tombstone: the message has no value",
    }
    assert reasons.keys() == expected.keys()
    for index, reason in expected.items():
        assert reason in reasons[index]


def test_every_reason_is_told(registry: LittleRegistry) -> None:
    """A record with several faults is one reject with all of them."""
    schema = record(("n", "string"), ("b", "bytes"), ("f", "double"))
    value = avro(registry.add(schema), schema, {"n": "x", "b": b"\xff", "f": 1.0})
    _, reasons = decoded(decoder(registry, {"n": "int", "b": "string", "f": "float"}), value)
    assert reasons == {0: f"n is 'x', {WRONG}; b is b'\\xff', which is not UTF-8"}


def test_schemas_that_refer_to_others(registry: LittleRegistry) -> None:
    """A type of another subject is read, also through a third one, and by subjects whose names hold a slash."""
    registry.add({"type": "enum", "name": "x.Kind", "symbols": ["A", "B"]}, subject="a/b")
    middle = record(("kind", "x.Kind"), ("at", MILLIS), name="x.Middle")
    registry.add(middle, subject="middle", references=[("x.Kind", "a/b", 1)])
    outer = record(("m", "x.Middle"), ("again", "x.Kind"))
    references = [("x.Middle", "middle", 1), ("x.Kind", "a/b", 1)]
    id = registry.add(outer, references=references)
    whole = record(("m", record(("kind", {"type": "enum", "name": "x.Kind", "symbols": ["A", "B"]}), ("at", MILLIS),
                                name="x.Middle")), ("again", "x.Kind"))  # fmt: skip
    value = avro(id, whole, {"m": {"kind": "B", "at": NOON}, "again": "A"})
    columns = {"kind": {"type": "string", "from": "m.kind"}, "again": "string"}
    assert decoded(decoder(registry, columns), value) == ([{"kind": "B", "again": "A"}], {})


def test_changes_of_debezium(registry: LittleRegistry) -> None:
    """The row after a change is read from Avro as from JSON; a deletion is a reject."""
    row = record(("n", "int"), ("price", DECIMAL), name="db.Value")
    envelope = record(("before", ["null", row]), ("after", ["null", "db.Value"]), ("op", "string"), name="db.Envelope")
    id = registry.add(envelope)
    changed = avro(id, envelope, {"before": None, "after": {"n": 1, "price": Decimal("0.10")}, "op": "c"})
    deleted = avro(id, envelope, {"before": {"n": 1, "price": Decimal("0.10")}, "after": None, "op": "d"})
    rows = decoder(registry, {"n": "int", "price": "float"}, unwrap="debezium")
    assert decoded(rows, changed, deleted) == (
        [{"n": 1, "price": 0.1}],
        {1: 'the row was deleted (Debezium\'s op "d")'},
    )


PROTO = """
syntax = "proto3";
package shop;
import "common.proto";
import "confluent/meta.proto";
import "confluent/type/decimal.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
message Ignored { string s = 1; }
message Shop {
  message Order {
    option (confluent.message_meta) = { doc: "an order" };
    enum Color { RED = 0; BLUE = 1; }
    int64 n = 1;
    double size = 2;
    optional string note = 3;
    Color color = 4;
    google.protobuf.Timestamp at = 5;
    google.protobuf.Int32Value wrapped = 6;
    Common common = 7;
    confluent.type.Decimal price = 8;
    map<string, int32> counts = 9;
    repeated string tags = 10;
    bytes raw = 11;
    uint64 big = 12;
    oneof either { string left = 13; int32 right = 14; }
  }
}
"""
COMMON = 'syntax = "proto3"; package shop; message Common { string city = 1; }'
ORDER = {
    "n": "int", "size": "float", "note": "string?", "color": "string", "at": "timestamp?", "wrapped": "int?",
    "city": {"type": "string?", "from": "common.city"}, "price": "string?",
    "a": {"type": "int?", "from": "counts.a"}, "tag": {"type": "string?", "from": "tags.0"}, "raw": "string",
    "big": "int", "left": "string?", "right": "int?",
}  # fmt: skip
PLACE = b"\x04\x02\x00"  # the first message in the second of the file


def message_of(schema: RegisteredSchema, name: str) -> Any:
    pool = DescriptorPool()
    for file in compiled(schema).file:
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(name))


def test_a_message_of_protobuf(registry: LittleRegistry) -> None:
    """Fields of every kind are read by their names, from a message within another, with schemas that it imports; what
    is not set is missing where the schema can tell, else its default."""
    registry.add(COMMON, "PROTOBUF", subject="common")
    id = registry.add(PROTO, "PROTOBUF", references=[("common.proto", "common", 1)])
    order = message_of(RegisteredSchema("PROTOBUF", PROTO, {"common.proto": COMMON}), "shop.Shop.Order")
    full = order(
        n=-5, size=0.5, note="", color=1, tags=["t"], counts={"a": 3}, raw="é".encode(), big=2**63 - 1, right=0
    )
    full.at.FromDatetime(NOON)
    full.wrapped.value = 0
    full.common.city = "Ede"
    full.price.value, full.price.scale = (-1250).to_bytes(2, "big", signed=True), 2
    too_big = order(big=2**63)
    fine = order()
    fine.at.nanos = 1
    values = [framed(id, PLACE + message.SerializeToString()) for message in (full, order(), too_big, fine)]
    rows, reasons = decoded(decoder(registry, ORDER, "protobuf"), *values)
    nothing = dict.fromkeys(("note", "at", "wrapped", "city", "price", "a", "tag", "left", "right"))
    assert rows == [
        {"n": -5, "size": 0.5, "note": "", "color": "BLUE", "at": NOON, "wrapped": 0, "city": "Ede", "price": "-12.50",
         "a": 3, "tag": "t", "raw": "é", "big": 2**63 - 1, "left": None, "right": 0},
        {"n": 0, "size": 0.0, "color": "RED", "raw": "", "big": 0, **nothing},
    ]  # fmt: skip
    assert reasons == {
        2: f"big is {2**63}, {WRONG}",
        3: "at is '1970-01-01T00:00:00.000000001Z', not a timestamp (ISO 8601)",
    }


def test_protobuf_that_does_not_decode(registry: LittleRegistry) -> None:
    """What is no message of the schema is a reject with its reason, and so is a schema that can't be compiled."""
    id = registry.add('syntax = "proto3"; message M { string s = 1; }', "PROTOBUF")
    lacking = registry.add(PROTO, "PROTOBUF")
    values = [framed(id, b"\0\x0a\x01x"), framed(id, b""), framed(id, b"\0\x0a\x05x"), framed(id, b"\x02\x02\x0a"),
              framed(id, b"\x01"), framed(id, b"\xff" * 9), framed(lacking, PLACE)]  # fmt: skip
    rows, reasons = decoded(decoder(registry, {"s": "string"}, "protobuf"), *values)
    assert rows == [{"s": "x"}]
    place = "truncated, or without the place of its message in the schema"
    assert {index: reasons[index] for index in (1, 2, 3, 4, 5)} == {
        1: place,
        2: "not a value of its Protobuf message M, or truncated",
        3: "its schema has no message at [1]",
        4: place,
        5: place,
    }
    assert f"schema {lacking} can't be used: it can't be compiled: common.proto: File not found" in reasons[6]


@pytest.mark.parametrize("names", ["../x.proto", "/etc/x.proto", "a\\x.proto"])
def test_no_file_is_written_elsewhere(names: str) -> None:
    """A reference whose name leads out of the compiler's folder is refused."""
    with pytest.raises(ValueError, match="no name to import"):
        compiled(RegisteredSchema("PROTOBUF", COMMON, {names: COMMON}))


def test_a_descriptor_in_place_of_text() -> None:
    """A registry that keeps descriptors in base64 is read too, also mixed with texts."""
    common = compiled(RegisteredSchema("PROTOBUF", COMMON)).file[0]
    kept = base64.b64encode(common.SerializeToString()).decode()
    assert [file.name for file in compiled(RegisteredSchema("PROTOBUF", kept)).file] == [ROOT]
    mixed = compiled(RegisteredSchema("PROTOBUF", PROTO, {"common.proto": kept}))
    assert mixed.file[0].name == "common.proto"


@given(st.binary(max_size=12))
def test_any_bytes_have_an_id_and_a_place_or_a_reason(value: bytes) -> None:
    """No bytes do anything but give a number or a reason."""
    for read in (id_of, message_path):
        with suppress(ValueError):
            assert read(value)


def test_who_asks(registry: LittleRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user with a password, or a token, is told to the registry; a secret that is missing is an error."""
    schema = record(("n", "int"))
    value = avro(registry.add(schema), schema, {"n": 1})
    monkeypatch.setenv("REGISTRY_PASSWORD", "secret")
    for auth in (
        {"username": "ann", "password": {"env": "REGISTRY_PASSWORD"}},
        {"token": {"env": "REGISTRY_PASSWORD"}},
    ):
        assert decoded(decoder(registry, {"n": "int"}, **auth), value)[0] == [{"n": 1}]
    assert registry.authorized == ["Basic YW5uOnNlY3JldA==", "Bearer secret"]
    with pytest.raises(RegistryError, match=r"source\.registry\.token: the environment has no GONE"):
        decoder(registry, {"n": "int"}, token={"env": "GONE"})
    with pytest.raises(RegistryError, match=r"source\.registry\.ca: .* can't be read as certificates"):
        decoder(registry, {"n": "int"}, ca=str(tmp_path / "none.pem"))


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, RegistryError, "refuses the request"),
        (403, RegistryError, "refuses the request"),
        (302, RegistryError, "does not answer as a schema registry does"),
        (429, RegistryAway, "answers 429"),
        (500, RegistryAway, "answers 500"),
        (503, RegistryAway, "answers 503"),
    ],
)
def test_a_registry_that_refuses(registry: LittleRegistry, status: int, error: Any, message: str) -> None:
    """A refusal is an error that says the way out, an outage one that a retry may end; neither is a reject."""
    registry.failing = status
    with pytest.raises(error, match=message) as caught:
        decoded(decoder(registry, {"n": "int"}), framed(1, b"\x02"))
    assert caught.value.hint


def test_another_server_at_the_address(registry: LittleRegistry) -> None:
    """An address without a registry is told as such: its 404 is not the word of a registry."""
    registry.subjects["/wrong/schemas/ids/1"] = {"schema": 5}
    registry.url += "/wrong"
    with pytest.raises(RegistryError, match="does not answer as a schema registry does") as caught:
        decoded(decoder(registry, {"n": "int"}), framed(1, b"\x02"))
    assert "apis/ccompat/v7" in caught.value.hint


def test_packages_that_are_missing(registry: LittleRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the optional packages the error says how they are installed."""
    monkeypatch.setattr(topic, "PACKAGES", {"avro": ("no_such_package.at_all",)})
    with pytest.raises(SourceError, match='"avro" needs packages that are not installed') as caught:
        decoder(registry, {"n": "int"})
    assert caught.value.hint == "pip install 'tidemill[registry]'"


def test_an_untrusted_certificate(tmp_path: Path, registry: LittleRegistry) -> None:
    """A registry whose certificate nobody known has signed is refused, unless ``ca`` names it."""
    pem = tmp_path / "registry.pem"
    pem.write_text(CERTIFICATE)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    schema = record(("n", "int"))
    with LittleRegistry(tls) as secure:
        value = avro(secure.add(schema), schema, {"n": 1})
        assert decoded(decoder(secure, {"n": "int"}, ca=str(pem)), value)[0] == [{"n": 1}]
        with pytest.raises(RegistryError, match="is not trusted") as caught:
            decoded(decoder(secure, {"n": "int"}), value)
    assert "source.registry.ca" in caught.value.hint
