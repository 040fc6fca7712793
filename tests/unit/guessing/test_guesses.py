"""What is guessed of single columns and of models, and what is not guessed but said."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support.reading import written
from tests.unit.guessing.test_files import proposed
from tidemill.errors import InputError
from tidemill.guessing.columns import ColumnGuess
from tidemill.guessing.csv_files import guess_columns
from tidemill.guessing.document import pipeline_text
from tidemill.guessing.leaks import gives_away
from tidemill.guessing.models import propose_models
from tidemill.guessing.proposal import pipeline_name


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
        (["13,091", "950", "1,227,151", *["2,450"] * 9], "int", {"thousands": ","}),
        (["13.091", "950", "1.227.151", *["2.450"] * 9], "int", {"thousands": ".", "decimal": ","}),
        ([*map(str, range(300)), "1,500"], "string", {}),
        ([*map(str, range(300)), "1,500", "12,250,000"], "int", {"thousands": ","}),
        (["$950", "$1,227,151", *["$2,450"] * 9], "int", {"strip": ["$"], "thousands": ","}),
        (["40 430", "1 200 300", "7"], "int", {"thousands": " "}),
        (["1\u202f234,50", "12,5", "7"], "float", {"thousands": " ", "decimal": ","}),
        (["1 234.50", "12.5"], "float", {"thousands": " "}),
        (["€ 1 234", "€ 12"], "int", {"strip": ["€"], "thousands": " "}),
        (["1'234.50", "12.00"], "float", {"thousands": "'"}),
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


def test_a_date_that_is_none_makes_its_row_a_reject() -> None:
    """One among hundreds: the others decide, also where day and month could be told from it alone."""
    days = [f"{1 + number % 28:02}.{1 + number % 12:02}.2024" for number in range(400)]
    guess = column([*days, "31.02.2024"])
    assert (guess.type, dict(guess.settings)) == ("timestamp", {"format": "%d.%m.%Y"})
    assert "1 of 401 does not fit, '31.02.2024', and makes its row a reject" in guess.reason
    moments = [f"2024-01-{1 + number % 28:02}T10:00" for number in range(400)]
    assert told(["today", *moments]) == ("timestamp", {})
    assert column(["soon", "later", "today", *moments[:100]]).type == "string"


def test_a_word_beside_yes_and_no_is_told() -> None:
    """Where nearly all texts are true or false, the note says how to read them so; nothing is rejected unasked."""
    garden = column([*["yes", "no"] * 200, "maybe"])
    assert garden.type == "string"
    assert garden.unclear == 'all but 1 of 401 are no, yes: declare it "bool" to make the others rejects'
    assert "with the keys true and false" in column([*["ja", "nein"] * 200, "?!"]).unclear
    assert column(["yes", "no", "maybe"] * 200).unclear == ""


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
    assert told(["1,234", "2,345"], other=["1,234,567", "1,750"]) == ("int", {"thousands": ","})
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
    assert "1 of 301 does not fit, '|x'" in stray.reason
    assert column([*numbers, "U", "U", "U"]).kind == "string"


@pytest.mark.parametrize("name", ["count", "text", "len", "index"])
def test_a_column_may_have_the_name_of_a_column_of_counts(name: str) -> None:
    """A column called count is guessed as any other."""
    assert told(["1", "2", "2"], name) == ("int", {})


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
    (model,) = propose_models(columns, label, 100, {})
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


def test_true_and_false_make_clusters_where_they_are_most() -> None:
    """Of votes beside one number, and of votes alone, all are features; one vote beside two numbers is left out."""
    votes = {f"v{n}": ["yny?"[(row + n) % 4] for row in range(60)] for n in range(3)}
    numbers = {f"n{n}": [f"{row * 7 % (31 + n) / 2}" for row in range(60)] for n in range(2)}

    def used(*names: str) -> list[str]:
        every = votes | numbers
        columns = guess_columns({name: pl.Series(name, every[name], pl.String) for name in names})
        (model,) = propose_models(columns, None, 60, {})
        return list(model.values["features"])

    assert used("v0", "v1", "n0") == ["v0", "v1", "n0"]
    assert used("v0", "v1") == ["v0", "v1"]
    assert used("v0", "n0", "n1") == ["n0", "n1"]


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
    (model,) = propose_models(columns, None, 100, {})
    assert model.values["features"] == ["a", "c"]
    assert "50 % are missing" in model.left_out["b"]


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
