"""Many rows of one request are checked, scored and answered by columns, with the answers that each gets by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.scoring.test_rows_alone import MODELS, number, rows_of
from tidemill.api.answers import PARTS, answer_maker, encode, encode_many
from tidemill.api.inputs import ModelInputs
from tidemill.errors import FeatureError
from tidemill.pipeline import Column, Constant
from tidemill.pipeline.columns import Cleaning
from tidemill.run.catalog import GenerationRef
from tidemill.scoring import RowScorer

FORMS: list[Any] = [
    None,
    *PARTS,
    {"first": Constant(value=[1, None, "é"]), "p": "probability", "all": "probabilities", 'a "key"': "prediction"},
    {"centre": "centre", "label": "label", "new": "unseen", "distance": "distance", "g": "generation"},
]
LABELS = {"low": 'the "low" one', "0": "none", "true": "yes"}
COLUMNS = [
    Column("int", "int", False, Cleaning()),
    Column("float", "float", False, Cleaning()),
    Column("string", "string", False, Cleaning()),
    Column("bool", "bool", False, Cleaning()),
    Column("at", "timestamp", False, Cleaning(timezone="Europe/Amsterdam")),
]
GOOD = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    "bool": st.booleans(),
    "at": st.datetimes(datetime(1970, 1, 1), datetime(2040, 1, 1)).map(datetime.isoformat),
}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, 3.0, 3.5, 2**53 + 0.0, 2**63, 2**64 - 1, "3", "", True, [], {}, "2024-03-31T02:30:00", 1e300]
)


@pytest.mark.parametrize("name", MODELS)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_rows_have_the_bytes_that_each_has_alone(name: str, seed: int, data: st.DataObject) -> None:
    """The answers for many rows, in every form that a route may declare, are those for one row, byte for byte."""
    scorer = MODELS[name](np.random.default_rng(seed))
    refresh_labels(scorer)
    rows = data.draw(rows_of(st.sampled_from([0, 1]) if name == "bernoulli" else abs_of(name)), "rows")
    generation = GenerationRef(3, data.draw(st.sampled_from(["", "windowed-2"]), "line"))
    with np.errstate(all="ignore"):
        try:
            alone = [scorer.predict_one(row) for row in rows]
        except FeatureError:
            with pytest.raises(FeatureError):
                scorer.predict_columns({name: [row[name] for row in rows] for name in rows[0]})
            return
        predicted = scorer.predict_columns({name: [row[name] for row in rows] for name in rows[0]})
    for form in FORMS:
        answer = answer_maker(form)
        expected = encode([answer("m", generation, prediction) for prediction in alone])
        assert encode_many("m", generation, predicted, form) == expected


def refresh_labels(scorer: RowScorer) -> None:
    """Give names to some of the classes, as a pipeline does."""
    scorer.labels.update(LABELS)
    options: Any = getattr(scorer, "options", [])
    for index, option in enumerate(options):
        if option.centre is None:
            options[index] = option._replace(label=LABELS.get(str(option.prediction).lower()))


def abs_of(name: str) -> st.SearchStrategy[Any]:
    return number.map(abs) if name in ("multinomial", "complement") else number


def outcome(read: Callable[[], Any]) -> Any:
    """What is read, with the types of its values, or the error's words."""
    try:
        return repr(read())
    except FeatureError as error:
        return f"{error.message}; {error.hint}"


@given(data=st.data())
def test_columns_are_what_rows_are(data: st.DataObject) -> None:
    """Rows that are read as columns have the values that each has when it is checked by itself; the first faults are
    named, each with its row."""
    inputs = ModelInputs(COLUMNS)
    row = st.fixed_dictionaries(GOOD) | st.fixed_dictionaries({**GOOD, "more": ODD})
    faulty = st.fixed_dictionaries({name: value | ODD for name, value in GOOD.items()}) | ODD | st.just({"int": 1})
    odd = data.draw(st.booleans(), "odd")
    body = orjson.dumps({"rows": data.draw(st.lists(row | faulty if odd else row, max_size=5), "rows")})
    sent = orjson.loads(body)["rows"]
    checked = outcome(lambda: inputs._checked_columns(sent))
    assert outcome(lambda: inputs.read(body).columns) == as_numbers(checked, inputs, sent)
    assert odd or not sent or inputs._plain_columns(sent) is not None


def as_numbers(checked: Any, inputs: ModelInputs, sent: list[Any]) -> Any:
    """What is checked, with whole numbers of a float column as they were sent where no row is odd: numpy reads both
    alike."""
    plain = inputs._plain_columns(sent)
    if plain is None:
        return checked
    floats = [value if value is None else float(value) for value in plain["float"]]
    assert repr(plain | {"float": floats}) == checked
    return repr(plain)
