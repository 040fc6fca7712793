"""Features that are functions of columns: what they are made of, and their faults."""

from __future__ import annotations

import pytest

from tidemill.pipeline.derived import FeatureSource, feature_source
from tidemill.pipeline.faults import model_faults

COLUMNS = {
    "at": "timestamp",
    "text": "string?",
    "x": "float",
    "hour(x)": "float",
    "f(x)": "int",
    "y": "int",
    "a)": "timestamp",
}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("at", FeatureSource("at", "at")),
        ("hour(at)", FeatureSource("hour(at)", "at", "hour")),
        ("tfidf(text)", FeatureSource("tfidf(text)", "text", "tfidf")),
        ("hour(a))", FeatureSource("hour(a))", "a)", "hour")),
        ("hour(x)", FeatureSource("hour(x)", "hour(x)")),
        ("f(x)", FeatureSource("f(x)", "f(x)")),
        ("second(at)", FeatureSource("second(at)", "second(at)")),
    ],
)
def test_a_feature_is_a_column_or_a_function_of_one(name: str, source: FeatureSource) -> None:
    """A declared column of just the feature's name wins, whatever its name looks like."""
    assert feature_source(name, COLUMNS) == source


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (
            "at",
            '"at", a timestamp; expected a column of numbers, strings or booleans; its parts are features: hour(at)',
        ),
        ("hours(at)", 'did you mean "hour"?'),
        ("second(at)", "expected one of hour, weekday, month, year, day, dayofyear, tfidf"),
        ("hour(text)", 'hour of "text", a string; expected a timestamp'),
        ("tfidf(at)", 'tfidf of "at", a timestamp; expected a string'),
        ("month(att)", 'found "att"; expected a declared column; did you mean "at"?'),
        ("hour(y)", 'hour of "y"'),
    ],
)
def test_what_is_no_feature_is_a_fault(feature: str, message: str) -> None:
    """A function that does not exist, of a column that does not, or of another type is found before anything starts."""
    [fault, *_] = model_faults("models.m", {"features": ["x", feature], "label": "f(x)"}, COLUMNS, {})
    assert fault.path == "models.m.features[1]"
    assert message in str(fault)


def test_a_label_is_no_part_of_a_feature() -> None:
    """The column of a function that is a feature can't be the label."""
    [fault] = model_faults("models.m", {"features": ["tfidf(text)", "hour(at)"], "label": "text"}, COLUMNS, {})
    assert (
        str(fault) == 'models.m.label: found "text", also a feature; expected a column that is not among the features'
    )
