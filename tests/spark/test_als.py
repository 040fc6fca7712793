"""ALS: the exported scorer and its fold-in against Spark's own model, on MovieLens and on small made-up ratings."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.ml import PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tests.support import DATA
from tests.support.fitting import outside_spark
from tidemill import scoring
from tidemill.errors import ParityFailed
from tidemill.pipeline import Column, ColumnKind, Model
from tidemill.run.catalog import TrainedModel
from tidemill.scoring.als import AlsScorer, Scale, Settings, als_scorer, fold_in, gram, least_nonnegative, packed
from tidemill.scoring.storage import Stored
from tidemill.training.estimators.checks import model_faults
from tidemill.training.estimators.recommendation import scale_of, titled
from tidemill.training.estimators.recommendation_quality import Ratings, compare_factors
from tidemill.training.features import spark_name
from tidemill.training.fitting import GenerationFiles, train
from tidemill.training.registry import TrainingInputs
from tidemill.training.stats import collect_stats

HELD = "held"
SEED = 7
LEFT_OUT = 50
BLOCKS = {"numUserBlocks": 2, "numItemBlocks": 2}  # Spark's default of 10 each pays on more cores
PARAMS = {"rank": 10, "maxIter": 8, "regParam": 0.1, "seed": 5, **BLOCKS}
QUICK = {"numUserBlocks": 1, "numItemBlocks": 1, "maxIter": 3}
SCORE_TOLERANCE = 1e-5

Kind = ColumnKind
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedRecommender:
    """A trained recommender: what the catalog says, its scorer, and Spark's own saved model."""

    trained: TrainedModel
    scorer: AlsScorer
    spark: PipelineModel

    def factors(self) -> dict[int, np.ndarray[Any, Any]]:
        """Spark's user factors by Spark's number for the user."""
        return {row["id"]: np.array(row["features"]) for row in self.spark.stages[-1].userFactors.collect()}


def train_recommender(
    folder: Path, rows: DataFrame, params: dict[str, Any], rating: str | None = "rating", kind: Kind = "int"
) -> TrainedRecommender:
    """Train a recommender on rows of user, item, rating and whether they are held out."""
    model = Model(estimator="ALS", user="user", item="item", rating=rating, params=params)
    kinds: dict[str, Kind] = {"user": kind, "item": kind, "rating": "float"}
    inputs = TrainingInputs("taste", model, {name: Column(name, given, False) for name, given in kinds.items()})
    (folder / "scorers").mkdir(parents=True)
    tables = outside_spark(rows, inputs, [row[HELD] for row in rows.select(HELD).collect()])
    stats = collect_stats(tables, [inputs], holds_out=True)["taste"]
    trained = train(inputs, rows.filter(~F.col(HELD)), tables, stats, GenerationFiles(folder, "final"))
    scorer = als_scorer(scoring.load(folder / "scorers" / "taste.npz"))
    return TrainedRecommender(trained, scorer, PipelineModel.load(f"file://{folder}/spark/taste"))


@dataclass(frozen=True)
class MovieLens:
    """The real ratings; a fifth of each user's held out, and 50 users left out of ``rows`` altogether."""

    all: pl.DataFrame
    outsiders: pl.DataFrame
    rows: DataFrame


@pytest.fixture(scope="module")
def movielens(spark: SparkSession) -> Iterator[MovieLens]:
    ratings = pl.read_csv(DATA / "movielens" / "ratings.csv", columns=["userId", "movieId", "rating"])
    ratings = ratings.rename({"userId": "user", "movieId": "item"})
    shuffled = ratings.select("user", "item", pl.col("rating").cast(pl.Float64)).sample(
        fraction=1.0, shuffle=True, seed=SEED
    )
    place, count = pl.int_range(pl.len()).over("user"), pl.len().over("user")
    split = shuffled.with_columns((place < count // 5).alias(HELD))
    users = split["user"].unique().sort().sample(LEFT_OUT, seed=SEED)
    inside = split.filter(~pl.col("user").is_in(users.implode()))
    rows = in_spark(spark, inside.to_arrow()).cache()
    yield MovieLens(split, split.filter(pl.col("user").is_in(users.implode())), rows)
    rows.unpersist()


@pytest.fixture(scope="module")
def explicit(movielens: MovieLens, tmp_path_factory: pytest.TempPathFactory) -> TrainedRecommender:
    return train_recommender(tmp_path_factory.mktemp("als") / "explicit", movielens.rows, PARAMS)


def in_spark(spark: SparkSession, table: pa.Table) -> DataFrame:
    """The table with its columns under their names in Spark."""
    names = [name if name == HELD else spark_name(name) for name in table.column_names]
    return spark.createDataFrame(table.rename_columns(names))


def rmse(scorer: AlsScorer, frame: pl.DataFrame) -> float:
    """Over the rows whose user and item the scorer knows."""
    users = np.array([scorer.users.get(str(one), -1) for one in frame["user"]])
    items = np.array([scorer.items.get(str(one), -1) for one in frame["item"]])
    errors = scorer.predict(users, items).astype(np.float64) - frame["rating"].to_numpy()
    return float(np.sqrt(np.nanmean(errors**2)))


def test_the_error_on_held_out_ratings_is_that_of_spark(movielens: MovieLens, explicit: TrainedRecommender) -> None:
    """On a fifth of each user's ratings the scorer's RMSE is within 1 % of a pyspark ALSModel's, fitted on its own; and
    it is the one in the catalog."""
    held = movielens.all.filter(pl.col(HELD) & ~pl.col("user").is_in(movielens.outsiders["user"].unique().implode()))
    ours = rmse(explicit.scorer, held)
    als = ALS(userCol="c_user", itemCol="c_item", ratingCol="c_rating", coldStartStrategy="drop", **PARAMS)
    predicted = als.fit(movielens.rows.filter(~F.col(HELD))).transform(movielens.rows.filter(F.col(HELD)))
    spark = RegressionEvaluator(labelCol="c_rating").evaluate(predicted)
    LOG.info("RMSE on held-out ratings: scorer %.5f, pyspark %.5f", ours, spark)
    assert ours == pytest.approx(spark, rel=0.01)
    metrics = explicit.trained.metrics
    assert metrics["rmse"] == pytest.approx(ours, rel=1e-6)
    assert metrics["cold_rows"] == sum(str(one) not in explicit.scorer.items for one in held["item"])


def test_users_never_trained_are_predicted_about_as_well_as_trained_ones(
    movielens: MovieLens, explicit: TrainedRecommender
) -> None:
    """50 users were left out of training: four fifths of their ratings folded in, the error on the other fifth is near
    that of trained users, and well below that of the mean rating."""
    scorer, squares, mean_squares = explicit.scorer, [], []
    mean = movielens.all.filter(~pl.col(HELD))["rating"].mean()
    for (_,), frame in movielens.outsiders.group_by("user"):
        known = frame.filter(pl.col("item").cast(pl.String).is_in(list(scorer.items)))
        given, asked = known.filter(~pl.col(HELD)), known.filter(pl.col(HELD))
        factor = scorer.fold_in(places(scorer, given), given["rating"].to_numpy())
        squares += ((scorer.item_factors[places(scorer, asked)] @ factor - asked["rating"].to_numpy()) ** 2).tolist()
        mean_squares += ((asked["rating"].to_numpy() - mean) ** 2).tolist()
    outside, trained = float(np.sqrt(np.mean(squares))), explicit.trained.metrics["rmse"]
    by_mean = float(np.sqrt(np.mean(mean_squares)))
    figures = "RMSE on a fifth: %d users folded in %.5f, trained users %.5f, the mean rating %.5f"
    LOG.info(figures, LEFT_OUT, outside, trained, by_mean)
    assert trained is not None
    assert outside < 1.1 * trained
    assert outside < 0.95 * by_mean


def places(scorer: AlsScorer, frame: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.intp]]:
    return np.array([scorer.items[str(one)] for one in frame["item"]], dtype=np.intp)


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({}, id="explicit"),
        pytest.param({"implicitPrefs": True, "alpha": 10.0}, id="implicit"),
        pytest.param({"nonnegative": True}, id="nonnegative", marks=pytest.mark.nightly),
        pytest.param({"implicitPrefs": True, "nonnegative": True}, id="both", marks=pytest.mark.nightly),
    ],
)
def test_the_own_ratings_of_a_trained_user_give_back_their_factor(
    movielens: MovieLens, explicit: TrainedRecommender, tmp_path: Path, params: dict[str, Any]
) -> None:
    """For 200 users the fold-in of their training ratings is Spark's own factor, within 1e-5 of its length."""
    quick = PARAMS | {"maxIter": 2, "rank": 6} | params
    model = train_recommender(tmp_path / "out", movielens.rows, quick) if params else explicit
    spark, scorer = model.factors(), model.scorer
    training = movielens.all.filter(~pl.col(HELD) & pl.col("user").is_in(list(spark)))
    chosen = sorted(spark)[:: len(spark) // 200][:200]
    worst = 0.0
    for (user,), frame in training.filter(pl.col("user").is_in(chosen)).group_by("user"):
        assert isinstance(user, int)
        factor = scorer.fold_in(places(scorer, frame), frame["rating"].to_numpy())
        worst = max(worst, float(np.linalg.norm(factor - spark[user]) / np.linalg.norm(spark[user])))
    LOG.info("fold-in of 200 users with %s: from Spark's factors by at most %.2g of their length", params, worst)
    assert len(chosen) == 200
    assert worst < 1e-5
    assert (model.scorer.user_factors >= 0).all() or "nonnegative" not in params


def test_what_a_user_rated_is_not_recommended_to_them(movielens: MovieLens, explicit: TrainedRecommender) -> None:
    """A known user's list has none of their items, held-out ones included, and is what sorting all scores gives; one
    who sends the same ratings of training gets the same scores."""
    scorer, user = explicit.scorer, "1001"
    own = movielens.all.filter(pl.col("user") == int(user))
    items = scorer.for_user(user, 20)
    rated = {str(one) for one in own["item"]}
    assert not rated & {str(item["item"]) for item in items}
    scores = scorer.item_factors @ scorer.user_factors[scorer.users[user]]
    open_to = [(-scores[place], int(item)) for item, place in scorer.items.items() if item not in rated]
    assert [item["item"] for item in items] == [item for _, item in sorted(open_to)[:20]]
    training = own.filter(~pl.col(HELD))
    sent = scorer.recommend({str(item): rating for item, rating in training.select("item", "rating").iter_rows()}, 900)
    again = {item["item"]: item["score"] for item in sent.items}
    assert all(again[item["item"]] == pytest.approx(item["score"], rel=1e-6) for item in items)


def test_a_scorer_with_other_rules_is_caught(movielens: MovieLens, explicit: TrainedRecommender) -> None:
    """A fold-in whose regularisation is off by a thousandth fails the parity check."""
    scorer = explicit.scorer
    frame = movielens.all.filter(pl.col("user").is_in([int(user) for user in scorer.users]))
    frame = frame.filter(pl.col("item").cast(pl.String).is_in(list(scorer.items))).sort("user")
    users = np.array([scorer.users[str(one)] for one in frame["user"]])
    ratings = Ratings(users, places(scorer, frame), frame["rating"].cast(pl.Float32).to_numpy(), frame[HELD].to_numpy())
    assert compare_factors(scorer, ratings)["max_fold_in_difference"] < SCORE_TOLERANCE
    right = scorer.settings
    scorer.settings = replace(right, regularisation=right.regularisation * 1.001)
    try:
        with pytest.raises(ParityFailed, match="the factor of a user"):
            compare_factors(scorer, ratings)
    finally:
        scorer.settings = right


def test_implicit_models_are_judged_by_their_ranking(movielens: MovieLens, tmp_path: Path) -> None:
    """Without ratings every row counts 1; the metrics are those of a ranking, far above what chance gives, and what a
    count by hand gives."""
    params = {"implicitPrefs": True, "alpha": 10.0, "rank": 6, "maxIter": 2, "seed": 1, **BLOCKS}
    model = train_recommender(tmp_path / "out", movielens.rows, params, rating=None)
    scorer, metrics = model.scorer, model.trained.metrics
    inside = movielens.all.filter(pl.col("user").cast(pl.String).is_in(list(scorer.users)))
    hits = []
    for (user,), frame in inside.filter(pl.col("item").cast(pl.String).is_in(list(scorer.items))).group_by("user"):
        place = scorer.users[str(user)]
        wanted = set(places(scorer, frame.filter(pl.col(HELD))).tolist())
        without = places(scorer, frame.filter(~pl.col(HELD)))
        best = scorer.best(scorer.user_factors[place], without, 10)[0].tolist()
        if wanted:
            hits.append(len(wanted & set(best)) / 10)
    assert metrics["precision_at_10"] == pytest.approx(np.mean(hits))
    assert metrics["precision_at_10"] is not None
    assert metrics["precision_at_10"] > 0.1
    assert set(metrics) == {"ndcg_at_10", "precision_at_10", "cold_rows"}
    assert not scorer.has_ratings


# --- small fits ---------------------------------------------------------------------------------------------------

STRINGS = [f"id {place}·é{'x' * (place % 3)}" for place in range(12)] + [""]
WIDE = [2**40 + place for place in range(12)] + [-5]
PLAIN = [*range(11), -(2**31), 2**31 - 1]


@pytest.mark.parametrize(
    ("ids", "kind"),
    [pytest.param(PLAIN, "int", marks=pytest.mark.nightly), (WIDE, "int"), (STRINGS, "string")],
)
@pytest.mark.parametrize(
    "params",
    [{"rank": 3}, {"rank": 3, "implicitPrefs": True, "nonnegative": True}],
    ids=["explicit", "implicit"],
)
def test_any_ids_are_recommended_by(
    spark: SparkSession, tmp_path: Path, ids: list[Any], kind: Kind, params: dict[str, Any]
) -> None:
    """Ids of 32 bits, wider ones and strings: each pair has the score that Spark's saved model gives, with ratings that
    occur twice or are negative among them; a held-out user or item that was not trained has none."""
    chance = np.random.default_rng(3)
    triples = zip(*(chance.integers(low, high, 80).tolist() for low, high in ((0, 12), (0, 12), (-2, 6))), strict=True)
    rows = [(ids[user], ids[item], float(rating)) for user, item, rating in triples]
    rows += rows[:5]
    held = [False] * len(rows) + [True, True]
    rows += [(ids[12], ids[0], 1.0), (ids[0], ids[12], 1.0)]
    table = pa.table({**dict(zip(("user", "item", "rating"), zip(*rows, strict=True), strict=True)), HELD: held})
    frame = in_spark(spark, table)
    model = train_recommender(tmp_path / "out", frame, params | QUICK, kind=kind)
    scorer = model.scorer
    assert model.trained.metrics["cold_rows"] == 2
    assert str(ids[12]) not in scorer.users
    scored = model.spark.transform(frame).collect()
    for row in scored:
        user, item = (scorer.users.get(str(row["c_user"]), -1), scorer.items.get(str(row["c_item"]), -1))
        ours = float(scorer.predict(np.array([user]), np.array([item]))[0])
        assert ours == pytest.approx(row["prediction"], rel=SCORE_TOLERANCE, abs=SCORE_TOLERANCE, nan_ok=True)
    known = scorer.titles["item"].to_pylist()
    assert known == sorted(known)
    assert all(type(item) is type(ids[0]) for item in known)


@pytest.mark.nightly
def test_many_iterations_are_no_trouble(spark: SparkSession, tmp_path: Path) -> None:
    """Spark's plan of ALS grows with each iteration, until it kills the JVM, unless it is cut by checkpoints."""
    table = pa.table({"user": [1, 1, 2, 2], "item": [1, 2, 2, 3], "rating": [5.0, 1.0, 4.0, 3.0], HELD: [False] * 4})
    model = train_recommender(tmp_path / "out", in_spark(spark, table), QUICK | {"rank": 2, "maxIter": 60})
    assert model.trained.parity["equal"] == 4


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"params": {"rank": 0}}, "params.rank", "1 or more"),
        ({"params": {"maxIter": 0}}, "params.maxIter", "1 or more"),
        ({"params": {"alpha": -1}}, "params.alpha", "0 or more"),
        ({"params": {"numUserBlocks": 0}}, "params.numUserBlocks", "1 or more"),
        ({"params": {"checkpointInterval": 0}}, "params.checkpointInterval", "from 1 to 10"),
        ({"params": {"coldStartStrategy": "drop"}}, "params.coldStartStrategy", "counted as cold_rows"),
        ({"params": {"finalStorageLevel": "NOWHERE"}}, "params.finalStorageLevel", "one of MEMORY_AND_DISK"),
        ({"params": {"ratingCol": "r"}}, "params.ratingCol", "Tidemill sets the columns"),
        ({"item": "user"}, "item", "also the user"),
        ({"rating": None}, "rating", "implicitPrefs = true"),
        ({"titles": "names"}, "titles", 'with a column "score"'),
    ],
)
def test_what_a_recommender_can_not_be_is_found_before_it_starts(
    changes: dict[str, Any], path: str, words: str
) -> None:
    """Each fault with its path in the pipeline file; what Spark takes, a model without ratings too, has none."""
    columns = {"user": "int", "item": "string", "rating": "float"}
    tables = {"names": {"key": "item", "columns": {"item": "string", "score": "int"}}}
    good = {"estimator": "ALS", "user": "user", "item": "item", "rating": "rating", "params": {"nonnegative": True}}
    model = {key: value for key, value in (good | changes).items() if value is not None}
    raw = {"source": {"columns": columns}, "tables": tables}
    counted = {**good, "params": {"implicitPrefs": True}}
    del counted["rating"]
    assert model_faults({**raw, "models": {"good": good, "counted": counted}}) == []
    faults = model_faults({**raw, "models": {"taste": model}})
    assert [fault.path for fault in faults] == [f"models.taste.{path}"]
    assert words in str(faults[0])


# --- without Spark ------------------------------------------------------------------------------------------------

NUMBERS = st.integers(-32, 32).map(lambda eighths: eighths / 8)


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Settings]:
    rank, count = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    factors = np.array(draw(st.lists(NUMBERS, min_size=rank * count, max_size=rank * count)), dtype=np.float32)
    ratings = np.array(draw(st.lists(st.floats(-5, 5, width=32), min_size=count, max_size=count)))
    how = Settings(draw(st.sampled_from([0.0, 0.01, 0.1, 1.0])), draw(st.booleans()), 2.0, draw(st.booleans()))
    return factors.reshape(count, rank), ratings, how


@given(problems())
@settings(deadline=None, max_examples=300)
def test_a_fold_in_is_the_least_of_its_loss(
    problem: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Settings],
) -> None:
    """No factor nearby, and none of random ones, has a smaller loss than the one folded in: the loss is written out as
    in the papers, item by item."""
    factors, ratings, how = problem
    found = fold_in(factors, ratings, how, gram(factors) if how.implicit else None).astype(np.float64)
    assert np.isfinite(found).all()
    assert not how.nonnegative or (found >= 0).all()
    least = loss(found, factors, ratings, how)
    chance = np.random.default_rng(0)
    steps = [size * step for step in chance.normal(size=(20, factors.shape[1])) for size in (1e-3, 1e-1, 1.0)]
    for step in steps:
        other = np.maximum(found + step, 0.0) if how.nonnegative else found + step
        assert least <= loss(other, factors, ratings, how) + 1e-3 * (1e-3 + least) * np.linalg.norm(found) + 1e-9


def loss(x: np.ndarray[Any, Any], factors: Any, ratings: Any, how: Settings) -> float:
    scores = factors.astype(np.float64) @ x
    if not how.implicit:
        return float(np.sum((ratings - scores) ** 2) + how.regularisation * len(ratings) * (x @ x))
    liked = ratings > 0
    confidence = 1 + how.alpha * np.abs(ratings)
    return float(np.sum(confidence * (liked - scores) ** 2) + how.regularisation * liked.sum() * (x @ x))


def test_a_fold_in_without_an_answer_of_its_own_is_the_shortest() -> None:
    """Fewer ratings than places and no regularisation: the shortest factor that meets them; factors of zeros: zeros."""
    how = Settings(0.0, implicit=False, alpha=1.0, nonnegative=False)
    factors = np.array([[1.0, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(fold_in(factors, np.array([4.0]), how, None), [2.0, 2.0], rtol=1e-6)
    zeros = np.zeros((1, 2), dtype=np.float32)
    for one in (how, replace(how, nonnegative=True)):
        assert fold_in(zeros, np.array([4.0]), one, None).tolist() == [0.0, 0.0]
    assert least_nonnegative(np.eye(2), np.array([-1.0, 3.0])).tolist() == [0.0, 3.0]


def hand_made(factors: list[list[float]], **titles: Any) -> AlsScorer:
    """A scorer of one user, who rated item 0, and of items 0, 1, ... with these factors."""
    text = {
        "model": "taste",
        "estimator": "ALS",
        "rating": "rating",
        "settings": {"regularisation": 0.1, "implicit": False, "alpha": 1.0, "nonnegative": False},
    }
    items = np.array(factors, dtype=np.float32)
    arrays: dict[str, Any] = {
        "user_factors": np.ones((1, items.shape[1]), dtype=np.float32),
        "item_factors": items,
        "users": packed(pa.table({"user": ["ann"]})),
        "items": packed(pa.table({"item": list(range(len(items))), **titles})),
        "rated_offsets": np.array([0, 1]),
        "rated_items": np.array([0], dtype=np.int32),
    }
    return AlsScorer(Stored(text, arrays))


def test_equal_scores_come_in_the_order_of_the_ids() -> None:
    """However many are asked for."""
    scorer = hand_made([[1.0, 0.0]] * 30)
    for top in (1, 5, 29, 100):
        assert [one["item"] for one in scorer.for_user("ann", top)] == list(range(1, 30))[:top]


def test_similar_items_are_those_at_the_smallest_angle() -> None:
    """By the cosine, whatever the lengths; without the item itself, and without items of no direction."""
    scorer = hand_made([[1.0, 0.0], [5.0, 5.0], [-1.0, 0.0], [0.0, 0.0], [0.1, 0.0]], title=list("abcde"))
    items = scorer.similar("0", 10)
    assert [item["item"] for item in items] == [4, 1, 2]
    assert [item["similarity"] for item in items] == pytest.approx([1.0, 0.5**0.5, -1.0])
    assert [item["title"] for item in items] == ["e", "b", "c"]
    assert scorer.similar("3", 10) == []


def test_unknown_items_are_named_and_all_unknown_is_an_error() -> None:
    """What the model knows is used; nothing known is no question."""
    scorer = hand_made([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    items = scorer.recommend({"0": 5.0, "00": 1.0, "nine": 2.0}, 10)
    assert items.unknown == ["00", "nine"]
    assert {item["item"] for item in items.items} == {1, 2}
    with pytest.raises(ValueError, match="none of the items is known"):
        scorer.recommend({"nine": 2.0}, 10)


def test_the_scale_of_ratings_is_that_of_32_bits() -> None:
    """A rating is within the scale if it is one that training had, though no number of 32 bits is just 0.1 or 4.9."""
    values = np.array([4.9, 0.1, 3.0])
    places = np.zeros(3, dtype=np.intp)
    scale = Scale(*scale_of(Ratings(places, places, values, np.array([False, True, False]))))
    assert scale == (0.1, 4.9)
    assert [scale.has(one) for one in (0.0999, 0.1, 3, 4.9, 4.9001)] == [False, True, True, True, False]


def test_titles_are_found_by_the_text_of_the_key() -> None:
    """Whole numbers and strings meet; an item without a title has nulls; of two with the same key the first counts."""
    titles = pa.table({"key": ["7", "5", "7"], "title": ["seven", "five", "again"], "year": [1, 2, 3]})
    assert titled(pa.array([5, 6, 7]), titles).to_pylist() == [
        {"item": 5, "title": "five", "year": 2},
        {"item": 6, "title": None, "year": None},
        {"item": 7, "title": "seven", "year": 1},
    ]
    assert titled(pa.array(["7"]), titles.set_column(0, "key", pa.array([7, 5, 7])))["title"].to_pylist() == ["seven"]
