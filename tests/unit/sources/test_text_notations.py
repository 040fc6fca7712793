"""How values are written: signs of numbers, words for true and false, what is missing, zones and epochs."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.reading import read, written

EUROPEAN: dict[str, Any] = {"decimal": ",", "thousands": "."}
AMSTERDAM: dict[str, Any] = {"timezone": "Europe/Amsterdam"}
NOON = datetime(2025, 7, 1, 10, tzinfo=UTC)  # noon in Amsterdam
READ: list[tuple[str, str, dict[str, Any], object]] = [
    ("float", "2,6", {"decimal": ","}, 2.6),
    ("float", "2", {"decimal": ","}, 2.0),
    ("float", "-,5e-3", {"decimal": ","}, -0.0005),
    ("float", "0,1234567890123456789", {"decimal": ","}, 0.1234567890123456789),
    ("float", "1.234.567,89", EUROPEAN, 1234567.89),
    ("float", "1234567,89", EUROPEAN, 1234567.89),
    ("float", "1,234.5", {"thousands": ","}, 1234.5),
    ("float", "12'345.6", {"thousands": "'"}, 12345.6),
    ("float", "12\u2019345", {"thousands": "\u2019"}, 12345.0),
    ("float", "1 234,5", {"decimal": ",", "thousands": " "}, 1234.5),
    ("float", "1\u00a0234\u202f567", {"thousands": " "}, 1234567.0),
    ("int", "9.223.372.036.854.775.807", {"thousands": "."} | {"decimal": ","}, 2**63 - 1),
    ("int", "-1,000", {"thousands": ","}, -1000),
    ("bool", "Ja", {"true": ["J", "Ja"], "false": ["N", "Nee"]}, True),
    ("bool", "nee", {"true": ["J", "Ja"], "false": ["N", "Nee"]}, False),
    ("bool", "1", {"true": [1], "false": [2]}, True),
    ("bool", "FALSE", {"true": ["ok"]}, False),
    ("timestamp", "2025-07-01 12:00", AMSTERDAM, NOON),
    ("timestamp", "2025-07-01T12:00:00+02:00", AMSTERDAM, NOON),
    ("timestamp", "2025-07-01", AMSTERDAM, datetime(2025, 6, 30, 22, tzinfo=UTC)),
    ("timestamp", "2025-10-26 02:30", AMSTERDAM | {"ambiguous": "earliest"}, datetime(2025, 10, 26, 0, 30, tzinfo=UTC)),
    ("timestamp", "2025-10-26 02:30", AMSTERDAM | {"ambiguous": "latest"}, datetime(2025, 10, 26, 1, 30, tzinfo=UTC)),
    ("timestamp", "2025-10-26 02:30+01:00", AMSTERDAM, datetime(2025, 10, 26, 1, 30, tzinfo=UTC)),
]
REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("float", "2.6", {"decimal": ","}, "v is '2.6', not a finite number with decimal = \",\""),
    ("float", "12.34,5", EUROPEAN, 'not a finite number with decimal = "," and thousands = "."'),
    ("float", "1.2345", EUROPEAN, "not a finite number"),
    ("float", ".234,5", EUROPEAN, "not a finite number"),
    ("float", "1234.567", EUROPEAN, "not a finite number"),
    ("float", "1,5", {}, "v is '1,5', not a finite number"),
    ("int", "12,34", {"thousands": ","}, 'not a whole number of 64 bits with thousands = ","'),
    ("int", "1,5", {"decimal": ","}, "not a whole number"),
    ("bool", "true", {"true": ["Ja"], "false": ["Nee"]}, "v is 'true', not Ja or Nee"),
    ("timestamp", "2025-03-30 02:30", AMSTERDAM, "v is '2025-03-30 02:30', which does not exist in Europe/Amsterdam"),
    ("timestamp", "2025-10-26 02:30", AMSTERDAM, "v is '2025-10-26 02:30', which occurs twice in Europe/Amsterdam"),
    ("timestamp", "2025-03-30 02:30", AMSTERDAM | {"ambiguous": "latest"}, "which does not exist"),
    ("timestamp", "nonsense", AMSTERDAM, "v is 'nonsense', not a timestamp"),
    ("float", "NA", {"missing": ["NA"]}, "v is missing ('NA' counts as missing)"),
    ("float", "-200,0", {"missing": [-200], "decimal": ","}, "v is missing"),
    ("float", "NaN", {"missing": ["NaN", "nan"]}, "v is missing ('NaN' counts as missing)"),
]


@pytest.mark.parametrize("where", ["source", "column"])
@pytest.mark.parametrize(("kind", "text", "settings", "value"), READ)
def test_notations_that_are_declared(
    tmp_path: Path, kind: str, text: str, settings: dict[str, Any], value: object, where: str
) -> None:
    """A value in the declared notation is exactly what it stands for, declared for the source or for the column."""
    path = written(tmp_path, f"id|v\n1|{text}\n")
    column = {"type": kind} | (settings if where == "column" else {})
    rows, rejects = read(path, {"id": "string", "v": column}, delimiter="|", **(settings if where == "source" else {}))
    assert (rows, rejects) == ([("1", value)], [])


@pytest.mark.parametrize(("kind", "text", "settings", "reason"), REFUSED)
def test_values_of_another_notation(
    tmp_path: Path, kind: str, text: str, settings: dict[str, Any], reason: str
) -> None:
    """A value that is not in the declared notation is a reject with its reason, never a guess."""
    rows, (reject,) = read(
        written(tmp_path, f"id|v\n1|{text}\n"), {"id": "string", "v": kind}, delimiter="|", **settings
    )
    assert not rows
    assert reason in reject.reason


EPOCHS = [
    ("epoch", "1751364000", NOON),
    ("epoch", "1751364000.25", NOON.replace(microsecond=250_000)),
    ("epoch", "-0.000001", datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ("epoch_ms", "1751364000123", NOON.replace(microsecond=123_000)),
    ("epoch_ms", "1751364000123.456000", NOON.replace(microsecond=123_456)),
    ("epoch_us", "1751364000123456", NOON.replace(microsecond=123_456)),
    ("epoch", "1751364000.1234567", None),
    ("epoch", "1.7e9", None),
    ("epoch", "253402300800", None),
    ("epoch", "999999999999999999", None),
    ("epoch", "2025-07-01", None),
]


@pytest.mark.parametrize(("form", "text", "value"), EPOCHS)
def test_numbers_since_1970(tmp_path: Path, form: str, text: str, value: datetime | None) -> None:
    """A number since 1970 is a moment to the microsecond; anything else does not fit."""
    columns = {"id": "int", "v": {"type": "timestamp", "format": form}}
    rows, rejects = read(written(tmp_path, f"id,v\n1,{text}\n"), columns)
    assert rows == ([] if value is None else [(1, value)])
    assert [reject.reason.rpartition(" ")[2] for reject in rejects] == ["1970"] * (value is None)


def test_what_is_missing_in_every_column(tmp_path: Path) -> None:
    """The source's ``missing`` is added to a column's own; an empty string stays one where only the source has it."""
    path = written(tmp_path, "id,n,s,t\n1,NA,NA,\n2,-999,-,x\n3,n/a,,x\n")
    columns = {"id": "int", "n": {"type": "int?", "missing": ["n/a"]}, "s": "string?", "t": "string"}
    rows, rejects = read(path, columns, missing=["NA", "-", -999])
    assert rows == [(1, None, None, ""), (2, None, None, "x"), (3, None, None, "x")]
    assert not rejects


def test_a_columns_own_notation_precedes_the_sources(tmp_path: Path) -> None:
    """A column's decimal sign, words and zone replace those of the source."""
    columns = {
        "a": "float",
        "b": {"type": "float", "decimal": "."},
        "c": {"type": "timestamp", "timezone": "UTC"},
        "d": {"type": "bool", "true": ["on"], "false": ["off"]},
    }
    path = written(tmp_path, "a;b;c;d\n1,5;1.5;2025-07-01 10:00;on\n")
    assert read(path, columns, delimiter=";", decimal=",", true=["ja"], **AMSTERDAM)[0] == [(1.5, 1.5, NOON, True)]


JSON_COLUMNS = {"x": "float", "ok": "bool", "at": "timestamp", "n": {"type": "float", "default": 0.0}}
SETTINGS: dict[str, Any] = {"decimal": ",", "true": ["J"], "false": ["N"], "missing": [-1.5], **AMSTERDAM}


def test_json_strings_are_in_the_notation_and_json_values_are_not(tmp_path: Path) -> None:
    """In JSON Lines texts are read by the settings, while numbers and booleans are what they are."""
    text = {"x": "2,5", "ok": "J", "at": "2025-07-01 12:00", "n": "-1,5"}
    plain = {"x": 2.5, "ok": True, "at": "2025-07-01T10:00Z", "n": -1.5}
    path = written(tmp_path, "\n".join(map(json.dumps, [text, plain])), "data.jsonl")
    assert read(path, JSON_COLUMNS, **SETTINGS) == ([(2.5, True, NOON, 0.0)] * 2, [])


def test_epochs_and_arrays_of_json_in_any_encoding(tmp_path: Path) -> None:
    """A JSON number is read by the epoch's unit, a text too; an array in UTF-16 is read as any other."""
    text = json.dumps([{"at": 1_751_364_000}, {"at": "1751364000.5"}, {"at": 1_751_364_000.25}, {"at": True}], indent=1)
    path = written(tmp_path, text.encode("utf-16"), "data.json")
    rows, rejects = read(path, {"at": {"type": "timestamp", "format": "epoch"}}, encoding="utf-16")
    assert [moment.microsecond for (moment,) in rows] == [0, 500_000, 250_000]
    assert [(reject.element, "seconds since 1970" in reject.reason) for reject in rejects] == [(4, True)]


def test_parquet_strings_zones_and_epochs(tmp_path: Path) -> None:
    """In Parquet texts are read by the settings; timestamps and dates without a zone are local in the declared one."""
    path = tmp_path / "data.parquet"
    local = datetime(2025, 7, 1, 12)
    table = {
        "x": pa.array(["2,5"]),
        "n": pa.array([-1.5]),
        "ok": pa.array(["N"]),
        "at": pa.array([local], pa.timestamp("ns")),
        "day": pa.array([date(2025, 7, 1)]),
        "utc": pa.array([NOON], pa.timestamp("us", "UTC")),
        "epoch": pa.array([1_751_364_000]),
    }
    pq.write_table(pa.table(table), path)
    columns = JSON_COLUMNS | {"day": "timestamp", "utc": "timestamp", "epoch": {"type": "timestamp", "format": "epoch"}}
    rows, rejects = read(path, columns, **SETTINGS)
    assert rows == [(2.5, False, NOON, 0.0, datetime(2025, 6, 30, 22, tzinfo=UTC), NOON, NOON)]
    assert not rejects


def test_a_local_time_that_does_not_exist_in_parquet(tmp_path: Path) -> None:
    """A timestamp without a zone that does not exist there is a reject with that reason."""
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"at": pa.array([datetime(2025, 3, 30, 2, 30)], pa.timestamp("us"))}), path)
    rows, (reject,) = read(path, {"at": "timestamp"}, **AMSTERDAM)
    assert not rows
    assert "does not exist in Europe/Amsterdam" in reject.reason
