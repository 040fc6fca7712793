"""Training of models that search rows: fit, save, export, compare the exported scorer with Spark, measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.ml import Pipeline, PipelineModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill.errors import ParityFailed
from tidemill.scoring import Scorer
from tidemill.scoring.parity import REPORT_IT
from tidemill.scoring.storage import Stored
from tidemill.training.features import Stage, with_derived
from tidemill.training.fitting import saving
from tidemill.training.probes import Probes
from tidemill.training.registry import Metrics, Outcome, TrainingInputs, TrainingJob, TrainingStats
from tidemill.training.sampling import PROBE, sample, with_probes

ROW = "__row"  # the column that numbers the rows which Spark and the scorer are compared on


class SearchMethod(NamedTuple):
    """How a kind of search is trained.

    ``stages``: Spark's unfitted stages: ``(inputs, empty_strings)``.
    ``content``: the scorer's content: ``(inputs, fitted, seen)``.
    ``probes``: made from the scorer and real rows.
    ``compare``: the parity report, or ParityFailed: ``(scorer, inputs, fitted, rows as Spark transforms them)``.
    ``metrics``: of the scorer on rows.
    """

    stages: Callable[[TrainingInputs, bool], list[Stage]]
    content: Callable[[TrainingInputs, PipelineModel, Mapping[str, Any]], Stored]
    probes: Callable[[Any, pa.Table], Probes]
    compare: Callable[[Any, TrainingInputs, PipelineModel, DataFrame], dict[str, Any]]
    metrics: Callable[[Any, pa.Table], Metrics]


def train_search(job: TrainingJob, method: SearchMethod) -> Outcome:
    """Fit on the training rows, write Spark's model and the scorer file, and compare the two.

    Raises:
        TrainingFailed: the model can't be exported.
        ParityFailed: the scorer differs from Spark.
    """
    inputs, stats = job.inputs, job.stats
    with job.laps.lap("fit") as fitting:
        fitted: PipelineModel = Pipeline(stages=method.stages(inputs, stats.empty_strings)).fit(job.training)
    with saving(fitted, job.spark_path):
        with job.laps.lap("export"):
            content = method.content(inputs, fitted, stats.seen)
            scorer = job.written_scorer(content)
        with job.laps.lap("parity"):
            parity = parity_of(job, method, scorer, fitted)
        with job.laps.lap("measure"):
            metrics = method.metrics(scorer, sample(job.judged(), inputs.row_columns))
    return Outcome(named_metrics(metrics, stats), fitting.seconds, parity)


def parity_of(job: TrainingJob, method: SearchMethod, scorer: Scorer, fitted: PipelineModel) -> dict[str, Any]:
    """The report on a sample of all rows, held out or not, and on probes: see ``fitting.parity_of``."""
    real = sample(job.usable(), job.inputs.row_columns)
    made, probed = method.probes(scorer, real)
    rows = with_derived(job.training.sparkSession.createDataFrame(with_probes(real, made)), job.inputs)
    scored = fitted.transform(rows.withColumn(ROW, F.monotonically_increasing_id())).cache()
    try:
        return method.compare(scorer, job.inputs, fitted, scored) | {"probed": probed}
    finally:
        scored.unpersist()


def named_metrics(metrics: Metrics, stats: TrainingStats) -> Metrics:
    """The metrics on held-out rows; on training rows each named ``training_...``; all None where no row is held out
    although the pipeline has a holdout."""
    if stats.rows["holdout"]:
        return metrics
    if stats.holds_out:
        return dict.fromkeys(metrics)
    return {f"training_{name}": value for name, value in metrics.items()}


def probes_in(scored: pa.Table) -> NDArray[np.bool_]:
    """(n,): which of the rows are probes."""
    if PROBE not in scored.column_names:
        return np.zeros(len(scored), dtype=bool)
    is_probe: NDArray[np.bool_] = scored[PROBE].to_numpy()
    return is_probe


def parity_failure(scorer: Scorer, report: Mapping[str, Any], part: str) -> ParityFailed:
    """The error for a scorer that differs from Spark in this ``part`` of its answers."""
    compared = report["rows"] + report["probes"]
    return ParityFailed(
        f"the scorer of {scorer.model} differs from Spark on {compared - report['equal'] - report['probes_equal']} of "
        f"{compared} rows in their {part}, by up to {report['max_difference']:.3g}",
        REPORT_IT,
    )
