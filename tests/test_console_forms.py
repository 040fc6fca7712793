"""The console's forms: the fields of a model and of a route, and the request that their values make."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serving_run import COUNT, HOURS, KIND, NOTE, ON
from tidemill.console import forms, words
from tidemill.console.forms import Field

READY = ("amazon-sales", "denver-crime", "dutch-electricity", "movie-ratings", "price-paid", "smart-home")
UNSEEN: dict[str, Any] = {"categories": None, "minimum": None, "maximum": None, "example": None}
COLUMNS: list[Any] = [
    {"name": "age", "kind": "int", "title": "device age", "unit": "months"},
    {"name": "kind", "kind": "string", "title": None, "unit": None},
]


def field(one: dict[str, Any], **changes: Any) -> Field:
    return forms.field(one | changes)


# --- a model's fields -------------------------------------------------------------------------------------------------


def test_a_field_has_what_training_saw() -> None:
    """In the model's order: a choice of categories, ranges as help, an example in each."""
    kind, hours, count, on = forms.fields({"inputs": [KIND, HOURS | {"unit": "hours/day"}, COUNT, ON]})
    assert kind == Field(
        "kind", "kind", "string", "lamp", ("lamp", "fan"), None, "Seen: 2 different. Another may be typed."
    )
    assert hours == Field("hours", "hours (hours/day)", "float", 2.5, None, 0.5, "Seen: 0 to 24 hours/day.")
    assert count == Field("count", "count", "int", 3, None, 1, "Seen: 0 to 9.")
    assert on == Field("on", "on", "bool", True)


@pytest.mark.parametrize(("kind", "value"), [("int", 1), ("float", 1.0), ("string", ""), ("bool", True)])
def test_before_the_first_generation_a_field_has_a_plain_value(kind: str, value: Any) -> None:
    """Nothing seen: no range, no choices, and a value of the right kind all the same."""
    found = field({"name": "x", "kind": kind} | UNSEEN)
    assert found.default == value
    assert type(found.default) is type(value)
    assert (found.choices, found.help) == (None, "")


def test_a_title_and_a_unit_make_the_label() -> None:
    assert field(HOURS, title="use", unit="hours/day").label == "use (hours/day)"
    assert field(HOURS, title="use", unit=None).label == "use"
    assert field(HOURS, title=None, unit=None).label == "hours"


def test_a_single_category_is_a_choice_too_and_a_thousand_are_none() -> None:
    one = field(KIND, categories=["lamp"], example=None)
    assert (one.choices, one.default, one.help) == (("lamp",), "lamp", "Seen: only this one.")
    many = field(KIND, categories=[f"kind {number}" for number in range(1000)])
    assert (many.choices, many.help) == (None, "Seen: 1,000 different. Another may be typed.")
    assert field(KIND, categories=[]).choices is None
    assert field(NOTE).default == "a lamp"


@pytest.mark.parametrize(
    ("least", "most", "step"),
    [
        (0.0, 24.0, 0.5),
        (0.0, 100.0, 1.0),
        (0.0, 1e-9, 1e-11),
        (-1e300, 1e300, 2e298),
        (5.0, 5.0, 0.1),
        (None, None, 0.1),
    ],
)
def test_a_step_is_a_round_hundredth_of_the_range(least: float | None, most: float | None, step: float) -> None:
    assert field(HOURS, minimum=least, maximum=most).step == pytest.approx(step, rel=1e-12)


@pytest.mark.parametrize(
    ("example", "least", "most", "shown"),
    [
        (23.3564116936, 0.0, 60.0, 23.36),
        (0.000123456, 0.0, 1.0, 0.0001235),
        (-104.987654321, -105.1, -104.7, -104.9877),  # of a narrow range more is told
        (1234567.891, 0.0, 2e6, 1234568.0),
        (2.5, None, None, 2.5),
        (0.0, 0.0, 24.0, 0.0),
        (1 / 3, 1 / 3, 1 / 3, 0.3333),
        (1e300, -1e300, 1e300, 1e300),
    ],
)
def test_an_example_has_no_more_digits_than_one_takes_in(
    example: float, least: float | None, most: float | None, shown: float
) -> None:
    assert field(HOURS, example=example, minimum=least, maximum=most).default == shown


def test_a_whole_number_stays_within_what_a_browser_holds() -> None:
    assert field(COUNT, example=2**63 - 1).default == 2**53 - 1
    assert field(COUNT, example=-(2**63)).default == 1 - 2**53


def test_a_row_has_the_kinds_of_the_columns_and_leaves_out_what_is_empty() -> None:
    asked = forms.fields({"inputs": [KIND, HOURS, COUNT, ON]})
    row = forms.row(asked, {"kind": "", "hours": 2, "count": 3.0, "on": False})
    assert row == {"kind": "", "hours": 2.0, "count": 3, "on": False}
    assert [type(one) for one in row.values()] == [str, float, int, bool]
    assert forms.row(asked, {"kind": None, "hours": None}) == {}


def test_a_text_stands_in_markdown_as_it_is() -> None:
    assert words.plain("a*b_c [d](e) &lt;") == r"a\*b\_c \[d\]\(e\) \&lt;"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (":x:", ":|x:"),
        ("a :material/star: b", "a :|material/star: b"),
        ("http://a.b", "http:|//a.b"),
        ("WWW.a.b", "WWW|.a.b"),
        ("a@b.c", "a@|b.c"),
        ("12:30:45", "12:30:45"),
        ("note: a", "note: a"),
    ],
)
def test_a_text_is_no_icon_and_no_link(text: str, shown: str) -> None:
    """What Streamlit looks for after Markdown was read is broken by a sign that is not seen."""
    assert words.plain(text).replace("\\", "") == shown.replace("|", words.JOINER)
