"""What models answer, as the console's tables, sentences and plots tell it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.console_answers import answer
from tidemill import schemas
from tidemill.console import answers, charts, formatting

LABELS = {"0": "Inefficient", "1": "Efficient"}
CLASSIFIED = answer(2, 1, label="Efficient", probability={"0": 0.25, "1": 0.75})
VALUED = answer(1, 65002.7261)
GROUPED = answer(3, 1, distance=0.53446789)
FAILED = answer(1, error="generation 1 is damaged")


@pytest.mark.parametrize(
    ("answer", "unit", "text"),
    [
        (CLASSIFIED, None, "Efficient (1)"),
        (answer(1, True), None, "true"),
        (answer(1, True, label="on"), None, "on (true)"),
        (VALUED, None, "65,002.7"),
        (VALUED, "kWh", "65,002.7 kWh"),
        (answer(1, 0.00001234567), None, "1.23457e-05"),
        (GROUPED, "kWh", "1"),
        (answer(1, "lamp"), None, "lamp"),
    ],
)
def test_an_answer_in_a_few_words(answer: schemas.GenerationAnswer, unit: str | None, text: str) -> None:
    """A class by its word, a value with its unit; a class or a cluster has none."""
    assert answers.headline(answer, unit) == text


def test_the_likeliest_class_comes_first_by_its_word() -> None:
    found = answers.probabilities(CLASSIFIED, {"1": "Efficient"})
    assert found == [{"class": "Efficient (1)", "probability": 0.75}, {"class": "0", "probability": 0.25}]
    assert answers.probabilities(VALUED, {}) == []
    assert answers.probabilities(answer(1, 1), LABELS) == []


def test_what_training_had_not_seen_is_named() -> None:
    def unseen(values: dict[str, str] | None) -> str | None:
        return answers.unseen(schemas.Answered(model="good", generation=1, prediction=1, unseen=values))

    expected = "Not seen in training: kind kettle, town BATH. The prediction does not use it."
    assert unseen({"kind": "kettle", "town": "BATH"}) == expected
    assert unseen({}) is None
    assert unseen(None) is None


def test_ratings_that_count_for_less_are_named_by_their_titles() -> None:
    """Items that a generation does not know, and items rated outside the scale it was trained with."""
    recommended = schemas.Recommendations(model="taste", generation=1, items=[], unknown=["77"], outside=["1", "2"])
    assert answers.remarks(recommended, {"1": "Toy Story (1995)"}) == [
        "Not known to this generation: 77.",
        "Rated outside the scale of this generation's rows: Toy Story (1995), 2.",
    ]
    assert answers.remarks(schemas.Recommendations(model="taste", generation=1, items=[], unknown=[]), {}) == []


def test_every_generation_has_a_line_also_one_that_failed() -> None:
    assert answers.by_generation([CLASSIFIED, FAILED], LABELS) == [
        {"generation": 2, "answer": "Efficient (1)", "Inefficient (0)": 0.25, "Efficient (1)": 0.75},
        {"generation": 1, "answer": None, "note": "generation 1 is damaged"},
    ]
    assert answers.by_generation([GROUPED, VALUED], {}) == [
        {"generation": 3, "answer": 1, "distance": 0.53446789},
        {"generation": 1, "answer": 65002.7261},
    ]


def test_generations_that_do_not_answer_are_named() -> None:
    """Between the first and the last of a page's answers those are missing that failed or are no longer kept."""
    assert answers.missing_generations([answer(9, 1), answer(8, 1), answer(4, 0), answer(1, 0)]) == [2, 3, 5, 6, 7]
    assert answers.missing_generations([]) == []
    assert [formatting.numbered("batch", numbers, "batches") for numbers in ([2], [2, 3, 7])] == [
        "batch 2",
        "batches 2-3, 7",
    ]


def test_each_class_is_listed_once() -> None:
    other = answer(1, 0, probability={"0": 0.5, "2": 0.5})
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


def test_similar_rows_and_items_have_their_rank_and_measure_first() -> None:
    near = [schemas.NearRow(distance=0.5, row={"price": 3}), schemas.NearRow(distance=0.75, row={"price": 4})]
    assert answers.similar_rows(near, "distance") == [
        {"rank": 1, "distance": 0.5, "price": 3},
        {"rank": 2, "distance": 0.75, "price": 4},
    ]
    titled = schemas.ScoredItem.model_validate({"item": 7, "score": 4.5, "title": "Heat"})
    assert answers.item_rows([titled], "score") == [{"rank": 1, "score": 4.5, "item": 7, "title": "Heat"}]
    assert answers.item_rows([], "score") == []


def test_rows_of_the_stream_have_their_prediction_or_why_they_have_none() -> None:
    found = [
        schemas.FoundRow(batch=2, row={"id": 7}, prediction=1, label="Efficient"),
        schemas.FoundRow(batch=1, row={"id": 7}, prediction=None, reason="hours is missing"),
    ]
    assert answers.found_rows(found, LABELS) == [
        {"batch": 2, "answer": "Efficient (1)", "id": 7},
        {"batch": 1, "answer": None, "note": "hours is missing", "id": 7},
    ]


@pytest.mark.parametrize(
    ("columns", "title"),
    [
        ({"item": 7, "title": "Heat", "genres": "Crime"}, "Heat"),
        ({"item": "x", "title": None, "year": 1995}, "x"),
        ({"item": 7}, "7"),
    ],
)
def test_an_items_title_is_its_first_text_and_else_its_id(columns: dict[str, Any], title: str) -> None:
    assert answers.item_title(schemas.TitledItem.model_validate(columns)) == title


def test_bars_have_room_for_each_class_and_its_figure() -> None:
    rows = [{"class": f"c{number}", "probability": 0.1} for number in range(10)]
    drawn = charts.probability_bars(rows, "kind").to_dict()
    assert drawn["height"] == charts.AXIS_HEIGHT + 10 * charts.BAR_HEIGHT
    bar, figure = drawn["layer"]
    assert bar["encoding"]["y"]["title"] == "kind"
    assert bar["encoding"]["x"]["title"] == "probability (%)"
    assert figure["encoding"]["text"]["format"] == ".1%"


def test_answers_over_generations_have_the_axis_of_their_kind() -> None:
    """Shares in percent from 0 to 1, with a legend; amounts with their unit from 0 and no legend; names are no amounts,
    and no line joins them."""
    shares = charts.over_generations(
        answers.series([CLASSIFIED], LABELS), "probability (%)", share=True, named=False
    ).to_dict()
    assert shares["encoding"]["y"]["axis"]["format"] == "%"
    assert shares["encoding"]["y"]["scale"]["domain"] == [0, 1]
    assert shares["encoding"]["color"]["scale"]["domain"] == ["Inefficient (0)", "Efficient (1)"]
    assert shares["encoding"]["color"]["legend"] is not None
    amounts = charts.over_generations(answers.series([VALUED], {}), "price (£)", False, False).to_dict()
    assert amounts["encoding"]["y"]["title"] == "price (£)"
    assert amounts["encoding"]["y"]["scale"]["zero"] is True
    assert amounts["encoding"]["color"]["legend"] is None
    names = charts.over_generations(answers.series([GROUPED], {}), "cluster", False, True).to_dict()
    assert names["encoding"]["y"]["type"] == "ordinal"
    assert names["mark"]["strokeWidth"] == 0
