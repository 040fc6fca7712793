"""The console's widgets, drawn by Streamlit without a browser."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from tests.support.console_answers import column, home, recommender
from tidemill import schemas


def page_selectors(newest: int, rows: int) -> None:
    from tidemill.console.paging import select_newest_first, select_oldest_first

    select_newest_first(newest, "page")
    select_oldest_first(rows, 10, "Page of rows", "rows")


@pytest.mark.parametrize(
    ("newest", "rows", "labels"),
    [
        (25, 10, []),
        (0, 0, []),
        (26, 11, ["Page (of 2; page 1 is the newest)", "Page of rows (of 2)"]),
    ],
)
def test_one_page_has_no_selector(newest: int, rows: int, labels: list[str]) -> None:
    """A list that fits on one page has nothing to turn; a longer one says how many pages there are."""
    drawn = AppTest.from_function(page_selectors, args=(newest, rows)).run()
    assert not drawn.exception
    assert [selector.label for selector in drawn.number_input] == labels


def rating_input(pipeline: object, model: object) -> None:
    from tidemill.console.pages.try_recommender import rating
    from tidemill.schemas import Home, ModelBody

    assert isinstance(pipeline, Home)
    assert isinstance(model, ModelBody)
    rating(pipeline, model, "Heat (1995)", "rating of 7")


def test_a_rating_is_given_on_the_models_scale() -> None:
    """The slider goes from the least to the greatest rating that training saw, in the column's own steps and unit."""
    model = recommender(ratings=schemas.RatingScale(minimum=1.0, maximum=10.0))
    pipeline = home(column("rating", "int", unit="points"))
    drawn = AppTest.from_function(rating_input, args=(pipeline, model)).run()
    assert not drawn.exception
    (slider,) = drawn.slider
    assert (slider.min, slider.max, slider.step, slider.value) == (1.0, 10.0, 1.0, 8.0)
    assert slider.proto.format == "%g points"


def test_a_model_without_a_scale_takes_any_rating() -> None:
    """Before a generation has a scale, a rating is a number; a model of implicit preferences asks for none."""
    drawn = AppTest.from_function(rating_input, args=(home(), recommender(ratings=None))).run()
    assert [field.value for field in drawn.number_input] == [1.0]
    drawn = AppTest.from_function(rating_input, args=(home(), recommender(rating=None, ratings=None))).run()
    assert not drawn.number_input
    assert not drawn.slider
