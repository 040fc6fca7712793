"""Trees, forests and boosted trees, and the other models that choose among classes: where Spark's rules show."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from tests.support.fitting import Fitted, Model, Row, fit_one, frame, train_one
from tidemill import scoring
from tidemill.errors import CatalogError, FeatureError, ParityFailed, TrainingFailed
from tidemill.scoring import storage
from tidemill.scoring.storage import Stored
from tidemill.scoring.trees import Forest, TreeClassScorer, importances_of

COLUMNS = {"step": "int", "level": "float", "sort": "string", "kind": "int", "name": "string", "price": "float"}
BOTH = ["step", "sort"]


def rows_of(count: int, seed: int = 5) -> list[Row]:
    """Few distinct values, so that rows lie on the very thresholds; ``kind`` depends on them."""
    dice = np.random.default_rng(seed)
    rows = []
    for step, place, noise in zip(
        dice.integers(0, 9, count), dice.integers(0, 4, count), dice.random(count), strict=True
    ):
        kind = int((step > 4) ^ (place == 2) ^ (noise < 0.1))
        sort = ["oak", "elm", "", "fir"][place]
        price = float(step * 10 + place) - 40 * (sort == "fir")
        rows.append(
            {
                "step": int(step),
                "level": float(step) / 4,
                "sort": sort,
                "kind": kind,
                "name": f"k{kind}",
                "price": price,
            }
        )
    return rows


def of(estimator: str, label: str = "kind", features: list[str] | None = None, **params: Any) -> dict[str, Any]:
    return {"estimator": estimator, "label": label, "features": features or BOTH, "params": params}


@pytest.fixture(scope="module")
def tree(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit_tree(spark, tmp_path_factory.mktemp("tree"), rows_of(300), of("DecisionTreeClassifier"))


def fit_tree(spark: SparkSession, folder: Path, rows: list[Row], model: Model) -> Fitted:
    return fit_one(folder, COLUMNS, frame(spark, COLUMNS, rows), model)


def changed(one: Fitted, folder: Path, **arrays: Any) -> Path:
    """The scorer's file with other arrays."""
    stored = storage.read(one.path)
    storage.write(folder / "changed.npz", stored.text, stored.arrays | arrays)
    return folder / "changed.npz"


def test_a_value_on_the_threshold_goes_left(spark: SparkSession, tmp_path: Path) -> None:
    """Values are compared by <=, as in Spark: with < a row on a threshold would differ, and parity would tell."""
    features = ["level"]
    params = {"maxDepth": 3, "maxBins": 2}  # two bins: a split between neighbouring values, not at one of them
    loose = fit_tree(spark, tmp_path, rows_of(200), of("DecisionTreeRegressor", "price", features, **params))
    stored = storage.read(loose.path)
    thresholds = stored.arrays["threshold"][stored.arrays["place"] >= 0]
    on = [row | {"level": float(value)} for value in thresholds for row in rows_of(1)]
    assert loose.parity(frame(spark, COLUMNS, on))["equal"] == len(on)
    strict = changed(loose, tmp_path, threshold=np.nextafter(stored.arrays["threshold"], -np.inf))
    with pytest.raises(ParityFailed, match="differs from Spark"):
        loose.parity(frame(spark, COLUMNS, on), scoring.row_scorer(scoring.load(strict)))


def test_a_category_is_split_off_by_its_code(tree: Fitted, spark: SparkSession, tmp_path: Path) -> None:
    """The tree splits one-hot places, unseen and empty categories included; children swapped are found by parity."""
    stored = storage.read(tree.path)
    assert (stored.arrays["place"] >= 1).any()
    odd = [row | {"sort": sort} for row in rows_of(20) for sort in ("", "oak", "unseen")]
    assert tree.parity(frame(spark, COLUMNS, odd))["equal"] == len(odd)
    inner = stored.arrays["place"] >= 1
    left, right = (stored.arrays[name] for name in ("left", "right"))
    swapped = changed(tree, tmp_path, left=np.where(inner, right, left), right=np.where(inner, left, right))
    with pytest.raises(ParityFailed):
        tree.parity(frame(spark, COLUMNS, odd), scoring.row_scorer(scoring.load(swapped)))


def test_importances_are_sparks_summed_over_categories(tree: Fitted) -> None:
    """Each feature's is the sum over its places in the feature vector; a file without them, of an earlier version, has
    none."""
    found = importances_of(tree.scorer)
    spark = tree.spark.stages[-1].featureImportances.toArray()
    assert found is not None
    assert list(found) == BOTH
    np.testing.assert_allclose(list(found.values()), [spark[0], spark[1:].sum()])
    assert sum(found.values()) == pytest.approx(1.0)
    stored = storage.read(tree.path)
    earlier = {name: values for name, values in stored.arrays.items() if name != "importances"}
    assert importances_of(scoring.make_scorer(Stored(stored.text, earlier))) is None


def test_rows_score_alike_alone_and_together(spark: SparkSession, tmp_path: Path, monkeypatch: Any) -> None:
    """A row's answer doesn't depend on the rows beside it, however many are scored at once."""
    boosted = fit_tree(spark, tmp_path, rows_of(200), of("GBTRegressor", "price", maxIter=5, seed=1))
    rows = rows_of(50, seed=6)
    together = [prediction.prediction for prediction in boosted.scorer.predict(rows)]
    assert [boosted.scorer.predict([row])[0].prediction for row in rows] == together
    monkeypatch.setattr("tidemill.scoring.trees.AT_ONCE", 35)  # seven rows at a time
    assert [prediction.prediction for prediction in boosted.scorer.predict(rows)] == together


def test_a_forest_is_quick_and_small(spark: SparkSession, tmp_path: Path) -> None:
    """A row through 20 trees of depth 5 takes well under a millisecond."""
    model = of("RandomForestClassifier", numTrees=20, maxDepth=5, seed=1)
    forest = fit_tree(spark, tmp_path, rows_of(400), model).scorer
    assert isinstance(forest, TreeClassScorer)
    assert len(forest.forest.roots) == 20
    [row] = rows_of(1)
    quickest = min(timed(lambda: forest.predict([row])) for _ in range(100))
    assert quickest < 1e-3


def timed(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def test_a_tree_without_a_split_says_the_same_to_all(spark: SparkSession, tmp_path: Path) -> None:
    """A tree of depth 0 is one leaf."""
    stump = fit_tree(spark, tmp_path, rows_of(40), of("DecisionTreeClassifier", maxDepth=0))
    assert len({prediction.prediction for prediction in stump.scorer.predict(rows_of(20, seed=8))}) == 1


@pytest.mark.parametrize(
    "arrays",
    [
        {"left": [0, -1, -1]},  # a node that is its own child would be walked round for ever
        {"right": [3, -1, -1]},
        {"roots": [3]},
        {"roots": []},
        {"place": [9, -1, -1]},
        {"leaves": [[1.0, 1.0]]},
    ],
)
def test_a_tree_that_is_no_tree_is_refused(tree: Fitted, tmp_path: Path, arrays: dict[str, Any]) -> None:
    """A damaged file is refused when it is loaded, and never walked through without end."""
    sound: dict[str, Any] = {"place": [0, -1, -1], "left": [1, -1, -1], "right": [2, -1, -1], "roots": [0]}
    sound |= {"threshold": [4.0, 0, 0], "leaves": [[1.0, 0], [0, 1]]}
    arrays = {name: np.array(values) for name, values in (sound | arrays).items()}
    with pytest.raises(CatalogError, match=r"changed\.npz is not a scorer file of this Tidemill"):
        scoring.load(changed(tree, tmp_path, **arrays))
    good = {name: np.array(values) for name, values in sound.items()}
    assert Forest(good, tree.scorer.encoder).depth == 1


def test_a_margin_has_no_probability(spark: SparkSession, tmp_path: Path) -> None:
    """LinearSVC answers a class in the label's own words, and no probability."""
    model = of("LinearSVC", "name", maxIter=5, threshold=-0.2) | {"labels": {"k1": "Yes"}}
    predictions = fit_tree(spark, tmp_path, rows_of(200), model).scorer.predict(rows_of(30))
    assert {prediction.prediction for prediction in predictions} == {"k0", "k1"}
    assert all(prediction.probability is None for prediction in predictions)
    assert {prediction.label for prediction in predictions if prediction.prediction == "k1"} == {"Yes"}


def test_models_are_trained_and_measured(tree: Fitted, spark: SparkSession, tmp_path: Path) -> None:
    """A tree and a margin go the trainer's whole way; a tree's AUC is that of its probability, as the counts of its
    leaves, its raw prediction, don't rank rows."""
    rows = rows_of(300)
    trained = train_one(tmp_path / "tree", COLUMNS, frame(spark, COLUMNS, rows), of("DecisionTreeClassifier"))
    likely = np.array([(prediction.probability or {})["1"] for prediction in tree.scorer.predict(rows)])
    kinds = np.array([row["kind"] for row in rows], dtype=bool)
    gaps = likely[kinds][:, None] - likely[~kinds]
    assert trained.metrics["training_auc"] == pytest.approx(((gaps > 0) + (gaps == 0) / 2).mean())
    margin = train_one(tmp_path / "margin", COLUMNS, frame(spark, COLUMNS, rows), of("LinearSVC", maxIter=5))
    assert 0.5 < (margin.metrics["training_auc"] or 0) < 1
    assert margin.parity["equal"] == len({(row["step"], row["sort"]) for row in rows})


@pytest.mark.parametrize("estimator", ["LogisticRegression", "RandomForestClassifier", "NaiveBayes"])
def test_one_class_so_far_is_certain(spark: SparkSession, tmp_path: Path, estimator: str) -> None:
    """A generation whose rows are all of one class has a model that answers just that."""
    rows = [row | {"name": "only"} for row in rows_of(40)]
    fitted_model = fit_tree(spark, tmp_path, rows, of(estimator, "name", ["sort"]))
    [prediction] = fitted_model.scorer.predict(rows[:1])
    assert (prediction.prediction, prediction.probability) == ("only", {"only": 1.0})
    assert fitted_model.parity(frame(spark, COLUMNS, rows))["equal"] == 40


@pytest.mark.parametrize(
    ("model", "change", "words"),
    [
        (of("GBTClassifier", "three"), {}, "the label three holds 2; GBTClassifier takes two classes"),
        (of("LinearSVC", "words"), {}, "the label words has 3 classes; LinearSVC takes two classes"),
        (
            of("GBTClassifier", "words"),
            {"words": "a"},
            "the label words has one class; GBTClassifier takes two classes",
        ),
        (of("LinearSVC"), {"kind": 0}, "the label kind holds nothing but 0; LinearSVC needs both classes"),
        (of("NaiveBayes", "gaps"), {}, "the label gaps goes up to 2 but holds only 2 classes"),
        (of("NaiveBayes", "three", ["words"], smoothing=0.0), {}, "a probability is zero"),
        (of("NaiveBayes", features=["level"], modelType="gaussian"), {"level": 7.0}, "variance within a class is zero"),
        (of("NaiveBayes", features=["price"]), {}, "Vector values MUST NOT be Negative"),
        (of("NaiveBayes", features=["step"], modelType="bernoulli"), {}, "Vector values MUST be in {0, 1}"),
        (of("DecisionTreeClassifier", thresholds=[0.2, 0.3, 0.5]), {}, "thresholds has length 3"),
        (of("GeneralizedLinearRegression", "price", family="gamma"), {}, "Gamma family should be positive"),
    ],
)
def test_what_spark_cannot_fit_is_said(
    spark: SparkSession, tmp_path: Path, model: dict[str, Any], change: Row, words: str
) -> None:
    """A label or a value that an estimator can't take is told by name; no wrong model is published."""
    labels = [{"three": place % 3, "gaps": place % 2 * 2, "words": "abc"[place % 3]} for place in range(60)]
    rows = [row | more | change for row, more in zip(rows_of(60), labels, strict=True)]
    columns = COLUMNS | {"three": "int", "gaps": "int", "words": "string"}
    with pytest.raises(TrainingFailed) as raised:
        fit_one(tmp_path, columns, frame(spark, columns, rows), model)
    assert words in str(raised.value)
    assert str(raised.value).startswith("tried: ")


@pytest.mark.parametrize(
    ("kind", "feature", "value", "words"),
    [
        ("multinomial", "step", -1, "step is -1, not 0 or more"),
        ("complement", "step", -1, "step is -1, not 0 or more"),
        ("bernoulli", "on", 2, "on is 2, not 0 or 1"),
    ],
)
def test_bayes_refuses_what_it_cannot_count(
    spark: SparkSession, tmp_path: Path, kind: str, feature: str, value: int, words: str
) -> None:
    """A request with a number that this NaiveBayes can't take is answered with the feature's name."""
    rows = [row | {"on": place % 2} for place, row in enumerate(rows_of(60))]
    model = of("NaiveBayes", features=[feature, "sort"], modelType=kind)
    columns = COLUMNS | {"on": "int"}
    scorer = fit_one(tmp_path, columns, frame(spark, columns, rows), model).scorer
    with pytest.raises(FeatureError, match=words):
        scorer.predict([rows[0], rows[1] | {feature: value}])


def test_a_power_link_without_a_value_is_an_error(spark: SparkSession, tmp_path: Path) -> None:
    """Where the inverse link has no value Spark gives NaN: the answer to a request is an error."""
    rows = [row | {"price": 1.0 + row["step"]} for row in rows_of(60)]
    params = {"family": "tweedie", "variancePower": 1.5, "linkPower": 0.3}
    model = of("GeneralizedLinearRegression", "price", ["level"], **params)
    scorer = fit_tree(spark, tmp_path, rows, model).scorer
    with pytest.raises(FeatureError, match="has no value"):
        scorer.predict([rows[0] | {"level": -1e6}])
    assert np.isfinite(float(scorer.predict([rows[0]])[0].prediction))
