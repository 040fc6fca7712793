"""What is guessed of whole files: their layout, header, quotes and encoding; and the files that are refused."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.support.reading import opened, written
from tests.support.reading import read as read_rows
from tidemill.errors import InputError, SourceError
from tidemill.guessing.files import guess_files
from tidemill.guessing.guess import FileGuess
from tidemill.guessing.proposal import Proposal, propose
from tidemill.guessing.sample import HEAD, PIECE, read_sample


def proposed(path: Path, **options: Any) -> Proposal:
    return propose(str(path), path.parent / "p.toml", **options)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("book.xlsx", b"PK\x03\x04" + b"\0" * 40 + b"xl/workbook.xml", "an Excel workbook"),
        ("data.csv", b"PK\x03\x04" + b"\0" * 40, "a zip archive"),
        ("old.xls", b"\xd0\xcf\x11\xe0" + b"\0" * 40, "Office file"),
        ("paper.csv", b"%PDF-1.7\n", "a PDF document"),
        ("page.csv", b"\n<!DOCTYPE html><html>", "a web page"),
        ("feed.csv", b'<?xml version="1.0"?>', "an XML document"),
        ("data.csv", b"\x1f\x8b\x08\0\0", "packed with gzip"),
        ("data.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:e9\nsize 164\n", "Git LFS"),
        ("data.csv", b"", "empty"),
        ("data.csv", b"  \n\n", "empty"),
        ("data.csv", bytes(range(256)) * 9, "no text"),
        ("data.csv", b"a,b\n", "no rows"),
        ("one.json", b'{"data": [{"a": 1}, {"a": 2}]}', "one JSON object"),
        ("prose.txt", b"To be, or not to be.\nThat is,\nperhaps, the, question\n\nwhether\n", "laid out"),
    ],
)
def test_a_hopeless_file_says_what_it_is(name: str, content: bytes, what: str, tmp_path: Path) -> None:
    """A file without a table of rows is refused with what it is, and the way out."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=what) as caught:
        guess_files(str(path))
    assert caught.value.hint


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    """A folder's hint is a glob in it, a missing file's the names that are there."""
    written(tmp_path, "a,b\n1,2\n", "there.csv")
    with pytest.raises(SourceError, match="is a folder"):
        guess_files(str(tmp_path))
    with pytest.raises(SourceError) as caught:
        guess_files(str(tmp_path / "ther.csv"))
    assert "there.csv" in caught.value.hint


def test_packed_files_and_globs_are_looked_at(tmp_path: Path) -> None:
    """A .gz is unpacked; of several files the columns go by name; files of another layout are refused."""
    text = "a,b\n" + "".join(f"{number},{number / 2}\n" for number in range(40))
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(text.encode()))
    guess = guess_files(str(tmp_path / "x.csv.gz"))
    assert [(each.name, each.type) for each in guess.columns] == [("a", "int"), ("b", "float")]
    assert guess.rows == 40
    written(tmp_path, text, "part-1.csv")
    written(tmp_path, "b,a\n0.5,7\n1.5,\n", "part-2.csv")
    guess = guess_files(str(tmp_path / "part-*.csv"))
    assert [(each.name, each.type) for each in guess.columns] == [("a", "int?"), ("b", "float")]
    written(tmp_path, "a;b\n1;2\n3;4\n", "part-3.csv")
    with pytest.raises(SourceError, match="laid out in another way"):
        guess_files(str(tmp_path / "part-*.csv"))


@pytest.mark.parametrize("heads", [("t,v\n°C,m/s\n", "v,t\nm/s,°C\n"), ("Title\n", ""), ("t,v\nC,m\n", "")])
def test_files_whose_columns_go_by_position_are_laid_out_alike(heads: tuple[str, str], tmp_path: Path) -> None:
    """Names of two lines in another order, or another number of lines above the rows, would put values into other
    columns, or lose rows: such files are refused."""
    for number, head in enumerate(heads):
        written(tmp_path, head + "".join(f"{row},{row / 2}\n" for row in range(40)), f"part-{number}.csv")
    with pytest.raises(SourceError, match="laid out in another way"):
        guess_files(str(tmp_path / "part-*.csv"))


def test_a_large_file_is_looked_at_in_its_middle_and_at_its_end(tmp_path: Path) -> None:
    """A value that stands only behind the first MiB is seen, and the number of rows is said to be about so many."""
    line = "{},plain text that fills the line\n"
    half = "".join(line.format(number) for number in range(40_000))
    path = written(tmp_path, f"n,t\n{half}{'2.5,x' + chr(10)}{half.replace(',plain', '.5,plain')}", "big.csv")
    assert os.path.getsize(path) > 2 * HEAD
    guess = guess_files(str(path))
    assert guess.columns[0].kind == "float"
    assert guess.looked_at < (guess.rows or 0)
    assert not guess.exact
    assert guess.rows == pytest.approx(80_001, rel=0.05)


def test_a_record_that_a_piece_begins_or_ends_within_is_no_reject(tmp_path: Path) -> None:
    """Texts of several lines in a large file are not said to have another number of fields."""
    rows = "".join(f'{number},"{"a, b" * 20}\nc\nd"\n' for number in range(20_000))
    guess = guess_files(str(written(tmp_path, f"n,t\n{rows}", "texts.csv")))
    assert (guess.whole, guess.notes) == (False, ())


@pytest.mark.parametrize("more", [0, 2 * PIECE, HEAD + 2, HEAD + 5])
def test_a_large_file_is_read_to_its_very_end_and_no_row_twice(tmp_path: Path, more: int) -> None:
    """Whatever its size, the last piece ends with the file, and no piece has a line of another one."""
    content = b"".join(b"%07d\n" % number for number in range((HEAD + more) // 8 + 1))[: HEAD + more]
    (tmp_path / "big.csv").write_bytes(content)
    sample = read_sample(tmp_path / "big.csv")
    assert content.endswith(sample.pieces[-1])
    lines = [line for piece in sample.pieces for line in piece.split()[1:-1]]
    assert len(set(lines)) == len(lines)
    assert sum(map(len, sample.pieces)) == min(len(content), HEAD + 2 * PIECE + len(content) % 4)


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("1,2\n3,4\n", False),
        ("a,b\n3,4\n", True),
        ("red,blue\nred,green\nblue,red\n", False),
        ("query,label\nhello there,greeting\nbye now,parting\n", True),
        ("country,2019,2020\nA,5,6\nB,7,8\n", True),
        ("x,?\n1,2\n3,4\n", True),
    ],
)
def test_a_header_is_told_from_a_row(text: str, header: bool, tmp_path: Path) -> None:
    """Names above numbers are a header; values that occur again are not."""
    assert guess_files(str(written(tmp_path, text, "d.csv"))).settings["header"] is header


@pytest.mark.parametrize(
    ("header", "row", "delimiter"),
    [
        ("a;b", "1{0},5;2{0},25", ";"),
        ("Länge, cm;Breite, cm;Art", "{0},5;{0},25;A", ";"),
        ("a\tb", "1{0},5\t2{0},25", "\t"),
        ("id,tags", "{0},x;y", ","),
        ("at,n", "2024-01-31 10:{0},5", ","),
        ("at,range,n", "2024-01-{0},1|2,5", ","),
        ("a,b,c", "{0},2;5,7", ","),
    ],
)
def test_a_comma_within_numbers_stands_between_no_fields(header: str, row: str, delimiter: str, tmp_path: Path) -> None:
    """Numbers with decimal commas do not make the comma the delimiter, also where every row has as many of them."""
    text = "".join(f"{line}\n" for line in [header, *(row.format(10 + number) for number in range(40))])
    guess = guess_files(str(written(tmp_path, text, "d.csv")))
    assert guess.settings.get("delimiter", ",") == delimiter
    assert [each.name for each in guess.columns] == header.split(delimiter)


def rows_of_quotes(values: Sequence[str], sep: str) -> str:
    """A table of 200 rows with a header, one of the values in each."""
    rows = [sep.join([str(number), values[number % len(values)], str(number / 2)]) for number in range(200)]
    return "\n".join([sep.join(["id", "size", "price"]), *rows]) + "\n"


@pytest.mark.parametrize(
    ("values", "sep", "quote"),
    [
        (['12" pipe', '"Big" deal', '"open', "plain"], ",", ""),
        (['5"', 'a"b', '"q'], "  ", ""),
        (['"a, b"', '"c"', "d"], ",", None),
        (['"one\ntwo"', '"c ""d"""', "e"], ";", None),
        (["it's", "'tis"], ",", None),
        (["'a, b'", "'c'"], ",", "'"),
        (["'a'", "'c'"], ",", "'"),
        ([*"abcdefg", "'h'"], ",", None),
    ],
)
def test_quotes_that_are_part_of_the_values(values: list[str], sep: str, quote: str | None, tmp_path: Path) -> None:
    """Where quotes break the records the file is read without them; where they hold fields together they are quotes."""
    guess = guess_files(str(written(tmp_path, rows_of_quotes(values, sep), "d.csv")))
    assert guess.settings.get("quote") == quote
    assert (guess.looked_at, [each.name for each in guess.columns]) == (200, ["id", "size", "price"])
    assert ("quote" in guess.reasons) == (quote is not None)


def test_one_quote_in_a_later_row_is_found(tmp_path: Path) -> None:
    """A single row, behind those that the layout is judged by, that a quote would reject or join to others is seen; one
    broken row among many that are quoted is a reject."""
    rows = [f"{number},{'bare' if number != 700 else chr(34) + 'oh'},{number}" for number in range(900)]
    assert guess_files(str(written(tmp_path, "\n".join(["id,t,n", *rows]), "late.csv"))).settings["quote"] == ""
    rows[720] = '720,no",720'
    assert guess_files(str(written(tmp_path, "\n".join(["id,t,n", *rows]), "two.csv"))).looked_at == 900
    quoted = [row.replace(",bare,", ',"ba, re",') for row in rows[:720]]
    guess = guess_files(str(written(tmp_path, "\n".join(["id,t,n", *quoted]), "quoted.csv")))
    assert "quote" not in guess.settings
    assert "1 of the records" in guess.notes[0]


def test_a_json_array_on_one_long_line_is_looked_at(tmp_path: Path) -> None:
    """An array without line ends that is larger than what is looked at has rows too, and so has a file with those of
    old Macintoshes."""
    array = json.dumps([{"a": number, "b": number / 2, "text": "x" * 2_000} for number in range(600)])
    assert guess_files(str(written(tmp_path, array, "a.json"))).looked_at > 400
    lines = "".join(f"{number},{number / 2},{'x' * 2_000}\r" for number in range(600))
    guess = guess_files(str(written(tmp_path, f"a,b,text\r{lines}", "mac.csv")))
    assert (guess.columns[1].kind, guess.notes) == ("float", ())


def test_data_that_no_model_fits_say_what_each_column_is(tmp_path: Path) -> None:
    """Lists, identifiers and columns that wait for a decision are all named, with the settings that decide."""
    rows = "\n".join(json.dumps({"id": number, "tags": [1], "day": "03/04/2024"}) for number in range(9))
    with pytest.raises(
        InputError, match=r'tags: a list; .*; id: an identifier.*; day: .* format = "%d/%m/%Y"'
    ) as caught:
        proposed(written(tmp_path, rows, "no.jsonl"))
    assert "write the pipeline file yourself" in caught.value.hint


@pytest.mark.parametrize(
    ("head", "names", "skip"),
    [
        ("time,speed,temp\ns,m/s,°C\n", ["time s", "speed m/s", "temp °C"], 2),
        ("Report\n\nSales,,Costs\nNorth,South,North\n", ["Sales North", "Sales South", "Costs North"], 4),
        ("# made today\na,b,\nx,y,\n", ["a x", "b y", "column_3"], 3),
        ("x,x,t\nu,u,v\n", ["x u", "x u 2", "t v"], 2),
    ],
)
def test_names_in_two_records(head: str, names: list[str], skip: int, tmp_path: Path) -> None:
    """Units below the names, or names below those of groups, are joined to them; every row is read, by position."""
    path = written(tmp_path, head + "".join(f"{n},{n / 2},{n * 2}\n" for n in range(60)), "two.csv")
    guess = guess_files(str(path))
    assert [each.name for each in guess.columns] == names
    assert (guess.settings["skip"], guess.settings["header"], guess.looked_at) == (skip, False, 60)
    declared = {each.name: each.type for each in guess.columns}
    rows, rejects = read_rows(path, declared, **{key: guess.settings[key] for key in ("skip", "header")})
    assert (len(rows), rejects) == (60, [])


def test_one_odd_row_below_the_names_is_a_row(tmp_path: Path) -> None:
    """A first row whose values are all missing, by a word of their own, or that is as those below it, is no header."""
    for first in ("n.d.,n.d.,5", "A,1,2"):
        text = f"k,x,y\n{first}\n" + "".join(f"B{n},{n / 2},{n * 2}\n" for n in range(60))
        assert guess_files(str(written(tmp_path, text))).settings["header"] is True


def test_names_that_stand_twice_or_nowhere_are_said(tmp_path: Path) -> None:
    """Columns that no name tells apart are not declared; the file says which, and the way out."""
    path = written(tmp_path, ",a,b,a\n0,1,2,3\n1,4,5,6\n", "d.csv")
    proposal = proposed(path)
    assert [each.name for each in proposal.columns] == ["b"]
    assert "twice" not in proposal.guess.undeclared
    assert "2 times" in proposal.guess.undeclared["a"]
    assert "no name" in proposal.guess.undeclared["field 1"]


def test_bytes_of_other_encodings_are_read_as_they_are_meant(tmp_path: Path) -> None:
    """Words of Cyrillic, Central European, Japanese and UTF-16 files are those that were written."""
    for encoding, words in {
        "cp1251": "Москва Новосибирск Екатеринбург Казань Самара Омск Челябинск Ростов Уфа Красноярск",
        "cp1250": "Łódź Kraków Gdańsk Szczecin Poznań Wrocław Częstochowa Bielsko Rzeszów Toruń",
        "cp1252": f"Fläche(m²) {'Süd;Hafen ' * 200}",
        "shift_jis": "東京 大阪 横浜 名古屋 札幌 神戸 京都 福岡 川崎 広島",
        "utf-16-le": "Malmö Göteborg Ängelholm Åre Luleå Umeå Örebro Växjö Visby Lund",
    }.items():
        rows = "".join(f"{word},{number}\n" for number, word in enumerate(words.split()))
        path = tmp_path / "w.csv"
        path.write_bytes(f"town,n\n{rows}".encode(encoding))
        guess = guess_files(str(path))
        assert guess.columns[0].values.to_list() == words.split(), encoding


def test_an_encoding_is_one_that_all_bytes_fit_and_whose_words_are_of_one_script(tmp_path: Path) -> None:
    """A few letters that several encodings read give the commonest one, letters of two scripts in a word give another;
    bytes that do not fit are counted, and leave UTF-8 what it is."""
    cafes = "name,n\n" + "".join(f"Café Señor {number},{number}\n" for number in range(3_000))
    assert told_encoding(tmp_path, cafes.encode("cp1252"))[0] == "cp1252"
    assert told_encoding(tmp_path, b"film,n\nusing the\xe6M'Kraan,1\nother,2\n")[0] == "cp1252"
    accents = b"".join(b"Pen\xcc\xa9lope Cruz and S\xcc_nchez,1\n" for _ in range(30))
    assert told_encoding(tmp_path, b"actor,n\n" + accents)[0] in ("cp1252", "mac-roman")
    late = told_encoding(tmp_path, cafes.encode("cp1252") + b"\x81\x8d,1\n")
    assert late == ("cp1252", "2 of the bytes that were looked at do not fit CP1252, and make their rows rejects")
    damaged = told_encoding(tmp_path, cafes.encode() + b"broken \xe6,1\n")
    assert damaged == ("utf-8", "1 of the bytes that were looked at do not fit UTF-8, and make their rows rejects")


def told_encoding(folder: Path, content: bytes) -> tuple[str, str]:
    """The encoding of a file, and what is noted of it."""
    guess = guess_files(str(written(folder, content)))
    return guess.settings.get("encoding", "utf-8"), "".join(guess.notes)


def test_texts_that_repeat_below_another_make_it_a_header(tmp_path: Path) -> None:
    """Of a table of texts the first record is a header where a column repeats others, however long its names."""
    question = "How would you describe the part of the country in which you live at the moment?"
    answers = "".join(f"{place},because {number}\n" for number in range(4) for place in ("town", "village"))
    assert guess_files(str(written(tmp_path, f"{question},Why?\n{answers}"))).settings["header"] is True


def test_a_file_that_is_sorted_by_a_column_shows_all_of_its_values(tmp_path: Path) -> None:
    """Of a file with more rows than are looked at, values that only later rows have count too."""
    rows = [f"{number},{'yellow' if number < 60_000 else 'green'}" for number in range(80_000)]
    guess = guess_files(str(written(tmp_path, "n,color\n" + "\n".join(rows))))
    assert guess.looked_at < 80_000
    assert guess.columns[1].distinct == 2


def of_json(values: Sequence[object], folder: Path) -> FileGuess:
    """The guess of JSON Lines in which each value stands under v, beside a number n."""
    lines = [json.dumps({"n": number, "v": value}) for number, value in enumerate(values)]
    return guess_files(str(written(folder, "\n".join(lines), "v.jsonl")))


@pytest.mark.parametrize(
    ("values", "kind", "settings"),
    [
        ([5, 5.5, "Not yet rated", 4], "float?", {"missing": ["Not yet rated"]}),
        ([5, "N/A", None, 4, "-", 6], "int?", {"missing": ["N/A", "-"]}),
        ([5, "6", 7], "int", {"missing": [""]}),
        (["1.5", 2, "2.5"], "float", {"missing": [""]}),
    ],
)
def test_numbers_and_texts_in_one_column_of_json(
    values: list[object], kind: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """A few words among numbers stand for a missing value, which the note says; numbers as texts are numbers."""
    column = of_json(values, tmp_path).columns[1]
    assert (column.type, column.settings) == (kind, settings)
    assert all(word in column.note for word in settings["missing"])
    reader = opened(tmp_path / "v.jsonl", {"v": {"type": kind, **settings}})
    assert [len(chunk.rejects) for chunk in reader.chunks(100)] == [0]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1, "a", "b", 2], "values of several types (numbers, texts)"),
        ([True, 2], "values of several types (true or false, numbers)"),
        ([1.125, "1.234.567", 2.125, "2.345.678"], "values of several types (numbers, texts)"),
        ([[1], 2], "a list"),
    ],
)
def test_values_of_json_that_no_column_holds_are_told(values: list[object], why: str, tmp_path: Path) -> None:
    """What has several types or lists is no column; a label of it says so."""
    guess = of_json(values, tmp_path)
    assert [column.name for column in guess.columns] == ["n"]
    assert why in guess.undeclared["v"].replace("'", "")
    with pytest.raises(InputError, match='the label "v" can\'t be a column: '):
        proposed(tmp_path / "v.jsonl", label="v")


def test_nan_and_bytes_in_parquet(tmp_path: Path) -> None:
    """NaN and infinities are missing values, as the file that is written says; bytes are a text, digits or not, or no
    column where they are none."""
    import pyarrow.parquet as pq

    numbers = [1.5, float("nan"), float("inf"), None, *range(6)]
    columns = {"x": numbers, "half": pa.array([1, *[float("nan")] * 9], pa.float16()), "n": range(10)}
    blobs = {"digits": [b"%d" % number for number in range(10)], "blob": [b"\xff"] * 10}
    pq.write_table(pa.table(columns | blobs), tmp_path / "n.parquet")
    guess = guess_files(str(tmp_path / "n.parquet"))
    assert [each.type for each in guess.columns] == ["float?", "float?", "int", "string"]
    assert "Invalid UTF8" in guess.undeclared["blob"]
    assert guess.columns[0].settings == {"missing": ["NaN"]}
    declared = {each.name: {"type": each.type, **each.settings} for each in guess.columns}
    rows, rejects = read_rows(tmp_path / "n.parquet", declared)
    assert not rejects
    assert [row[0] for row in rows] == [1.5, None, None, None, *range(6)]


def test_nested_arrow_values_are_columns_by_their_paths(tmp_path: Path) -> None:
    """A struct's fields are columns; lists and binary maps are said to be none."""
    import pyarrow.parquet as pq

    place = pa.array([{"city": "A", "at": {"x": 1.5}}, {"city": "B", "at": {"x": 2.5}}] * 30)
    table = pa.table({"place": place, "tags": pa.array([["a"], ["b"]] * 30), "n": range(60)})
    pq.write_table(table, tmp_path / "n.parquet")
    guess = guess_files(str(tmp_path / "n.parquet"))
    assert {each.name: each.kind for each in guess.columns} == {
        "place.city": "string",
        "place.at.x": "float",
        "n": "int",
    }
    assert "tags" in guess.undeclared
