"""CSV: its quirks, its faults, and text that becomes exactly the value it stands for."""

from __future__ import annotations

import csv
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.reading import TWO, read, refused, written
from tidemill.sources.source import Reject


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("\ufeffid,name\n1,one\n", [(1, "one")]),
        ("id,name\r\n1,one\r\n2,two\r\n", [(1, "one"), (2, "two")]),
        ("id,name\r1,one\r2,two\r", [(1, "one"), (2, "two")]),
        ("id,name\n1,one", [(1, "one")]),
        ("\n\nid,name\n\n1,one\n\n\n2,two\n\n", [(1, "one"), (2, "two")]),
        ('id,name\n1,"a,b"\n2,"say ""hi"""\n3,"two\nlines"\n4,"cr\rlf\r\n"\n', None),
        ('"id","name"\n"1","one"\n', [(1, "one")]),
        ("name,other,id\none,x,1\n", [(1, "one")]),
        (" id , name \n 1 , one \n", [(1, " one ")]),
        ("1,one\n2,two\n", [(1, "one"), (2, "two")]),
        ("id,name\n1,007\n2,  x  \n3,\n", [(1, "007"), (2, "  x  "), (3, "")]),
        ("id,name\n1,a\u2028b\x0bc\x85\n", [(1, "a\u2028b\x0bc\x85")]),
    ],
)
def test_csv_quirks(tmp_path: Path, data: str, expected: list[Any] | None) -> None:
    """BOM, any line end, blank lines, quotes and strange blanks: all are read as written."""
    rows, rejects = read(written(tmp_path, data), TWO)
    assert rows == (expected or [(1, "a,b"), (2, 'say "hi"'), (3, "two\nlines"), (4, "cr\rlf\r\n")])
    assert not rejects


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_record_over_several_lines_may_straddle_chunks(tmp_path: Path, size: int) -> None:
    """However small the chunks, records of several lines stay whole and rejects keep their line numbers."""
    data = "id,name\n" + "".join(f'{n},"a\nb{n}\n\nc"\n\nbad{n},x\n' for n in range(50))
    rows, rejects = read(written(tmp_path, data), TWO, size=size)
    assert rows == [(n, f"a\nb{n}\n\nc") for n in range(50)]
    assert [one.line for one in rejects] == [2 + 6 * n + 5 for n in range(50)]
    assert rejects[0].text == "bad0,x"


def test_line_ends_at_the_edge_of_what_is_read_at_once(tmp_path: Path) -> None:
    """A CRLF whose halves are read apart, at a multiple of 1 MiB, is still one line end."""
    begin = "id,name\r\n1,"
    rows, (reject,) = read(written(tmp_path, f"{begin.ljust(2**20 - 1, 'x')}\r\n2,two\r\nbad,x\r\n"), TWO)
    assert [row[0] for row in rows] == [1, 2]
    assert (reject.line, reject.text) == (4, "bad,x")


def test_rejects_name_the_physical_line_the_reason_and_the_raw_row(tmp_path: Path) -> None:
    """Ragged, mistyped and missing: each reject has its line, all reasons and its text; the other rows go on."""
    data = 'a,b,c\n1,2,x\n1,2\n"1",5.5,"p\nq"\n1,2,x,y\n,,z\n1,2,x\n'
    rows, rejects = read(written(tmp_path, data), {"a": "int", "b": "int", "c": "string"})
    assert rows == [(1, 2, "x"), (1, 2, "x")]
    assert rejects == [
        Reject("data.csv", 3, "2 fields where 3 were expected", "1,2"),
        Reject("data.csv", 4, "b is '5.5', not a whole number of 64 bits", '"1",5.5,"p\nq"'),
        Reject("data.csv", 6, "4 fields where 3 were expected", "1,2,x,y"),
        Reject("data.csv", 7, "a is missing; b is missing", ",,z"),
    ]


def test_a_reject_is_bounded(tmp_path: Path) -> None:
    """A reject shows at most five reasons and 500 characters of its row."""
    columns = {f"c{n}": "int" for n in range(100)}
    data = ",".join(columns) + "\n" + ",".join(["x" * 100] * 100) + "\n"
    _, (reject,) = read(written(tmp_path, data), columns)
    assert reject.reason.endswith("and 95 more")
    assert len(reject.text) == 500
    assert len(reject.reason) < 500


def test_undecodable_bytes_cost_only_their_row(tmp_path: Path) -> None:
    """A row whose bytes are no UTF-8 is a reject; those around it arrive, U+FFFD in them kept."""
    data = "id,name\n1,caf\u00e9 \ufffd\n".encode() + b"2,caf\xe9\n3,three\n"
    rows, rejects = read(written(tmp_path, data), TWO)
    assert rows == [(1, "caf\u00e9 \ufffd"), (3, "three")]
    assert rejects == [Reject("data.csv", 3, "its bytes are not valid UTF-8", "2,caf\ufffd")]


def test_an_open_quote_swallows_no_other_row(tmp_path: Path) -> None:
    """A quote that is never closed, or closed amid a field, costs its own line and no other."""
    data = 'id,name\n1,"one\n2,two\n3,"th"ree\n4,four\n5,"five\n'
    rows, rejects = read(written(tmp_path, data), TWO)
    assert rows == [(2, "two"), (4, "four")]
    assert [(one.line, one.text) for one in rejects] == [(2, '1,"one'), (4, '3,"th"ree'), (6, '5,"five')]
    assert rejects[2].reason == "a quote is opened and never closed"


@pytest.mark.parametrize("length", [2**20 + 1, pytest.param(17 * 2**20, marks=pytest.mark.nightly)])
def test_an_over_long_field_is_a_reject(tmp_path: Path, length: int) -> None:
    """A field above 1 MiB rejects its row, be the line ever so long; the rows after it arrive."""
    rows, (reject,) = read(written(tmp_path, f"id,name\n1,{'x' * length}\n2,two\n"), TWO)
    assert rows == [(2, "two")]
    assert (reject.line, reject.reason) == (2, "longer than 1 MiB")
    assert len(reject.text) == 500
    at_limit, _ = read(written(tmp_path, f"id,name\n1,{'x' * (2**20 - 1)}\n2,two\n"), TWO)
    assert len(at_limit[0][1]) == 2**20 - 1


@pytest.mark.parametrize("between", ["", "\n"])
def test_an_over_long_record_is_a_reject(tmp_path: Path, between: str) -> None:
    """Fields that together have more than 1 MiB reject their row, on one line or on several."""
    half = "x" * 2**19
    text = f'id,name,more\n1,"{half}{between}",{half}\n2,two,\n'
    rows, (reject,) = read(written(tmp_path, text), TWO)
    assert rows == [(2, "two")]
    assert (reject.line, reject.reason) == (2, "longer than 1 MiB")


def test_header_is_detected_or_told(tmp_path: Path) -> None:
    """``header`` says whether the first row has names; unset, it is told from the row itself."""
    columns = {"a": "string", "b": "string"}
    path = written(tmp_path, "a,b\n1,2\n")
    assert read(path, columns)[0] == read(path, columns, header=True)[0] == [("1", "2")]
    assert read(path, columns, header=False)[0] == [("a", "b"), ("1", "2")]
    assert "no column a, b" in refused(written(tmp_path, "x,y\n1,2\n"), columns, header=True).message


def test_the_delimiter_is_the_pipelines(tmp_path: Path) -> None:
    """Fields are separated by ``source.delimiter``; where it is the wrong one, the error says which to try."""
    path = written(tmp_path, "id;name\n1;a,b\n")
    assert read(path, TWO, delimiter=";")[0] == [(1, "a,b")]
    assert 'source.delimiter = ";"' in refused(path, TWO).hint


def test_a_missing_column_is_named_with_the_likely_one(tmp_path: Path) -> None:
    """A required column that the header lacks is an error that says which one was perhaps meant."""
    error = refused(written(tmp_path, "id,nmae\n1,one\n"), TWO)
    assert "no column name" in error.message
    assert 'did you mean "nmae"?' in error.hint
    upper = refused(written(tmp_path, "ID,NAME\n1,one\n"), TWO)
    assert "no column id, name" in upper.message


def test_other_faults_of_the_first_row(tmp_path: Path) -> None:
    """A wrong number of fields, a column that is there twice, and UTF-16 are found before anything starts."""
    error = refused(written(tmp_path, "1,one,extra\n"), TWO)
    assert "3 fields ['1', 'one', 'extra'] where 2 columns are declared ['id', 'name']" in error.message
    assert "more than one column id" in refused(written(tmp_path, "id,name,id\n1,a,2\n"), TWO).message
    assert "UTF-16" in refused(written(tmp_path, "id,name\n1,a\n".encode("utf-16")), TWO).message
    assert "line 1" in refused(written(tmp_path, '"id"x,name\n1,a\n'), TWO).message


# --- typing -------------------------------------------------------------------------------------------------------

BIG = 9_007_199_254_740_993
NOON = datetime(1995, 12, 21, 12, tzinfo=UTC)
GOOD = [
    ("int", "5", 5),
    ("int", "+5", 5),
    ("int", "-007", -7),
    ("int", " 5\t", 5),
    ("int", str(BIG), BIG),
    ("int", str(2**63 - 1), 2**63 - 1),
    ("int", str(-(2**63)), -(2**63)),
    ("int?", "", None),
    ("int?", "  ", None),
    ("float", "1e3", 1000.0),
    ("float", ".5", 0.5),
    ("float", "-0.1", -0.1),
    ("float", str(BIG), float(BIG)),
    ("float", "2.2250738585072011e-308", 2.2250738585072011e-308),
    ("float", " 15.30718848124909 ", 15.30718848124909),
    ("float?", "", None),
    ("string", "", ""),
    ("string?", "", None),
    *[("int", text, int(text.partition(".")[0])) for text in ("5.0", "-0.0", "+7.00", "9007199254740993.0")],
    ("string?", " ", " "),
    ("string", "NULL", "NULL"),
    ("string", "1e3", "1e3"),
    *[("bool", text, True) for text in ("true", "T", "YES", "y", "1", " True ")],
    *[("bool", text, False) for text in ("false", "F", "No", "n", "0")],
    ("bool?", "", None),
    ("timestamp", "1995-12-21", datetime(1995, 12, 21, tzinfo=UTC)),
    ("timestamp", "1995-12-21 12:00", NOON),
    ("timestamp", "1995-12-21T12:00:00", NOON),
    ("timestamp", "1995-12-21T12:00:00Z", NOON),
    ("timestamp", " 1995-12-21 14:00:00+02:00 ", NOON),
    ("timestamp", "1995-12-21T06:30-0530", NOON),
    ("timestamp", "1995-12-21T12:00:00.000001Z", NOON.replace(microsecond=1)),
    ("timestamp", "1995-12-21T12:00:00.5", NOON.replace(microsecond=500_000)),
    ("timestamp", "1995-12-21T12:00:00.123456000Z", NOON.replace(microsecond=123_456)),
    ("timestamp", "0001-01-01", datetime(1, 1, 1, tzinfo=UTC)),
    ("timestamp", "9999-12-31T23:59:59.999999", datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ("timestamp?", "", None),
]
BAD = [
    *[
        ("int", text)
        for text in ("5.", ".0", "5.5", "5.01", "1e3", "0x1F", "1_000", "five", "--5", "+", "1 2", "\u0665", "true")
    ],
    *[("int", text) for text in (str(2**63), str(-(2**63) - 1), "9" * 400)],
    *[("float", text) for text in ("inf", "-Infinity", "nan", "NaN", "1e999", "1_0", "0x1p3", "1,5", "5f", ".", "e5")],
    *[("bool", text) for text in ("2", "ja", "truee", "on")],
    *[("timestamp", text) for text in ("1995-02-30", "21/12/1995", "1995-12-21T24:00", "1995-12-21T12", "964982703")],
    *[
        ("timestamp", text)
        for text in ("2016-12-31T23:59:60Z", "1995-12-21T12:00:00.1234567", "0000-01-01", "1995-1-2")
    ],
    *[("timestamp", text) for text in ("1995-12-21T12:00+25:00", "9999-12-31T23:59-05:00", "1995-12-21Z x")],
    *[(kind, "") for kind in ("int", "float", "bool", "timestamp")],
    ("int", " \t "),
]


@pytest.mark.parametrize(("kind", "text", "value"), GOOD)
def test_text_that_fits(tmp_path: Path, kind: str, text: str, value: object) -> None:
    """Text of the declared kind becomes exactly the value it stands for."""
    with (path := tmp_path / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "v"], ["1", text]])
    ((row,), rejects) = read(path, {"id": "int", "v": kind})
    assert (row[1], type(row[1])) == (value, type(value))
    assert not rejects


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_text_that_does_not_fit(tmp_path: Path, kind: str, text: str) -> None:
    """Text that is not of the declared kind is a reject that names the column and the value, optional or not."""
    for declared in (kind, f"{kind}?") if text.strip() else (kind,):
        with (path := tmp_path / "data.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["id", "v"], ["1", text]])
        rows, (reject,) = read(path, {"id": "int", "v": declared})
        assert not rows
        assert reject.reason.startswith(f"v is '{text[:10]}" if text.strip() else "v is missing")


CELLS = st.tuples(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.integers(-5, 5),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(CELLS, min_size=1, max_size=30), st.sampled_from([",", ";", "\t", "|"]), st.sampled_from([1, 7, 10_000])
)
def test_what_csv_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[Any], delimiter: str, size: int
) -> None:
    """Any strings, ints and floats written by the standard library's writer come back equal, to the last bit."""
    path = tmp_path_factory.getbasetemp() / "round-trip.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([["s", "i", "f", "n"], *cells])
    columns = {"s": "string", "i": "int", "f": "float", "n": "int?"}
    rows, rejects = read(path, columns, size=size, delimiter=delimiter)
    assert not rejects
    assert rows == cells
    assert [math.copysign(1, row[2]) for row in rows] == [math.copysign(1, cell[2]) for cell in cells]
