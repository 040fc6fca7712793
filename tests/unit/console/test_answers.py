"""What models answer, as the console's tables, sentences and plots tell it."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.console import answer_charts, answers, formatting
from tidemill.console.clusters import tables

LABELS = {"0": "Inefficient", "1": "Efficient"}
CLASSIFIED: dict[str, Any] = {
    "generation": 2,
    "prediction": 1,
    "label": "Efficient",
    "probability": {"0": 0.25, "1": 0.75},
}
VALUED: dict[str, Any] = {"generation": 1, "prediction": 65002.7261}
GROUPED: dict[str, Any] = {"generation": 3, "prediction": 1, "distance": 0.53446789}
FAILED: dict[str, Any] = {"generation": 1, "error": {"code": "scorer", "message": "generation 1 is damaged"}}


@pytest.mark.parametrize(
    ("answer", "unit", "text"),
    [
        (CLASSIFIED, None, "Efficient (1)"),
        ({"prediction": True, "label": None}, None, "true"),
        ({"prediction": True, "label": "on"}, None, "on (true)"),
        (VALUED, None, "65,002.7"),
        (VALUED, "kWh", "65,002.7 kWh"),
        ({"prediction": 0.00001234567}, None, "1.23457e-05"),
        (GROUPED, "kWh", "1"),
        ({"prediction": "lamp"}, None, "lamp"),
    ],
)
def test_an_answer_in_a_few_words(answer: dict[str, Any], unit: str | None, text: str) -> None:
    """A class by its word, a value with its unit; a class or a cluster has none."""
    assert answers.headline(answer, unit) == text


def test_the_likeliest_class_comes_first_by_its_word() -> None:
    found = answers.probabilities(CLASSIFIED, {"1": "Efficient"})
    assert found == [{"class": "Efficient (1)", "probability": 0.75}, {"class": "0", "probability": 0.25}]
    assert answers.probabilities(VALUED, {}) == []
    assert answers.probabilities({"prediction": 1, "probability": None}, LABELS) == []


def test_what_training_had_not_seen_is_named() -> None:
    told = answers.unseen({"unseen": {"kind": "kettle", "town": "BATH"}})
    assert told == "Not seen in training: kind kettle, town BATH. The answer is made without it."
    assert answers.unseen({"unseen": {}}) is None
    assert answers.unseen({}) is None


def test_ratings_that_count_for_less_are_named_by_their_titles() -> None:
    """Items that a generation does not know, and items rated outside the scale it was trained with."""
    answer = {"unknown": ["77"], "outside": [1, "2"]}
    assert answers.remarks(answer, {"1": "Toy Story (1995)"}) == [
        "Not known to this generation: 77.",
        "Rated outside the scale of this generation's rows: Toy Story (1995), 2.",
    ]
    assert answers.remarks({"unknown": []}, {}) == []


def test_every_generation_has_a_line_also_one_that_failed() -> None:
    assert answers.by_generation([CLASSIFIED, FAILED], LABELS) == [
        {"generation": 2, "answer": "Efficient (1)", "Inefficient (0)": 0.25, "Efficient (1)": 0.75},
        {"generation": 1, "answer": None, "note": "generation 1 is damaged"},
    ]
    assert answers.by_generation([GROUPED, VALUED], {}) == [
        {"generation": 3, "answer": "1", "distance": "0.5345"},
        {"generation": 1, "answer": "65,002.7"},
    ]
    assert answers.reason("damaged") == "damaged"


def test_classes_are_told_once_each() -> None:
    other = {"generation": 1, "prediction": 0, "probability": {"0": 0.5, "2": 0.5}}
    assert answers.classes([CLASSIFIED, FAILED, other], LABELS) == ["Inefficient (0)", "Efficient (1)", "2"]
    assert answers.classes([VALUED], {}) == []


def test_a_curve_for_each_class_and_else_one_for_the_answer() -> None:
    """A generation without an answer leaves a gap."""
    assert answers.series([CLASSIFIED, FAILED], LABELS) == [
        {"generation": 2, "line": "Inefficient (0)", "value": 0.25},
        {"generation": 2, "line": "Efficient (1)", "value": 0.75},
    ]
    assert answers.series([VALUED], {}) == [{"generation": 1, "line": "answer", "value": 65002.7261}]
    assert answers.series([FAILED], {}) == []


def test_found_rows_are_told_by_place_and_nearness() -> None:
    near = answers.items([{"distance": 0.5, "row": {"price": 3}}, {"distance": 0.75, "row": {"price": 4}}], "distance")
    assert near == [{"place": 1, "distance": 0.5, "price": 3}, {"place": 2, "distance": 0.75, "price": 4}]
    titled = answers.items([{"item": 7, "score": 4.5, "title": "Heat"}], "score")
    assert titled == [{"place": 1, "score": 4.5, "item": 7, "title": "Heat"}]
    assert answers.items([], "score") == []


def test_an_item_is_told_by_its_first_title_and_else_by_its_id() -> None:
    assert answers.item_title({"item": 7, "title": "Heat", "genres": "Crime"}) == "Heat"
    assert answers.item_title({"item": "x", "title": None, "year": 1995}) == "x"
    assert answers.item_title({"item": 7}) == "7"


def test_figures_of_a_table_are_written_as_one_reads_them() -> None:
    """Commas between thousands, four significant digits; what is told otherwise stays."""
    rows: list[dict[str, Any]] = [
        {"cluster": 0, "size": 1023, "share": "62.8 %", "use": 3390.8446, "moved": 0.01234567},
        {"use": None},
    ]
    assert tables.written(rows, but="moved") == [
        {"cluster": "0", "size": "1,023", "share": "62.8 %", "use": "3,391", "moved": 0.01234567},
        {"use": formatting.NONE},
    ]


def test_centres_that_are_close_together_are_told_apart() -> None:
    """Longitudes of one town differ in their later digits, which the table shows; wide columns are kept short."""
    rows = [{"lon": -104.6981, "use": 13.9293}, {"lon": -104.8912, "use": 6.1206}, {"lon": -105.0404, "use": 18.7801}]
    assert [(one["lon"], one["use"]) for one in tables.written(rows)] == [
        ("-104.698", "13.93"),
        ("-104.891", "6.121"),
        ("-105.04", "18.78"),
    ]


def test_bars_have_room_for_each_class_and_its_figure() -> None:
    rows = [{"class": f"c{number}", "probability": 0.1} for number in range(10)]
    drawn = answer_charts.bars(rows, "kind").to_dict()
    assert drawn["height"] == answer_charts.AXIS_HEIGHT + 10 * answer_charts.BAR_HEIGHT
    bar, figure = drawn["layer"]
    assert bar["encoding"]["y"]["title"] == "kind"
    assert bar["encoding"]["x"]["title"] == "probability (%)"
    assert figure["encoding"]["text"]["format"] == ".1%"


def test_answers_over_generations_have_the_axis_of_their_kind() -> None:
    """Shares in percent, with a legend; amounts with their unit and no legend; names are no amounts, and no line joins
    them."""
    shares = answer_charts.over_generations(
        answers.series([CLASSIFIED], LABELS), "probability (%)", share=True, named=False
    ).to_dict()
    assert shares["encoding"]["y"]["axis"]["format"] == "%"
    assert shares["encoding"]["color"]["scale"]["domain"] == ["Inefficient (0)", "Efficient (1)"]
    assert shares["encoding"]["color"]["legend"] is not None
    amounts = answer_charts.over_generations(answers.series([VALUED], {}), "price (£)", False, False).to_dict()
    assert amounts["encoding"]["y"]["title"] == "price (£)"
    assert amounts["encoding"]["color"]["legend"] is None
    names = answer_charts.over_generations(answers.series([GROUPED], {}), "cluster", False, True).to_dict()
    assert names["encoding"]["y"]["type"] == "ordinal"
    assert names["mark"]["strokeWidth"] == 0
