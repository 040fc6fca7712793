"""Nearest neighbours: BucketedRandomProjectionLSH, over the feature stages that all models share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.ml import PipelineModel
from pyspark.ml.feature import BucketedRandomProjectionLSH, BucketedRandomProjectionLSHModel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill.scoring.neighbours import Nearest, NeighboursScorer
from tidemill.scoring.parity import TOLERANCE, counted, difference
from tidemill.scoring.storage import Array
from tidemill.training.estimators.rules import above, least
from tidemill.training.estimators.search import ROW, SearchMethod, parity_failure, probes_in, train_search
from tidemill.training.export import matrix_values, scorer_content
from tidemill.training.features import FEATURES, Stage, spark_name, stages
from tidemill.training.probes import Probes, probes
from tidemill.training.registry import (
    SEED,
    EstimatorSpec,
    Exported,
    Metrics,
    Outcome,
    TrainingInputs,
    TrainingJob,
    no_texts,
)
from tidemill.training.sampling import PROBE

HASHES, DISTANCE = "__hashes", "__distance"
QUERIES = 3  # rows whose neighbours Spark computes for comparison


def neighbour_stages(inputs: TrainingInputs, empty_strings: bool) -> list[Stage]:
    params = {"seed": SEED} | inputs.model.params
    return [
        *stages(inputs, empty_strings),
        BucketedRandomProjectionLSH(inputCol=FEATURES, outputCol=HASHES, **params),
    ]


def export_projections(model: BucketedRandomProjectionLSHModel) -> Exported:
    """The random unit vectors, one a table. pyspark has no method for them; the JVM's model has."""
    vectors = matrix_values(model._call_java("randMatrix"))
    return {"bucket_length": model.getBucketLength()}, {"vectors": vectors}


def neighbour_probes(scorer: NeighboursScorer, real: pa.Table) -> Probes:
    return probes(scorer.encoder, {}, real.to_pylist(), any_number=True)


def compare_neighbours(
    scorer: NeighboursScorer, inputs: TrainingInputs, fitted: PipelineModel, scored: DataFrame
) -> dict[str, Any]:
    """Compare the hashes of all rows, and for some of them the rows that share a bucket, and their distances.

    A row on the edge of a bucket, within the tolerance, may be on either side of it, as rounding decides. Both sides
    search by Spark's hashes, so such a row changes nothing.

    Raises:
        ParityFailed: a hash, a neighbour or a distance differs.
    """
    names = inputs.rows
    wanted = [*map(spark_name, names), HASHES, ROW, PROBE]
    table = scored.select(*[name for name in wanted if name in scored.columns]).toArrow()
    encoded, _ = scorer.encoder.table(table.select(range(len(names))).rename_columns(list(names)))
    hashes = hashes_of(table)
    equal = same_buckets(scorer.projections(encoded), hashes)
    rows = table[ROW].to_numpy()
    searched = scorer.searched(encoded, hashes)
    differences = []
    for row, spark in sharing(fitted.stages[-1], scored, rows[:QUERIES]).items():
        index = int(np.flatnonzero(rows == row)[0])
        query = encoded.take([index])
        ours = searched.nearest(query, hashes[[index]], max(1, len(spark)))
        differences.append(distance_difference(rows[ours.places], ours, spark))
    report = counted(equal, max(differences, default=0.0), probes_in(table))
    if not (equal.all() and report["max_difference"] <= TOLERANCE):
        raise parity_failure(scorer, report, "bucket, or in what shares it")
    return report


def neighbour_metrics(scorer: NeighboursScorer, rows: pa.Table) -> Metrics:
    return {"candidate_share": candidate_share(scorer.hashes(scorer.encoder.table(rows)[0]))}


def hashes_of(table: pa.Table) -> Array:
    """(n, tables): the buckets of the rows by Spark's ``transform``, which gives each as a vector of one number."""
    tables = table[HASHES].to_pylist()
    return np.array([[vector["values"][0] for vector in row] for row in tables], dtype=np.float64)


def sharing(
    model: BucketedRandomProjectionLSHModel, scored: DataFrame, rows: NDArray[np.int64]
) -> dict[int, dict[int, float]]:
    """For each of ``rows`` those that share a bucket with it, and their distances: ``{row: {other: distance}}``.

    They are the candidates of Spark's ``approxNearestNeighbors``, which itself fails where Spark runs without code
    generation.
    """
    queries = scored.filter(F.col(ROW).isin([int(row) for row in rows]))
    pairs = model.approxSimilarityJoin(queries, scored, float("inf"), DISTANCE)
    shared: dict[int, dict[int, float]] = {int(row): {} for row in rows}
    for row, other, distance in pairs.select(f"datasetA.{ROW}", f"datasetB.{ROW}", DISTANCE).collect():
        shared[row][other] = distance
    return shared


def distance_difference(rows: NDArray[np.int64], ours: Nearest, spark: Mapping[int, float]) -> float:
    """The largest relative difference between our distances and Spark's; infinite where the rows differ."""
    if ours.probe == "multi" or set(rows.tolist()) != set(spark):
        return np.inf
    theirs = np.array([spark[row] for row in rows.tolist()])
    return float(difference(ours.distances[:, None], theirs[:, None]).max())


def same_buckets(projections: Array, hashes: Array) -> NDArray[np.bool_]:
    """(n,): whether a row is in Spark's buckets (n, tables), or within rounding of their edge."""
    slack = TOLERANCE * np.maximum(1.0, np.abs(projections))
    inside = (projections >= hashes - slack) & (projections <= hashes + 1.0 + slack)
    same: NDArray[np.bool_] = np.logical_and.reduce(inside, axis=1)
    return same


def candidate_share(hashes: Array) -> float | None:
    """The mean share of rows that have a bucket in common with a row; at 1 the search is exhaustive."""
    if not len(hashes):
        return None
    return float(np.mean([(hashes == own).any(axis=1).mean() for own in hashes]))


NEIGHBOURS = SearchMethod(neighbour_stages, scorer_content, neighbour_probes, compare_neighbours, neighbour_metrics)


def train_neighbours(job: TrainingJob) -> Outcome:
    return train_search(job, NEIGHBOURS)


ESTIMATORS = (
    EstimatorSpec(
        BucketedRandomProjectionLSH,
        train=train_neighbours,
        export=export_projections,
        rules={"bucketLength": above(0), "numHashTables": least(1)},
        takes_texts=no_texts,
        required_params={"bucketLength": "how wide a bucket is, in the unit of the scaled features"},
    ),
)
