"""Cleaning on the way in: what a column's table says is done to CSV, JSON Lines, Parquet and samples alike."""

from __future__ import annotations

import collections
import csv
import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import DATA
from tests.support.reading import TWO, opened, pipeline, read, refused, written
from tidemill.errors import SourceError
from tidemill.pipeline import Column
from tidemill.samples import SAMPLES, Sample
from tidemill.sources.source import open_source

DENVER = DATA / "denver-crime" / "denver_crime_by_reported_date.csv"
AMAZON = DATA / "amazon-sales" / "amazon_sales.csv"
COTEQ = DATA / "dutch-electricity" / "coteq_electricity_2018.csv"
NUMBER = "not a whole number of 64 bits"
FORM = {"type": "timestamp", "format": "%d.%m.%Y"}
NO_FORM = 'not a timestamp of the form "%d.%m.%Y"'
RUPEES = {"type": "float", "strip": ["₹", ","]}


def records(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


# --- real files ---------------------------------------------------------------------------------------------------


PLACE = {"type": "float", "missing": [0]}
DENVER_COLUMNS = {
    "INCIDENT_ID": "int",
    "GEO_LON": PLACE,
    "GEO_LAT": PLACE,
    "REPORTED_DATE": {"type": "timestamp", "format": "%m/%d/%Y %I:%M:%S %p"},
}


def test_denver_places_and_dates_are_read() -> None:
    """All 15,779 records of the Denver file have a place in the city and a date, read by its format."""
    rows, rejects = read(DENVER, DENVER_COLUMNS)
    assert (len(rows), rejects) == (15_779, [])
    assert all(-106 < lon < -104 and 39 < lat < 41 for _, lon, lat, _ in rows)
    form = "%m/%d/%Y %I:%M:%S %p"
    dates = [datetime.strptime(one["REPORTED_DATE"], form).replace(tzinfo=UTC) for one in records(DENVER)]
    assert [row[3] for row in rows] == dates


def test_rows_without_a_place_are_rejected_and_counted(tmp_path: Path) -> None:
    """In a file of Denver's older form (19 columns, quoted, with a BOM) records with blank or zero places are rejects
    that say what was found; none is lost, none is taken to be at (0, 0)."""
    without = {50: ("0", "0"), 51: ("", ""), 52: ("0.0", "39.7"), 53: ("-104.9", " 0 "), 54: (" ", "0")}
    table = records(DENVER)
    names = [name for name in table[0] if name not in ("OBJECTID", "VICTIM_COUNT", "x", "y")]
    path = tmp_path / "crime.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        for place, one in enumerate(table):
            lon, lat = without.get(place % 100, (one["GEO_LON"], one["GEO_LAT"]))
            writer.writerow({**one, "GEO_LON": lon, "GEO_LAT": lat})
    rows, rejects = read(path, DENVER_COLUMNS)
    assert rows == [row for place, row in enumerate(read(DENVER, DENVER_COLUMNS)[0]) if place % 100 not in without]
    assert len(rows) + len(rejects) == 15_779
    assert collections.Counter(one.reason for one in rejects) == {
        "GEO_LON is missing (0 counts as missing); GEO_LAT is missing (0 counts as missing)": 158,
        "GEO_LON is missing; GEO_LAT is missing": 158,
        "GEO_LON is missing (0.0 counts as missing)": 158,
        "GEO_LAT is missing (0 counts as missing)": 158,
        "GEO_LON is missing; GEO_LAT is missing (0 counts as missing)": 158,
    }


def as_published(price: str) -> str:
    return f"₹{float(price):,.0f}"


def test_amazon_prices_are_read_as_the_public_file_writes_them(tmp_path: Path) -> None:
    """Prices such as "₹1,099", shares such as "64%" and counts such as "24,269" become their numbers; a rating that is
    a "|" is a reject with its text."""
    originals = records(AMAZON)
    path = tmp_path / "amazon.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["product_name", "actual_price", "discount_percentage", "rating", "rating_count"])
        for one in originals:
            count = f"{int(float(one['rating_count'] or 0)):,}"
            share = f"{float(one['discount_percentage']):.0f}%"
            writer.writerow([one["product_name"], as_published(one["actual_price"]), share, one["rating"], count])
        writer.writerow(["odd", "₹10", "1%", "|", "1"])
        writer.writerow(["unrated", "₹10", "1%", "4.0", ""])
    columns = {
        "product_name": "string",
        "actual_price": RUPEES,
        "discount_percentage": {"type": "float", "strip": ["%"]},
        "rating": "float",
        "rating_count": {"type": "int", "strip": [","], "default": 0},
    }
    rows, (reject,) = read(path, columns)
    assert [row[1] for row in rows[:-1]] == [round(float(one["actual_price"])) for one in originals]
    assert [row[2] for row in rows[:-1]] == [float(one["discount_percentage"]) for one in originals]
    assert rows[0][1:] == (1099.0, 64.0, 4.2, 24_269)
    assert rows[-1] == ("unrated", 10.0, 1.0, 4.0, 0)
    assert (reject.reason, reject.text) == ("rating is '|', not a finite number", "odd,₹10,1%,|,1")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_another_operators_columns_are_mapped_by_name(tmp_path: Path, ending: str) -> None:
    """A file of the Dutch data in another operator's order, with columns more, gives the same rows as the first."""
    columns = {"city": "string", "annual_consume": "float", "smartmeter_perc": "float?", "zipcode_from": "string"}
    expected, _ = read(COTEQ, columns)
    names = ["%Defintieve aansl (NRM)", *reversed(list(records(COTEQ)[0])), "more"]
    table = [{**one, names[0]: "100", "more": "x"} for one in records(COTEQ)]
    path = tmp_path / f"other.{ending}"
    if ending == "csv":
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(table)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps({name: as_json(one[name]) for name in names}) + "\n" for one in table))
    else:
        pq.write_table(pa.Table.from_pylist([{name: as_json(one[name]) for name in names} for one in table]), path)
    assert read(path, columns) == (expected, [])


def as_json(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


# --- what is stripped, missing, defaulted -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [
        (RUPEES, " ₹1,099.50 ", 1099.5),
        (RUPEES, "₹", "v is missing ('₹' counts as missing)"),
        (RUPEES, "₹12x", "v is '₹12x', not a finite number"),
        ({"type": "int", "strip": ["."], "missing": [0]}, "1.234", 1234),
        ({"type": "int", "missing": [0]}, "-0", "v is missing (-0 counts as missing)"),
        ({"type": "float", "missing": [0]}, " 0.00 ", "v is missing (0.00 counts as missing)"),
        ({"type": "float", "missing": ["0"]}, "0.0", 0.0),
        ({"type": "float", "missing": ["0"]}, " 0", "v is missing (0 counts as missing)"),
        ({"type": "float", "missing": [float("nan")]}, "NaN", "v is missing ('NaN' counts as missing)"),
        ({"type": "int", "missing": [2**53 + 1]}, str(2**53), 2**53),
        ({"type": "int", "missing": [2**53 + 1]}, str(2**53 + 1), f"v is missing ({2**53 + 1} counts as missing)"),
        ({"type": "int", "missing": [10**400]}, "1", 1),
        ({"type": "int?", "missing": ["n/a"]}, "n/a", None),
        ({"type": "int?", "missing": ["n/a"]}, "N/A", "v is 'N/A', not a whole number of 64 bits"),
        ({"type": "int", "missing": ["n/a"], "default": -1}, "n/a", -1),
        ({"type": "int", "missing": ["n/a"], "default": -1}, " ", -1),
        ({"type": "int", "missing": ["n/a"], "default": -1}, "x", "v is 'x', not a whole number of 64 bits"),
        ({"type": "float", "default": 5}, "", 5.0),
        ({"type": "bool", "default": False}, "", False),
        ({"type": "string", "default": "none"}, "", "none"),
        ({"type": "string", "default": "none"}, " a ", " a "),
        ({"type": "string", "missing": ["N/A"]}, " N/A", "v is missing (' N/A' counts as missing)"),
        ({"type": "string", "missing": ["N/A"]}, "", "v is missing"),
        ({"type": "string", "strip": ["x"]}, "x", ""),
        ({"type": "string?", "strip": ["x"]}, "x", None),
        ({"type": "string"}, "", ""),
        ({"type": "timestamp", "default": "2020-01-01"}, "", datetime(2020, 1, 1, tzinfo=UTC)),
        ({"type": "timestamp", "default": "2020-01-01T00:00+02:00"}, "", datetime(2019, 12, 31, 22, tzinfo=UTC)),
        (FORM, "1.2.2020", datetime(2020, 2, 1, tzinfo=UTC)),
        (FORM, "2020-02-01", f"v is '2020-02-01', {NO_FORM}"),
        (FORM, "1.2.2020 x", f"v is '1.2.2020 x', {NO_FORM}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_text_is_cleaned(tmp_path: Path, ending: str, column: dict[str, Any], text: str, expected: object) -> None:
    """Text is stripped, then judged missing, then typed or defaulted; the reason shows it as it stood in the file."""
    rows, rejects = read(written_as(tmp_path, ending, [text]), {"id": "int", "v": column})
    if isinstance(expected, str) and expected.startswith("v is "):
        assert ([one.reason for one in rejects], rows) == ([expected], [])
    elif column == {"type": "string"} and ending == "jsonl":
        assert rows == [(0, text)]
    else:
        assert (rows, rejects) == ([(0, expected)], [])
        assert type(rows[0][1]) is type(expected)


def written_as(folder: Path, ending: str, texts: list[str | None]) -> Path:
    """Records of a number ``id`` and a text ``v``; only CSV makes no difference between no text and an empty one."""
    path = folder / f"data.{ending}"
    if ending == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["id", "v"], *enumerate(texts)])
    elif ending == "jsonl":
        path.write_text("".join(json.dumps({"id": place, "v": one}) + "\n" for place, one in enumerate(texts)))
    else:
        pq.write_table(pa.table({"id": range(len(texts)), "v": pa.array(texts, pa.string())}), path)
    return path


CLEANINGS = [
    {"type": "float", "strip": ["₹", ","], "missing": [0, "n/a"]},
    {"type": "float?", "strip": ["₹", ","], "missing": [0, "n/a"]},
    {"type": "int", "strip": [","], "missing": [0, -1.5], "default": 7},
    {"type": "int", "missing": [""]},
    {"type": "string", "strip": ["-", "₹"], "missing": ["n/a", 0]},
    {"type": "string?", "missing": ["1,0"]},
    {"type": "bool", "missing": ["n/a"], "default": True},
    {"type": "timestamp", "format": "%d/%m/%y", "missing": [0], "default": "1999-12-31"},
]
TEXTS = st.text(st.sampled_from("019.,-₹ e/natrue\n"), max_size=8) | st.sampled_from(
    ["0", "0.0", "₹0", "n/a", " n/a ", "1,000", "31/12/99", "1/2/00", "yes", "false", "-1.5", "", " "]
)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=20), column=st.sampled_from(CLEANINGS))
def test_every_way_in_cleans_alike(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None], column: dict[str, Any]
) -> None:
    """The same texts give the same rows and the same reasons by CSV, by JSON Lines and as strings in Parquet."""
    folder = tmp_path_factory.getbasetemp()
    columns = {"id": "int", "v": column}
    rows, rejects = read(written_as(folder, "csv", texts), columns)
    for ending in ("jsonl", "parquet"):
        other, other_rejects = read(written_as(folder, ending, texts), columns)
        assert other == rows
        assert [one.reason for one in other_rejects] == [one.reason for one in rejects]


def test_a_json_number_is_judged_too(tmp_path: Path) -> None:
    """In a cleaned column a JSON value of another type than a string is never stripped, may count as missing, and must
    else be of the type itself; what is wrong in other columns is told beside it."""
    columns = {
        "id": "int",
        "price": {"type": "float", "strip": [".", "-"], "missing": [0]},
        "n": {"type": "int", "default": 9},
        "s": {"type": "string?", "missing": [0]},
    }
    good = ['{"id": 1, "price": -1.5, "n": 2, "s": "x"}', '{"id": 2, "price": "1.5", "s": 0}']
    bad = {
        '{"id": 3, "price": 0.0, "n": 5.5, "s": 7}': "price is missing (0.0 counts as missing); n is 5.5, not a whole "
        "number of 64 bits; s is 7, not a string",
        '{"id": "4", "price": true}': "id is '4', not a whole number of 64 bits; price is True, not a finite number",
        '{"price": [1], "n": "x"}': "id is missing; price is [1], not a finite number (from = "
        "\"price.0\" reads a part of it); n is 'x', not a whole number of 64 bits",
        '{"id": "5", "price": 1}': "id is '5', not a whole number of 64 bits",
        "[1]": "not a JSON object but [1]",
        "{": "not JSON: ",
    }
    path = written(tmp_path, "\n".join([good[0], *bad, good[1]]), "data.jsonl")
    for size in (1, 3, 1000):
        rows, rejects = read(path, columns, size=size)
        assert rows == [(1, -1.5, 2, "x"), (2, 15.0, 9, None)]
        for one, reason in zip(rejects, bad.values(), strict=True):
            assert one.reason == reason or (reason.endswith(": ") and one.reason.startswith(reason))
    cleaned_only = {"id": {"type": "int", "missing": [2]}}
    assert [one.line for one in read(path, cleaned_only)[1]] == [4, 6, 7, 8]


@pytest.mark.parametrize(
    ("values", "column", "expected"),
    [
        (
            pa.array([0, 5, None]),
            {"type": "int", "missing": [0]},
            ["v is missing (0 counts as missing)", 5, "v is missing"],
        ),
        (pa.array([0.0, 5.5, -0.0]), {"type": "float?", "missing": [0]}, [None, 5.5, None]),
        (pa.array([float("nan"), 5.5]), {"type": "float", "missing": [float("nan")], "default": 1.0}, [1.0, 5.5]),
        (
            pa.array([float("nan"), 5.5]),
            {"type": "float", "default": 1.0},
            ["v is nan, which is not a finite number", 5.5],
        ),
        (pa.array([1.5, 2.0, None]), {"type": "int", "default": 3}, [f"v is 1.5, which is {NUMBER}", 2, 3]),
        (pa.array([0.1], pa.float32()), {"type": "float?", "missing": [0.1]}, [None]),
        (pa.array([-99, 2**53 + 1]), {"type": "string", "missing": [-99], "default": ""}, ["", str(2**53 + 1)]),
        (pa.array([None, True]), {"type": "bool", "default": False}, [False, True]),
        (pa.array([None, None], pa.null()), {"type": "bool", "default": False}, [False, False]),
        (
            pa.array([date(1900, 1, 1), date(1995, 1, 1)]),
            {"type": "timestamp?", "format": "%d.%m.%Y", "missing": ["01.01.1900", "n/a"]},
            [None, datetime(1995, 1, 1, tzinfo=UTC)],
        ),
        (pa.array(["1,5", "x"]).dictionary_encode(), {"type": "int", "strip": [","]}, [15, f"v is 'x', {NUMBER}"]),
        (pa.array(["1,5"], pa.large_string()), {"type": "int", "strip": [","]}, [15]),
    ],
)  # fmt: skip
def test_typed_values_are_judged(tmp_path: Path, values: pa.Array, column: dict[str, Any], expected: list[Any]) -> None:
    """A typed value in Parquet counts as missing by its number or moment, and a default stands for a missing one."""
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"v": values}), path)
    rows, rejects = read(path, {"v": column})
    is_reason = [isinstance(one, str) and one.startswith("v is ") for one in expected]
    assert rows == [(one,) for one, bad in zip(expected, is_reason, strict=True) if not bad]
    assert [one.reason for one in rejects] == [one for one, bad in zip(expected, is_reason, strict=True) if bad]


def test_broken_bytes_cost_only_their_row(tmp_path: Path) -> None:
    """A cleaned Parquet string whose bytes are no UTF-8 is a reject; a default does not stand for it."""
    raw = pa.StringArray.from_buffers(3, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"1\xff3"))
    pq.write_table(pa.table({"v": raw}), tmp_path / "data.parquet")
    rows, (reject,) = read(tmp_path / "data.parquet", {"v": {"type": "int", "default": 7}})
    assert rows == [(1,), (3,)]
    assert reject.reason == "v is an unreadable string, which is not a whole number of 64 bits"


def test_a_samples_strings_are_read_as_a_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample whose column is a string, as in its public file, is read as a number; its other columns are left out."""
    table = pa.table({"more": [1, 2], "price": ["₹1,099", ""]})
    columns = (Column("more", "int", False), Column("price", "string", False))
    sample = Sample("tiny", "Tiny", columns, 2, 1, 2, lambda number: table)
    monkeypatch.setitem(SAMPLES, "tiny", sample)
    (chunk,) = open_source(pipeline({"price": RUPEES}, sample="tiny"), Path()).chunks()
    assert chunk.rows.to_pylist() == [{"price": 1099.0}]
    assert [(one.line, one.reason, one.text) for one in chunk.rejects] == [(2, "price is missing", '{"price": ""}')]
    with pytest.raises(SourceError, match="price is string, declared float"):
        open_source(pipeline({"price": "float"}, sample="tiny"), Path())


# --- formats ------------------------------------------------------------------------------------------------------

FORMS = [
    "%Y-%m-%d %H:%M:%S.%f",
    "%m/%d/%Y %I:%M:%S %p",
    "%d %b %y",
    "%A, %B %d %Y at %H:%M",
    "%a %d%m%Y%H%M%S",
    "%Y%%%m(%d)+[%H]",
    "%Y-%m-%dT%H:%M%z",
    "%Y",
]
MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))


def python_reads(text: str, form: str) -> datetime | None:
    try:
        moment = datetime.strptime(text, form)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


@settings(max_examples=150, deadline=None)
@given(st.lists(MOMENTS, min_size=1, max_size=5), st.sampled_from(FORMS), st.data())
def test_a_format_reads_as_pythons_strptime(
    tmp_path_factory: pytest.TempPathFactory, moments: list[datetime], form: str, data: st.DataObject
) -> None:
    """Texts of a format, and texts of one with a character changed, are read as Python's strptime reads them."""
    texts: list[str | None] = []
    for moment in moments:
        text = moment.replace(tzinfo=UTC).strftime(form).replace(f"{moment.year}", f"{moment.year:04}")
        text = re.sub(r"\b0(?=[1-9])", "", text) if data.draw(st.booleans()) and "%f" not in form else text
        place = data.draw(st.integers(0, len(text) - 1))
        changed = text[:place] + data.draw(st.sampled_from("0179 -/apZ")) + text[place + 1 :]
        texts += [text, changed]
    folder = tmp_path_factory.getbasetemp()
    path = written_as(folder, "csv", [text.strip() if text else text for text in texts])
    rows, _ = read(path, {"id": "int", "v": {"type": "timestamp?", "format": form}})
    expected = [python_reads((text or "").strip(), form) for text in texts]
    assert {place: value for place, value in rows if value is not None} == {
        place: value for place, value in enumerate(expected) if value is not None
    }


# --- columns that are not there -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_column_that_may_lack_need_not_be_there(tmp_path: Path, ending: str) -> None:
    """A declared column that may be missing, or has a default, may lack: it is null, or the default, in every row."""
    path = written_as(tmp_path, ending, ["x", "y"])
    columns = {"n": "int?", "v": "string", "k": {"type": "string", "default": "none"}, "id": "int"}
    assert read(path, columns) == ([(None, "x", "none", 0), (None, "y", "none", 1)], [])


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", ["V", "v_", " v "])
def test_nearly_the_same_name_is_no_lack(tmp_path: Path, ending: str, name: str) -> None:
    """Where the data have an optional column by nearly its name, that is asked about and not taken for a lack."""
    error = refused(written_as(tmp_path, ending, ["x"]), {"id": "int", name: "string?"}, header=True)
    assert f"has no column {name}" in error.message
    assert 'did you mean "v"?' in error.hint


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_other_data_are_refused(tmp_path: Path, ending: str) -> None:
    """Data with not one of the declared columns, or without a required one, are refused, be the others optional."""
    path = written_as(tmp_path, ending, ["x"])
    assert "has no column a, b" in refused(path, {"a": "int?", "b": "int?"}, header=True).message
    assert "has no column name" in refused(path, TWO, header=True).message
    error = refused(path, {"id": "int", "name": "string", "more": "int?"}, header=True)
    assert error.message.endswith("has no column name")


def test_files_of_a_glob_may_lack_each_its_own(tmp_path: Path) -> None:
    """Of several files each may lack another optional column; rows with too few fields stay rejects."""
    written(tmp_path, "id,a\n1,x\n", "part-1.csv")
    written(tmp_path, "b,id\ny,2\nz\n", "part-2.csv")
    rows, (reject,) = read(tmp_path / "part-*.csv", {"id": "int", "a": "string?", "b": "string?"})
    assert rows == [(1, "x", None), (2, None, "y")]
    assert (reject.line, reject.reason) == (3, "1 field where 2 were expected")
    assert opened(tmp_path / "part-*.csv", {"id": "int", "a": "string?"}).fingerprint
