"""Whatever the rows, a scorer gives Spark's own answers: small models of each estimator on random rows."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from tests.support.fitting import Row, fit_one, frame
from tidemill.errors import TrainingFailed
from tidemill.scoring.bayes import NaiveBayesScorer

COLUMNS = {
    "at": "timestamp",
    "size": "float",
    "steps": "int",
    "same": "float",
    "on": "bool",
    "sort": "string",
    "word": "string",
    "two": "bool",
    "class": "string",
    "value": "float",
    "much": "float",
}
WORDS = ["", "a", "b", " ", "naïve", "x\ny"]
TIED = [-2.0, -0.5, 0.0, 0.5, 1.0, 1.5, 3.0]  # few values: they lie on thresholds, or half way between them
FIRST, YEARS = datetime(1969, 1, 1, tzinfo=UTC), 60 * 366 * 86_400
Chosen = dict[str, Any]


def rows_of(dice: random.Random, count: int, classes: int, unseen: bool = False) -> list[Row]:
    """Rows with ties, a constant, empty words; ``class`` and ``value`` depend on some of them. With ``unseen``, what no
    training row has: other words, and numbers far away and just beside the tied ones."""
    sizes = [*TIED, *([-1e6, 1e6, 0.25, 1.0 + 2**-40, 1e-9] if unseen else [])]
    words = [*WORDS, *(["unseen"] if unseen else [])]
    rows = []
    for _ in range(count):
        size, steps = dice.choice(sizes) if dice.random() < 0.7 else dice.gauss(0, 2), dice.randrange(6)
        word, on = dice.choice(words), dice.random() < 0.5
        value = size + steps * (2 if on else 1) + len(word)
        rows.append(
            {
                "at": FIRST + timedelta(seconds=dice.randrange(YEARS if unseen else YEARS // 4)),
                "size": size,
                "steps": steps,
                "same": 4.5,
                "on": on,
                "sort": dice.choice(words),
                "word": word,
                "two": value + dice.gauss(0, 1) > 3,
                "class": f"c{min(max(int(value / 3), 0), classes - 1)}",
                "value": value + dice.random(),
                "much": abs(value) + dice.random() + 0.1,
            }
        )
    return rows


depths = st.fixed_dictionaries({"maxDepth": st.integers(0, 5), "maxBins": st.sampled_from([2, 5, 32])})
gini = st.fixed_dictionaries({"impurity": st.sampled_from(["gini", "entropy"])})
several = st.fixed_dictionaries({"numTrees": st.integers(1, 6), "seed": st.integers(0, 99)})
rounds = st.fixed_dictionaries({"maxIter": st.integers(1, 4), "stepSize": st.sampled_from([0.1, 1.0])})
LINKS: list[Chosen] = [
    {"family": "gaussian", "link": "log"},
    {"family": "gaussian"},
    {"family": "poisson", "link": "sqrt"},
    {"family": "poisson", "link": "identity"},
    {"family": "gamma", "link": "log"},
    {"family": "tweedie"},
    {"family": "tweedie", "variancePower": 1.0},
    {"family": "tweedie", "variancePower": 1.7},
    {"family": "tweedie", "variancePower": 2.0, "linkPower": -1.0},
    {"family": "tweedie", "variancePower": 1.2, "linkPower": 0.5},
]
links = st.sampled_from(LINKS)
yes_or_no = st.sampled_from([{"family": "binomial"} | {"link": link} for link in ("logit", "probit", "cloglog")])


def together(*parts: st.SearchStrategy[Chosen]) -> st.SearchStrategy[Chosen]:
    """All that the parts have chosen, in one."""
    return st.tuples(*parts).map(lambda chosen: {key: value for part in chosen for key, value in part.items()})


DENSE = ["size", "word", "steps", "same", "on", "sort", "weekday(at)", "year(at)"]
ALL = [*DENSE, "hour(at)", "tfidf(word)"]
BITS = ["on", "word", "month(at)"]
COUNTS = ["steps", "on", "word", "hour(at)", "tfidf(word)"]
ESTIMATORS: dict[str, tuple[str, str, list[str], st.SearchStrategy[Chosen]]] = {
    "tree": ("DecisionTreeClassifier", "class", ALL, together(depths, gini)),
    "forest": ("RandomForestClassifier", "class", ALL, together(depths, gini, several)),
    "boosted": ("GBTClassifier", "two", ALL, together(depths, rounds)),
    "tree value": ("DecisionTreeRegressor", "value", ALL, depths),
    "forest value": ("RandomForestRegressor", "value", ALL, together(depths, several)),
    "boosted value": ("GBTRegressor", "value", ALL, together(depths, rounds)),
    "multinomial": ("NaiveBayes", "class", COUNTS, st.just({})),
    "complement": ("NaiveBayes", "class", COUNTS, st.just({"modelType": "complement"})),
    "bernoulli": (
        "NaiveBayes",
        "class",
        ["on", "word", "month(at)"],
        st.just({"modelType": "bernoulli", "smoothing": 0.1}),
    ),
    "gaussian": ("NaiveBayes", "class", DENSE, st.just({"modelType": "gaussian"})),
    "margin": ("LinearSVC", "two", ALL, st.fixed_dictionaries({"threshold": st.floats(-1, 1)})),
    "links": ("GeneralizedLinearRegression", "much", ["steps", "on", "word"], links),
    "yes or no": ("GeneralizedLinearRegression", "two", ["steps", "on", "word"], yes_or_no),
}
UNSCALED = ("multinomial", "complement", "bernoulli")  # they take no numbers below 0
CANNOT_FIT = "Sum of weights cannot be zero"  # by which Spark refuses rows whose weights underflow under a link
THRESHOLDS = ("tree", "forest", "multinomial", "complement", "bernoulli", "gaussian")


@pytest.mark.nightly
@pytest.mark.parametrize("name", ESTIMATORS)
@settings(
    max_examples=2,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # each smaller example would be another fit
)
@given(data=st.data())
def test_any_model_scores_as_in_spark(name: str, data: st.DataObject, spark: SparkSession, tmp_path: Path) -> None:
    """On the rows that it was trained on, on others and on probes every class is Spark's own, and every value within
    1e-9."""
    estimator, label, features, params = ESTIMATORS[name]
    dice, classes = random.Random(data.draw(st.integers(0, 2**32), "seed")), data.draw(st.integers(2, 4), "classes")
    rows = rows_of(dice, data.draw(st.integers(30, 90), "rows"), classes)
    model: Chosen = {
        "estimator": estimator,
        "label": label,
        "features": features,
        "params": data.draw(params, "params"),
    }
    if name not in UNSCALED:
        model["scale"] = data.draw(st.sampled_from(["none", "standard", "minmax"]), "scale")
    some = len({row[label] for row in rows})
    assume(some > 1)
    if name in THRESHOLDS and data.draw(st.booleans(), "thresholds"):
        model["params"] = model["params"] | {
            "thresholds": [0.0, *(dice.choice([0.2, 0.5, 1.0]) for _ in range(some - 1))]
        }
    try:
        fitted = fit_one(tmp_path, COLUMNS, frame(spark, COLUMNS, rows), model)
    except TrainingFailed as error:
        assume(CANNOT_FIT not in str(error.__cause__))
        raise
    report = fitted.parity(frame(spark, COLUMNS, [*rows, *rows_of(dice, 300, classes, unseen=True)]))
    assert report["equal"] == report["rows"] == len(rows) + 300
    report = fitted.whole_parity(frame(spark, COLUMNS, rows))
    assert report["probes_equal"] == report["probes"] > 0


@pytest.mark.nightly
def test_tiny_variances_keep_every_bit_of_a_gaussian_model(spark: SparkSession, tmp_path: Path) -> None:
    """Where variances are tiny and logarithms as large as 1e11, the scorer has Spark's own bits: of a row that all
    classes lie far from, the last ones decide the probabilities."""
    estimator, label, features, _ = ESTIMATORS["gaussian"]
    dice = random.Random(187)
    rows = rows_of(dice, 31, 4)
    model = {"estimator": estimator, "label": label, "features": features, "scale": "minmax"}
    fitted = fit_one(tmp_path, COLUMNS, frame(spark, COLUMNS, rows), model | {"params": {"modelType": "gaussian"}})
    scored = [*rows, *rows_of(dice, 300, 4, unseen=True)]
    spark_raw = fitted.transformed(frame(spark, COLUMNS, scored)).select("rawPrediction").collect()
    scorer = fitted.scorer
    assert isinstance(scorer, NaiveBayesScorer)
    raw = scorer.raw(scorer.encoder.encode(scored))
    assert raw.tolist() == [row[0].toArray().tolist() for row in spark_raw]
    assert np.abs(raw).max() > 1e11
    assert fitted.parity(frame(spark, COLUMNS, scored))["equal"] == 331
