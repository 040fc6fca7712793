"""The source: read in order, in constant memory, with every row accounted for."""

from __future__ import annotations

import csv
import glob
import gzip
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import DATA, ROOT, SMART_HOME
from tests.support.reading import (
    SMART_HOME_COLUMNS,
    TWO,
    open_to_all,
    opened,
    pipeline,
    read,
    refused,
    without_privileges,
    written,
)
from tidemill.errors import SourceError
from tidemill.sources.source import open_source

# --- real files ---------------------------------------------------------------------------------------------------


def test_smart_home_rows_are_those_of_the_file() -> None:
    """Every row of the real smart-home file arrives, in order, with exactly the values in it."""
    rows, rejects = read(SMART_HOME, SMART_HOME_COLUMNS, size=1000)
    with SMART_HOME.open(newline="", encoding="utf-8") as file:
        kinds = (int, str, float, float, int, int, int, int)
        expected = [
            tuple(kind(field) for kind, field in zip(kinds, row, strict=True)) for row in list(csv.reader(file))[1:]
        ]
    assert rows == expected
    assert len(rows) == 5403
    assert not rejects


def test_price_paid_without_header_keeps_quoted_commas() -> None:
    """All 10,298 rows of the header-less price-paid file arrive, commas in quotes and minute timestamps included."""
    texts = [
        "id",
        "type",
        "new",
        "tenure",
        "paon",
        "saon",
        "street",
        "locality",
        "town",
        "district",
        "county",
        "category",
    ]
    columns = {"id": "string", "price": "int", "date": "timestamp", "postcode": "string?"}
    columns |= dict.fromkeys([*texts[1:], "status"], "string")
    rows, rejects = read(DATA / "price-paid" / "pp-1995-sample.csv", columns)
    assert len(rows) == 10_298
    assert not rejects
    assert rows[0][1:4] == (42_000, datetime(1995, 12, 21, tzinfo=UTC), "NE4 9DN")
    assert sum(row[3] is None for row in rows) == 8
    assert sorted(row[1] for row in rows)[-1] == 1_750_000
    assert sum(any("," in field for field in row if isinstance(field, str)) for row in rows) > 100


def test_amazon_quotes_are_not_mangled() -> None:
    """In the amazon file, full of quoted commas and doubled quotes, no rating is above 5."""
    columns = {"rating": "float", "product_id": "string", "product_name": "string", "about_product": "string"}
    path = DATA / "amazon-sales" / "amazon_sales.csv"
    rows, rejects = read(path, columns)
    assert (len(rows), len(rejects)) == (978, 0)
    assert max(row[0] for row in rows) <= 5
    with path.open(newline="", encoding="utf-8") as file:
        assert [row[2] for row in rows] == [row["product_name"] for row in csv.DictReader(file)]


def test_denver_blank_dates_are_null_and_long_ids_exact() -> None:
    """Of the Denver file's 15,779 rows none is lost; a 17-digit id stays exact, an empty optional value is null."""
    columns = {"OFFENSE_ID": "int", "LAST_OCCURRENCE_DATE": "string?", "GEO_LON": "float?", "OFFENSE_CODE": "int"}
    rows, rejects = read(DATA / "denver-crime" / "denver_crime_by_reported_date.csv", columns)
    assert (len(rows), len(rejects)) == (15_779, 0)
    assert rows[0] == (20192186121200, None, -104.950921, 1212)


def test_a_glob_reads_files_in_natural_order_each_by_its_own_header(tmp_path: Path) -> None:
    """Files of a glob come part-2 before part-10, each mapped by its own header."""
    written(tmp_path, "name,id\nten,10\n", "part-10.csv")
    written(tmp_path, "id,extra,name\n2,x,two\n", "part-2.csv")
    written(tmp_path, "id,name\n1,one\nx,bad\n", "part-1.csv")
    rows, rejects = read(tmp_path / "part-*.csv", TWO)
    assert rows == [(1, "one"), (2, "two"), (10, "ten")]
    assert [(one.file, one.line) for one in rejects] == [("part-1.csv", 3)]
    assert opened(tmp_path / "part-*.csv", TWO).title.endswith("part-*.csv (3 files)")


def test_a_glob_gives_each_file_once_and_always_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that several ** of a glob lead to is read once; names that are the same number are in order too."""
    for number, name in enumerate(("a/b/p-1.csv", "a/b/p-01.csv", "a/p-001.csv", "p-2.csv")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"id,name\n{number},x\n")
    expected = [(number, "x") for number in (1, 0, 2, 3)]
    assert read(tmp_path / "**/**/*.csv", TWO)[0] == expected
    listed = glob.glob
    monkeypatch.setattr(glob, "glob", lambda *args, **options: listed(*args, **options)[::-1])
    assert read(tmp_path / "**/**/*.csv", TWO)[0] == expected


def test_a_path_is_relative_to_the_pipelines_folder(tmp_path: Path) -> None:
    """A relative path, or glob, starts at the given folder."""
    written(tmp_path, "id,name\n1,one\n")
    for path in ("data.csv", "*.csv"):
        assert [len(chunk) for chunk in open_source(pipeline(TWO, path=path), tmp_path).chunks()] == [1]


# --- compression, order, limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize("packing", ["gz", "zst"])
def test_packed_text_reads_as_plain_and_a_cut_off_one_is_an_error(tmp_path: Path, ending: str, packing: str) -> None:
    """``.gz`` and ``.zst`` give the same rows; one that was cut off gives an error that says so, never fewer rows."""
    names = [f"{os.urandom(8).hex()}" for _ in range(20_000)]
    if ending == "csv":
        data = "id,name\n" + "".join(f"{place},{name}\n" for place, name in enumerate(names))
    else:
        data = "".join(json.dumps({"id": place, "name": name}) + "\n" for place, name in enumerate(names))
    codec = "gzip" if packing == "gz" else "zstd"
    path = tmp_path / f"data.{ending}.{packing}"
    with pa.output_stream(path, compression=codec) as file:
        file.write(data.encode())
    assert read(path, TWO) == (list(enumerate(names)), [])
    path.write_bytes(path.read_bytes()[:-100])
    error = refused(path, TWO)
    assert "can't read" in error.message
    assert "cut off" in error.hint


def test_several_gzip_members_are_all_read(tmp_path: Path) -> None:
    """A gzip file that was put together from several is read to its end."""
    path = written(tmp_path, gzip.compress(b"id,name\n1,one\n") + gzip.compress(b"2,two\n"), "data.csv.gz")
    assert read(path, TWO)[0] == [(1, "one"), (2, "two")]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_rows_limits_the_records_rejects_included(tmp_path: Path, ending: str, size: int) -> None:
    """``source.rows`` takes the first n records over all files, those that are rejects included; twice the same."""
    for part in (1, 2):
        path = tmp_path / f"part-{part}.{ending}"
        ids = [10 * part, None, 10 * part + 2]
        if ending == "csv":
            path.write_text("id,name\n" + "".join(f"{'' if one is None else one},x\n" for one in ids))
        elif ending == "jsonl":
            path.write_text("".join(json.dumps({"id": one, "name": "x"}) + "\n" for one in ids))
        else:
            pq.write_table(pa.table({"id": pa.array(ids, pa.int64()), "name": ["x"] * 3}), path)
    reader = opened(tmp_path / f"part-*.{ending}", TWO, rows=5)
    for _ in range(2):
        chunks = list(reader.chunks(size))
        assert [one for chunk in chunks for one in chunk.rows["id"].to_pylist()] == [10, 12, 20]
        assert [(one.file, one.line) for chunk in chunks for one in chunk.rejects] == [
            (f"part-{part}.{ending}", {"csv": 3, "jsonl": 2, "parquet": 2}[ending]) for part in (1, 2)
        ]


def test_the_fingerprint_tells_sources_apart(tmp_path: Path) -> None:
    """The same files give the same fingerprint; other content, even at the end only, another."""
    body = "id,name\n" + "1,x\n" * 10
    path = written(tmp_path, body + "2,a\n")
    first = opened(path, TWO).fingerprint
    assert opened(path, TWO).fingerprint == first
    assert opened(written(tmp_path, body + "2,b\n"), TWO).fingerprint != first
    assert re.fullmatch("content:[0-9a-f]{64}", first)


MEASURE = """
import resource, sys
from pathlib import Path
from tests.support.reading import SMART_HOME_COLUMNS, opened
rows = sum(len(chunk.rows) for chunk in opened(sys.argv[1], SMART_HOME_COLUMNS).chunks())
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Reading 40 MB takes no more memory than reading 4 MB, within 16 MiB."""
    header, body = SMART_HOME.read_text().split("\n", 1)
    peaks = []
    for times in (12, 120):
        path = tmp_path / f"{times}.csv"
        with path.open("w") as file:
            file.write(f"{header}\n")
            file.writelines(body for _ in range(times))
        command = [sys.executable, "-c", MEASURE, str(path)]
        output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        rows, peak = map(int, output.stdout.split())
        assert rows == 5403 * times
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 16 * 2**20


# --- what can't be a source ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "data.jsonl", "data.jsonl.zst"])
@pytest.mark.parametrize("data", ["", "\n\n"])
def test_an_empty_file_is_an_error(tmp_path: Path, name: str, data: str) -> None:
    """A file without any row is an error that says so."""
    with pa.output_stream(tmp_path / name) as file:  # packed where the name says so
        file.write(data.encode())
    assert "has no rows" in refused(tmp_path / name, TWO).message


def test_other_empty_sources(tmp_path: Path) -> None:
    """A header alone, no byte at all and Parquet without rows are empty too; one full file in a glob is enough."""
    path = written(tmp_path, "id,name\n")
    assert "data.csv has no rows" in refused(path, TWO).message
    assert "has no rows" in refused(written(tmp_path, b"", "nothing.csv.gz"), TWO).message
    pq.write_table(
        pa.table({"id": pa.array([], pa.int64()), "name": pa.array([], pa.string())}), empty := tmp_path / "e.parquet"
    )
    assert "has no rows" in refused(empty, TWO).message
    written(tmp_path, "id,name\n1,one\n", "data-2.csv")
    assert read(tmp_path / "data*.csv", TWO)[0] == [(1, "one")]


def test_what_is_not_there_or_is_no_file(tmp_path: Path) -> None:
    """A missing file, a glob without a match, a folder and an unknown ending are errors, each with a way out."""
    written(tmp_path, "id,name\n1,one\n", "devices.csv")
    missing = refused(tmp_path / "device.csv", TWO)
    assert "no file" in missing.message
    assert 'did you mean "devices.csv"?' in missing.hint
    assert "no file" in refused(tmp_path / "nowhere" / "x.csv", TWO).message
    assert "no file matches" in refused(tmp_path / "*.jsonl", TWO).message
    assert "is a folder" in refused(tmp_path, TWO).message
    unknown = refused(written(tmp_path, "x", "data.xlsx"), TWO)
    assert "data.xlsx" in unknown.message
    assert ".csv" in unknown.hint
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    assert "can't read loop.csv" in refused(tmp_path / "loop.csv", TWO).message


def test_what_may_never_end_is_not_read(tmp_path: Path) -> None:
    """A pipe is refused before it is opened, which would wait for a writer: by its name, by a link, and in a glob."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "link.csv").symlink_to("pipe.csv")
    (tmp_path / "null.csv").symlink_to(os.devnull)
    for name in ("pipe.csv", "link.csv", "null.csv", "pipe*.csv"):
        error = refused(tmp_path / name, TWO)
        assert "is not a regular file" in error.message
        assert "write its content to a file" in error.hint
    written(tmp_path, "id,name\n1,one\n", "whole.csv")
    (tmp_path / "pipe.csv").unlink()
    (tmp_path / "link.csv").unlink()
    (tmp_path / "link.csv").symlink_to("whole.csv")
    assert read(tmp_path / "link.csv", TWO)[0] == [(1, "one")]


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "data.jsonl", "data.parquet"])
def test_a_file_that_may_not_be_read(tmp_path: Path, name: str) -> None:
    """A file, or a folder, without permission to read it is an error that says so."""
    path = written(tmp_path, "id,name\n1,one\n", name)
    open_to_all(tmp_path)
    for closed in (path, tmp_path):
        closed.chmod(0)
        with without_privileges():
            error = refused(path, TWO)
        assert "Permission denied" in error.message
        assert "may read" in error.hint
    tmp_path.chmod(0o755)


# --- samples ------------------------------------------------------------------------------------------------------


def test_a_sample_is_a_source() -> None:
    """A sample gives as many rows as are asked for, or its own number, always the same ones."""
    reader = open_source(pipeline(SMART_HOME_COLUMNS, sample="smart-home"), Path())
    assert reader.title == "the sample smart-home"
    assert sum(len(chunk.rows) for chunk in reader.chunks(1000)) == 5403
    few = open_source(pipeline(SMART_HOME_COLUMNS, sample="smart-home", rows=7), Path())
    assert few.fingerprint != reader.fingerprint
    (chunk,) = few.chunks()
    assert chunk.rows == next(iter(reader.chunks(7))).rows
    assert not chunk.rejects


def test_a_sample_that_is_not_there() -> None:
    """An unknown sample, and a column that it lacks or has in another type, are errors with a way out."""
    cases = {
        "smarthome": (TWO, "no sample", 'did you mean "smart-home"?'),
        "smart-home": ({"UserId": "int"}, "no column UserId", 'did you mean "UserID"?'),
    }
    for sample, (columns, message, hint) in cases.items():
        with pytest.raises(SourceError, match=message) as caught:
            open_source(pipeline(columns, sample=sample), Path())
        assert hint in caught.value.hint
    with pytest.raises(SourceError, match="DeviceType is string, declared int"):
        open_source(pipeline({"DeviceType": "int"}, sample="smart-home"), Path())


def test_all_columns_of_another_type_are_reported_together(tmp_path: Path) -> None:
    """Every column of a typed source that can't become the declared type is named with a way out, at most five."""
    with pytest.raises(SourceError) as caught:
        open_source(pipeline({"UserID": "bool", "DeviceType": "int"}, sample="smart-home"), Path())
    assert "UserID is int64, declared bool; DeviceType is string, declared int" in caught.value.message
    assert caught.value.hint == (
        'declare it as UserID = "int"; declare it as DeviceType = "string", '
        'or as DeviceType = { type = "int", missing = [""] } to have its text read'
    )
    with pytest.raises(SourceError, match="and 3 more") as caught:
        open_source(pipeline(dict.fromkeys(SMART_HOME_COLUMNS, "bool"), sample="smart-home"), Path())
    assert caught.value.hint.count("declare it as") == 5


@pytest.mark.parametrize(("name", "unused"), [("a.jsonl", ["header", "skip"]), ("a.csv", [])])
def test_settings_of_another_format_are_noted(tmp_path: Path, name: str, unused: list[str]) -> None:
    """Settings that only CSV has are noted where the data are JSON."""
    content = {"a.jsonl": '{"n": 1}\n', "a.csv": "title\nn\n1\n"}[name]
    reader = open_source(
        pipeline({"n": "int"}, path=str(written(tmp_path, content, name)), header=True, skip=1), tmp_path
    )
    assert [note.path for note in reader.notes] == [f"source.{setting}" for setting in unused]
