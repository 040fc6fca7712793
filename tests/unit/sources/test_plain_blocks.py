"""Blocks that are read as a whole: as if they were read record by record, whatever is in the file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.reading import SMART_HOME_COLUMNS, opened, pipeline
from tidemill.errors import SourceError
from tidemill.samples import write_sample
from tidemill.sources.readers import csv as csv_file
from tidemill.sources.readers import csv_chunks, jsonl
from tidemill.sources.readers.csv_blocks import BlockReader, CsvBlock
from tidemill.sources.readers.jsonl import JsonObjects
from tidemill.sources.readers.pages import PIECE
from tidemill.sources.source import Reject
from tidemill.sources.text_values import value_of, values_of


def split(text: str) -> list[str]:
    return text.split()


NUMBERS = split(
    """0 7 007 -0 +5 5.0 5.00 1e5 1e999 -1e999 1e-999 0x10 0X1f 1_000 nan NaN inf -Infinity 9223372036854775807
    9223372036854775808 -9223372036854775808 -9223372036854775809 00000000000000000000000000005 1.5 -.5 5. 1,5 1.000,5
    2.2250738585072011e-308 1.7976931348623159e308 123456789.123456789 0.30000000000000004 -999 -999.0 1,234 1.234 1'234
    $5 5$ 5x --5 - + . e5 1e"""
)
WORDS = split("true TRUE f yes 1 no maybe ja nee NA n/a null x ab")
MOMENTS = split(
    """2024-02-29 2023-02-29 2024-01-01T05 2024-01-01T05:06 2024-01-01T05:06:07 2024-01-01T05:06:07.123456
    2024-01-01T05:06:07.1234567 2024-01-01T05:06:07.1230000000 2024-01-01T05:06:07Z 2024-01-01T05:06:07+02:00
    2024-01-01T05:06:07+0230 2024-01-01T05:06:07+02 2024-01-01T05:06:07+25:00 2024-01-01Z 2024-01-01+01:00 0000-01-01
    0001-01-01T00:00:00+05:00 9999-12-31T23:59:59-05:00 2024-01-01T24:00 2024-01-01T05:60 2024-01-01T05:06:60
    2024-01-01T05:06:07. 2024-03-31T02:30:00 2024-10-27T02:30:00 29.02.2024 1.1.2024 1704085567 1704085567.5"""
)
BLANKS = ["", " ", " 5", "5 ", "\t5", "\u00a05", "\u2003", "5\u2003", " a ", "2024-01-01 05:06:07", "2024-01-01 05",
          "2024-01-01 05:06:07 +02", " 2024-02-29"]  # fmt: skip
STRANGE = [
    "é",
    "٣",
    "\uff15",
    "a\x0bb",
    "\ufeff5",
    "#c",
    "\u2028",
    "a\x00b",
    "𝄞",
    "a\\,b",
    "\\N",
    "'5'",
    '5"',
    "\x85",
    "\x1f5",
]
TEXTS = st.sampled_from(NUMBERS + WORDS + MOMENTS + BLANKS + STRANGE)
COLUMNS: list[Any] = [
    *(f"{kind}{optional}" for kind in ("int", "float", "string", "bool", "timestamp") for optional in ("", "?")),
    {"type": "int?", "missing": ["NA", -999]},
    {"type": "int", "default": 7, "strip": ["x"]},
    {"type": "int", "thousands": "."},
    {"type": "float", "strip": ["$", ","]},
    {"type": "float?", "thousands": ",", "missing": ["n/a", 5]},
    {"type": "float?", "decimal": ",", "thousands": "."},
    {"type": "float?", "missing": ["-999", "NaN", 1e5], "thousands": "'"},
    {"type": "string?", "missing": ["NA"]},
    {"type": "string", "default": "none"},
    {"type": "bool", "true": ["ja"], "false": ["nee"]},
    {"type": "timestamp?", "format": "%d.%m.%Y"},
    {"type": "timestamp", "timezone": "Europe/Amsterdam"},
    {"type": "timestamp?", "format": "epoch", "missing": ["NA"]},
    {"type": "timestamp", "default": "2020-01-01T00:00:00Z"},
]


class Ways(NamedTuple):
    """How many records were read in plain blocks, and how many bytes of blocks went the careful way."""

    plain: list[int]
    careful: list[int]


@contextmanager
def sizes(block: int, piece: int) -> Iterator[None]:
    """Blocks and pieces of other sizes."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (csv_chunks, jsonl):
            patch.setattr(module, "BLOCK", block)
            patch.setattr(module, "PIECE", piece)
        patch.setattr(csv_file, "PIECE", piece)
        yield


@contextmanager
def careful() -> Iterator[None]:
    """Every file is read record by record."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_chunks, "can_read", lambda dialect, width: False)
        patch.setattr(JsonObjects, "read_lines", lambda objects, data, lines: None)
        yield


@contextmanager
def counted() -> Iterator[Ways]:
    """Count what goes which way."""
    ways, read_csv, read_json = Ways([], []), BlockReader.read, JsonObjects.read_lines

    def csv_block(reader: BlockReader, data: bytes) -> CsvBlock | None:
        block = read_csv(reader, data)
        (ways.careful if block is None else ways.plain).append(len(data) if block is None else len(block))
        return block

    def json_block(objects: JsonObjects, data: bytes, lines: int) -> Any:
        rows = read_json(objects, data, lines)
        (ways.careful if rows is None else ways.plain).append(len(data) if rows is None else len(rows))
        return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlockReader, "read", csv_block)
        patch.setattr(JsonObjects, "read_lines", json_block)
        yield ways


def everything(path: Path, columns: Mapping[str, Any], size: int, **source: Any) -> str:
    """All rows and rejects of a file, to the last bit, or the error."""
    rows: list[Any] = []
    rejects: list[Reject] = []
    try:
        for chunk in opened(path, columns, **source).chunks(size):
            assert 0 < len(chunk) <= size
            rows += chunk.rows.to_pylist()
            rejects += chunk.rejects
    except SourceError as error:
        return f"{rows} {rejects} {error.message} {error.hint}"
    return f"{rows} {rejects}"


def read_both_ways(
    name: str, data: bytes, columns: Mapping[str, Any], block: int, piece: int, size: int, **source: Any
) -> Ways:
    """Assert that a file is read alike both ways."""
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        with careful():
            expected = everything(path, columns, 10_000, **source)
        with sizes(block, piece), counted() as ways:
            assert everything(path, columns, size, **source) == expected
    return ways


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@st.composite
def csv_lines(draw: st.DrawFn, delimiter: str, width: int, ends: st.SearchStrategy[str]) -> str:
    """A line, mostly a whole record, with its end."""
    fields = draw(st.lists(TEXTS, min_size=width, max_size=width))
    odd = draw(st.integers(0, 30))
    if odd < 3:
        fields = fields[:-1] if odd else [*fields, "more"]
    if 3 <= odd < 12:
        wrap = {3: lambda text: f"{quoted(text)}!", 4: lambda text: f'"{text}', 5: lambda text: quoted(f"{text}\n")}
        place = draw(st.integers(0, width - 1))
        fields[place] = wrap.get(odd, quoted)(fields[place])
    if odd == 12:
        return draw(st.sampled_from(["", " ", "\t", "# a comment", "#", '"', '""', "\ufeff", "a" * 300]))
    return delimiter.join(fields) + draw(ends)


@st.composite
def csv_files(draw: st.DrawFn) -> tuple[bytes, dict[str, Any], dict[str, Any]]:
    """A CSV file, its columns and its settings."""
    kinds = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=4))
    names = [f"c{index}" for index in range(len(kinds))]
    delimiter = draw(st.sampled_from(",,,,;\t| "))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "latin-1"]))
    source: dict[str, Any] = {
        "delimiter": delimiter,
        "encoding": encoding,
        "header": draw(st.booleans()),
        "trim": draw(st.integers(0, 5)) == 0,
        "skip": draw(st.sampled_from([0, 0, 0, 1])),
    }
    source |= draw(st.sampled_from([{}, {}, {}, {"quote": "'"}, {"quote": ""}, {"escape": "\\"}, {"comment": "#"}]))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    ends = st.just(end) if draw(st.booleans()) else st.sampled_from([end] * 10 + ["\n", "\r\n", "\r", "\n\n"])
    lines = draw(st.lists(csv_lines(delimiter, len(kinds), ends), min_size=1, max_size=30))
    trailing = draw(st.integers(0, 5)) == 0
    header = [delimiter.join(names) + delimiter * trailing + end] if source["header"] else []
    if trailing:
        lines = [line.rstrip("\r\n") + delimiter + end for line in lines]
    text = end * source["skip"] + "".join([*header, *lines])
    data = text.rstrip("\n").encode(encoding, "replace") if draw(st.booleans()) else text.encode(encoding, "replace")
    if draw(st.integers(0, 5)) == 0:
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(st.sampled_from([b"\xff", b"\x00", b"\xc3", b"\xed\xa0\x80", b"\r"])) + data[place:]
    if encoding == "utf-8" and draw(st.integers(0, 5)) == 0:
        data = b"\xef\xbb\xbf" + data
    return data, dict(zip(names, kinds, strict=True)), source


BLOCKS = st.sampled_from([40, 100, 300, 1000, 2**21])
PIECES = st.sampled_from([1, 10, 40, 200])
NAMES = st.sampled_from(["data.csv", "data.csv", "data.csv.gz"])


@settings(max_examples=150, deadline=None)
@given(csv_files(), NAMES, BLOCKS, PIECES, st.sampled_from([1, 3, 10_000]), st.sampled_from([None, None, 1, 7]))
def test_csv_is_read_alike_both_ways(
    file: tuple[bytes, dict[str, Any], dict[str, Any]], name: str, block: int, piece: int, size: int, rows: int | None
) -> None:
    """Rows, rejects, line numbers, reasons and errors of any CSV file are those of reading it record by record."""
    data, columns, source = file
    read_both_ways(name, data, columns, block, piece, size, rows=rows, **source)


JSON_VALUES = st.sampled_from(
    split(
        r"""0 7 -0 5.0 3e2 1.5 1e5 1e999 007 +5 0x10 NaN Infinity -Infinity Inf 9223372036854775807 9223372036854775808
    9007199254740993 9007199254740993.0 -9223372036854775809 0.30000000000000004 true false null {} [] [1] {"a":1} -999
    "" "a" "5" "NA" "\u00e9" "\ud834\udd1e" "\ud834" "é" "a\nb" "2024-01-01T05:06:07Z" "2024-01-01" "2024-13-01"
    "true" "1,5" tru 1. " """
    )
)


@st.composite
def json_lines(draw: st.DrawFn, names: list[str], usual: list[list[str]]) -> str:
    """A line, mostly an object with the named keys and usual values of each."""
    keys = [draw(st.sampled_from([name] * 12 + ["other", names[0], ""])) for name in names]
    values = [draw(st.sampled_from(few) if draw(st.integers(0, 12)) else JSON_VALUES) for few in usual]
    pairs = [f'"{key}": {value}' for key, value in zip(keys, values, strict=True)]
    line = "{" + ", ".join(pairs) + "}"
    odd = draw(st.integers(0, 30))
    strange = [line * 2, "", " ", "[1]", "5", "null", line[:-1], line + ",", " " + line, line + " \t", "\x0b" + line]
    strange += [line + "\x00", "\ufeff" + line, '{"a":' * 40 + "1" + "}" * 40, line.replace(",", ",\n", 1)]
    return strange[odd] if odd < len(strange) else line


PLAIN_KINDS = st.sampled_from([kind for kind in COLUMNS if isinstance(kind, str)])


@st.composite
def json_files(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """A file of JSON Lines and its columns, half of them without a cleaning."""
    kinds = draw(st.lists(PLAIN_KINDS if draw(st.booleans()) else st.sampled_from(COLUMNS), min_size=1, max_size=4))
    names = [f"c{index}" for index in range(len(kinds))]
    if draw(st.integers(0, 3)) == 0:
        given_name = draw(st.sampled_from(["other", "c1", "a.b"]))
        kinds[0] = {"from": given_name} | (kinds[0] if isinstance(kinds[0], dict) else {"type": kinds[0]})
    end = draw(st.sampled_from(["\n", "\n", "\n", "\r\n"]))
    usual = [draw(st.lists(JSON_VALUES | st.sampled_from(NUMBERS), min_size=1, max_size=3)) for _ in names]
    lines = draw(st.lists(json_lines(names, usual), min_size=1, max_size=30))
    data = end.join([*lines, ""] if draw(st.booleans()) else lines).encode("utf-8", "replace")
    if draw(st.integers(0, 5)) == 0:
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(st.sampled_from([b"\xff", b"\x00", b"\xc3", b"\r"])) + data[place:]
    return data, dict(zip(names, kinds, strict=True))


@settings(max_examples=120, deadline=None)
@given(json_files(), BLOCKS, PIECES, st.sampled_from([1, 3, 10_000]), st.sampled_from([None, None, 1, 7]))
def test_json_lines_are_read_alike_both_ways(
    file: tuple[bytes, dict[str, Any]], block: int, piece: int, size: int, rows: int | None
) -> None:
    """The same of JSON Lines."""
    data, columns = file
    read_both_ways("data.jsonl", data, columns, block, piece, size, rows=rows)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS | st.none(), min_size=1, max_size=12), st.sampled_from(COLUMNS))
def test_values_that_are_read_quickly_are_the_exact_ones(texts: list[str | None], kind: Any) -> None:
    """Reading a column's plain values by cheaper means gives the values of the expression that reads all of them."""
    (column,) = pipeline({"c": kind}, path="x").source.schema_
    series = pl.Series("c", texts, pl.String)
    expected = series.to_frame().select(value_of(column)).to_series()
    found = values_of(series, column)
    assert found.dtype == expected.dtype
    assert list(map(repr, found)) == list(map(repr, expected))


ROWS = 100_000


def in_csv(folder: Path) -> tuple[Path, bytes]:
    path = folder / "plain.csv"
    write_sample("smart-home", ROWS, path)
    return path, b'7,"Cam"era",1,1,1,1,1,1\n'


def in_json(folder: Path) -> tuple[Path, bytes]:
    path = folder / "plain.jsonl"
    write_sample("smart-home", ROWS, path)
    return path, b'{"UserID": 7, "UserID": 7}\n'


@pytest.mark.parametrize("plain_file", [in_csv, in_json])
def test_only_the_piece_with_an_odd_line_is_read_with_care(
    tmp_path: Path, plain_file: Callable[[Path], tuple[Path, bytes]]
) -> None:
    """A plain file of 100,000 rows is read as a whole, block by block; an odd line changes that for its piece alone."""
    path, odd_line = plain_file(tmp_path)
    with counted() as ways:
        assert sum(len(chunk.rows) for chunk in opened(path, SMART_HOME_COLUMNS).chunks()) == ROWS
    assert sum(ways.plain) == ROWS
    assert not ways.careful
    lines = path.read_bytes().splitlines(keepends=True)
    lines[50_000:50_000] = [odd_line]
    path.write_bytes(b"".join(lines))
    with counted() as ways:
        chunks = list(opened(path, SMART_HOME_COLUMNS).chunks())
    assert sum(len(chunk.rows) for chunk in chunks) == ROWS
    (reject,) = (reject for chunk in chunks for reject in chunk.rejects)
    assert reject.line == 50_001
    assert len(ways.careful) == 2  # the block, and its piece with the line
    assert ways.careful[1] <= PIECE
    assert sum(ways.plain) > ROWS - 2_000


@pytest.mark.parametrize(
    ("name", "line", "rejected"),
    [
        ("long.csv", '{number},"{filling}"\n', 0),
        ("long.jsonl", '{{"id": {number}, "name": "{filling}"}}\n', 0),
        ("longer.csv", "{number},{filling}{filling}{filling}\n", 3),
        ("longer.jsonl", '{{"id": {number}, "name": "{filling}{filling}{filling}"}}\n', 3),
    ],
)
def test_long_lines_among_plain_ones(tmp_path: Path, name: str, line: str, rejected: int) -> None:
    """Lines of about a MiB and of three among short ones: the former are rows, the latter rejects, alike both ways."""
    filling = "é" * (2**19 - 100)
    texts = [line.format(number=number, filling=filling if number % 40 == 7 else "x") for number in range(120)]
    data = ("id,name\n" * name.endswith("csv") + "".join(texts)).encode()
    ways = read_both_ways(name, data, {"id": "int", "name": "string"}, 2**21, 2**16, 10_000, rows=None)
    assert sum(ways.plain) >= 7
    path = tmp_path / name
    path.write_bytes(data)
    chunks = list(opened(path, {"id": "int", "name": "string"}).chunks())
    assert sum(len(chunk.rejects) for chunk in chunks) == rejected
    assert sum(len(chunk.rows) for chunk in chunks) == 120 - rejected


def test_the_random_files_have_plain_blocks() -> None:
    """Files such as the properties draw are read in plain blocks and with care, each often."""
    plain = ["7,1.5,a", "8,2.5,b", "9,,c"]
    odd = ["x,1,a", '7,"1"5,a', "1,2", '1,2,"a\nb"', ""]
    lines = [line for _ in range(20) for line in [*plain * 4, *odd[:1]]]
    ways = read_both_ways(
        "data.csv", "\n".join(lines).encode(), {"a": "int", "b": "float?", "c": "string"}, 100, 30, 7, header=False
    )
    assert sum(ways.plain) == len(lines)
    for line in odd[1:]:
        text = "\n".join([*plain * 10, line, *plain * 10])
        columns = {"a": "int", "b": "float?", "c": "string"}
        ways = read_both_ways("data.csv", text.encode(), columns, 100, 30, 7, header=False)
        assert sum(ways.plain) > 45
        assert ways.careful
    documents = "\n".join(json.dumps({"a": number, "b": None, "c": "c"}) for number in range(60))
    layouts: list[dict[str, Any]] = [
        {"a": "int", "b": "float?", "c": "string"},
        {"a": {"type": "float?", "missing": [7]}, "text": {"type": "string", "from": "c", "strip": ["x"]}},
    ]
    for kinds in layouts:
        ways = read_both_ways("data.jsonl", documents.encode(), kinds, 300, 30, 7)
        assert sum(ways.plain) == 60
