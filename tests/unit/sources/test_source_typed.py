"""JSON Lines and Parquet: formats with types of their own."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.reading import TWO, read, refused, written

BIG = 9_007_199_254_740_993
NOON = datetime(1995, 12, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_json_lines_are_strictly_typed(tmp_path: Path, size: int) -> None:
    """In JSON Lines a value must be of the declared type itself; each line that isn't is a reject with all reasons."""
    good = [
        b'{"i": 9007199254740993, "f": 1, "s": "007", "b": true, "t": "1995-12-21 12:00", "n": null, "x": [1]}',
        b'{"t":"1995-12-21T12:00:00Z","i":-1,"f":0.1,"s":"","b":false}\r',
    ]
    bad = {
        b'{"i": "5", "f": "1", "s": 7, "b": 1, "t": 5}': "i is '5', not a whole number of 64 bits; f is '1', not",
        b'{"i": 5.5, "f": 1, "s": "x", "b": true, "t": "1995-12-21"}': "i is 5.5, not a whole number of 64 bits",
        b'{"i": 9007199254740993.0, "f": 1, "s": "x", "b": true, "t": "1995-12-21"}': "i is 9007199254740992.0, not a "
        "whole number of 64 bits (written as a fraction, it is exact only up to 9007199254740991)",
        b'{"f": 1, "s": null, "b": true, "t": "1995-12-21"}': "i is missing; s is missing",
        b'{"i": 1, "f": 1, "s": "x", "b": true, "t": "21/12/95"}': "t is '21/12/95', not a timestamp (ISO 8601)",
        b'{"i": 1, "f": NaN, "s": "x", "b": true, "t": "1995-12-21"}': "f is NaN, not a finite number (JSON has no "
        'NaN; missing = ["NaN"] reads it as missing)',
        b'{"i": 1, "f": 1, "s": {"k": 1}, "b": true, "t": ["x"]}': "s is {'k': 1}, not a string (from = \"s.k\" reads "
        "a part of it); t is ['x'], not a timestamp",
        b'{"i": 9223372036854775808, "f": 1, "s": "x", "b": true, "t": "1995-12-21"}': "i is 9223372036854775808, not",
        b'{"i": 1, "f": 1, "s": "\xe9", "b": true, "t": "1995-12-21"}': "not JSON",
        b"{broken": "not JSON",
        b"[1, 2]": "not a JSON object",
        b"{}": "i is missing; f is missing; s is missing; b is missing; t is missing",
    }
    lines = b"\xef\xbb\xbf" + b"\n\n".join([good[0], *bad, good[1]])
    columns = {"i": "int", "f": "float", "s": "string", "b": "bool", "t": "timestamp", "n": "int?"}
    rows, rejects = read(written(tmp_path, lines, "data.jsonl"), columns, size=size)
    assert rows == [(BIG, 1.0, "007", True, NOON, None), (-1, 0.1, "", False, NOON, None)]
    assert [one.line for one in rejects] == [3 + 2 * place for place in range(len(bad))]
    for reject, (line, reason) in zip(rejects, bad.items(), strict=True):
        assert reject.reason.startswith(reason)
        assert reject.text == line.decode("utf-8", "replace")


def test_json_lines_faults_found_up_front(tmp_path: Path) -> None:
    """A required key that no record has is found before anything starts."""
    error = refused(written(tmp_path, '{"id": 1, "nmae": "x"}\n', "data.ndjson"), TWO)
    assert "no column name" in error.message
    assert 'did you mean "nmae"?' in error.hint


@pytest.mark.parametrize("before", [0, 5])
def test_blank_json_lines_are_no_end(tmp_path: Path, before: int) -> None:
    """However many blank lines come one after the other, what is behind them is read."""
    rows = [b'{"id": %d, "name": "x"}\n' % number for number in range(before + 3)]
    blank = (b" " * 1_000_000 + b"\n") * 34
    found, rejects = read(
        written(tmp_path, b"".join([*rows[:before], blank, *rows[before:]]), "data.jsonl"), TWO, size=5
    )
    assert ([row[0] for row in found], rejects) == (list(range(before + 3)), [])


@pytest.mark.parametrize("length", [2**20, 17 * 2**20])
def test_an_over_long_json_line_is_a_reject(tmp_path: Path, length: int) -> None:
    """A JSON line above 1 MiB is a reject; one of just that and the lines after it arrive."""
    record = json.dumps({"id": 1, "name": "x" * length})
    rows, (reject,) = read(written(tmp_path, f'{record}\n{{"id": 2, "name": "two"}}\n', "data.jsonl"), TWO)
    assert rows == [(2, "two")]
    assert (reject.line, reject.reason, len(reject.text)) == (1, "longer than 1 MiB", 500)
    at_limit = json.dumps({"id": 1, "name": "x" * (2**20 - len(json.dumps({"id": 1, "name": ""})))})
    assert len(read(written(tmp_path, f"{at_limit}\n", "data.jsonl"), TWO)[0]) == 1


def test_an_over_long_parquet_row_is_a_reject(tmp_path: Path) -> None:
    """A Parquet row whose strings have more than 1 MiB together is a reject; one of just that arrives."""
    half = "x" * 2**19
    path = parquet(tmp_path, a=pa.array([half, half, None]), b=pa.array([half + "x", half, "b"]))
    (rows, (reject,)) = read(path, {"a": "string?", "b": "string"})
    assert rows == [(half, half), (None, "b")]
    assert (reject.line, reject.reason) == (1, "longer than 1 MiB")


def parquet(folder: Path, **columns: pa.Array) -> Path:
    path = folder / "data.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pa.array([1, 255], pa.uint8()), "int", [1, 255]),
        (pa.array([2**63, 5], pa.uint64()), "int", [None, 5]),
        (pa.array([1.0, 2.5, float("nan")]), "int", [1, None, None]),
        (pa.array([1.5, float("inf")]), "float", [1.5, None]),
        (pa.array([1.5, 0.1], pa.float32()), "float", [1.5, 0.10000000149011612]),
        (pa.array([7, BIG]), "float", [7.0, None]),
        (
            pa.array([Decimal("0.1"), Decimal("123456789012.345")], pa.decimal128(15, 3)),
            "float",
            [0.1, 123456789012.345],
        ),
        (pa.array([Decimal("12345678901234567.89")]), "string", ["12345678901234567.89"]),
        (
            pa.array([Decimal("0.10"), Decimal("12345678901234567.89"), Decimal("1e20")], pa.decimal128(38, 2)),
            "float",
            [0.1, None, 1e20],
        ),
        (pa.array([Decimal("0.1")], pa.decimal256(50, 2)), "float", [0.1]),
        (pa.array([Decimal(7), Decimal(10**20)], pa.decimal128(38, 0)), "int", [7, None]),
        (pa.array([Decimal("1.50")], pa.decimal128(4, 2)), "string", ["1.50"]),
        (pa.array([2.0, 1.5], pa.float16()), "int", [2, None]),
        (pa.array([b"abc", b"\xff"]), "string", ["abc", None]),
        (pa.array([b"abc", b"\xff\xff\xff"], pa.binary(3)), "string", ["abc", None]),
        (pa.array(["x"], pa.string_view()), "string", ["x"]),
        (pa.array(["x"], pa.large_string()).dictionary_encode(), "string", ["x"]),
        (pa.array([3, 4]).dictionary_encode(), "int", [3, 4]),
        (pa.array([date(1995, 12, 21)]), "string", ["1995-12-21"]),
        (pa.array([time(1, 2, 3), time(1, 2, 3, 500)]), "string", ["01:02:03", "01:02:03.000500"]),
        (pa.array([time(1, 2, 3)], pa.time32("s")), "string", ["01:02:03"]),
        (pa.array([3 * 10**17, 0], pa.timestamp("us")), "timestamp", [None, datetime(1970, 1, 1, tzinfo=UTC)]),
        (pa.array(["007", ""]), "string", ["007", ""]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), "string", ["a", "b", "a"]),
        (pa.array([7]), "string", ["7"]),
        (pa.array([True, False]), "bool", [True, False]),
        (pa.array([date(1995, 12, 21)]), "timestamp", [datetime(1995, 12, 21, tzinfo=UTC)]),
        (pa.array([1_000, 1], pa.timestamp("ns")), "timestamp", [datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), None]),
        (pa.array([NOON], pa.timestamp("s", tz="Europe/Paris")), "timestamp", [NOON]),
        (pa.array(["1995-12-21 12:00", "soon"]), "timestamp", [NOON, None]),
    ],
)
def test_parquet_is_cast_safely(tmp_path: Path, values: pa.Array, kind: str, expected: list[object], size: int) -> None:
    """A Parquet value becomes the declared type only where nothing of it is lost; else its row is a reject."""
    rows, rejects = read(parquet(tmp_path, v=values), {"v": kind}, size=size)
    assert rows == [(value,) for value in expected if value is not None]
    assert [one.line for one in rejects] == [place + 1 for place, value in enumerate(expected) if value is None]
    assert all(one.reason.startswith("v is ") for one in rejects)


@pytest.mark.parametrize(
    ("values", "kind", "hint"),
    [
        (pa.array([Decimal("1.50")], pa.decimal128(4, 2)), "int", '"float"'),
        (pa.array([Decimal("12345678901234567.89")]), "int", '"string"'),
        (pa.array(["5"]), "int", '"string"'),
        (pa.array([5]), "bool", '"int"'),
        (pa.array([[1]]), "int", 'from = "v.0"'),
        (pa.array([{"a": 1}]), "int", 'from = "v.a"'),
        (pa.array([b"1"]), "int", 'declare it as v = "string"'),
        (pa.array([timedelta(1)]), "string", "leave v out"),
        (pa.array([1.5]), "string", '"float"'),
    ],
)
def test_parquet_types_that_lose_are_refused_up_front(tmp_path: Path, values: pa.Array, kind: str, hint: str) -> None:
    """A Parquet column whose type can't become the declared one is an error that says what could be declared."""
    error = refused(parquet(tmp_path, v=values), {"v": kind})
    assert "v is " in error.message
    assert hint in error.hint


def test_parquet_nulls_and_missing_columns(tmp_path: Path) -> None:
    """A null in an optional column stays null, in a required one it is a reject; a missing column is named."""
    path = parquet(
        tmp_path, id=pa.array([1, None, 3]), name=pa.array(["a", "b", None]), extra=pa.array([[1], [2], [3]])
    )
    rows, (reject,) = read(path, {"id": "int", "name": "string?"})
    assert rows == [(1, "a"), (3, None)]
    assert (reject.line, reject.reason, json.loads(reject.text)) == (2, "id is missing", {"id": None, "name": "b"})
    assert "no column nam" in refused(path, {"id": "int?", "nam": "string"}).message
    assert "can't read" in refused(written(tmp_path, b"PAR1 not really", "x.parquet"), TWO).message
