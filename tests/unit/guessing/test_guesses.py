"""What is guessed of single columns and layouts, and what is not guessed but said."""

from __future__ import annotations

import gzip
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from tests.support.reading import written
from tidemill.errors import InputError, SourceError
from tidemill.guessing.columns import ColumnGuess
from tidemill.guessing.csv_files import guess_columns
from tidemill.guessing.document import pipeline_text
from tidemill.guessing.files import guess_files
from tidemill.guessing.leaks import gives_away
from tidemill.guessing.models import propose_models
from tidemill.guessing.proposal import Proposal, pipeline_name, propose
from tidemill.guessing.sample import HEAD


def column(texts: Sequence[str], name: str = "c", **others: Sequence[str]) -> ColumnGuess:
    """The guess of a column of texts, beside ``others`` of the same file."""
    series = {key: pl.Series(key, list(values), pl.String) for key, values in {name: texts, **others}.items()}
    return guess_columns(series)[0]


def told(texts: Sequence[str], name: str = "c", **others: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The type and the settings of a column."""
    guess = column(texts, name, **others)
    return guess.type, dict(guess.settings)


@pytest.mark.parametrize(
    ("texts", "kind", "settings"),
    [
        (["1", "-2", "+3"], "int", {}),
        (["1", "2.5", "1e3"], "float", {}),
        (["1", "", "3"], "int?", {}),
        (["1", "NA", "3"], "int?", {"missing": ["NA"]}),
        (["1,5", "2", "0,75"], "float", {"decimal": ","}),
        (["1,234", "12", "1,234,567"], "int", {"thousands": ","}),
        (["1,234.50", "12.00"], "float", {"thousands": ","}),
        (["1.234,50", "12,00"], "float", {"thousands": ".", "decimal": ","}),
        (["0,123", "0,456"], "float", {"decimal": ","}),
        (["$5", "$1,200,000"], "int", {"strip": ["$"], "thousands": ","}),
        (["64%", "5%"], "int", {"strip": ["%"]}),
        (["true", "False"], "bool", {}),
        (["Y", "N", ""], "bool?", {}),
        (["J", "N"], "bool", {"true": ["J"], "false": ["N"]}),
        (["ja", "Nee"], "bool", {"true": ["ja"], "false": ["Nee"]}),
        (["0", "1"], "int", {}),
        (["01234", "99999"], "string", {}),
        (["12345678901234567890", "1"], "string", {}),
        (["2024-01-31", "2024-02-01"], "timestamp", {}),
        (["2024-01-31T10:00:00Z", "2024-02-01T10:00:00+01:00"], "timestamp", {}),
        (["31/01/2024", "01/02/2024"], "timestamp", {"format": "%d/%m/%Y"}),
        (["1/31/2024 3:40:00 AM", "2/1/2024 11:00:00 PM"], "timestamp", {"format": "%m/%d/%Y %I:%M:%S %p"}),
        (["Jan 5, 2024", "Feb 17, 2024"], "timestamp", {"format": "%b %d, %Y"}),
        (["Jan 5 2024", "Feb 17 2024"], "timestamp", {"format": "%b %d %Y"}),
        (["2014-7-1", "2014-12-31"], "timestamp", {"format": "%Y-%m-%d"}),
        (["May-2015", "Jun-2015"], "timestamp", {"format": "%b-%Y"}),
        (["May-2015", "September-2015"], "timestamp", {"format": "%B-%Y"}),
        (["18.00.00", "19.00.00"], "string", {}),
        (["10:30", "11:45"], "string", {}),
        (["1.2.3", "1.2.4"], "string", {}),
        (["NA", "DE", "FR"], "string", {}),
        (["a", "\\N", "b"], "string?", {"missing": ["\\N"]}),
        (["", ""], "string?", {}),
    ],
)
def test_a_column_is_what_its_texts_are(texts: list[str], kind: str, settings: dict[str, Any]) -> None:
    """Each kind of text has its type and its settings, and every text that is there is read."""
    guess = column(texts)
    assert (guess.type, dict(guess.settings)) == (kind, settings)
    blank = [*settings.get("missing", []), ""]
    assert guess.values.null_count() == sum(text in blank for text in texts)


def test_what_two_readings_fit_is_not_guessed() -> None:
    """1,234 alone may be a thousand or one and a bit, and 03/04 March or April: they stay text, with both ways out."""
    number = column(["1,234", "2,345"])
    assert number.kind == "string"
    assert 'thousands = ","' in number.unclear
    assert 'decimal = ","' in number.unclear
    day = column(["03/04/2024", "05/01/2024", "02/02/2024"])
    assert day.kind == "string"
    assert '"%d/%m/%Y" or format = "%m/%d/%Y"' in day.unclear


def test_a_word_for_a_missing_value_that_is_read_as_a_text_is_told() -> None:
    """NA among texts may be Namibia: it stays, and the note has the setting that makes it a missing value."""
    country = column(["NA", "DE", "NA"])
    assert country.type == "string"
    assert "NA, 2 times, is read as a text" in country.unclear.replace("'", "")
    assert 'missing = ["NA"]' in country.unclear


def test_other_columns_decide_what_two_readings_fit() -> None:
    """A file has one decimal sign: another column tells which; and dates that ascend tell day from month."""
    assert told(["1,234", "2,345"], other=["0,5", "1,75"]) == ("float", {"decimal": ","})
    assert told(["1,234", "2,345"], other=["0.5", "1.75"]) == ("int", {"thousands": ","})
    assert told(["1.234", "2.345"], other=["0,5", "1,75"]) == ("int", {"thousands": ".", "decimal": ","})
    assert told(["1.234", "2.345"], other=["0.5", "1.75"]) == ("float", {})
    assert told(["03/04/2024", "04/04/2024", "01/05/2024"]) == ("timestamp", {"format": "%d/%m/%Y"})


def test_seconds_since_1970_are_a_time_where_the_name_says_so() -> None:
    """The same numbers are a time as ``created_at`` and a quantity as ``price``; milliseconds too; and 20240131."""
    seconds = ["1700000000", "1700000100"]
    assert told(seconds, "created_at") == ("timestamp", {"format": "epoch"})
    assert told(seconds, "price") == ("int", {})
    assert told([f"{second}123" for second in seconds], "ts") == ("timestamp", {"format": "epoch_ms"})
    assert told(["20240131", "20231201"], "OrderDate") == ("timestamp", {"format": "%Y%m%d"})
    assert told(["10142018", "12312018"], "Date") == ("timestamp", {"format": "%m%d%Y"})
    assert told(["10102018", "11122018"], "Date") == ("int", {})  # day and month may be either


def test_a_number_far_from_all_others_is_a_missing_one() -> None:
    """-999, several times and far from the others, counts as missing, and then in other columns too where it is
    outside; a number near the others does not."""
    values = [f"{number / 10}" for number in range(30)]
    guess = column([*values, "-999", "-999", "-999"], other=[*map(str, range(500, 530)), "-999", "600", "601"])
    assert guess.settings == {"missing": [-999]}
    assert guess.type == "float?"
    assert column([*values, "9", "9", "9"]).settings == {}
    other = column([*map(str, range(500, 530)), "-999", "600", "601"], other=[*values, "-999", "-999", "-999"])
    assert other.settings == {"missing": [-999]}


def test_one_odd_text_among_numbers_is_said_and_a_repeated_one_is_a_value() -> None:
    """A column with one stray text stays a number, with the share that is rejected; with a repeated one it is text."""
    numbers = [str(number) for number in range(300)]
    stray = column([*numbers, "|x"])
    assert stray.kind == "int"
    assert "1 of 301 do not fit, such as '|x'" in stray.reason
    assert column([*numbers, "U", "U", "U"]).kind == "string"


# --- features -----------------------------------------------------------------------------------------------------


def test_columns_that_say_nothing_are_left_out_each_with_its_reason() -> None:
    """Identifiers, constants, texts of one row each, nearly empty columns and copies of the label are no features."""
    rows = range(100)
    values: dict[str, list[object]] = {
        "user_id": [row % 40 for row in rows],
        "row": [row + 1 for row in rows],
        "always": ["x" for _ in rows],
        "code name": [f"k{row}" for row in rows],
        "rare": [row if row < 9 else "" for row in rows],
        "size": [row * 7 % 31 / 2 for row in rows],
        "grade": [row % 2 for row in rows],
        "passed": [["no", "yes"][row % 2] for row in rows],
        "twice": [row % 2 * 2 + 1 for row in rows],
    }
    columns = guess_columns({name: pl.Series(name, list(map(str, texts)), pl.String) for name, texts in values.items()})
    label = next(each for each in columns if each.name == "grade")
    (model,) = propose_models(columns, label, 100)
    assert model.values["features"] == ["size"]
    assert {name: why.split(";")[0] for name, why in model.left_out.items()} == {
        "user_id": "an identifier, not a quantity",
        "row": "an identifier, not a quantity",
        "always": "always the same",
        "code name": "a value of its own in every row",
        "rare": "91 % of its values are missing",
        "passed": "each grade has one value of it: it gives the label away",
        "twice": "each grade has one value of it: it gives the label away",
    }


def test_a_column_on_another_scale_gives_a_quantity_away() -> None:
    """Fahrenheit gives Celsius away, and so does its rank; noise on it does not."""
    celsius = [number * 37 % 101 / 3 for number in range(60)]
    noise = [(number * 53 % 17) - 8 for number in range(60)]

    def guess(name: str, values: Sequence[float]) -> ColumnGuess:
        return ColumnGuess(name, "float", False, "", pl.Series(name, values))

    label = guess("celsius", celsius)
    assert "correlation" in gives_away(guess("f", [value * 1.8 + 32 for value in celsius]), label)
    assert "without exception" in gives_away(guess("cubed", [value**3 for value in celsius]), label)
    assert gives_away(guess("noisy", [value + extra for value, extra in zip(celsius, noise, strict=True)]), label) == ""


def test_rows_that_lack_a_feature_are_not_wasted() -> None:
    """Of columns that together leave fewer than half of the rows, the one with the most missing values goes."""
    rows = range(100)
    columns = guess_columns(
        {
            "a": pl.Series("a", [str(row / 3) if row % 5 < 3 else "" for row in rows]),
            "b": pl.Series("b", [str(row / 7) if row % 2 else "" for row in rows]),
            "c": pl.Series("c", [str(row / 9) for row in rows]),
        }
    )
    (model,) = propose_models(columns, None, 100)
    assert model.values["features"] == ["a", "c"]
    assert "50 % are missing" in model.left_out["b"]


# --- files --------------------------------------------------------------------------------------------------------


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
    ],
)
def test_a_comma_within_numbers_stands_between_no_fields(header: str, row: str, delimiter: str, tmp_path: Path) -> None:
    """Numbers with decimal commas do not make the comma the delimiter, also where every row has as many of them."""
    text = "".join(f"{line}\n" for line in [header, *(row.format(10 + number) for number in range(40))])
    guess = guess_files(str(written(tmp_path, text, "d.csv")))
    assert guess.settings.get("delimiter", ",") == delimiter
    assert [each.name for each in guess.columns] == header.split(delimiter)


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


@pytest.mark.parametrize("name", ["count", "text", "len", "index"])
def test_a_column_may_have_the_name_of_a_column_of_counts(name: str) -> None:
    """A column called count is guessed as any other."""
    assert told(["1", "2", "2"], name) == ("int", {})


def test_a_file_that_is_sorted_by_a_column_shows_all_of_its_values(tmp_path: Path) -> None:
    """Of a file with more rows than are looked at, values that only later rows have count too."""
    rows = [f"{number},{'yellow' if number < 60_000 else 'green'}" for number in range(80_000)]
    guess = guess_files(str(written(tmp_path, "n,color\n" + "\n".join(rows))))
    assert guess.looked_at < 80_000
    assert guess.columns[1].distinct == 2


# --- the pipeline -------------------------------------------------------------------------------------------------


def test_classes_that_do_not_count_from_0_are_texts(tmp_path: Path) -> None:
    """A label of 1 and 2 is declared a text; one of many numbers is a quantity."""
    text = "x,grade,price\n" + "".join(f"{n / 3},{n % 2 + 1},{n * n}\n" for n in range(60))
    path = written(tmp_path, text, "d.csv")
    by_class = proposed(path, label="grade")
    assert next(each for each in by_class.columns if each.name == "grade").type == "string"
    assert by_class.models[0].estimator == "LogisticRegression"
    assert proposed(path, label="price").models[0].estimator == "LinearRegression"


def test_a_label_that_predicts_nothing_is_refused(tmp_path: Path) -> None:
    """A label that is not there names the one that is meant; one of a single value, or a text of its own in every row,
    is told what it is."""
    text = "price,same,name\n" + "".join(f"{n},1,k{n}\n" for n in range(80))
    path = written(tmp_path, text, "d.csv")
    for label, message in {"prize": 'no column "prize"', "same": "1 value", "name": "80 different texts"}.items():
        with pytest.raises(InputError, match=message):
            proposed(path, label=label)


def test_few_rows_make_one_batch_and_none_is_held_out(tmp_path: Path) -> None:
    """Seven rows are one batch without a holdout; thirty are three batches with one."""
    few = proposed(written(tmp_path, "a,b\n" + "".join(f"{n},{n / 7}\n" for n in range(7)), "few.csv"))
    assert (few.parts, few.holdout) == (1, 0.0)
    more = proposed(written(tmp_path, "a,b\n" + "".join(f"{n},{n / 7}\n" for n in range(30)), "more.csv"))
    assert (more.parts, more.holdout) == (3, 0.2)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Air Quality (2004).csv", "Air-Quality-2004"),
        ("2019.csv.gz", "data-2019"),
        ("données.csv", "donnees"),
        ("数据.csv", "data"),
        ("part-*.csv", "part"),
    ],
)
def test_a_pipeline_is_named_after_its_file(file: str, name: str) -> None:
    """The name has the letters that a pipeline's name may have."""
    assert pipeline_name(file) == name


def test_odd_names_and_values_stay_what_they_are_in_the_file(tmp_path: Path) -> None:
    """Quotes, backslashes, control characters and other scripts in names and values are written as TOML reads them."""
    names = ['a "b"', "c\\d", "é.f", "#g", "日本", "x=y", "tab\there"]
    rows = "".join(",".join(f'"{n % 3}\x7f\x01""{i}"' for i in range(len(names))) + f",{n}\n" for n in range(40))
    names.append("'''")
    quoted = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    path = written(tmp_path, f"{quoted}\n{rows}", 'odd "name".csv')
    document = tomllib.loads(pipeline_text(proposed(path)))
    assert list(document["source"]["columns"]) == names
    assert document["source"]["path"] == 'odd "name".csv'


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
