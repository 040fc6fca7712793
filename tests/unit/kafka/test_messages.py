"""A row's message is a pure function of the row, whichever way it is made."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime

import orjson
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.kafka.codec import encode
from tidemill.kafka.intake import RowMessage
from tidemill.kafka.messages import Messages, messages, wire_key
from tidemill.pipeline import Column, arrow_schema
from tidemill.types import JSON_TIMESTAMP, ColumnKind

KINDS: tuple[ColumnKind, ...] = ("int", "float", "string", "bool", "timestamp")
COLUMNS = tuple(Column(kind, kind, True) for kind in KINDS)

moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))
VALUES = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(),
    "string": st.text(st.characters(codec="utf-8")),
    "bool": st.booleans(),
    "timestamp": moments,
}
rows = st.lists(st.fixed_dictionaries({kind: st.none() | values for kind, values in VALUES.items()}), max_size=8)


def table_of(written: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(written, schema=arrow_schema(COLUMNS))


def by_line(table: pa.Table) -> list[bytes]:
    """The rows as earlier versions wrote them, whose digests are in the marks of their runs: lines of NDJSON."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    text = frame.with_columns(pl.col("timestamp").dt.strftime(JSON_TIMESTAMP)).write_ndjson()
    return text.encode().split(b"\n")[: len(table)]


@given(rows)
def test_values_are_those_of_earlier_versions(written: list[dict[str, object]]) -> None:
    """Each value is the same, byte for byte, also where a table is a part of another or has several pieces."""
    table = table_of(written)
    lines = by_line(table)
    assert encode(table) == lines
    assert encode(table.slice(1)) == lines[1:]
    assert encode(pa.concat_tables([table, table])) == lines * 2


@pytest.mark.parametrize("key", [None, *KINDS])
@given(written=rows)
def test_keys_and_partitions_are_those_of_each_row(key: ColumnKind | None, written: list[dict[str, object]]) -> None:
    """A key is a string as it is, or JSON; a partition is the CRC-32 of the key, or of the row where it has none."""
    table = table_of(written)
    sent = list(messages(table, key, 7))
    own_keys = [None if key is None else wire_key(row[key]) for row in table.to_pylist()]
    wanted = [
        RowMessage(zlib.crc32(value if own_key is None else own_key) % 7, own_key, value)
        for value, own_key in zip(encode(table), own_keys, strict=True)
    ]
    assert sent == wanted
    assert [message._replace(partition=0) for message in wanted] == list(messages(table, key, 1))


@pytest.mark.parametrize(("value", "key"), [("007", b"007"), (7, b"7"), (7.0, b"7.0"), (True, b"true"), (None, None)])
def test_keys_on_the_wire(value: object, key: bytes | None) -> None:
    """Keys are as they were in every version: other programs may read the topic too."""
    assert wire_key(value) == key
    if isinstance(value, float):
        assert orjson.loads(key or b"") == value


@given(st.lists(st.integers(0, 3), max_size=12), st.data())
def test_parts_keep_the_order(partitions: list[int], data: st.DataObject) -> None:
    """Parts of messages are what the same parts of a list of them are."""
    names = [b"%d" % number for number in range(len(partitions))]
    sent = Messages(names, [None] * len(names), partitions)
    whole = list(sent)
    first, last = sorted((data.draw(st.integers(0, 12)), data.draw(st.integers(0, 12))))
    assert list(sent[first:last]) == whole[first:last]
    assert [list(one) for one in sent.each()] == [[message] for message in whole]
    chosen = data.draw(st.sets(st.sampled_from(range(len(whole))))) if whole else set()
    assert list(sent.select(sorted(chosen))) == [whole[position] for position in sorted(chosen)]
    rest = [message for position, message in enumerate(whole) if position not in chosen]
    assert list(sent.without(chosen)) == rest
    assert sent.value_bytes == sum(len(message.value) for message in whole)
    by_partition = {
        partition: [message.value for message in whole if message.partition == partition] for partition in partitions
    }
    assert {partition: list(values) for partition, values in sent.values_by_partition().items()} == by_partition
    assert sent.last_positions() == {partition: position for position, partition in enumerate(partitions)}
