"""A row that is scored alone, in plain floats, gets the bits that it gets among others, in numpy."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kept_run import FIXTURES
from tests.support.row_scorers import row_model
from tidemill import scoring
from tidemill.errors import FeatureError, ParityFailed
from tidemill.scoring import Prediction, RowScorer, row_scorer
from tidemill.scoring.arithmetic import MOST_ROW_TERMS
from tidemill.scoring.base import RowScores
from tidemill.scoring.parity import compare

Row = Mapping[str, Any]
WORDS = ["red", "green", ""]
FEATURES = {"x": None, "y": None, "z": None, "colour": WORDS, "shape": ["round"]}
NUMBERS, POSITIONS = 3, 7
CLASSES = ["low", "mid", "top"]


def forest(dice: np.random.Generator, trees: int, outputs: int, places: Sequence[int] = range(POSITIONS)) -> Any:
    """Trees of depth two, whose nodes test numbers and categories; the thresholds are few, so that rows lie on them."""
    nodes = 7 * trees
    inner = np.isin(np.arange(nodes) % 7, [0, 1, 4])
    place = np.where(inner, dice.choice(list(places), nodes), -1)
    step = np.arange(nodes)
    right = np.select([step % 7 == 0, step % 7 == 1, step % 7 == 4], [step + 4, step + 2, step + 2], 0)
    return {
        "place": place,
        "threshold": dice.choice([-1.5, 0.0, 0.5, 3.0], nodes),
        "left": np.where(inner, step + 1, 0),
        "right": right,
        "roots": np.arange(trees) * 7,
        "leaves": dice.integers(0, 50, (int((~inner).sum()), outputs)).astype(float),
    }


def scaling(dice: np.random.Generator) -> Any:
    return np.stack([dice.normal(size=NUMBERS), dice.uniform(0.01, 3, NUMBERS), np.zeros(NUMBERS)])


def model(dice: np.random.Generator, estimator: str, arrays: Any, scaled: bool = True, **text: Any) -> RowScorer:
    return row_model(estimator, FEATURES, arrays | ({"scaling": scaling(dice)} if scaled else {}), **text)


def linear(dice: np.random.Generator, outputs: int = 1) -> dict[str, Any]:
    return {"coefficients": dice.normal(size=(POSITIONS, outputs)), "intercept": dice.normal(size=outputs)}


def of_link(link: str, family: str, power: float = 0.0) -> Callable[[np.random.Generator], RowScorer]:
    return lambda dice: model(
        dice, "GeneralizedLinearRegression", linear(dice), link=link, family=family, power=power, variance_power=1.5
    )


def bayes(model_type: str) -> Callable[[np.random.Generator], RowScorer]:
    def made(dice: np.random.Generator) -> RowScorer:
        shape = (POSITIONS, len(CLASSES))
        arrays = {"prior": np.log([0.5, 0.3, 0.2]), "theta": np.log(dice.uniform(0.1, 0.9, shape))}
        if model_type == "gaussian":
            arrays |= {"mean": dice.normal(size=shape), "variance": dice.uniform(1e-9, 2, shape)}
        return model(dice, "NaiveBayes", arrays, model_type == "gaussian", classes=CLASSES, model_type=model_type)

    return made


def clusters(estimator: str, **text: Any) -> Callable[[np.random.Generator], RowScorer]:
    def made(dice: np.random.Generator) -> RowScorer:
        arrays: dict[str, Any] = {"centres": dice.normal(size=(4, POSITIONS)), "numbers": np.array([2, 0, 3, 1])}
        if estimator == "BisectingKMeans":
            arrays |= {"nodes": dice.normal(size=(7, POSITIONS)), "parents": np.array([-1, 0, 1, 1, 0, 4, 4])}
        if estimator == "GaussianMixture":
            roots = dice.normal(size=(4, POSITIONS, POSITIONS))
            offsets = np.einsum("kpq,kq->kp", roots, arrays["centres"])
            weights = np.array([0.1, 0.2, 0.3, 0.4])
            arrays |= {"weights": weights, "roots": roots, "offsets": offsets, "peaks": dice.normal(size=4)}
        return model(dice, estimator, arrays, **text)

    return made


MODELS: dict[str, Callable[[np.random.Generator], RowScorer]] = {
    "line": lambda dice: model(dice, "LinearRegression", linear(dice)),
    "unscaled": lambda dice: model(dice, "LinearRegression", linear(dice), scaled=False),
    "logit": of_link("logit", "binomial"),
    "probit": of_link("probit", "binomial"),
    "cloglog": of_link("cloglog", "binomial"),
    "log": of_link("power", "poisson"),
    "root": of_link("power", "poisson", 0.5),
    "inverse": of_link("power", "gamma", -1.0),
    "binary": lambda dice: model(
        dice, "LogisticRegression", linear(dice) | {"threshold": [dice.uniform()]}, classes=[0, 1]
    ),
    "certain": lambda dice: model(dice, "LogisticRegression", linear(dice) | {"threshold": [1.0]}, classes=[0, 1]),
    "softmax": lambda dice: model(dice, "LogisticRegression", linear(dice, 3), classes=CLASSES),
    "nine": lambda dice: model(dice, "LogisticRegression", linear(dice, 9), classes=list(range(9))),
    "weighed": lambda dice: model(
        dice, "LogisticRegression", linear(dice, 3) | {"thresholds": [0.5, 0.0, 0.2]}, classes=CLASSES
    ),
    "margin": lambda dice: model(dice, "LinearSVC", linear(dice) | {"threshold": [0.1]}, classes=[False, True]),
    "multinomial": bayes("multinomial"),
    "complement": bayes("complement"),
    "bernoulli": bayes("bernoulli"),
    "gaussian": bayes("gaussian"),
    "tree": lambda dice: model(
        dice, "DecisionTreeClassifier", forest(dice, 1, 3) | {"thresholds": [0.2, 0.5, 0.0]}, classes=CLASSES
    ),
    "forest": lambda dice: model(
        dice, "RandomForestClassifier", forest(dice, 9, 9), scaled=False, classes=list(range(9))
    ),
    "boosted": lambda dice: model(
        dice, "GBTClassifier", forest(dice, 4, 1) | {"weights": dice.normal(size=4)}, classes=[0, 1]
    ),
    "steps": lambda dice: model(dice, "DecisionTreeRegressor", forest(dice, 1, 1), scaled=False),
    "woods": lambda dice: model(dice, "RandomForestRegressor", forest(dice, 7, 1)),
    "climbing": lambda dice: model(dice, "GBTRegressor", forest(dice, 5, 1) | {"weights": dice.normal(size=5)}),
    "k-means": clusters("KMeans"),
    "cosine": clusters("KMeans", distance="cosine"),
    "bisecting": clusters("BisectingKMeans"),
    "bisecting cosine": clusters("BisectingKMeans", distance="cosine"),
    "mixture": clusters("GaussianMixture"),
}
KEPT = sorted(FIXTURES.glob("run-schema-*/generations/*/scorers/*.npz"))

number = st.floats(-4, 4) | st.sampled_from([0.0, -0.0, 0.5, 3.0, 5e-324, 1e300, -1e308]) | st.integers(-(2**63), 2**63)
bit = st.sampled_from([0, 1, True, 0.0, 1.0])
words = st.sampled_from([*WORDS, "round", "unseen"])


def rows_of(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Row]]:
    row = st.fixed_dictionaries({"x": numbers, "y": numbers, "z": numbers, "colour": words, "shape": words})
    return st.lists(row, min_size=1, max_size=12)


def answer(scorer: RowScorer, predict: Callable[[], Prediction]) -> str:
    """The prediction with every bit of its numbers, or the error."""
    try:
        return repr(astuple(predict()))
    except FeatureError as error:
        return f"{error.message}; {error.hint}"


def assert_alike(scorer: RowScorer, rows: Sequence[Row]) -> None:
    """Each row gets the same answer by itself, in plain floats and in numpy; and among the others."""
    with np.errstate(all="ignore"):
        alone = [answer(scorer, lambda row=row: scorer.predict_one(row)) for row in rows]  # type: ignore[misc]  # a default
        singly = [answer(scorer, lambda row=row: scorer.predict([row])[0]) for row in rows]  # type: ignore[misc]  # the same
        assert alone == singly
        try:
            together = [repr(astuple(prediction)) for prediction in scorer.predict(rows)]
        except FeatureError:
            return  # one of them has no answer
        assert alone == together


@pytest.mark.parametrize("name", MODELS)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_a_row_alone_gets_the_answer_that_it_gets_among_others(name: str, seed: int, data: st.DataObject) -> None:
    """Whatever the model and the rows, `predict_one` gives every bit of `predict`, and the same refusals."""
    scorer = MODELS[name](np.random.default_rng(seed))
    assert scorer.by_row is not None
    discrete = name in ("multinomial", "complement", "bernoulli")
    assert_alike(scorer, data.draw(rows_of(bit | number if discrete else number), "rows"))


@pytest.mark.parametrize("name", MODELS)
def test_plain_rows_are_not_left_to_numpy(name: str) -> None:
    """Ordinary rows are scored in plain floats; else nothing would be won."""
    scorer, dice = MODELS[name](np.random.default_rng(7)), random.Random(7)
    for _ in range(50):
        row = {"x": dice.choice([0, 1]), "y": 1.0, "z": dice.choice([0.0, 1.0]), "colour": "red", "shape": "new"}
        assert scorer.by_row is not None
        alone = scorer.by_row(*scorer.encoder.encode_one(row))
        assert alone is not None or name in ("root", "inverse")  # whose link has no value for some


@pytest.mark.parametrize("path", KEPT, ids=lambda path: "/".join(path.parts[-5:]))
def test_kept_scorers_answer_rows_alone_as_among_others(path: Any) -> None:
    """So do the scorers of runs that earlier versions made."""
    scorer, dice = row_scorer(scoring.load(path)), random.Random(1)
    categories = [*(scorer.encoder.strings[0].categories or ()), "unseen"] if scorer.encoder.strings else [""]
    rows = [
        {
            feature.name: dice.choice(categories)
            if feature.kind == "string"
            else dice.choice([dice.gauss(5, 30), dice.randrange(-9, 99), 1e12])
            for feature in scorer.features
        }
        for _ in range(100)
    ]
    assert_alike(scorer, rows)


@pytest.mark.parametrize("change", [{"x": None}, {"x": "1"}, {"x": float("nan")}, {"colour": 5}, {"y": 10**400}])
def test_a_faulty_row_is_refused_alone_as_among_others(change: dict[str, Any]) -> None:
    """A feature that is missing or of the wrong type has the same error."""
    scorer = MODELS["line"](np.random.default_rng(1))
    row = {"x": 1.0, "y": 2, "z": 3.5, "colour": "red", "shape": "round"} | change
    assert "x" in row
    assert_alike(scorer, [row])
    assert_alike(scorer, [{name: value for name, value in row.items() if name != "z"}])
    with pytest.raises(FeatureError):
        scorer.predict_one(row)


def test_a_large_model_is_left_to_numpy() -> None:
    """A model with so many numbers for a row that numpy is faster answers by numpy."""
    dice = np.random.default_rng(3)
    outputs = MOST_ROW_TERMS // NUMBERS
    scorer = model(dice, "LogisticRegression", linear(dice, outputs), classes=list(range(outputs)))
    assert scorer.by_row is None
    assert_alike(scorer, [{"x": 1.0, "y": 2, "z": 3.5, "colour": "red", "shape": "round"}])


def test_parity_refuses_a_scorer_that_answers_a_row_alone_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is served is what was compared with Spark: one bit more for rows alone, and nothing is published."""
    scorer = MODELS["line"](np.random.default_rng(1))
    row = {"x": 1.0, "y": 2, "z": 3.5, "colour": "red", "shape": "round"}
    value = scorer.predict([row])[0].prediction
    spark = RowScores(np.array([float(value)]))
    assert compare(scorer, [row], spark)["equal"] == 1
    monkeypatch.setitem(scorer.__dict__, "by_row", lambda numbers, codes: (np.nextafter(float(value), np.inf), None))
    with pytest.raises(ParityFailed, match="a row alone"):
        compare(scorer, [row], spark)
