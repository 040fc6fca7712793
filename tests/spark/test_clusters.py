"""Clusters: scored as in Spark, numbered for good, and told of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.ml import PipelineModel
from pyspark.ml.clustering import GaussianMixtureModel
from pyspark.sql import SparkSession
from scipy.stats import multivariate_normal  # type: ignore[import-untyped]  # scipy has no types

from tests.support.commands import Killed, raise_killed
from tests.support.fitting import Fitted, fit_all, frame
from tests.support.mixed_rows import MIXED_COLUMNS, MIXED_FEATURES, any_row, assert_scored_as_in_spark, mixed_rows
from tests.support.training_run import quiet_stage, run_of, seal_tables, table_of
from tidemill import scoring
from tidemill.errors import CatalogError, FeatureError, ParityFailed
from tidemill.run.catalog import TrainedModel
from tidemill.run.folder import Run
from tidemill.scoring import storage
from tidemill.scoring.clusters import EPSILON, ClusterScorer, cluster_scorer, paths
from tidemill.scoring.features import Encoder
from tidemill.scoring.storage import Array
from tidemill.training import trainer
from tidemill.training.clusters import assign, distances, lasting_numbers
from tidemill.training.estimators.checks import model_faults
from tidemill.training.trainer import work

TREE: dict[str, Any] = {
    "estimator": "BisectingKMeans",
    "features": MIXED_FEATURES,
    "params": {"k": 6, "seed": 7, "maxIter": 4},
}
MIXTURE: dict[str, Any] = {
    "estimator": "GaussianMixture",
    "features": MIXED_FEATURES,
    "params": {"k": 3, "seed": 7, "maxIter": 10},
}
ANGLE = {"distanceMeasure": "cosine"}
MODELS: dict[str, dict[str, Any]] = {
    "tree": TREE | {"scale": "standard"},
    "raw_tree": TREE | {"features": ["size", "age"]},
    "angle_tree": TREE | {"params": TREE["params"] | ANGLE},
    "word_tree": TREE | {"features": ["colour", "shape"]},
    "mixture": MIXTURE | {"scale": "standard"},
    "raw_mixture": MIXTURE | {"features": ["size", "age"]},
    "full_mixture": MIXTURE | {"scale": "minmax", "params": {"k": 5, "seed": 3, "maxIter": 10}},
    "word_mixture": MIXTURE | {"features": ["colour", "shape"]},
}


@pytest.fixture(scope="module")
def fitted(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fitted]:
    """Every kind of model, fitted once by Spark and exported."""
    rows = frame(spark, MIXED_COLUMNS, mixed_rows(400))
    return fit_all(tmp_path_factory.mktemp("clusters"), MIXED_COLUMNS, rows, MODELS)


def on_a_line(spark: SparkSession, folder: Path, values: Sequence[float], model: dict[str, Any]) -> Fitted:
    """A model of one number, fitted on these."""
    rows = spark.createDataFrame([(float(value),) for value in values], "c_x double")
    return fit_all(folder, {"x": "float"}, rows, {"line": {"features": ["x"], **model}})["line"]


def by_spark(one: Fitted, spark: SparkSession, values: Iterable[float]) -> list[int]:
    rows = spark.createDataFrame([(float(value),) for value in values], "c_x double")
    return [row.prediction for row in one.spark.transform(rows).collect()]


def by_scorer(one: Fitted, values: Iterable[float]) -> list[Any]:
    scorer = cluster_scorer(one.scorer)
    return [found.prediction for found in scorer.predict([{"x": float(value)} for value in values])]


# --- as in Spark --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_row_scores_as_in_spark(fitted: dict[str, Fitted], spark: SparkSession, name: str) -> None:
    """The cluster is Spark's own on rows never seen, and every probability is within 1e-9 of Spark's."""
    report = fitted[name].parity(frame(spark, MIXED_COLUMNS, mixed_rows(300, seed=2)))
    assert report["rows"] == report["equal"] == 300
    assert report["max_difference"] <= 1e-9


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(any_row, min_size=50, max_size=300))
def test_any_rows_score_as_in_spark(fitted: dict[str, Fitted], spark: SparkSession, rows: list[dict[str, Any]]) -> None:
    """Extreme values and categories never seen score as in Spark too, for every kind of model."""
    assert_scored_as_in_spark(fitted, spark, rows)


def test_a_tree_is_gone_down_and_not_searched_for_the_nearest_leaf(spark: SparkSession, tmp_path: Path) -> None:
    """A row goes to the nearer child at each node, as in Spark, also where another branch has a nearer leaf."""
    fitted_model = on_a_line(
        spark, tmp_path, [0.0] * 100 + [10.0] * 10 + [30.0] * 100, {"estimator": "BisectingKMeans", "params": {"k": 3}}
    )
    values = np.linspace(-5, 40, 181)
    clusters = by_scorer(fitted_model, values)
    assert clusters == by_spark(fitted_model, spark, values)
    centres = cluster_scorer(fitted_model.scorer).centres.matrix[:, 0]
    nearest = np.abs(values[:, None] - centres).argmin(axis=1)
    assert centres.tolist() == [0.0, 10.0, 30.0]
    assert [
        value for value, mine, near in zip(values, clusters, nearest, strict=True) if mine != near
    ] == pytest.approx(np.arange(15.5, 20.1, 0.25))


def test_of_equally_near_children_the_first_is_taken(spark: SparkSession, tmp_path: Path) -> None:
    """A row half-way between two centres is in Spark's cluster, which is that of the first child."""
    fitted_model = on_a_line(
        spark, tmp_path, [0.0, 10.0] * 20, {"estimator": "BisectingKMeans", "params": {"k": 2, "seed": 1}}
    )
    assert by_scorer(fitted_model, [5.0]) == by_spark(fitted_model, spark, [5.0]) == [0]


def test_fewer_distinct_rows_than_clusters(spark: SparkSession, tmp_path: Path) -> None:
    """Duplicates are never split: there are fewer clusters then, down to one, and each row has Spark's."""
    for values in ([1.0] * 30, [1.0] * 20 + [5.0] * 10 + [9.0] * 5):
        model = {"estimator": "BisectingKMeans", "params": {"k": 8}}
        fitted_model = on_a_line(spark, tmp_path, values, model)
        assert len(cluster_scorer(fitted_model.scorer).numbers) == len(set(values))
        grid = np.linspace(-3, 12, 31)
        assert by_scorer(fitted_model, grid) == by_spark(fitted_model, spark, grid)


def test_far_from_every_distribution_all_are_as_likely(fitted: dict[str, Fitted], spark: SparkSession) -> None:
    """Where every density is 0 the probabilities are equal and the first cluster is taken, as in Spark."""
    far = [row | {"size": -1e12} for row in mixed_rows(20)]
    [expected] = {
        row.prediction for row in fitted["raw_mixture"].spark.transform(frame(spark, MIXED_COLUMNS, far)).collect()
    }
    for prediction in cluster_scorer(fitted["raw_mixture"].scorer).predict(far):
        assert (prediction.prediction, set((prediction.probability or {}).values())) == (expected, {1 / 3})


def test_a_tree_of_angles_refuses_a_row_of_zeros(fitted: dict[str, Fitted]) -> None:
    """A row of zeros has no direction: the answer is an error, as it is in Spark."""
    zero = {"colour": "unseen", "shape": "unseen", "size": 0.0, "age": 0, "on": False, "constant": 0}
    with pytest.raises(FeatureError, match="cosine distance is not defined"):
        cluster_scorer(fitted["angle_tree"].scorer).predict([zero])


def test_many_rows_are_scored_in_slices_as_in_one(fitted: dict[str, Fitted], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a row gets does not depend on how many others are scored with it."""
    rows = mixed_rows(100, seed=5)
    for name in ("tree", "mixture"):
        whole = cluster_scorer(fitted[name].scorer).predict(rows)
        with monkeypatch.context() as patch:
            patch.setattr("tidemill.scoring.clusters.NUMBERS_AT_ONCE", 60)
            assert cluster_scorer(fitted[name].scorer).predict(rows) == whole


# What drives every row out of the cluster whose part of the array this is, wherever Spark's training ended.
FAULTS: dict[tuple[str, str], Callable[[Array], Array]] = {
    ("tree", "nodes"): lambda node: node + 1e9,
    ("mixture", "roots"): lambda root: root * 1e9,
    ("mixture", "weights"): lambda weight: weight * 0,
    ("full_mixture", "peaks"): lambda peak: peak - 1e9,
}


@pytest.mark.parametrize(("name", "array"), FAULTS)
def test_a_planted_fault_fails_parity(
    fitted: dict[str, Fitted], spark: SparkSession, tmp_path: Path, name: str, array: str
) -> None:
    """An exported file that is wrong in the part of a single cluster is found by the comparison with Spark."""
    fitted_model, rows = fitted[name], mixed_rows(300, seed=2)
    place = int(
        np.bincount([int(found.prediction) for found in cluster_scorer(fitted_model.scorer).predict(rows)]).argmax()
    )
    stored = storage.read(fitted_model.path)
    part = paths(stored.arrays["parents"].astype(np.intp))[place, 0] if array == "nodes" else place
    wrong = stored.arrays[array].copy()
    wrong[part] = FAULTS[name, array](wrong[part])
    storage.write(tmp_path / "bad.npz", stored.text, stored.arrays | {array: wrong})
    bad = dataclasses.replace(fitted_model, path=tmp_path / "bad.npz")
    assert cluster_scorer(bad.scorer).predict(rows) != cluster_scorer(fitted_model.scorer).predict(rows)
    with pytest.raises(ParityFailed, match=f"the scorer of {name} differs from Spark on"):
        bad.parity(frame(spark, MIXED_COLUMNS, rows))


@pytest.mark.parametrize(
    "change",
    [{"parents": np.array([-1, 0, 0])}, {"parents": np.array([1] * 11)}, {"numbers": np.array([0, 1, 2, 3, 4, 4])}],
)
def test_a_tree_that_is_none_is_an_error(fitted: dict[str, Fitted], tmp_path: Path, change: dict[str, Any]) -> None:
    """A file whose tree or numbers don't fit its clusters is refused."""
    stored = storage.read(fitted["tree"].path)
    storage.write(tmp_path / "odd.npz", stored.text, stored.arrays | change)
    with pytest.raises(CatalogError, match=r"odd\.npz is not a scorer file"):
        scoring.load(tmp_path / "odd.npz")


def test_what_spark_refuses_is_found_before_anything_runs() -> None:
    """Parameters of the models that cluster are checked without Spark."""
    model = {"estimator": "BisectingKMeans", "features": ["x"], "params": {"maxIter": 0, "minDivisibleClusterSize": 0}}
    raw = {"source": {"columns": {"x": "float"}}, "models": {"line": model, "k": model | {"params": {"k": 1}}}}
    assert [fault.path for fault in model_faults(raw)] == [
        "models.line.params.maxIter",
        "models.line.params.minDivisibleClusterSize",
        "models.k.params.k",
    ]


def test_without_a_seed_a_model_is_the_same_in_every_process(spark: SparkSession, tmp_path: Path) -> None:
    """pyspark's own default seed is another in each process; Tidemill's is not."""
    fitted_model = on_a_line(spark, tmp_path, [0.0, 1.0, 5.0, 6.0], {"estimator": "KMeans", "params": {"k": 2}})
    assert fitted_model.spark.stages[-1].getSeed() == 42


# --- numbers that last --------------------------------------------------------------------------------------------


def test_numbers_are_handed_on_to_the_nearest() -> None:
    """Each cluster takes the number of its nearest, others the least that the generation before did not use."""
    far = np.array([[5.0, 0.1], [0.2, 7.0], [3.0, 3.0], [4.0, 4.0]])
    assert assign(far, np.array([4, 0])).tolist() == [0, 4, 1, 2]
    assert assign(far[:1], np.array([4, 0])).tolist() == [0]


def test_the_sum_of_the_distances_is_the_least() -> None:
    """A cluster leaves its own nearest to another where all together are nearer so."""
    assert assign(np.array([[1.0, 2.0], [1.1, 9.0]]), np.array([0, 1])).tolist() == [1, 0]


points = st.integers(1, 6).flatmap(
    lambda k: st.lists(st.tuples(*[st.integers(-1000, 1000)] * 3), min_size=k, max_size=k, unique=True)
)


@settings(deadline=None)
@given(points, st.randoms(use_true_random=False), st.booleans())
def test_whatever_order_spark_finds_them_in(found: list[tuple[int, ...]], dice: Any, cosine: bool) -> None:
    """The same clusters in another order have the same numbers, and no number is there twice."""
    before = np.array(found, dtype=np.float64)
    if cosine:
        before = before[np.unique(directions(before), axis=0, return_index=True)[1]]
    order = list(range(len(before)))
    dice.shuffle(order)
    numbers = np.array(dice.sample(range(20), len(before)))
    assert assign(distances(before[order], before, cosine), numbers).tolist() == numbers[order].tolist()


def directions(vectors: Any) -> Any:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.round(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0), 9)


def stored_scorer(folder: Path, name: str, centres: Any, categories: list[str], scaling: Any, **arrays: Any) -> Any:
    """A KMeans of a number and a word, written by hand."""
    plain = {"minimum": None, "maximum": None, "example": None}
    text: dict[str, Any] = {
        "model": "of the test",
        "estimator": "KMeans",
        "features": [
            {"name": "x", "kind": "float", "categories": None, **plain},
            {"name": "word", "kind": "string", "categories": categories, **plain},
        ],
        "classes": None,
        "labels": {},
        "distance": "euclidean",
    }
    scale = {"scaling": np.array(scaling, dtype=np.float64)[:, None]}
    storage.write(folder / name, text, {"centres": np.array(centres, dtype=np.float64), **scale, **arrays})
    return cluster_scorer(scoring.load(folder / name))


def test_clusters_are_matched_in_their_own_units_and_by_category_names(tmp_path: Path) -> None:
    """Neither another scaling nor another order of categories, nor new and lost ones, leads the matching astray."""
    before = stored_scorer(
        tmp_path, "before.npz", [[-1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 1]], ["a", "b", "lost"], [100, 0.1, 0]
    )
    now = stored_scorer(  # x is about 90, 110 and 110, as before; the words stand in another order
        tmp_path, "now.npz", [[1.1, 0, 0, 0.4], [0.9, 0, 1, 0], [1.1, 0, 1, 0]], ["new", "a", "b"], [0, 0.01, 0]
    )
    assert before.units().numbers["x"].tolist() == [90.0, 110.0, 110.0]
    assert before.units().shares["word"]["lost"].tolist() == [0.0, 0.0, 1.0]
    assert now.points(before.units()) == pytest.approx(np.array([[0.9, 0, 1, 0], [1.1, 0, 1, 0], [1.1, 0, 0, 0]]))
    assert lasting_numbers(now, before).tolist() == [2, 0, 1]


def test_a_point_without_direction_is_as_far_as_can_be_from_any() -> None:
    """The cosine distance of a point of zeros is 1, and no error."""
    assert distances(np.array([[0.0, 0.0]]), np.array([[1.0, 2.0], [0.0, 0.0]]), cosine=True).tolist() == [[1.0, 1.0]]


BLOBS = {0: (0.0, 0.0, "ash"), 1: (40.0, 5.0, "birch"), 2: (80.0, 60.0, "cedar"), 3: (5.0, 90.0, "ash")}
FEATURES_OF_BLOBS = ["x", "y", "word"]
LASTING: dict[str, dict[str, Any]] = {
    "means": {"estimator": "KMeans", "params": {"k": 4, "seed": 4}, "scale": "standard"},
    "tree": {"estimator": "BisectingKMeans", "features": ["x", "y"], "params": {"k": 4, "seed": 3, "maxIter": 4}},
    "mixture": {"estimator": "GaussianMixture", "features": ["x", "z"], "params": {"k": 2, "seed": 6, "maxIter": 10}},
    "angle": {
        "estimator": "KMeans",
        "scale": "standard",
        "params": {"k": 4, "seed": 4, "distanceMeasure": "cosine"},
    },
}


def drifted(generation: int) -> list[dict[str, Any]]:
    """Four groups that drift, smaller than the gaps between them; in another order in each generation. By z they are
    but two."""
    dice = np.random.default_rng(generation)
    rows = []
    for blob in dice.permutation(list(BLOBS) * 60):
        x, y, word = BLOBS[int(blob)]
        around = dice.normal(0, 2.0, 2) + 4.0 * generation
        near = {"x": float(x + around[0]), "y": float(y + around[1]), "z": float(30 * (x > 20) + dice.normal())}
        rows.append({"blob": int(blob), **near, "word": word})
    return rows


def run_of_blobs(folder: Path, models: dict[str, Any] = LASTING, generations: int = 3) -> Run:
    columns = {"blob": "int", "x": "float", "y": "float", "z": "float", "word": "string"}
    models = {name: {"features": FEATURES_OF_BLOBS, **model} for name, model in models.items()}
    run = run_of(
        folder,
        source={"path": "x.csv", "columns": columns},
        models=models,
        generations={"scheme": "windowed", "holdout": {"share": 0.25}},
    )
    seal_tables(run, [table_of(run, drifted(number)) for number in range(1, generations + 1)])
    return run


def loaded(run: Run, model: TrainedModel) -> ClusterScorer:
    return cluster_scorer(scoring.load(run.folder / model.scorer_path, model.sha256))


@pytest.fixture(scope="module")
def drifting(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three windowed generations of drifting groups, trained by the trainer."""
    run = run_of_blobs(tmp_path_factory.mktemp("drifting"))
    work(quiet_stage(run), spark)
    assert [generation.state for generation in run.catalog.generations()] == ["published"] * 3
    return run


def numbers_of_blobs(scorer: ClusterScorer, generation: int) -> dict[int, set[Any]]:
    found: dict[int, set[Any]] = {}
    rows = drifted(generation)
    for row, one in zip(rows, scorer.predict(rows), strict=True):
        found.setdefault(row["blob"], set()).add(one.prediction)
    return found


@pytest.mark.parametrize("name", LASTING)
def test_a_cluster_keeps_its_number(drifting: Run, name: str) -> None:
    """A group that drifts has the same number in each generation, though Spark's own number for it is another."""
    generations = drifting.catalog.generations()
    scorers = [loaded(drifting, one.models[name]) for one in generations]
    numbers = [numbers_of_blobs(scorer, number) for number, scorer in enumerate(scorers, start=1)]
    assert numbers[0] == numbers[1] == numbers[2]
    profiles = [one.models[name].profile or {} for one in generations]
    assert [one["matched_to"] for one in profiles] == [None, 1, 2]
    own = {str(place): place for place in range(len(scorers[0].numbers))}
    assert profiles[0]["renumbered"] == own
    if name != "tree":  # Spark numbers a tree's clusters from left to right, so that they hardly ever swap
        assert any(one["renumbered"] != own for one in profiles[1:]), "Spark's own numbers did not swap"
    for scorer, profile, generation in zip(scorers, profiles, generations, strict=True):
        assert profile["renumbered"] == {str(place): number for place, number in enumerate(scorer.numbers.tolist())}
        text = storage.read(drifting.folder / generation.models[name].scorer_path).text
        assert (text["renumbered"], text["matched_to"]) == (profile["renumbered"], profile["matched_to"])


@pytest.mark.nightly
def test_a_trainer_that_was_killed_gives_the_same_numbers(
    spark: SparkSession, tmp_path: Path, drifting: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained anew after a crash, a generation has the same clusters and numbers as in a run that never died."""
    names = ("means", "mixture")
    run = run_of_blobs(tmp_path, {name: LASTING[name] for name in names}, generations=2)
    first = trainer.Trainer(quiet_stage(run), spark)
    first.take_up()
    first.look()
    first.step()
    with monkeypatch.context() as patch:
        patch.setattr(run.catalog, "publish_generation", raise_killed)
        with pytest.raises(Killed):
            first.step()
    work(quiet_stage(run), spark)
    for ours, theirs in zip(run.catalog.generations(), drifting.catalog.generations()[:2], strict=True):
        for name in names:
            assert ours.models[name].sha256 == theirs.models[name].sha256


def test_an_earlier_scorer_that_is_damaged_stops_the_trainer(spark: SparkSession, tmp_path: Path) -> None:
    """Numbers are never given anew because an earlier file can't be read: the file is named instead."""
    run = run_of_blobs(tmp_path, {"means": LASTING["means"]}, generations=2)
    first = trainer.Trainer(quiet_stage(run), spark)
    first.take_up()
    first.look()
    first.step()
    [generation] = run.catalog.generations()
    path = run.folder / generation.models["means"].scorer_path
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CatalogError, match=r"means\.npz has sha256"):
        first.step()


def test_probabilities_go_by_the_lasting_numbers(drifting: Run) -> None:
    """Each of a mixture's probabilities stands under its cluster's number, in ascending order, the largest under the
    prediction's."""
    scorer = loaded(drifting, drifting.catalog.generations()[2].models["mixture"])
    assert scorer.numbers.tolist() == [1, 0]
    for prediction in scorer.predict(drifted(3)[:50]):
        assert list(prediction.probability or {}) == ["0", "1"]
        assert max((prediction.probability or {}).items(), key=lambda item: item[1])[0] == str(prediction.prediction)


def test_a_column_of_predictions_has_the_lasting_numbers(drifting: Run) -> None:
    """The predictions of a whole table are those of its rows one by one."""
    scorer = loaded(drifting, drifting.catalog.generations()[2].models["means"])
    rows = drifted(3)
    column = scorer.column(table_of(drifting, rows))
    assert column.to_pylist() == [prediction.prediction for prediction in scorer.predict(rows)]


# --- what is told of clusters -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LASTING)
def test_the_profile_is_what_the_rows_say(spark: SparkSession, drifting: Run, name: str) -> None:
    """Sizes, shares, centres and distances are those of the training rows, worked out by hand."""
    model = drifting.catalog.generations()[2].models[name]
    scorer, profile = loaded(drifting, model), model.profile or {}
    rows = training_rows(spark, drifting, 3)
    assert len(rows) == model.rows["train"]
    predictions = scorer.predict(rows)
    assert [one["cluster"] for one in profile["clusters"]] == sorted(scorer.numbers.tolist())
    vectors = vectors_of(scorer.encoder, rows)
    for cluster in profile["clusters"]:
        inside = [place for place, one in enumerate(predictions) if one.prediction == cluster["cluster"]]
        assert cluster["size"] == len(inside) > 0
        assert {predictions[place].centre == cluster["centre"] for place in inside} == {True}
        centre = scorer.centres.matrix[scorer.numbers.tolist().index(cluster["cluster"])]
        apart = far(vectors[inside], centre, scorer.centres.cosine)
        assert [predictions[place].distance for place in inside] == pytest.approx(apart)
        assert cluster["distance"] == {"mean": pytest.approx(apart.mean()), "max": pytest.approx(apart.max())}
        for feature, value in cluster["centre"].items():
            mean = np.mean([rows[place][feature] for place in inside])
            assert value == pytest.approx(mean, abs=0.01 if name == "mixture" else 1e-9)
        for feature, shares in cluster["shares"].items():
            words = [rows[place][feature] for place in inside]
            assert shares == {word: words.count(word) / len(words) for word in set(words)}
        others = {int(number): value for number, value in cluster["to_centres"].items()}
        assert list(others) == [number for number in sorted(scorer.numbers.tolist()) if number != cluster["cluster"]]
        for number, value in others.items():
            other = scorer.centres.matrix[[scorer.numbers.tolist().index(number)]]
            assert value == pytest.approx(far(other, centre, scorer.centres.cosine)[0])


def training_rows(spark: SparkSession, run: Run, generation: int) -> list[dict[str, Any]]:
    held = "pmod(xxhash64(blob, x, y, z, word, cast(42 as bigint)), 1000000) < 250000"
    path = run.batches / f"batch-{generation:05d}.parquet"
    return [row.asDict() for row in spark.read.parquet(str(path)).filter(f"not ({held})").collect()]


def vectors_of(encoder: Encoder, rows: Sequence[Mapping[str, Any]]) -> Any:
    """(n, places): the rows' feature vectors, one-hot blocks written out."""
    encoded = encoder.encode(rows)
    blocks = [np.eye(len(known))[codes] for known, codes in zip(encoder.codes, encoded.codes, strict=True)]
    return np.concatenate([encoded.numbers, *blocks], axis=1)


def far(vectors: Any, centre: Any, cosine: bool) -> Any:
    if cosine:
        return 1 - vectors @ centre / np.linalg.norm(vectors, axis=1) / np.linalg.norm(centre)
    return np.linalg.norm(vectors - centre, axis=1)


def test_metrics_are_what_the_rows_say(spark: SparkSession, drifting: Run) -> None:
    """A tree's cost and a mixture's mean log-likelihood are of held-out rows; Spark's own of the training rows."""
    models = drifting.catalog.generations()[0].models
    assert set(models["tree"].metrics) == {"silhouette", "cost", "training_cost"}
    assert set(models["mixture"].metrics) == {"silhouette", "mean_log_likelihood", "training_log_likelihood"}
    training = training_rows(spark, drifting, 1)
    held = [row for row in drifted(1) if row not in training]
    assert len(held) == models["tree"].rows["holdout"]
    costs = [(prediction.distance or 0) ** 2 for prediction in loaded(drifting, models["tree"]).predict(held)]
    assert models["tree"].metrics["cost"] == pytest.approx(sum(costs))
    gaussians = spark_model(drifting, models["mixture"])
    assert models["mixture"].metrics["mean_log_likelihood"] == pytest.approx(log_densities(gaussians, held).mean())
    total = models["mixture"].metrics["training_log_likelihood"]  # of the step before the last
    assert total == pytest.approx(log_densities(gaussians, training).sum(), abs=0.1)


def log_densities(model: GaussianMixtureModel, rows: Sequence[Mapping[str, Any]]) -> Any:
    vectors = np.array([[row["x"], row["z"]] for row in rows])
    densities = [
        EPSILON + weight * multivariate_normal(one.mean.toArray(), one.cov.toArray()).pdf(vectors)
        for weight, one in zip(model.weights, model.gaussians, strict=True)
    ]
    return np.log(sum(densities))


def spark_model(run: Run, model: TrainedModel) -> GaussianMixtureModel:
    return PipelineModel.load(str(run.folder / model.spark_path)).stages[-1]


def test_a_row_that_has_no_direction_is_null_in_a_column(tmp_path: Path) -> None:
    """Where cosine has no answer for a row, the column has null for it, and its answer for every other row."""
    path = tmp_path / "groups.npz"
    feature = {"kind": "float", "categories": None, "minimum": 0.0, "maximum": 1.0, "example": 1.0}
    text: dict[str, Any] = {
        "model": "groups",
        "estimator": "KMeans",
        "features": [{"name": name, **feature} for name in "xy"],
        "classes": None,
        "labels": {},
        "distance": "cosine",
    }
    arrays = {"centres": np.eye(2), "middles": np.eye(2), "numbers": np.arange(2.0)}
    storage.write(path, text, arrays)
    scorer = scoring.row_scorer(scoring.load(path))
    table = pa.table({"x": [1.0, 0.0, 0.2, None, 0.0], "y": [0.1, 0.0, 1.0, 1.0, 3.0]})
    assert scorer.column(table).to_pylist() == [0, None, 1, None, 1]
