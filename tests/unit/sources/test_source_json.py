"""JSON as other programs write it: arrays, objects over several lines, nested values, NaN."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.reading import TWO, opened, read, refused, written
from tidemill.sources.preview import read_preview
from tidemill.sources.readers import json_records

ROWS: list[dict[str, Any]] = [
    {"id": 1, "name": 'naïve "]}\\ ,[{'},
    {"id": 2, "name": "two\nlines", "more": [{"a": [1, {}]}]},
    {"id": 3, "name": ""},
]
PAIRS = [(row["id"], row["name"]) for row in ROWS]
PRETTY = json.dumps(ROWS, indent=2)

LAYOUTS = {
    "compact array": json.dumps(ROWS),
    "pretty array": PRETTY,
    "array of a line each": "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
    "array in Windows lines": "\ufeff " + PRETTY.replace("\n", "\r\n"),
    "pretty objects": "\n".join(json.dumps(row, indent=4, ensure_ascii=False) for row in ROWS),
    "pretty objects without an end": "".join(json.dumps(row, indent=4) for row in ROWS),
    "lines": "\n".join(map(json.dumps, ROWS)),
}


@pytest.mark.parametrize("page", [1, 7, 2**20])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_rows(
    tmp_path: Path, layout: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One array, objects over several lines and JSON Lines give the same rows, wherever a read ends and whatever the
    strings hold."""
    monkeypatch.setattr(json_records, "PAGE_CHARACTERS", page)
    for size in (1, 1000):
        assert read(written(tmp_path, LAYOUTS[layout], "data.json"), TWO, size=size) == (PAIRS, [])


def test_an_array_may_be_compressed_and_is_read_to_a_limit(tmp_path: Path) -> None:
    """A packed array is read, and no more of it than is asked for; an empty one has no rows."""
    path = written(tmp_path, gzip.compress(PRETTY.encode()), "data.json.gz")
    assert read(path, TWO, rows=2) == (PAIRS[:2], [])
    assert "has no rows" in refused(written(tmp_path, " [ ] ", "data.json"), TWO).message


def test_a_reject_of_an_array_names_its_element(tmp_path: Path) -> None:
    """An element that does not fit is a reject with its number and the line on which it starts; others are read."""
    text = '[{"id": 1, "name": "a"},\n7,\n{"id": 2.5,\n"name": "b"},\n{"id": 4, "name": "\t"},\n{"id": 5, "name": "e"}]'
    rows, rejects = read(written(tmp_path, text, "data.json"), TWO)
    assert rows == [(1, "a"), (5, "e")]
    assert [(one.element, one.line) for one in rejects] == [(2, 2), (3, 3), (4, 5)]
    assert [one.place for one in rejects] == ["element 2", "element 3", "element 4"]
    reasons = ["not a JSON object but 7", "id is 2.5, not a whole number of 64 bits", "not JSON: "]
    assert all(one.reason.startswith(reason) for one, reason in zip(rejects, reasons, strict=True))
    assert rejects[1].text == '{"id": 2.5, "name": "b"}'
    assert rejects[1].document()["element"] == 3


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[{"id": 1, "name": "a"}, {"id": 2, "na', "element 2, from line 1: not JSON"),
        ('[{"id": 1, "name": "a"}\n', "element 2, from line 2: the array is not closed"),
        ('[{"id": 1, "name": "a"},', "element 2, from line 1: the array is not closed"),
        ('[{"id": 1, "name": "a"},]', "element 2, from line 1: not JSON"),
        ('[{"id": 1, "name": "a"} {"id": 2, "name": "b"}]', "'{' where a comma"),
        ('[{"id": 1, "name": "a"}]\n[]', "something follows the array"),
        ('[{"id": 1, "name": "a"}]]', "something follows the array"),
        ('{\n"id": 1, "name": "a"}\n{\n"id": 2, "name":\n', "element 2, from line 3: not JSON"),
        (f"[{'[' * 100_000}", "not JSON"),
    ],
)
def test_a_damaged_array_is_an_error(tmp_path: Path, text: str, what: str) -> None:
    """Where it is open where the next value starts, reading ends with an error that names the place: no row is
    swallowed."""
    assert what in refused(written(tmp_path, text, "data.json"), TWO).message


def test_an_element_that_never_ends_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value longer than 1 MiB is a reject; one whose end does not come is an error before all is in memory."""
    long = json.dumps([ROWS[0], {"id": 9, "name": "x" * 2**20}, ROWS[2]])
    rows, (reject,) = read(written(tmp_path, long, "data.json"), TWO)
    assert (rows, reject.place, reject.reason) == ([PAIRS[0], PAIRS[2]], "element 2", "longer than 1 MiB")
    monkeypatch.setattr(json_records, "VALUE_CHARACTERS", 2**18)
    assert "element 2" in refused(written(tmp_path, long, "data.json"), TWO).message


@pytest.mark.parametrize("cut", ['{"id": 1, "name":', '{"id": 1,', '{"id": 1, "name": "o', "{"])
def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path: Path, cut: str) -> None:
    """Where the first line is damaged, the file is still read line by line, and only that line is a reject."""
    lines = [cut, *map(json.dumps, ROWS)]
    rows, (reject,) = read(written(tmp_path, "\n".join(lines), "data.json"), TWO)
    assert (rows, reject.place, reject.text) == (PAIRS, "line 1", cut)


NESTED = {
    "id": 1,
    "user": {"address": {"city": "Delft"}, "tags": ["a", {"deep": 2.0}]},
    "a.b": "literal",
    "a": {"b": "nested", "c.d": True},
}
PATHS: dict[str, tuple[str, Any]] = {
    "user.address.city": ("string?", "Delft"),
    "user.tags.0": ("string?", "a"),
    "user.tags.1.deep": ("int?", 2),
    "user.tags.7": ("string?", None),
    "a.b": ("string?", "literal"),
    "a.c.d": ("bool?", True),
}


@pytest.mark.parametrize("cleaned", [{}, {"missing": ["none"]}])
@pytest.mark.parametrize("path", PATHS)
def test_a_path_leads_into_objects_and_lists(tmp_path: Path, path: str, cleaned: dict[str, Any]) -> None:
    """``from`` is a key as it stands, else a path of keys and positions; null and a lacking key are missing."""
    kind, value = PATHS[path]
    lines = [NESTED, {"id": 2}, {"id": 3, "user": None, "a": None}, {"id": 4, "user": {"address": {}, "tags": []}}]
    data = written(tmp_path, "\n".join(map(json.dumps, lines)), "data.jsonl")
    rows, rejects = read(data, {"id": "int", "v": {"type": kind, "from": path} | cleaned})
    assert (rows, rejects) == ([(1, value), (2, None), (3, None), (4, None)], [])
    assert read(data, {"id": "int", path: kind})[0] == rows


def test_a_path_through_a_value_without_parts_is_a_reject(tmp_path: Path) -> None:
    """Where a path meets a number, a text or a list without that position, the reason says what it met."""
    lines = [{"id": 1, "user": 7}, {"id": "2", "user": {"tags": "x"}}, {"id": 3, "user": []}, {"id": 4, "user": {}}]
    columns = {
        "id": "int",
        "tag": {"type": "string?", "from": "user.tags.0"},
        "city": {"type": "string?", "from": "user.city", "missing": ["-"]},
    }
    rows, rejects = read(written(tmp_path, "\n".join(map(json.dumps, lines)), "data.jsonl"), columns)
    assert rows == [(4, None, None)]
    assert [one.reason for one in rejects] == [
        "user is 7, which has no tags; user is 7, which has no city",
        "id is '2', not a whole number of 64 bits; user.tags is 'x', which has no 0",
        "user is a list, which has no tags but positions such as user.0; user is a list, which has no city but "
        "positions such as user.0",
    ]
    assert json.loads(rejects[0].text) == lines[0]


def test_a_deep_value_is_a_reject(tmp_path: Path) -> None:
    """A value that is nested deeper than it can be written again is a reject like any other object or list."""
    line = f'{{"id": 1, "user": {"[" * 400}{"]" * 400}}}'
    rows, (reject,) = read(
        written(tmp_path, line, "data.jsonl"), {"id": "int", "tag": {"type": "string", "from": "user"}}
    )
    assert (rows, reject.reason.startswith("tag is ")) == ([], True)


def test_a_path_that_no_record_has_is_found_up_front(tmp_path: Path) -> None:
    """A required path that is nowhere is refused, and the names that are there, nested ones too, help out."""
    path = written(tmp_path, json.dumps(NESTED), "data.jsonl")
    for wrong in ("user.adress.city", "user.address.City"):
        error = refused(path, {"id": "int", "v": {"type": "string", "from": wrong}})
        assert f"no column {wrong}" in error.message
        assert 'did you mean "user.address.city"?' in error.hint


def test_parquet_structs_and_lists_have_paths_too(tmp_path: Path) -> None:
    """In Parquet the same paths lead into structs and lists; a null on the way is missing."""
    user = pa.array(
        [{"address": {"city": "Delft"}, "tags": ["a", "b"]}, {"address": None, "tags": []}, None, {"tags": ["c"]}]
    )
    table = pa.table({"user": user, "a.b": pa.array([1, 2, 3, 4]), "a": pa.array([{"b": 0}] * 4)})
    pq.write_table(table, tmp_path / "data.parquet", row_group_size=3)
    columns = {
        "city": {"type": "string?", "from": "user.address.city"},
        "first": {"type": "string?", "from": "user.tags.0"},
        "second": {"type": "string?", "from": "user.tags.1"},
        "n": {"type": "int", "from": "a.b"},
    }
    for size in (1, 1000):
        rows, rejects = read(tmp_path / "data.parquet", columns, size=size)
        assert rows == [("Delft", "a", "b", 1), (None, None, None, 2), (None, None, None, 3), (None, "c", None, 4)]
        assert rejects == []
    error = refused(tmp_path / "data.parquet", {"v": {"type": "string", "from": "user.adress.city"}})
    assert 'did you mean "user.address.city"?' in error.hint


def test_parquet_files_may_differ_in_their_types(tmp_path: Path) -> None:
    """Files of one source may hold a column in different types, each converted by itself."""
    for place, (ids, names) in enumerate(
        [
            (pa.array([1], pa.int32()), pa.array(["a"]).dictionary_encode()),
            (pa.array([2]), pa.array(["b"])),
            (pa.array([3.0]), pa.array([b"c"])),
        ]
    ):
        pq.write_table(pa.table({"id": ids, "name": names}), tmp_path / f"part-{place}.parquet")
    assert read(f"{tmp_path}/*.parquet", TWO) == ([(1, "a"), (2, "b"), (3, "c")], [])


NAN = '{"id": 1, "v": NaN}\n{"id": 2, "v": 1.5}\n{"id": 3, "v": -Infinity}\n{"id": 4, "v": null, "w": NaN}\n'


def test_nan_is_missing_only_where_it_is_declared_so(tmp_path: Path) -> None:
    """NaN in JSON is missing where ``missing`` names it; else its row is a reject that says so. In other keys it is
    no fault."""
    path = written(tmp_path, NAN, "data.jsonl")
    for size in (1, 1000):
        rows, (reject,) = read(path, {"id": "int", "v": {"type": "float?", "missing": ["NaN"]}}, size=size)
        assert rows == [(1, None), (2, 1.5), (4, None)]
        assert reject.reason.startswith("v is -Infinity, not a finite number")
        for named in ("v", "x"):
            columns = {"id": "int", named: {"type": "float?", "from": "v"}}
            rows, rejects = read(path, columns, size=size)
            assert rows == [(2, 1.5), (4, None)]
            assert rejects[0].reason == (
                f'{named} is NaN, not a finite number (JSON has no NaN; missing = ["NaN"] reads it as missing)'
            )


WHOLE = ["3.0", "-0.0", "3e2", "1E3", "9007199254740991.0", "30e-1"]
NOT_WHOLE = ["3.5", "9007199254740993.0", "1e16", "1e300", '"3.0"', "true", "[3]", "9223372036854775808"]


@pytest.mark.parametrize("column", ["int", {"type": "int", "from": "v"}, {"type": "int", "default": 7}])
@settings(max_examples=20, deadline=None)
@given(texts=st.lists(st.sampled_from([*WHOLE, *NOT_WHOLE, "3", "-9007199254740993"]), min_size=1, max_size=12))
def test_a_whole_number_in_any_notation(
    tmp_path_factory: pytest.TempPathFactory, column: Any, texts: list[str]
) -> None:
    """JSON's 3.0 is the number 3; one that a float may have rounded is refused, whatever stands beside it."""
    lines = "\n".join(f'{{"id": {place}, "v": {text}}}' for place, text in enumerate(texts))
    path = written(tmp_path_factory.getbasetemp(), lines, "whole.jsonl")
    rows, rejects = read(path, {"id": "int", "v": column})
    as_text = isinstance(column, dict) and "default" in column  # a cleaned column reads texts
    refused_texts = [text for text in NOT_WHOLE if not (as_text and text == '"3.0"')]
    good = [place for place, text in enumerate(texts) if text not in refused_texts]
    assert [row[0] for row in rows] == good
    assert [row[1] for row in rows] == [int(Decimal(texts[place].strip('"'))) for place in good]
    assert len(rejects) == len(texts) - len(good)


def test_a_thousand_columns(tmp_path: Path) -> None:
    """A wide file is read alike as JSON Lines, as an array, by paths and as Parquet."""
    names = [f"c{place}" for place in range(1000)]
    records = [{name: row * 1000 + place for place, name in enumerate(names)} for row in range(5)]
    expected = [tuple(record.values()) for record in records]
    columns = dict.fromkeys(names, "int")
    for text in ("\n".join(map(json.dumps, records)), json.dumps(records, indent=1)):
        assert read(written(tmp_path, text, "data.json"), columns) == (expected, [])
    nested = "\n".join(json.dumps({"all": record}) for record in records)
    by_path = {name: {"type": "int", "from": f"all.{name}"} for name in names}
    assert read(written(tmp_path, nested, "data.jsonl"), by_path) == (expected, [])
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "data.parquet")
    assert read(tmp_path / "data.parquet", columns) == (expected, [])


def test_int96_timestamps(tmp_path: Path) -> None:
    """The timestamps that Spark and Hive once wrote are read to the microsecond, over all years."""
    moments = [datetime(1, 1, 2), datetime(2020, 1, 2, 3, 4, 5, 678901), datetime(9999, 12, 31)]
    table = pa.table({"at": pa.array(moments, pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "data.parquet", use_deprecated_int96_timestamps=True)
    rows, rejects = read(tmp_path / "data.parquet", {"at": "timestamp"})
    assert ([row[0].replace(tzinfo=None) for row in rows], rejects) == (moments, [])


def test_the_preview_names_elements(tmp_path: Path) -> None:
    """What ``check`` says of an array names the element."""
    text = '[{"id": 1, "name": "a"}, {"id": "x", "name": "b"}]'
    preview = read_preview(opened(written(tmp_path, text, "data.json"), TWO))
    assert preview.sentence().endswith("1 fit, 1 rejected: element 2: id is 'x', not a whole number of 64 bits")
    assert preview.document()["examples"][0]["element"] == 2
