"""A recommender of one generation: ALS fitted, scored, saved, exported, and proved equal to its exported scorer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RankingEvaluator
from pyspark.ml.feature import StringIndexer, StringIndexerModel
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill import scoring
from tidemill.errors import ParityFailed, TrainingFailed
from tidemill.scoring import storage
from tidemill.scoring.als import ITEM, AlsScorer, Factors, Places, als_scorer, packed
from tidemill.scoring.parity import REPORT_IT, counted
from tidemill.training import evaluate
from tidemill.training.features import HELD, LABEL, Inputs, column
from tidemill.training.outcome import SEED, Outcome
from tidemill.training.probes import UNSEEN, Probes, spread
from tidemill.training.sampling import PROBE, sample, with_probes
from tidemill.training.session import local
from tidemill.training.survey import Found
from tidemill.types import COLUMN_TYPES

RATING = "__rating"  # 1 in every row, for a model without ratings
INDEX = {"user": "__user", "item": "__item"}
LEAST_ID, MOST_ID = -(2**31), 2**31 - 1  # what Spark's ALS takes for an id

MOST_IDS = 600  # users, and items, that probes are made of
FOLDED_USERS = 50  # users whose factor is folded in again
RANKED_USERS = 1_000
RANKED = 10
SCORE_TOLERANCE = 1e-5  # relative to max(1, |score|): Spark's are of 32 bits
FACTOR_TOLERANCE = 1e-4  # relative to the factor's length

EXPLICIT_METRICS = evaluate.NAMES["regression"]
IMPLICIT_METRICS = (f"ndcg_at_{RANKED}", f"precision_at_{RANKED}")


class Trained(NamedTuple):
    """Users or items that have a factor, in ascending order of their ids.

    ``ids`` in the column's own type, ``numbers`` (n,) what Spark calls them, ``factors`` (n, rank).
    """

    ids: pa.Array
    numbers: NDArray[np.int64]
    factors: Factors

    def places(self, numbers: NDArray[Any]) -> Places:
        """(m,): where each of Spark's numbers (m,) stands, and -1 for one without a factor."""
        order = np.argsort(self.numbers)
        near = np.minimum(np.searchsorted(self.numbers, numbers, sorter=order), len(order) - 1)
        found = order[near]
        return np.where(self.numbers[found] == numbers, found, -1)


class Ratings(NamedTuple):
    """All ratings of a generation in the order of their users: places of user and item (-1: without a factor), value,
    whether held out."""

    users: Places
    items: Places
    values: NDArray[np.float32]
    held: NDArray[np.bool_]

    def take(self, rows: Any) -> Ratings:
        """Those of these rows: a mask, a slice, or places."""
        return Ratings(self.users[rows], self.items[rows], self.values[rows], self.held[rows])

    def of(self, user: int) -> Ratings:
        return self.take(slice(*np.searchsorted(self.users, (user, user + 1))))


def train_recommender(
    inputs: Inputs, usable: DataFrame, found: Found, spark_path: Path, scorer_path: Path, titles: pa.Table | None
) -> Outcome:
    """Fit ALS on the rows that are not held out; write Spark's model and the scorer file, and compare the two.

    Args:
        titles: the side table that tells more of each item, its key first; None where the model has none.

    Raises:
        TrainingFailed: the factors are not finite.
        ParityFailed: the scorer does not give Spark's scores, or its fold-in not Spark's factors.
    """
    rows = usable if inputs.model.rating else usable.withColumn(RATING, F.lit(1.0))
    began = time.perf_counter()
    fitted = fit(inputs, rows)
    seconds = time.perf_counter() - began
    fitted.write().overwrite().save(local(spark_path))
    users, items = (trained(inputs, fitted, role) for role in ("user", "item"))
    ratings = ratings_of(inputs, fitted, rows, users, items)
    export(scorer_path, inputs, fitted.stages[-1], users, items, ratings, titles)
    scorer = als_scorer(scoring.load(scorer_path))
    parity = parity_of(inputs, scorer, fitted, rows, found) | compare_factors(scorer, ratings)
    on_training = not found.rows["holdout"]
    scored = fitted.transform(rows.filter(F.col(HELD) != on_training)).cache()
    try:
        metrics = metrics_of(inputs, scorer, scored, ratings, found)
    finally:
        scored.unpersist()
    return Outcome(metrics, seconds, parity)


def fit(inputs: Inputs, rows: DataFrame) -> PipelineModel:
    """ALS, after a stage that numbers the ids which Spark's ALS can't take as they are: strings, and wide integers."""
    columns = {"user": str(inputs.model.user), "item": str(inputs.model.item)}
    indexed = [role for role in columns if inputs.kinds[columns[role]] == "string"]
    indexed += too_wide(rows, {role: name for role, name in columns.items() if role not in indexed})
    stages: list[Any] = []
    if indexed:
        stages.append(
            StringIndexer(
                inputCols=[columns[role] for role in indexed],
                outputCols=[INDEX[role] for role in indexed],
                handleInvalid="keep",  # a held-out row may have an id that training has not: it has no factor then
                stringOrderType="alphabetAsc",
            )
        )
    taken = {f"{role}Col": INDEX[role] if role in indexed else name for role, name in columns.items()}
    rating = inputs.model.rating or RATING
    als = ALS(**taken, ratingCol=rating, **({"seed": SEED} | inputs.model.params))
    fitted: PipelineModel = Pipeline(stages=[*stages, als]).fit(rows.filter(~F.col(HELD)))
    return fitted


def too_wide(rows: DataFrame, columns: dict[str, str]) -> list[str]:
    """The roles whose integer column holds an id of more than 32 bits."""
    if not columns:
        return []
    outside = [F.count_if(~column(name).between(LEAST_ID, MOST_ID)).alias(role) for role, name in columns.items()]
    counted = rows.agg(*outside).collect()[0]
    return [role for role in columns if counted[role]]


def trained(inputs: Inputs, fitted: PipelineModel, role: str) -> Trained:
    """The users or the items of a fitted model.

    Raises:
        TrainingFailed: a factor is not finite.
    """
    model: ALSModel = fitted.stages[-1]
    table = (model.userFactors if role == "user" else model.itemFactors).toArrow()
    numbers = table["id"].to_numpy().astype(np.int64)
    factors = table["features"].combine_chunks().flatten().to_numpy().reshape(len(numbers), model.rank)
    if not np.isfinite(factors).all():
        raise TrainingFailed(f"{inputs.name}: the factors of the {role}s are not finite", "give a higher regParam")
    labels = labels_of(fitted, INDEX[role])
    name = inputs.model.user if role == "user" else inputs.model.item
    own: list[Any] = numbers.tolist() if labels is None else [labels[number] for number in numbers]
    if inputs.kinds[str(name)] == "int":
        own = [int(one) for one in own]
    order = sorted(range(len(own)), key=own.__getitem__)
    ids = pa.array([own[place] for place in order], COLUMN_TYPES[inputs.kinds[str(name)]].arrow)
    return Trained(ids, numbers[order], np.ascontiguousarray(factors[order], dtype=np.float32))


def labels_of(fitted: PipelineModel, output: str) -> list[str] | None:
    """The ids that the indexer numbered for a column, each at its number's place; None where ids are Spark's own."""
    for stage in fitted.stages[:-1]:
        if isinstance(stage, StringIndexerModel) and output in stage.getOutputCols():
            return list(stage.labelsArray[stage.getOutputCols().index(output)])
    return None


def ratings_of(inputs: Inputs, fitted: PipelineModel, rows: DataFrame, users: Trained, items: Trained) -> Ratings:
    """Every row of the generation, as places."""
    model: ALSModel = fitted.stages[-1]
    numbered = PipelineModel(fitted.stages[:-1]).transform(rows)
    wanted = [
        column(model.getUserCol()).cast("int").alias("user"),
        column(model.getItemCol()).cast("int").alias("item"),
        column(inputs.model.rating or RATING).cast("float").alias("rating"),
        F.col(HELD).alias("held"),
    ]
    table = numbered.select(*wanted).toArrow()
    ratings = Ratings(
        users.places(table["user"].to_numpy()),
        items.places(table["item"].to_numpy()),
        table["rating"].to_numpy(),
        table["held"].to_numpy(),
    )
    return ratings.take(np.argsort(ratings.users, kind="stable"))


def export(
    path: Path,
    inputs: Inputs,
    model: ALSModel,
    users: Trained,
    items: Trained,
    ratings: Ratings,
    titles: pa.Table | None,
) -> None:
    """Write the scorer file of a fitted model."""
    als = parameters(inputs)
    text = {
        "model": inputs.name,
        "estimator": inputs.model.estimator,
        "rating": inputs.model.rating,
        "scale": None if als.getImplicitPrefs() else scale_of(ratings),
        "settings": {
            "regularisation": als.getRegParam(),
            "implicit": als.getImplicitPrefs(),
            "alpha": als.getAlpha(),
            "nonnegative": als.getNonnegative(),
        },
    }
    offsets, rated = rated_items(ratings, len(users.ids), len(items.ids))
    arrays: dict[str, Any] = {
        "user_factors": users.factors,
        "item_factors": items.factors,
        "users": packed(pa.table({"user": users.ids})),
        "items": packed(titled(items.ids, titles)),
        "rated_offsets": offsets,
        "rated_items": rated,
    }
    storage.write(path, text, arrays)


def scale_of(ratings: Ratings) -> list[float]:
    """The least and the greatest rating of a generation, held out or not: the shortest numbers that are these in 32
    bits."""
    return [float(str(end)) for end in (ratings.values.min(), ratings.values.max())]


def parameters(inputs: Inputs) -> ALS:
    """The estimator with the pipeline's parameters, to be asked for those that were left out."""
    return ALS(**inputs.model.params)


def rated_items(ratings: Ratings, users: int, items: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The items that each user rated, each once and in order: where each user's begin (users + 1,), and the places."""
    known = ratings.take((ratings.users >= 0) & (ratings.items >= 0))
    user, item = np.divmod(np.unique(known.users * items + known.items), items)
    return np.searchsorted(user, np.arange(users + 1)).astype(np.int64), item.astype(np.int32)


def titled(ids: pa.Array, titles: pa.Table | None) -> pa.Table:
    """The items with the other columns of their titles, found by the key's text; null for an item without."""
    table = pa.table({ITEM: ids})
    if titles is None:
        return table
    key, *others = titles.column_names
    places = pc.index_in(ids.cast(pa.string()), titles[key].cast(pa.string()).combine_chunks())
    for name in others:
        table = table.append_column(name, titles[name].take(places))
    return table


def parity_of(
    inputs: Inputs, scorer: AlsScorer, fitted: PipelineModel, rows: DataFrame, found: Found
) -> dict[str, Any]:
    """The report on a sample of all pairs, rated in rows held out or not, and on probes: each user and each item.

    Raises:
        ParityFailed: Spark's score of a pair and the scorer's differ by more than ``SCORE_TOLERANCE``, relative to
            max(1, |Spark's|).
    """
    names = [str(inputs.model.user), str(inputs.model.item)]
    real = sample(rows, names, found.usable)
    made, probed = pair_probes(inputs, scorer)
    scored = fitted.transform(rows.sparkSession.createDataFrame(with_probes(real, made)))
    table = scored.select(*[column(name) for name in names], "prediction", PROBE).toArrow()
    return compare(scorer, table, names) | {"probed": probed}


def pair_probes(inputs: Inputs, scorer: AlsScorer) -> Probes:
    """Up to ``MOST_IDS`` users and as many items, paired, and a user and an item that are not known."""
    roles = {str(inputs.model.user): scorer.users, str(inputs.model.item): scorer.items}
    ids = {name: spread(list(known), MOST_IDS) for name, known in roles.items()}
    own = {name: int if inputs.kinds[name] == "int" else str for name in roles}
    strange = {name: unknown_id(known, inputs.kinds[name]) for name, known in roles.items()}
    most = max(map(len, ids.values()))
    pairs = [{name: some[place % len(some)] for name, some in ids.items()} for place in range(most)]
    pairs += [strange, *(pairs[0] | {name: one} for name, one in strange.items())]
    probed = {"ids": [sum(map(len, some.values())) for some in (ids, roles)]}
    return Probes([{name: own[name](one) for name, one in pair.items()} for pair in pairs], probed)


def unknown_id(known: Mapping[str, int], kind: str) -> str:
    """An id, as text, that is none of these."""
    names = (str(number) if kind == "int" else f"{UNSEEN} {number}" for number in count())
    return next(name for name in names if name not in known)


def compare(scorer: AlsScorer, scored: pa.Table, names: Sequence[str]) -> dict[str, Any]:
    """``parity.counted`` of pairs that Spark has scored, each looked up by its ids as a request is."""
    users, items = (
        np.array([known.get(one, -1) for one in scored[name].cast(pa.string()).to_pylist()], dtype=np.intp)
        for name, known in zip(names, (scorer.users, scorer.items), strict=True)
    )
    spark = scored["prediction"].to_numpy().astype(np.float64)
    ours = scorer.predict(users, items).astype(np.float64)
    differences = np.abs(ours - spark) / np.maximum(1.0, np.abs(spark))
    differences[np.isnan(ours) & np.isnan(spark)] = 0.0
    equal = differences <= SCORE_TOLERANCE  # NaN is not
    if not equal.all():
        place = int(np.argmin(equal))
        raise differing(
            scorer.model, f"the score of {int((~equal).sum())} of {len(spark)} rows", spark[place], ours[place]
        )
    return counted(equal, greatest(differences), scored[PROBE].to_numpy())


def compare_factors(scorer: AlsScorer, ratings: Ratings) -> dict[str, Any]:
    """``{"fold_ins", "max_fold_in_difference"}``: the factors of up to ``FOLDED_USERS`` trained users, folded in from
    their training ratings, against Spark's own: the length of the difference, relative to that of the factor.

    Raises:
        ParityFailed: one differs by more than ``FACTOR_TOLERANCE``.
    """
    training = ratings.take(~ratings.held)
    chosen = spread(range(len(scorer.users)), FOLDED_USERS)
    differences = np.array([factor_difference(scorer, training.of(user), user) for user in chosen])
    report = {"fold_ins": len(chosen), "max_fold_in_difference": greatest(differences)}
    if not (differences <= FACTOR_TOLERANCE).all():
        worst = report["max_fold_in_difference"]
        raise differing(scorer.model, f"the factor of a user, by {worst:.3g} of its length", "its own", "another")
    return report


def factor_difference(scorer: AlsScorer, own: Ratings, user: int) -> float:
    spark = scorer.user_factors[user].astype(np.float64)
    apart = float(np.linalg.norm(scorer.fold_in(own.items, own.values.astype(np.float64)) - spark))
    return apart / max(float(np.linalg.norm(spark)), float(np.finfo(np.float32).tiny)) if apart else 0.0


def greatest(differences: NDArray[np.float64]) -> float:
    return float(differences.max()) if len(differences) else 0.0


def differing(model: str, what: str, spark: object, scorer: object) -> ParityFailed:
    return ParityFailed(
        f"the scorer of {model} differs from Spark in {what}: Spark {spark}, scorer {scorer}",
        REPORT_IT,
    )


def metrics_of(
    inputs: Inputs, scorer: AlsScorer, scored: DataFrame, ratings: Ratings, found: Found
) -> evaluate.Metrics:
    """How good the model is on the held-out rows whose user and item were trained; ``cold_rows`` counts the others.

    Explicit: RMSE, MAE and R² (``RegressionEvaluator``). Implicit, whose scores are preferences and no ratings: how
    well the first ten items for a user, without those of training, meet what the user turned to (``RankingEvaluator``).
    With no holdout at all the same on the training rows, each named ``training_...``.
    """
    implicit = scorer.settings.implicit
    names = IMPLICIT_METRICS if implicit else EXPLICIT_METRICS
    on_training = not found.rows["holdout"]
    if on_training and found.holds_out:
        return dict.fromkeys([*names, "cold_rows"])
    warm = (ratings.users >= 0) & (ratings.items >= 0) & (ratings.held != on_training)
    cold = found.rows["train" if on_training else "holdout"] - int(warm.sum())
    if not warm.any():
        metrics: evaluate.Metrics = dict.fromkeys(names)
    elif implicit:
        metrics = ranking(scorer, ratings, ratings.take(warm), scored)
    else:
        known = scored.filter(~F.isnan("prediction"))
        metrics = evaluate.regression(known.withColumn(LABEL, column(inputs.model.rating or RATING).cast("double")))
    if on_training:
        return {f"training_{name}": value for name, value in metrics.items()}
    return metrics | {"cold_rows": cold}


def ranking(scorer: AlsScorer, ratings: Ratings, wanted: Ratings, scored: DataFrame) -> evaluate.Metrics:
    """NDCG and precision of the first ten items, over up to ``RANKED_USERS`` users. A user's items of training are
    neither recommended nor wanted, unless it is the training rows that are wanted."""
    training = ratings.take((ratings.users >= 0) & ~ratings.held)
    liked = wanted.take(wanted.values > 0)
    users = np.unique(liked.users)
    predicted, labels = [], []
    for user in spread(users.tolist(), RANKED_USERS):
        known = training.of(user).items if wanted.held.any() else np.zeros(0, dtype=np.intp)
        own = np.setdiff1d(liked.of(user).items, known)
        if len(own):
            predicted.append(scorer.best(scorer.user_factors[user], known, RANKED)[0].astype(np.float64))
            labels.append(own.astype(np.float64))
    if not labels:
        return dict.fromkeys(IMPLICIT_METRICS)
    table = pa.table({"prediction": predicted, "label": labels})
    rows = scored.sparkSession.createDataFrame(table).cache()
    measures = zip(IMPLICIT_METRICS, ("ndcgAtK", "precisionAtK"), strict=True)
    return {name: RankingEvaluator(metricName=measure, k=RANKED).evaluate(rows) for name, measure in measures}
