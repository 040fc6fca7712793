"""Scorers: Spark's own predictions, without Spark."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from tests.support.fitting import Fitted, fit_all, frame
from tests.support.mixed_rows import (
    COLOURS,
    MIXED_COLUMNS,
    MIXED_FEATURES,
    any_row,
    assert_scored_as_in_spark,
    mixed_rows,
)
from tidemill import scoring
from tidemill.errors import CatalogError, FeatureError, ParityFailed
from tidemill.run import files
from tidemill.scoring import storage
from tidemill.scoring.base import RowScores
from tidemill.scoring.parity import compare

MODELS: dict[str, dict[str, Any]] = {
    "binary": {"estimator": "LogisticRegression", "features": MIXED_FEATURES, "label": "two", "scale": "standard"},
    "strict": {
        "estimator": "LogisticRegression",
        "features": ["size", "age"],
        "label": "good",
        "params": {"threshold": 0.8},
        "labels": {"true": "Good", "false": "Bad"},
    },
    "paired": {
        "estimator": "LogisticRegression",
        "features": ["size", "colour"],
        "label": "two",
        "params": {"thresholds": [0.2, 0.9]},
    },
    "softmax": {"estimator": "LogisticRegression", "features": MIXED_FEATURES, "label": "three", "scale": "minmax"},
    "weighed": {
        "estimator": "LogisticRegression",
        "features": ["size", "shape"],
        "label": "three",
        "params": {"thresholds": [0.1, 1.0, 0.5]},
    },
    "certain": {
        "estimator": "LogisticRegression",
        "features": ["size"],
        "label": "three",
        "params": {"thresholds": [0.5, 0.0, 0.5]},
    },
    "forced": {
        "estimator": "LogisticRegression",
        "features": ["size", "colour"],
        "label": "two",
        "params": {"family": "multinomial"},
    },
    "value": {"estimator": "LinearRegression", "features": MIXED_FEATURES, "label": "price", "scale": "minmax"},
    "robust": {
        "estimator": "LinearRegression",
        "features": ["age", "size"],
        "label": "price",
        "params": {"loss": "huber", "fitIntercept": False},
    },
    "tree": {
        "estimator": "DecisionTreeClassifier",
        "features": MIXED_FEATURES,
        "label": "three",
        "params": {"maxDepth": 4, "thresholds": [0.2, 1.0, 0.0]},
    },
    "forest": {
        "estimator": "RandomForestClassifier",
        "features": MIXED_FEATURES,
        "label": "three",
        "params": {"numTrees": 7, "maxDepth": 4, "seed": 7, "impurity": "entropy"},
        "scale": "standard",
    },
    "boosted": {
        "estimator": "GBTClassifier",
        "features": MIXED_FEATURES,
        "label": "two",
        "params": {"maxIter": 4, "seed": 7},
    },
    "unlikely": {
        "estimator": "GBTClassifier",
        "features": MIXED_FEATURES,
        "label": "good",
        "params": {"maxIter": 2, "seed": 7, "thresholds": [0.2, 0.9]},
        "scale": "minmax",
    },
    "steps": {
        "estimator": "DecisionTreeRegressor",
        "features": MIXED_FEATURES,
        "label": "price",
        "params": {"maxDepth": 6},
    },
    "woods": {
        "estimator": "RandomForestRegressor",
        "features": MIXED_FEATURES,
        "label": "price",
        "params": {"numTrees": 5, "seed": 7, "featureSubsetStrategy": "0.5"},
        "scale": "minmax",
    },
    "climbing": {
        "estimator": "GBTRegressor",
        "features": MIXED_FEATURES,
        "label": "price",
        "params": {"maxIter": 4, "seed": 7, "lossType": "absolute", "stepSize": 0.3},
    },
    "multinomial": {"estimator": "NaiveBayes", "features": ["on", "colour", "shape"], "label": "three"},
    "complement": {
        "estimator": "NaiveBayes",
        "features": ["on", "colour"],
        "label": "three",
        "params": {"modelType": "complement", "smoothing": 0.5, "thresholds": [0.3, 0.1, 0.9]},
    },
    "bernoulli": {
        "estimator": "NaiveBayes",
        "features": ["on", "colour", "shape"],
        "label": "two",
        "params": {"modelType": "bernoulli"},
    },
    "gaussian": {
        "estimator": "NaiveBayes",
        "features": MIXED_FEATURES,
        "label": "three",
        "params": {"modelType": "gaussian"},
        "scale": "standard",
    },
    "margin": {
        "estimator": "LinearSVC",
        "features": MIXED_FEATURES,
        "label": "good",
        "params": {"threshold": 0.3, "maxIter": 20, "regParam": 0.01},
        "labels": {"true": "Good"},
        "scale": "standard",
    },
    "counted": {
        "estimator": "GeneralizedLinearRegression",
        "features": MIXED_FEATURES,
        "label": "price",
        "params": {"family": "Poisson", "maxIter": 5, "regParam": 0.1},
        "scale": "standard",
    },
    "probit": {
        "estimator": "GeneralizedLinearRegression",
        "features": ["age", "colour"],
        "label": "two",
        "params": {"family": "binomial", "link": "probit", "maxIter": 5, "regParam": 0.1},
        "scale": "standard",
    },
    "waiting": {
        "estimator": "GeneralizedLinearRegression",
        "features": ["age", "colour"],
        "label": "price",
        "params": {"family": "gamma", "maxIter": 5, "regParam": 0.1},
        "scale": "minmax",
    },
    "powers": {
        "estimator": "GeneralizedLinearRegression",
        "features": ["age", "on"],
        "label": "price",
        "params": {"family": "tweedie", "variancePower": 1.5, "linkPower": 0.3, "maxIter": 5},
        "scale": "standard",
    },
    "euclidean": {
        "estimator": "KMeans",
        "features": MIXED_FEATURES,
        "params": {"k": 5, "seed": 7},
        "scale": "standard",
    },
    "cosine": {
        "estimator": "KMeans",
        "features": MIXED_FEATURES,
        "params": {"k": 3, "seed": 7, "distanceMeasure": "cosine"},
    },
    "words": {"estimator": "KMeans", "features": ["colour", "shape"], "params": {"k": 3, "seed": 7}},
}


@pytest.fixture(scope="session")
def fitted(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fitted]:
    """Every kind of model, fitted once by Spark and exported."""
    rows = frame(spark, MIXED_COLUMNS, mixed_rows(400))
    return fit_all(tmp_path_factory.mktemp("scorers"), MIXED_COLUMNS, rows, MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_every_row_scores_as_in_spark(fitted: dict[str, Fitted], spark: SparkSession, name: str) -> None:
    """Class or cluster are Spark's own on rows never seen, and every value is within 1e-9 of Spark's."""
    report = fitted[name].parity(frame(spark, MIXED_COLUMNS, mixed_rows(300, seed=2)))
    assert report["rows"] == report["equal"] == 300
    assert report["max_difference"] <= 1e-9


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(any_row, min_size=50, max_size=300))
@pytest.mark.nightly
def test_any_rows_score_as_in_spark(fitted: dict[str, Fitted], spark: SparkSession, rows: list[dict[str, Any]]) -> None:
    """Extreme values and categories never seen score as in Spark too, for every kind of model."""
    assert_scored_as_in_spark(fitted, spark, rows)


def test_classes_come_back_in_the_labels_own_type(fitted: dict[str, Fitted]) -> None:
    """An int label gives ints, a bool label booleans, a string label strings; probabilities name every class."""
    row = mixed_rows(1)[0]
    [two], [good], [three] = (fitted[name].scorer.predict([row]) for name in ("binary", "strict", "softmax"))
    assert type(two.prediction) is int
    assert type(good.prediction) is bool
    assert three.prediction in ("low", "mid", "top")
    assert [list(one.probability or {}) for one in (two, good, three)] == [
        ["0", "1"],
        ["false", "true"],
        ["low", "mid", "top"],
    ]
    assert sum((three.probability or {}).values()) == pytest.approx(1)
    assert good.label == {True: "Good", False: "Bad"}[good.prediction]
    assert two.label is None


def test_thresholds_choose_the_class(fitted: dict[str, Fitted]) -> None:
    """With a threshold of 0.8 only a probability above it is true; one whose threshold is 0 wins if it is possible."""
    rows = mixed_rows(200, seed=3)
    for strict in fitted["strict"].scorer.predict(rows):
        assert strict.probability is not None
        assert strict.prediction == (strict.probability["true"] > 0.8)
    for certain in fitted["certain"].scorer.predict(rows):
        assert certain.probability is not None
        assert (certain.prediction == "mid") == (certain.probability["mid"] > 0)


def test_an_unseen_category_is_not_taken_for_another(fitted: dict[str, Fitted]) -> None:
    """A category never seen leaves its block empty, in any batch of rows, and scores unlike each that was seen."""
    scorer = fitted["value"].scorer
    row = mixed_rows(1)[0]
    values = {
        colour: scorer.predict([row | {"colour": colour}])[0].prediction for colour in [*COLOURS, "violet", "pink"]
    }
    assert values["violet"] == values["pink"]
    assert all(abs(float(values[colour]) - float(values["violet"])) > 1e-6 for colour in COLOURS)


def test_unseen_categories_are_named(fitted: dict[str, Fitted]) -> None:
    """Every kind of scorer names, of each row, the features whose category training has not seen; else it has none."""
    row = mixed_rows(1)[0]
    rows = [row, row | {"colour": "violet"}, row, row | {"shape": "", "colour": "pink"}]
    new = [{}, {"colour": "violet"}, {}, {"colour": "pink", "shape": ""}]
    for one in fitted.values():
        strings = {feature.name for feature in one.scorer.features if feature.kind == "string"}
        wanted = [{name: value for name, value in of_row.items() if name in strings} or None for of_row in new]
        assert [found.unseen for found in one.scorer.predict(rows)] == wanted


def test_features_tell_what_was_seen_in_training(fitted: dict[str, Fitted]) -> None:
    """A feature knows its kind, its range or its categories, and an example."""
    rows = mixed_rows(400)
    features = {feature.name: feature for feature in fitted["euclidean"].scorer.features}
    assert list(features) == MIXED_FEATURES
    sizes = [row["size"] for row in rows]
    assert (features["size"].minimum, features["size"].maximum) == (min(sizes), max(sizes))
    assert features["size"].example in sizes
    assert set(features["colour"].categories or ()) == set(COLOURS)
    assert features["shape"].kind == "string"
    assert features["shape"].minimum is None
    assert features["on"].kind == "bool"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"age": ...}, "age is missing"),
        ({"age": None}, "age is missing"),
        ({"age": "12"}, "age is '12', not a whole number"),
        ({"size": float("nan")}, "size is nan, not a number"),
        ({"size": float("inf")}, "size is inf, not a number"),
        ({"age": 10**400}, "age is 1"),
        ({"size": [1.0]}, "size is [1.0], not a number"),
        ({"colour": 3}, "colour is 3, not a string"),
        ({"colour": ...}, "colour is missing"),
    ],
)
def test_a_missing_or_mistyped_feature_is_an_error(
    fitted: dict[str, Fitted], change: dict[str, Any], words: str
) -> None:
    """A bad value is never taken for 0: the error names the feature, whichever row it is in."""
    row = {name: value for name, value in (mixed_rows(1)[0] | change).items() if value is not ...}
    for name in ("binary", "value", "euclidean"):
        with pytest.raises(FeatureError, match=re.escape(words)):
            fitted[name].scorer.predict([mixed_rows(1)[0], row])


def test_all_zero_has_no_cosine(fitted: dict[str, Fitted]) -> None:
    """A row of zeros has no direction: the answer is an error, as it is in Spark."""
    zero = {"colour": "unseen", "shape": "unseen", "size": 0.0, "age": 0, "on": False, "constant": 0}
    with pytest.raises(FeatureError, match="cosine distance is not defined"):
        fitted["cosine"].scorer.predict([zero])


def test_no_rows_give_no_predictions(fitted: dict[str, Fitted]) -> None:
    """An empty list of rows is answered by an empty list."""
    assert [one.scorer.predict([]) for one in fitted.values()] == [[]] * len(fitted)


def test_the_same_model_gives_the_same_bytes(fitted: dict[str, Fitted], tmp_path: Path) -> None:
    """A scorer file's sha256 is a property of the model."""
    for one in fitted.values():
        stored = storage.read(one.path)
        storage.write(tmp_path / "again.npz", stored.text, stored.arrays)
        assert (tmp_path / "again.npz").read_bytes() == one.path.read_bytes()


def test_a_changed_file_is_refused(fitted: dict[str, Fitted], tmp_path: Path) -> None:
    """A scorer file whose bytes are not those the catalog knows is not used."""
    good = fitted["value"].path
    known = files.sha256(good)
    assert scoring.load(good, known).model == "value"
    (tmp_path / "bad.npz").write_bytes(good.read_bytes().replace(b"minmax", b"minmaX") + b" ")
    with pytest.raises(CatalogError, match="has sha256"):
        scoring.load(tmp_path / "bad.npz", known)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half an archive"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    """A file that is no scorer is a clear error, whatever is in it."""
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=r"broken\.npz is not a scorer file"):
        scoring.load(path)


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A scorer file that is gone is a clear error."""
    with pytest.raises(CatalogError, match=r"gone\.npz can't be read"):
        scoring.load(tmp_path / "gone.npz")


@pytest.mark.parametrize("change", [{"estimator": "Oracle"}, {"format": 99}, {"features": []}])
def test_a_file_of_another_kind_is_an_error(fitted: dict[str, Fitted], tmp_path: Path, change: dict[str, Any]) -> None:
    """A file with an unknown estimator or format, or whose parts don't belong together, is refused."""
    stored = storage.read(fitted["value"].path)
    storage.write(tmp_path / "odd.npz", stored.text | change, stored.arrays)
    with pytest.raises(CatalogError, match=r"odd\.npz"):
        scoring.load(tmp_path / "odd.npz")


@pytest.mark.parametrize(
    ("name", "array"),
    [("binary", "coefficients"), ("softmax", "coefficients"), ("value", "scaling"), ("euclidean", "centres")],
)
def test_a_planted_fault_fails_parity(
    fitted: dict[str, Fitted], spark: SparkSession, tmp_path: Path, name: str, array: str
) -> None:
    """Two features swapped in an exported file are found by the comparison with Spark."""
    fitted_model = fitted[name]
    stored = storage.read(fitted_model.path)
    swapped = stored.arrays[array].copy()
    axis = 0 if array == "coefficients" else 1
    swapped = np.take(swapped, [1, 0, *range(2, swapped.shape[axis])], axis=axis)
    storage.write(tmp_path / "swapped.npz", stored.text, stored.arrays | {array: swapped})
    with pytest.raises(ParityFailed, match=f"the scorer of {name} differs from Spark on"):
        dataclasses.replace(fitted_model, path=tmp_path / "swapped.npz").parity(
            frame(spark, MIXED_COLUMNS, mixed_rows(300, seed=2))
        )


def test_a_cluster_chosen_by_rounding_alone_is_equal(fitted: dict[str, Fitted], tmp_path: Path) -> None:
    """Of two centres that are equally near, either is right; a cluster that is farther never is."""
    stored = storage.read(fitted["words"].path)
    centres = np.array([[1.0, 0, 0, 0, 0, 0, 0], [0.0, 1, 0, 0, 0, 0, 0], [5.0, 5, 5, 5, 5, 5, 5]])
    storage.write(tmp_path / "tied.npz", stored.text, {"centres": centres})
    scorer = scoring.row_scorer(scoring.load(tmp_path / "tied.npz"))
    row = {"colour": "unseen", "shape": "unseen"}
    assert compare(scorer, [row], RowScores(np.array([1.0])))["equal"] == 1
    for wrong in (2.0, 3.0, -1.0):
        with pytest.raises(ParityFailed):
            compare(scorer, [row], RowScores(np.array([wrong])))
