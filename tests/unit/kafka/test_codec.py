"""Rows keep their meaning over the wire, and what is no row is told apart with its reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.kafka.codec import decode, encode
from tidemill.pipeline import Column, arrow_schema

COLUMNS = (
    Column("id", "int", False),
    Column("name", "string", False),
    Column("size", "float", True),
    Column("on", "bool", True),
    Column("at", "timestamp", True),
)

moments = st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
rows = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**63), 2**63 - 1),
        "name": st.text(st.characters(codec="utf-8")),
        "size": st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
        "on": st.one_of(st.none(), st.booleans()),
        "at": st.one_of(st.none(), moments),
    }
)


@given(st.lists(rows, max_size=20))
def test_what_goes_in_comes_out(written: list[dict[str, object]]) -> None:
    """Encoding and decoding give back every value exactly: big integers, all floats, any text, microseconds."""
    table = pa.Table.from_pylist(written, schema=arrow_schema(COLUMNS))
    values = encode(table)
    assert len(values) == len(written)
    assert all(isinstance(json.loads(value), dict) for value in values)
    read, bad = decode(values, COLUMNS)
    assert bad == []
    assert read.schema == arrow_schema(COLUMNS)
    assert read.to_pylist() == table.to_pylist()


JUNK = [
    b"",
    b"no",
    b"[1]",
    b' {"id": 1, "name": "blank before"}',
    b'{\n"id": 1,\n"name": "lines"}',
    b'{"id": 1, "name": "day only", "at": "2020-01-02"}',
    b'{"id": 1, "name": "a"}{"id": 2, "name": "b"}',
    b'{"id": 1, "name": "a", "size": NaN}',
    b'{"id": 1, "name": "\xff"}',
    b'{"id": 1e3, "name": "a"}',
    b'{"id": 1, "name": "line end behind"}\n',
    b'{"id": 1, "name": "a"}\n{"id": 2, "name": "b"}',
    b"\n",
    b'\n{"id": 1, "name": "line end before"}',
]
GOOD = b'{"id":1,"name":"a"}'


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "an empty message"),
        (b"", "an empty message"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "not a JSON object but [1]"),
        (b"7", "not a JSON object but 7"),
        (b'{"id":1,"name":"a"}{"id":2,"name":"b"}', "not JSON"),
        (b'{"id":1,"name":"a"}\n{"id":2,"name":"b"}', "not JSON"),
        (b'{"name":"a"}', "id is missing"),
        (b'{"id":null,"name":"a"}', "id is missing"),
        (b'{"id":1.5,"name":"a"}', "id is 1.5, not a whole number of 64 bits"),
        (
            b'{"id":9007199254740993.0,"name":"a"}',
            "id is 9007199254740992.0, not a whole number of 64 bits (written as",
        ),
        (b'{"id":true,"name":"a"}', "id is True, not a whole number"),
        (b'{"id":1,"name":"a","size":NaN}', "size is NaN, not a finite number (JSON has no NaN; missing"),
        (b'{"id":-Infinity,"name":"a"}', "id is -Infinity, not a whole number of 64 bits (JSON has no -Infinity"),
        (b'{"id":1,"name":"\\ud800","size":NaN}', "not JSON"),
        (b'{"id":1,"name":{"first":"a"}}', "name is {'first': 'a'}, not a string (from = \"name.first\" reads a part"),
        (b'{"id":"1","name":"a"}', "id is '1', not a whole number"),
        (b'{"id":9223372036854775808,"name":"a"}', "id is 9223372036854775808, not a whole number of 64 bits"),
        (b'{"id":1,"name":7}', "name is 7, not a string"),
        (b'{"id":1,"name":"a","size":"big"}', "size is 'big', not a finite number"),
        (b'{"id":1,"name":"a","on":1}', "on is 1, not true or false"),
        (b'{"id":1,"name":"a","at":"yesterday"}', "at is 'yesterday', not a timestamp"),
    ],
)
def test_what_is_no_row_is_told_apart(value: bytes | None, reason: str) -> None:
    """One bad message among good ones is rejected with its reason; the good ones are kept, in order."""
    table, bad = decode([GOOD, value, b'{"id":2,"name":"b","more":[1]}'], COLUMNS)
    assert [one.position for one in bad] == [1]
    assert bad[0].reason.startswith(reason)
    assert table["id"].to_pylist() == [1, 2]


def test_two_bad_messages_that_make_up_for_each_other_are_both_found() -> None:
    """Two objects in one message and none in the next are two rejects, though their number would fit."""
    table, bad = decode([b'{"id":1,"name":"a"}{"id":2,"name":"b"}', b" ", GOOD], COLUMNS)
    assert [one.position for one in bad] == [0, 1]
    assert table["id"].to_pylist() == [1]


@pytest.mark.parametrize("text", ["3.0", "3", "30e-1", "0.3E1"])
def test_a_whole_number_means_the_same_in_any_notation(text: str) -> None:
    """A whole number in an int column is that number, in the fast way and in the slow one, beside a large one too."""
    value, large = b'{"id":%s,"name":"a"}' % text.encode(), b'{"id":-9007199254740993,"name":"a"}'
    for values in ([value], [value, large], [value, b"no", large]):
        table, bad = decode(values, COLUMNS)
        assert len(bad) == values.count(b"no")
        assert table["id"].to_pylist() == [3, -9007199254740993][: len(table)]


def test_an_integer_is_a_fine_float() -> None:
    """A whole number in a float column is the same number, in the fast way and in the slow one."""
    value = b'{"id":1,"name":"a","size":3}'
    for values in ([value], [value, b"no"]):
        table, _ = decode(values, COLUMNS)
        assert table["size"].to_pylist() == [3.0]


@pytest.mark.parametrize("text", ["2020-01-02T03:04:05Z", "2020-01-02 03:04:05", "2020-01-02T04:04:05+01:00"])
def test_a_timestamp_means_the_same_whatever_stands_beside_it(text: str) -> None:
    """The fast way and the slow one read the same moment; one without a zone is in UTC."""
    value = b'{"id":1,"name":"a","at":"%s"}' % text.encode()
    for values in ([value], [value, b"no"]):
        table, bad = decode(values, COLUMNS)
        assert len(bad) == len(values) - 1
        assert table["at"].to_pylist() == [datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)]


@given(st.lists(st.one_of(rows.map(lambda row: orjson.dumps(row)), st.sampled_from(JUNK)), max_size=12))
def test_a_value_means_the_same_whatever_stands_beside_it(values: list[bytes]) -> None:
    """Whether a value is a row, and which, does not depend on its neighbours."""
    table, bad = decode(values, COLUMNS)
    alone = [decode([value], COLUMNS) for value in values]
    assert [one.position for one in bad] == [place for place, (_, faults) in enumerate(alone) if faults]
    assert [one.reason for one in bad] == [fault.reason for _, faults in alone for fault in faults]
    assert table.to_pylist() == [row for one, _ in alone for row in one.to_pylist()]
