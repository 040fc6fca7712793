"""One model of one generation: fitted, scored, saved, exported, and proved equal to its exported scorer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # py4j has no types
from pyspark.errors import PySparkException
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import NaiveBayesModel
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill import scoring
from tidemill.errors import TrainingFailed, shorten
from tidemill.run import files
from tidemill.run.catalog import TrainedModel
from tidemill.scoring import RowScorer, row_scorer, storage
from tidemill.scoring.base import Scores
from tidemill.scoring.clusters import cluster_scorer
from tidemill.scoring.parity import compare
from tidemill.training import evaluate, export, similar
from tidemill.training.estimators.checks import estimator_class
from tidemill.training.features import FEATURES, HELD, LABEL, Inputs, stages, with_label
from tidemill.training.matching import Earlier
from tidemill.training.outcome import SEED
from tidemill.training.probes import probes
from tidemill.training.profile import Profile, profile
from tidemill.training.recommend import train_recommender
from tidemill.training.sampling import PROBE, sample, with_probes
from tidemill.training.session import local
from tidemill.training.survey import Found
from tidemill.training.usable import check_usable

SPARK_ERRORS = (PySparkException, Py4JError, ConnectionError)  # the last two also when its JVM is gone
OUTPUTS = ("prediction", "rawPrediction", "probability")


@dataclass(frozen=True)
class Files:
    """Where a model's files go: ``folder`` while they are written, ``final`` as the catalog will name it.

    ``earlier``: by the models' names, their scorer files in the newest generation that was published before.
    """

    folder: Path
    final: str
    earlier: Mapping[str, Earlier] = field(default_factory=dict)

    def scorer(self, model: str) -> str:
        return f"scorers/{model}.npz"

    def spark(self, model: str) -> str:
        return f"spark/{model}"


def train(inputs: Inputs, rows: DataFrame, found: Found, where: Files, titles: pa.Table | None = None) -> TrainedModel:
    """Train one model on the rows of a generation that are not held out, and write its files.

    Args:
        titles: the side table that tells more of a recommender's items, its key first.

    Raises:
        TrainingFailed: it can't be trained on these rows; the message says why.
        ParityFailed: its scorer does not give Spark's predictions.
        CatalogError: the scorer file of the generation before is not as the catalog has it.
    """
    found.check(inputs)
    with spark_errors(inputs.name):
        if inputs.estimator_kind == "recommendation":
            return trained_recommender(inputs, with_label(rows, inputs), found, where, titles)
        if inputs.estimator_kind in similar.WAYS:
            return trained_similar(inputs, with_label(rows, inputs), found, where)
        return trained_model(inputs, with_label(rows, inputs), found, where)


@contextmanager
def spark_errors(what: str) -> Iterator[None]:
    """Turn an error of Spark's into a TrainingFailed that begins with ``what``."""
    try:
        yield
    except SPARK_ERRORS as error:
        raise TrainingFailed(f"{what}: {reason(error)}", "see logs/spark.log in the run folder") from error


def trained_model(inputs: Inputs, usable: DataFrame, found: Found, where: Files) -> TrainedModel:
    training, held = usable.filter(~F.col(HELD)), usable.filter(F.col(HELD))
    began = time.perf_counter()
    fitted = fit(inputs, training, found.empty_strings)
    seconds = time.perf_counter() - began
    check_usable(inputs, found, fitted.stages[-1])
    fitted.write().overwrite().save(local(where.folder / where.spark(inputs.name)))
    scorer_path = where.folder / where.scorer(inputs.name)
    export.export(scorer_path, inputs, fitted, found.seen)
    clusters = None
    if inputs.estimator_kind == "clustering":
        clusters = profile(scorer_path, inputs, fitted.transform(training), where.earlier.get(inputs.name))
    scorer = row_scorer(scoring.load(scorer_path))
    parity = parity_of(inputs, fitted, scorer, usable, found.usable, storage.read(scorer_path).arrays)
    on_training = not found.rows["holdout"]
    scored = outputs(fitted.transform(training if on_training else held), inputs).cache()
    try:
        metrics = metrics_of(inputs, fitted, scorer, scored, found)
    finally:
        scored.unpersist()
    return described(inputs, found, where, metrics, seconds, parity, clusters)


def trained_recommender(
    inputs: Inputs, usable: DataFrame, found: Found, where: Files, titles: pa.Table | None
) -> TrainedModel:
    spark_path, scorer_path = where.folder / where.spark(inputs.name), where.folder / where.scorer(inputs.name)
    outcome = train_recommender(inputs, usable, found, spark_path, scorer_path, titles)
    return described(inputs, found, where, *outcome)


def trained_similar(inputs: Inputs, usable: DataFrame, found: Found, where: Files) -> TrainedModel:
    spark_path, scorer_path = where.folder / where.spark(inputs.name), where.folder / where.scorer(inputs.name)
    return described(inputs, found, where, *similar.train_similar(inputs, usable, found, spark_path, scorer_path))


def described(
    inputs: Inputs,
    found: Found,
    where: Files,
    metrics: evaluate.Metrics,
    seconds: float,
    parity: dict[str, Any],
    profile: Profile | None = None,
) -> TrainedModel:
    """What the catalog is to say of a model whose files are written."""
    return TrainedModel(
        model=inputs.name,
        estimator=inputs.model.estimator,
        metrics=metrics,
        fit_seconds=round(seconds, 3),
        parity=parity,
        rows=found.rows,
        scorer_path=f"{where.final}/{where.scorer(inputs.name)}",
        sha256=files.sha256(where.folder / where.scorer(inputs.name)),
        spark_path=f"{where.final}/{where.spark(inputs.name)}",
        profile=profile,
    )


def fit(inputs: Inputs, training: DataFrame, empty_strings: bool) -> PipelineModel:
    """The pipeline of feature stages and estimator, fitted. A label that it meets later and does not know is kept."""
    columns = {"featuresCol": FEATURES} | ({"labelCol": LABEL} if inputs.model.label else {})
    estimator = estimator_class(inputs.model.estimator)(**columns)
    for name, value in inputs.model.params.items():  # pyspark's constructors don't take every parameter
        estimator.set(estimator.getParam(name), value)
    if estimator.hasParam("seed") and not estimator.isSet("seed"):
        estimator.set(estimator.seed, SEED)
    fitted: PipelineModel = Pipeline(stages=[*stages(inputs, empty_strings), estimator]).fit(training)
    label = export.label_indexer(fitted)
    if label is not None:
        label.setHandleInvalid("keep")
    return fitted


def outputs(scored: DataFrame, inputs: Inputs) -> DataFrame:
    """Of the scored rows what parity and metrics need."""
    wanted = [*inputs.model.features, LABEL, FEATURES, *OUTPUTS, PROBE]
    return scored.select(*[F.col(f"`{name}`") for name in wanted if name in scored.columns])


def parity_of(
    inputs: Inputs,
    fitted: PipelineModel,
    scorer: RowScorer,
    usable: DataFrame,
    count: int,
    arrays: Mapping[str, Any],
) -> dict[str, Any]:
    """The report of ``parity.compare`` on a sample of all rows, held out or not, and on probes made from it.

    ``probed`` adds to it how many probes of each kind were tried, of how many there are.

    Args:
        count: how many ``usable`` rows there are.
        arrays: the scorer's own.

    Raises:
        ParityFailed: Spark and scorer differ.
    """
    real = sample(usable, inputs.model.features, count)
    made, probed = probes(scorer.encoder, arrays, real.to_pylist(), beyond=takes_any_number(fitted.stages[-1]))
    table = with_probes(real, made)
    scored = transformed(fitted, usable.sparkSession.createDataFrame(table))
    rows, spark, is_probe = answers(outputs(scored, inputs), inputs)
    return compare(scorer, rows, spark, is_probe) | {"probed": probed}


def takes_any_number(model: Any) -> bool:
    """Whether a model takes numbers that training rows do not have: NaiveBayes wants 0 or more, or 0 and 1."""
    return not isinstance(model, NaiveBayesModel) or model.getModelType() == "gaussian"


def transformed(fitted: PipelineModel, rows: DataFrame) -> DataFrame:
    """The rows as Spark scores them, without those that are zero in every place where the cosine is the measure: a
    row without a direction has no answer of Spark's, nor of the scorer's."""
    model = fitted.stages[-1]
    if not (model.hasParam("distanceMeasure") and model.getDistanceMeasure() == "cosine"):
        return fitted.transform(rows)
    featured = PipelineModel(fitted.stages[:-1]).transform(rows)
    directed = F.exists(vector_to_array(F.col(FEATURES)), lambda number: number != 0)
    scored: DataFrame = model.transform(featured.filter(directed))
    return scored


def answers(scored: DataFrame, inputs: Inputs) -> tuple[list[dict[str, Any]], Scores, NDArray[np.bool_]]:
    """The scored rows as plain rows, as Spark scored them, and which of them are probes."""
    collected = scored.collect()
    rows = [{name: row[name] for name in inputs.model.features} for row in collected]
    prediction = np.array([row["prediction"] for row in collected], dtype=np.float64)
    has = scored.columns
    scores = Scores(
        prediction,
        raw=vectors(collected, "rawPrediction") if "rawPrediction" in has else None,
        probability=vectors(collected, "probability") if "probability" in has else None,
    )
    return rows, scores, np.array([PROBE in has and row[PROBE] for row in collected], dtype=bool)


def vectors(rows: list[Row], name: str) -> Any:
    return np.array([row[name].toArray() for row in rows], dtype=np.float64)


def metrics_of(
    inputs: Inputs, fitted: PipelineModel, scorer: RowScorer, scored: DataFrame, found: Found
) -> evaluate.Metrics:
    """The metrics on the held-out rows; with no holdout at all those of the training rows, each named ``training_...``.

    Where a share is held out but none of these rows fell into it, there is nothing to score on, and all are None.
    """
    kind, model = inputs.estimator_kind, fitted.stages[-1]
    own = evaluate.fit_of_clusters(model) if kind == "clustering" else {}
    if found.rows["holdout"] == 0 and found.holds_out:
        return evaluate.nothing(inputs.model.estimator, kind) | own
    if kind == "classification":
        metrics = evaluate.classification(scored, model.numClasses)
    elif kind == "regression":
        metrics = evaluate.regression(scored)
    else:
        metrics = evaluate.clustering(scored, cluster_scorer(scorer))
    if not found.rows["holdout"]:
        metrics = {f"training_{name}": value for name, value in metrics.items()}
    return metrics | own


def reason(error: Exception) -> str:
    """The root cause in Spark's words, on one line."""
    text = str(error)
    for mark in ("Caused by: ", "requirement failed: "):
        text = text.rsplit(mark, 1)[-1]
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return shorten(line.removeprefix("java.lang.IllegalArgumentException: "), 300).strip("'\"")
