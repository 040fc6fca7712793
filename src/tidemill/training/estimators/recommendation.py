"""Recommendation: ALS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import StringIndexer, StringIndexerModel
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill.errors import Fault, TrainingFailed
from tidemill.pipeline import Model
from tidemill.scoring.als import ITEM, Factors, als_scorer, packed
from tidemill.scoring.storage import Stored
from tidemill.training.estimators.recommendation_quality import (
    RATING,
    Ratings,
    compare_factors,
    metrics_of,
    parity_of,
    rating_column,
)
from tidemill.training.estimators.rules import least, no_such_key, one_of
from tidemill.training.features import spark_name
from tidemill.training.fitting import saving
from tidemill.training.registry import SEED, EstimatorSpec, Outcome, Rule, TrainingInputs, TrainingJob
from tidemill.training.rows import Rows
from tidemill.types import COLUMN_TYPES

INDEX = {"user": "__user", "item": "__item"}
LEAST_ID, MOST_ID = -(2**31), 2**31 - 1  # the ids that Spark's ALS takes

STORAGE = one_of("MEMORY_AND_DISK", "MEMORY_ONLY", "DISK_ONLY")


def model_faults(path: str, model: Model, kinds: Mapping[str, str]) -> Iterator[Fault]:
    """Columns of users, items and ratings that don't fit together, or have the wrong type."""
    if model.user == model.item and model.user is not None:
        yield Fault(f"{path}.item", f'"{model.item}", also the user', "another column")
    if model.rating is None and model.params.get("implicitPrefs") is not True:
        hint = "or params = { implicitPrefs = true }, where each row counts 1"
        yield Fault(f"{path}.rating", "nothing", "the column of the ratings", hint)
    for role in ("user", "item"):
        name = getattr(model, role)
        kind = kinds.get(name or "", "int")
        if kind not in ("int", "string"):
            yield Fault(f"{path}.{role}", f'"{name}", a {kind}', "a column of whole numbers or strings")
    if kinds.get(model.rating or "", "float") not in ("int", "float"):
        yield Fault(f"{path}.rating", f'"{model.rating}"', "a column of numbers")


class FactorTable(NamedTuple):
    """The users or the items that have a factor, in ascending order of their ids.

    ``ids`` are in the column's own type; ``factors`` are (n, rank).
    """

    ids: pa.Array
    factors: Factors


def train_recommender(job: TrainingJob) -> Outcome:
    """Fit ALS on the training rows, write Spark's model and the scorer file, and compare the two.

    Raises:
        TrainingFailed: the factors are not finite.
        ParityFailed: the scorer does not give Spark's scores, or its fold-in does not give Spark's factors.
    """
    inputs, stats = job.inputs, job.stats
    training = job.training if inputs.model.rating else job.training.withColumn(RATING, F.lit(1.0))
    with job.laps.lap("fit") as fitting:
        fitted = fit(inputs, training, job.usable())
    with saving(fitted, job.spark_path):
        with job.laps.lap("export"):
            users, items = (factor_table(inputs, fitted, role) for role in ("user", "item"))
            ratings = ratings_of(inputs, job.rows, users, items)
            content = scorer_content(inputs, users, items, ratings, job.titles)
            scorer = als_scorer(job.written_scorer(content))
        with job.laps.lap("parity"):
            parity = parity_of(job, scorer, fitted) | compare_factors(scorer, ratings)
        with job.laps.lap("measure"):
            metrics = metrics_of(inputs, scorer, ratings, stats)
    return Outcome(metrics, fitting.seconds, parity)


def fit(inputs: TrainingInputs, training: DataFrame, tables: Iterable[pa.Table]) -> PipelineModel:
    """ALS, after a stage that numbers ids which Spark's ALS does not take: strings, and integers of over 32 bits.

    Args:
        tables: all rows that the model can use, held out or not.
    """
    columns = {"user": str(inputs.model.user), "item": str(inputs.model.item)}
    indexed = [role for role in columns if inputs.kinds[columns[role]] == "string"]
    indexed += too_wide(tables, {role: name for role, name in columns.items() if role not in indexed})
    stages: list[Any] = []
    if indexed:
        stages.append(
            StringIndexer(
                inputCols=[spark_name(columns[role]) for role in indexed],
                outputCols=[INDEX[role] for role in indexed],
                handleInvalid="keep",  # a held-out row may have an id that training does not have: it has no factor
                stringOrderType="alphabetAsc",
            )
        )
    taken = {f"{role}Col": INDEX[role] if role in indexed else spark_name(name) for role, name in columns.items()}
    als = ALS(**taken, ratingCol=rating_column(inputs), **({"seed": SEED} | inputs.model.params))
    fitted: PipelineModel = Pipeline(stages=[*stages, als]).fit(training)
    return fitted


def too_wide(tables: Iterable[pa.Table], columns: Mapping[str, str]) -> list[str]:
    """The roles whose integer column holds an id of more than 32 bits."""
    wide: set[str] = set()
    for table in tables if columns else ():
        for role, name in columns.items():
            ends = pc.min_max(table[name]).as_py()
            if len(table) and not LEAST_ID <= ends["min"] <= ends["max"] <= MOST_ID:
                wide.add(role)
    return [role for role in columns if role in wide]


def factor_table(inputs: TrainingInputs, fitted: PipelineModel, role: str) -> FactorTable:
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
    values: list[Any] = numbers.tolist() if labels is None else [labels[number] for number in numbers]
    if inputs.kinds[str(name)] == "int":
        values = [int(value) for value in values]
    order = sorted(range(len(values)), key=values.__getitem__)
    ids = pa.array([values[index] for index in order], COLUMN_TYPES[inputs.kinds[str(name)]].arrow)
    return FactorTable(ids, np.ascontiguousarray(factors[order], dtype=np.float32))


def labels_of(fitted: PipelineModel, output: str) -> list[str] | None:
    """The ids that the indexer numbered for a column, in the order of their numbers; None where it numbered none."""
    for stage in fitted.stages[:-1]:
        if isinstance(stage, StringIndexerModel) and output in stage.getOutputCols():
            return list(stage.labelsArray[stage.getOutputCols().index(output)])
    return None


def ratings_of(inputs: TrainingInputs, rows: Rows, users: FactorTable, items: FactorTable) -> Ratings:
    """The ratings of all rows of the generation."""
    taken = []
    for part in rows:
        table, held = part.usable(inputs.nullable)
        places = (
            pc.fill_null(pc.index_in(table[str(name)], known.ids), -1).to_numpy().astype(np.intp)
            for name, known in ((inputs.model.user, users), (inputs.model.item, items))
        )
        taken.append((*places, values_of(inputs, table), held))
    ratings = Ratings(*(np.concatenate(values) for values in zip(*taken, strict=True)))
    return ratings.take(np.argsort(ratings.users, kind="stable"))


def values_of(inputs: TrainingInputs, table: pa.Table) -> NDArray[np.float64]:
    """(n,): the ratings of the rows of a table, 1 without a column of ratings."""
    if inputs.model.rating is None:
        return np.ones(len(table))
    values: NDArray[np.float64] = table[inputs.model.rating].cast(pa.float64(), safe=False).to_numpy()
    return values


def scorer_content(
    inputs: TrainingInputs, users: FactorTable, items: FactorTable, ratings: Ratings, titles: pa.Table | None
) -> Stored:
    """The content of a fitted model's scorer file."""
    als = ALS(**inputs.model.params)  # has the defaults of parameters that the pipeline leaves out
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
    return Stored(text, arrays)


def scale_of(ratings: Ratings) -> list[float]:
    """The minimum and the maximum rating of a generation, held out or not, each as the shortest number that is the same
    in 32 bits."""
    return [float(str(np.float32(end))) for end in (ratings.values.min(), ratings.values.max())]


def rated_items(ratings: Ratings, users: int, items: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The items that each user rated, each once and in order: where each user's start (users + 1,), and the items."""
    known = ratings.take((ratings.users >= 0) & (ratings.items >= 0))
    user, item = np.divmod(np.unique(known.users * items + known.items), items)
    return np.searchsorted(user, np.arange(users + 1)).astype(np.int64), item.astype(np.int32)


def titled(ids: pa.Array, titles: pa.Table | None) -> pa.Table:
    """The items with the other columns of their titles, joined by the key's text; null where there is no title."""
    table = pa.table({ITEM: ids})
    if titles is None:
        return table
    key, *others = titles.column_names
    indices = pc.index_in(ids.cast(pa.string()), titles[key].cast(pa.string()).combine_chunks())
    for name in others:
        table = table.append_column(name, titles[name].take(indices))
    return table


ESTIMATORS = (
    EstimatorSpec(
        ALS,
        train=train_recommender,
        required_roles=("user", "item"),
        optional_roles=("rating", "titles"),
        has_features=False,
        can_scale=False,
        rules={
            "alpha": least(0),
            "blockSize": least(1),
            "checkpointInterval": Rule(lambda value: 1 <= value <= 10, "from 1 to 10"),  # longer plans may kill the JVM
            "coldStartStrategy": no_such_key("rows of users and items that were not trained are counted as cold_rows"),
            "finalStorageLevel": STORAGE,
            "intermediateStorageLevel": STORAGE,
            "maxIter": least(1),  # with 0 Spark gives random factors, which no fold-in can reproduce
            "numItemBlocks": least(1),
            "numUserBlocks": least(1),
            "rank": least(1),
        },
        model_faults=model_faults,
    ),
)
