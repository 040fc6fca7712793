"""The setting that would read what is rejected: offered where it does, and never where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.reading import TWO, opened, pipeline, read, refused, written
from tidemill.sources.preview import encoding_notes, nothing_fits, preview_notes, read_preview
from tidemill.sources.remedies import fault_pattern, faults_in, hint_of, reason_kind, remedies

NUMBERS = [
    ("float", "2,6", ['decimal = ","']),
    ("float", "1.234,5", ['decimal = ",", thousands = "."']),
    ("float", "1,234.5", ['thousands = ","']),
    ("float", "1,234", ['decimal = ","', 'thousands = ","']),
    ("int", "1,234", ['thousands = ","']),
    ("int", "1 234 567", ['thousands = " "']),
    ("float", "12'345.5", ['thousands = "\'"']),
    ("float", "€ 12.5", ['strip = ["€"]']),
    ("float", "12 %", ['strip = ["%"]']),
    ("float", "NaN", ['missing = ["NaN"]']),
    ("int?", "n/a", ['missing = ["n/a"]']),
    ("int", r"\N", [r'missing = ["\\N"]']),
    ("int", "2.5", ['type = "float"']),
    ("int", "12abcdef", []),
    ("float", "1.2.3", []),
]
OTHERS = [
    ("bool", "Ja", ['true = ["Ja"]']),
    ("bool", "nee", ['false = ["nee"]']),
    ("bool", "perhaps", []),
    ("timestamp", "31/12/2025 10:15", ['format = "%d/%m/%Y %H:%M"']),
    ("timestamp", "03/04/2025", ['format = "%d/%m/%Y"', 'format = "%m/%d/%Y"']),
    ("timestamp", "1751364000", ['format = "epoch"']),
    ("timestamp", "1751364000123", ['format = "epoch_ms"']),
    ("timestamp", "soon", []),
]


@pytest.mark.parametrize(("kind", "value", "expected"), NUMBERS + OTHERS)
def test_the_setting_that_reads_a_value(tmp_path: Path, kind: str, value: str, expected: list[str]) -> None:
    """Each setting that would read a rejected value is offered, with what it makes of it where that differs."""
    columns = {"id": "int", "v": kind}
    _, (reject,) = read(written(tmp_path, f"id|v\n1|{value}\n"), columns, delimiter="|")
    settings = remedies(reject, pipeline(columns, path="x").source.schema_)
    assert [str(setting) for setting in settings] == expected
    assert all(setting.column == "v" for setting in settings)
    assert len({setting.becomes for setting in settings}) == len(settings)


@pytest.mark.parametrize(
    ("text", "columns", "settings", "expected"),
    [
        ("id,name\n1;a\n", TWO, {}, ['delimiter = ";"']),
        ("id,name\n1\ta\n", TWO, {}, [r'delimiter = "\t"']),
        ("id,name\n1 a\n", TWO, {}, ['delimiter = "blanks"']),
        ('id, name\n1, "a, b"\n', TWO, {}, ["trim = true"]),
        ('id,name\n1,"say \\"hi\\""\n', TWO, {}, [r'escape = "\\"']),
        ("id,name\n#1\n", TWO, {}, ['comment = "#"']),
        ('id,name\n1,"12" pipe\n', TWO, {}, ['quote = ""']),
        ('id,name\n1,"open\n', TWO, {}, ['quote = ""']),
        ('id,name\n1,"a\n2,b",c\n', TWO, {}, []),
        ('id,name,x\n1,"a,2\n3,b",x,y\n', {**TWO, "x": "string"}, {}, []),
        ('id,name\n"1,a\n2,b"\n', TWO, {}, ['quote = ""']),
        ("id,name\n,a\n", TWO, {}, ['type = "int?"']),
        ("id,v\n1,-200\n", {"id": "int", "v": {"type": "float", "missing": [-200]}}, {}, ['type = "float?"']),
        ("id,at\n1,2025-10-26 02:30\n", {"id": "int", "at": "timestamp"}, {"timezone": "Europe/Amsterdam"},
         ['ambiguous = "earliest"']),
        ("id,at\n1,2025-03-30 02:30\n", {"id": "int", "at": "timestamp"}, {"timezone": "Europe/Amsterdam"}, []),
        ("id,name\n1,a,b\n", TWO, {}, []),
    ],
)  # fmt: skip
def test_the_setting_that_reads_a_record(
    tmp_path: Path, text: str, columns: dict[str, Any], settings: dict[str, Any], expected: list[str]
) -> None:
    """A record that is laid out otherwise, or lacks a value, has the setting that reads it; with it, it fits."""
    path = written(tmp_path, text)
    _, (reject,) = read(path, columns, header=True, **settings)
    found = remedies(reject, pipeline(columns, path="x").source.schema_)
    assert [str(setting) for setting in found] == expected


def test_no_other_delimiter_beside_rows_that_fit(tmp_path: Path) -> None:
    """A footer, as what follows the rows that fit, is no sign of another delimiter."""
    reader = opened(written(tmp_path, "id,name\n1,a\n2,b\nSource: office\n"), TWO)
    preview = read_preview(reader)
    assert len(preview.rejects) == 1
    assert preview_notes(reader, preview) == []


@pytest.mark.parametrize(
    ("reason", "kinds"),
    [
        ("v is '2,6', not a finite number", ["v is …, not a finite number"]),
        ("v is 'a; id is b', not a finite number", ["v is …, not a finite number"]),
        ("v is \"it's\", not true or false", ["v is …, not true or false"]),
        ("v is 'very lo…, not a finite number", ["v is …, not a finite number"]),
        ("v is 2.5, not a whole number of 64 bits", ["v is …, not a whole number of 64 bits"]),
        ("id is 'x', not a whole number; v is missing ('NA' counts as missing); and 3 more",
         ["id is …, not a whole number", "v is missing ('NA' counts as missing)"]),
        ("not JSON: unexpected content after document: line 1 column 17 (char 16)",
         ["not JSON: unexpected content after document: line … column … (char …)"]),
        ("2 fields where 3 were expected", ["2 fields where 3 were expected"]),
    ],
)  # fmt: skip
def test_the_kinds_of_a_reason(reason: str, kinds: list[str]) -> None:
    """A reason is of a kind for each of its faults, whatever the values are."""
    pattern = fault_pattern(pipeline({"id": "int", "v": "float"}, path="x").source.schema_)
    assert [reason_kind(fault) for fault in faults_in(reason, pattern)] == kinds


def test_nothing_fits_names_the_setting(tmp_path: Path) -> None:
    """Where no row fits, the hint begins with the setting that reads the commonest reject."""
    reader = opened(written(tmp_path, "id;v\n1;2,6\n2;3,5\n3;x\n"), {"id": "int", "v": "float"}, delimiter=";")
    error = nothing_fits(reader, read_preview(reader))
    assert error.hint.startswith('decimal = "," in source.columns.v would read it; or see [source.columns]')


def test_the_notes_of_rejects(tmp_path: Path) -> None:
    """Where some rows fit, a note for each kind of reject names the setting that reads it, with its readings."""
    text = "id;v\n1;2\n2;1,234\n3;2,345\n4;NA\n5;what\n"
    reader = opened(written(tmp_path, text), {"id": "int", "v": "float"}, delimiter=";")
    preview = read_preview(reader)
    (note,) = preview_notes(reader, preview)
    assert note.path == "source.columns.v"
    assert note.found == "4 rows, the first in line 3, rejected: v is '1,234', not a finite number"
    assert note.hint == 'decimal = "," (1.234) or thousands = "," (1234.0) in source.columns.v would read it'


def test_the_encoding_that_bytes_are_perhaps_in(tmp_path: Path) -> None:
    """Bytes that do not fit the encoding are a note with a likely one, and with a word as it reads in it."""
    text = "id,name\n1,plain\n" + "".join(f"{n},Müller aus Köln\n{n},Straße in Zürich\n" for n in range(2, 20))
    path = written(tmp_path, text.encode("cp1252"))
    reader = opened(path, TWO)
    (note,) = encoding_notes(reader, read_preview(reader))
    assert note.path == "source.encoding"
    assert note.found == "the bytes of data.csv, line 3, are not valid UTF-8"
    assert "(reads 'Müller')" in note.hint
    assert refused(written(tmp_path, "näme,älter\n1,2\n".encode("cp1252")), TWO).hint.startswith(
        "say in which encoding"
    )


def test_no_setting_no_hint() -> None:
    """Where nothing is known, nothing is said."""
    assert hint_of([], "source") == ""
