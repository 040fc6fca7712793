"""Training one model of one generation: fit, save, export, compare the exported scorer with Spark, measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # py4j has no types
from pyspark.errors import PySparkException
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import SQLTransformer
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill.errors import TrainingFailed
from tidemill.run import files
from tidemill.run.catalog import TrainedModel
from tidemill.scoring import RowScorer, row_scorer
from tidemill.scoring.base import RowScores
from tidemill.scoring.parity import compare
from tidemill.scoring.storage import Array, Stored
from tidemill.texts import shorten
from tidemill.training import evaluate
from tidemill.training.export import label_indexer, scorer_content
from tidemill.training.features import (
    FEATURES,
    LABEL,
    column,
    spark_name,
    stages,
    vocabulary,
    with_derived,
    with_label,
)
from tidemill.training.laps import Laps
from tidemill.training.probes import probes
from tidemill.training.registry import (
    SEED,
    EarlierScorer,
    Metrics,
    Outcome,
    Profile,
    TrainingInputs,
    TrainingJob,
    TrainingStats,
)
from tidemill.training.rows import Rows
from tidemill.training.sampling import PROBE, sample, with_probes
from tidemill.training.saving import save

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SPARK_ERRORS = (PySparkException, Py4JError, ConnectionError)  # the last two also when its JVM is gone
FEWER_ROWS = "set tfidf = { min_rows = 1 } in the model, or leave the text out"
OUTPUTS = ("prediction", "rawPrediction", "probability")

Describe = Callable[[TrainingJob, PipelineModel, Stored], tuple[Stored, Profile | None]]


@dataclass(frozen=True)
class GenerationFiles:
    """Where the files of a generation's models go: ``folder`` while they are written, ``final`` in the catalog.

    ``earlier``: by model, its scorer file in the newest generation that was published before. ``laps``: how long the
    parts of training take.
    """

    folder: Path
    final: str
    earlier: Mapping[str, EarlierScorer] = field(default_factory=dict)
    laps: Laps = field(default_factory=Laps)

    def scorer(self, model: str) -> str:
        return f"scorers/{model}.npz"

    def spark(self, model: str) -> str:
        return f"spark/{model}"


def train(
    inputs: TrainingInputs,
    training: DataFrame,
    rows: Rows,
    stats: TrainingStats,
    where: GenerationFiles,
    titles: pa.Table | None = None,
) -> TrainedModel:
    """Train one model on the rows of a generation that are not held out, and write its files.

    Args:
        training: the rows of the generation that are not held out.
        rows: all rows of the generation.
        titles: the side table that describes a recommender's items, its key first.

    Raises:
        TrainingFailed: the model can't be trained on these rows; the message says why.
        ParityFailed: its scorer does not give Spark's predictions.
        CatalogError: the scorer file of the generation before differs from the catalog's record.
    """
    stats.check(inputs)
    scorer_path = where.folder / where.scorer(inputs.name)
    spark_path = where.folder / where.spark(inputs.name)
    with spark_errors(inputs.name), usable_rows(training, inputs) as usable:
        earlier = where.earlier.get(inputs.name)
        job = TrainingJob(inputs, usable, rows, stats, spark_path, scorer_path, earlier, titles, where.laps)
        outcome = inputs.spec.train(job)
    return TrainedModel(
        model=inputs.name,
        estimator=inputs.model.estimator,
        metrics=outcome.metrics,
        fit_seconds=round(outcome.fit_seconds, 3),
        parity=outcome.parity,
        rows=stats.rows,
        scorer_path=f"{where.final}/{where.scorer(inputs.name)}",
        sha256=files.sha256(scorer_path),
        spark_path=f"{where.final}/{where.spark(inputs.name)}",
        profile=outcome.profile,
    )


@contextmanager
def usable_rows(rows: DataFrame, inputs: TrainingInputs) -> Iterator[DataFrame]:
    """The rows that the model can use. Those with texts are kept while it is trained, so that each text is cut into its
    terms only once."""
    usable = with_label(rows, inputs)
    if not inputs.texts:
        yield usable
        return
    usable.cache()
    try:
        yield usable
    finally:
        usable.unpersist()


@contextmanager
def spark_errors(subject: str) -> Iterator[None]:
    """Turn an error of Spark into a TrainingFailed whose message starts with ``subject``."""
    try:
        yield
    except SPARK_ERRORS as error:
        raise TrainingFailed(f"{subject}: {reason(error)}", "see logs/spark.log in the run folder") from error


def reason(error: Exception) -> str:
    """The root cause in Spark's words, on one line."""
    text = str(error)
    for mark in ("Caused by: ", "requirement failed: "):
        text = text.rsplit(mark, 1)[-1]
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return shorten(line.removeprefix("java.lang.IllegalArgumentException: "), 300).strip("'\"")


# --- models that predict for a row --------------------------------------------------------------------------------


def by_plain_names(inputs: TrainingInputs, fitted: PipelineModel) -> PipelineModel:
    """The fitted model for rows whose columns have their own names, as those of a batch file have.

    Spark can't tell columns apart whose names differ in case alone: these need their :func:`spark_name`.
    """
    folded = Counter(name.casefold() for name in inputs.columns)
    features = (name for name in (*inputs.numbers, *inputs.strings) if name in inputs.columns)
    plain = [name for name in features if folded[name.casefold()] == 1]
    renamed = [f"`{name.replace('`', '``')}` AS {spark_name(name)}" for name in plain]
    return PipelineModel(
        [SQLTransformer(statement=f"SELECT {', '.join(['*', *renamed])} FROM __THIS__"), *fitted.stages]
    )


def train_row_model(job: TrainingJob, describe: Describe | None = None) -> Outcome:
    """Train a classifier, a regression or a clustering.

    The scorer file is written once. The scorer that is compared with Spark is the one read back from that file.

    Args:
        describe: adds to the scorer's content before it is written, and describes the model for the catalog.
    """
    inputs, stats = job.inputs, job.stats
    with job.laps.lap("fit") as fitting:
        fitted = fit(inputs, job.training, stats.empty_strings)
    inputs.spec.check_fitted(inputs, stats, fitted.stages[-1])
    with saving(by_plain_names(inputs, fitted), job.spark_path):
        with job.laps.lap("export"):
            content, profile = scorer_content(inputs, fitted, stats.seen), None
            if describe is not None:
                content, profile = describe(job, fitted, content)
            scorer = row_scorer(job.written_scorer(content))
        with job.laps.lap("parity"):
            parity = parity_of(job, fitted, scorer, content.arrays)
        with job.laps.lap("measure"):
            metrics = metrics_of(job, fitted, scorer)
        return Outcome(metrics, fitting.seconds, parity, profile)


@contextmanager
def saving(model: PipelineModel, path: Path) -> Iterator[None]:
    """Save Spark's model while the context is at work. It is saved when the context is left."""
    with ThreadPoolExecutor(1, thread_name_prefix="save") as pool:
        saved = pool.submit(save, model, path)
        yield
        saved.result()


def fit(inputs: TrainingInputs, training: DataFrame, empty_strings: bool) -> PipelineModel:
    """The fitted pipeline of feature stages and estimator. It keeps rows whose label was not seen in training."""
    columns = {"featuresCol": FEATURES} | ({"labelCol": LABEL} if inputs.model.label else {})
    estimator = inputs.spec.spark_class(**columns)
    for name, value in inputs.model.params.items():  # pyspark's constructors don't take every parameter
        estimator.set(estimator.getParam(name), value)
    if estimator.hasParam("seed") and not estimator.isSet("seed"):
        estimator.set(estimator.seed, SEED)
    vocabularies = [vocabulary(training, name, inputs.model.tfidf) for name in inputs.texts]
    if any(not terms for terms in vocabularies):
        name = inputs.texts[vocabularies.index([])]
        raise TrainingFailed(f"{inputs.name}: no term of {name} is in {inputs.model.tfidf.min_rows} rows", FEWER_ROWS)
    fitted: PipelineModel = Pipeline(stages=[*stages(inputs, empty_strings, vocabularies), estimator]).fit(training)
    label = label_indexer(fitted)
    if label is not None:
        label.setHandleInvalid("keep")
    return fitted


def outputs(scored: DataFrame, inputs: TrainingInputs) -> DataFrame:
    """The columns of the scored rows that parity needs."""
    rows = [plain(name, inputs) for name in inputs.rows]
    wanted = [*OUTPUTS, PROBE]
    return scored.select(*rows, *[name for name in wanted if name in scored.columns])


def plain(name: str, inputs: TrainingInputs) -> Column:
    """A column as it is collected. A timestamp is its microseconds since 1970 in UTC: pyspark would give the local time
    of this process."""
    is_moment = inputs.kinds[name] == "timestamp"
    return F.unix_micros(column(name)).alias(spark_name(name)) if is_moment else column(name)


def parity_of(
    job: TrainingJob, fitted: PipelineModel, scorer: RowScorer, arrays: Mapping[str, Array]
) -> dict[str, Any]:
    """The report of ``parity.compare`` on a sample of all rows, held out or not, and on probes made from it.

    ``probed`` adds how many probes of each kind were tried, and how many there are.

    Args:
        arrays: those of the scorer.

    Raises:
        ParityFailed: Spark and scorer differ.
    """
    inputs = job.inputs
    real = sample(job.usable(), inputs.row_columns)
    any_number = inputs.spec.takes_any_number(fitted.stages[-1])
    made, probed = probes(scorer.encoder, arrays, real.to_pylist(), any_number)
    rows = with_derived(job.training.sparkSession.createDataFrame(with_probes(real, made)), inputs)
    scored = transformed(fitted, rows)
    scorable, spark, is_probe = answers(outputs(scored, inputs), inputs)
    return compare(scorer, scorable, spark, is_probe) | {"probed": probed}


def transformed(fitted: PipelineModel, rows: DataFrame) -> DataFrame:
    """The rows as Spark scores them.

    Where the model measures by the cosine, rows whose features are all zero are left out: they have no direction, so
    neither Spark nor the scorer has an answer.
    """
    model = fitted.stages[-1]
    if not (model.hasParam("distanceMeasure") and model.getDistanceMeasure() == "cosine"):
        return fitted.transform(rows)
    featured = PipelineModel(fitted.stages[:-1]).transform(rows)
    has_direction = F.exists(vector_to_array(F.col(FEATURES)), lambda number: number != 0)
    scored: DataFrame = model.transform(featured.filter(has_direction))
    return scored


def answers(scored: DataFrame, inputs: TrainingInputs) -> tuple[list[dict[str, Any]], RowScores, NDArray[np.bool_]]:
    """The scored rows as plain rows, Spark's scores of them, and which of them are probes."""
    collected = scored.collect()
    moments = [name for name in inputs.rows if inputs.kinds[name] == "timestamp"]
    rows = [{name: row[spark_name(name)] for name in inputs.rows} for row in collected]
    for row in rows:
        row |= {name: EPOCH + timedelta(microseconds=row[name]) for name in moments}
    prediction = np.array([row["prediction"] for row in collected], dtype=np.float64)
    columns = scored.columns
    scores = RowScores(
        prediction,
        raw=vectors(collected, "rawPrediction") if "rawPrediction" in columns else None,
        probability=vectors(collected, "probability") if "probability" in columns else None,
    )
    return rows, scores, np.array([PROBE in columns and row[PROBE] for row in collected], dtype=bool)


def vectors(rows: list[Row], name: str) -> Array:
    """(n, positions): a column of Spark's vectors."""
    return np.array([row[name].toArray() for row in rows], dtype=np.float64)


def metrics_of(job: TrainingJob, fitted: PipelineModel, scorer: RowScorer) -> Metrics:
    """The metrics on the held-out rows; without a holdout those on the training rows, each named ``training_...``.

    All are None where the pipeline has a holdout but none of these rows is in it.
    """
    spec, stats = job.inputs.spec, job.stats
    fit_metrics = evaluate.cluster_fit(fitted.stages[-1]) if spec.kind == "clustering" else {}
    if stats.holds_out and not stats.rows["holdout"]:
        return evaluate.no_metrics(spec) | fit_metrics
    metrics = evaluate.metrics_of(scorer, job.judged, job.inputs.model.label)
    if not stats.rows["holdout"]:
        metrics = {f"training_{name}": value for name, value in metrics.items()}
    return metrics | fit_metrics
