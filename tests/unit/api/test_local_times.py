"""Timestamps without a zone in requests."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from tidemill.api.custom.routes import column_parameter
from tidemill.api.inputs import ModelInputs
from tidemill.api.values import key_value
from tidemill.errors import FeatureError, ParameterError
from tidemill.kafka.codec import decode
from tidemill.pipeline import Column, Route
from tidemill.pipeline.columns import Cleaning

HERE = Column("at", "timestamp", False, Cleaning(timezone="Europe/Amsterdam"))
SUMMER, TWICE, NEVER = "2024-07-01T09:00:00", "2024-10-27T02:30:00", "2024-03-31T02:30:00"
MOMENT = datetime(2024, 7, 1, 7, tzinfo=UTC)


def sent(text: str, column: Column = HERE) -> datetime:
    """The moment that a request's feature stands for."""
    row = ModelInputs([column]).read(orjson.dumps({"at": text})).row
    assert row is not None
    moment: datetime = row["at"]
    return moment


def test_a_time_without_a_zone_is_in_the_columns_wherever_it_is_sent() -> None:
    """A prediction, a declared route, a row's key and a posted row read a local time as the data do: in the column's
    time zone; one with a zone is that moment, and without ``timezone`` it is in UTC."""
    route = Route.model_validate({"path": "/p", "does": "predict", "model": "m"})
    assert sent(SUMMER) == MOMENT
    assert sent("2024-07-01T09:00:00+01:00") == datetime(2024, 7, 1, 8, tzinfo=UTC)
    assert sent(SUMMER, HERE._replace(cleaning=Cleaning())) == datetime(2024, 7, 1, 9, tzinfo=UTC)
    assert column_parameter(route, HERE).read(SUMMER, as_text=True) == MOMENT
    assert key_value(HERE, SUMMER) == MOMENT
    table, bad = decode([orjson.dumps({"at": SUMMER})], [HERE])
    assert (table["at"].to_pylist(), bad) == ([MOMENT], [])


def test_a_local_time_that_is_no_single_moment_is_refused_or_decided() -> None:
    """At the change of the clocks, a time that occurs twice is refused unless ``ambiguous`` decides, and one that does
    not exist always is."""
    latest = HERE._replace(cleaning=Cleaning(timezone="Europe/Amsterdam", ambiguous="latest"))
    assert sent(TWICE, latest) == datetime(2024, 10, 27, 1, 30, tzinfo=UTC)
    assert sent(TWICE, HERE._replace(cleaning=latest.cleaning._replace(ambiguous="earliest"))).hour == 0
    for column, text in ((HERE, TWICE), (HERE, NEVER), (latest, NEVER)):
        with pytest.raises(FeatureError, match="at is"):
            sent(text, column)
        with pytest.raises(ParameterError):
            key_value(column, text)
    assert "which occurs twice in Europe/Amsterdam" in decode([orjson.dumps({"at": TWICE})], [HERE])[1][0].reason
