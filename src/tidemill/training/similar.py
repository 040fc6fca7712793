"""Models that find rows like another one: fitted by Spark, saved, exported, and proved equal to their scorers.

Neighbours: the feature stages of every model, then random projections. Texts: words, their plurals folded, counted and
weighed by how few texts have them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import (
    IDF,
    BucketedRandomProjectionLSH,
    BucketedRandomProjectionLSHModel,
    CountVectorizer,
    RegexTokenizer,
    SQLTransformer,
)
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses
from scipy import sparse  # type: ignore[import-untyped]  # scipy has no types

from tidemill import scoring
from tidemill.errors import ParityFailed, TrainingFailed
from tidemill.scoring.features import Encoded
from tidemill.scoring.neighbours import Nearest, NeighboursScorer
from tidemill.scoring.parity import TOLERANCE, difference
from tidemill.scoring.storage import Array, write
from tidemill.scoring.text import PLURALS, SPARK_WORD, TextScorer, words_of
from tidemill.training.evaluate import Metrics
from tidemill.training.export import export
from tidemill.training.export.arrays import values
from tidemill.training.features import FEATURES, HELD, Inputs, Stage, column, stages
from tidemill.training.outcome import SEED, Outcome
from tidemill.training.spark import local
from tidemill.training.survey import Found

HASHES, DISTANCE, ROW = "__hashes", "__distance", "__row"
WORDS, FOLDED, COUNTS = "__words", "__folded", "__counts"

SAMPLE = 1_000  # rows that a scorer is compared with Spark on
QUERIES = 3  # of these rows, for which Spark is asked for those near them


class Compared(NamedTuple):
    """A scorer beside Spark: the parity report, and the metrics of the rows that were looked at."""

    parity: dict[str, Any]
    metrics: Metrics


def train_similar(inputs: Inputs, usable: DataFrame, found: Found, spark_path: Path, scorer_path: Path) -> Outcome:
    """Fit on the rows that are not held out, write Spark's model and the scorer file, and compare the two.

    Raises:
        TrainingFailed: there is no word in the texts.
        ParityFailed: the scorer does not give Spark's hashes and neighbours, or its TF-IDF vectors.
    """
    way = WAYS[inputs.estimator_kind]
    training, held = usable.filter(~F.col(HELD)), usable.filter(F.col(HELD))
    began = time.perf_counter()
    fitted: PipelineModel = Pipeline(stages=way.stages(inputs, found.empty_strings)).fit(training)
    seconds = time.perf_counter() - began
    way.export(scorer_path, inputs, fitted, found.seen)
    fitted.write().overwrite().save(local(spark_path))
    sample = (held if found.rows["holdout"] else training).limit(SAMPLE)
    scored = fitted.transform(sample.withColumn(ROW, F.monotonically_increasing_id())).cache()
    try:
        compared = way.compare(scoring.load(scorer_path), inputs, fitted, scored)
    finally:
        scored.unpersist()
    return Outcome(metrics_of(compared.metrics, found), seconds, compared.parity)


def metrics_of(metrics: Metrics, found: Found) -> Metrics:
    """The metrics of held-out rows; of training rows by another name, and of none at all None."""
    if found.rows["holdout"]:
        return metrics
    return dict.fromkeys(metrics) if found.holds_out else {f"training_{name}": one for name, one in metrics.items()}


# --- nearest neighbours -------------------------------------------------------------------------------------------


def neighbour_stages(inputs: Inputs, empty_strings: bool) -> list[Stage]:
    params = {"seed": SEED} | inputs.model.params
    return [
        *stages(inputs, empty_strings),
        BucketedRandomProjectionLSH(inputCol=FEATURES, outputCol=HASHES, **params),
    ]


def compare_neighbours(scorer: NeighboursScorer, inputs: Inputs, fitted: PipelineModel, scored: DataFrame) -> Compared:
    """The hashes of all rows, and for some of them which rows share a bucket with it, and how far off they are.

    A row on the edge of a bucket, within the tolerance, may be on either side of it: rounding decides. To find
    neighbours both take Spark's hashes, so that such a row changes nothing.
    """
    table = scored.select(*[column(name) for name in inputs.model.features], HASHES, ROW).toArrow()
    encoded, _ = scorer.encoder.table(table)
    hashes = hashes_of(table)
    equal = same_buckets(scorer.projections(encoded), hashes)
    rows = table[ROW].to_numpy()
    searched = scorer.searched(encoded, hashes)
    furthest = []
    for row, spark in sharing(fitted.stages[-1], scored, rows[:QUERIES]).items():
        place = int(np.flatnonzero(rows == row)[0])
        query = Encoded(encoded.numbers[[place]], [codes[[place]] for codes in encoded.codes])
        ours = searched.nearest(query, hashes[[place]], max(1, len(spark)))
        furthest.append(apart(rows[ours.places], ours, spark))
    report = {"rows": len(rows), "equal": int(equal.sum()), "max_difference": max(furthest, default=0.0)}
    if not (equal.all() and report["max_difference"] <= TOLERANCE):
        raise differs(scorer, report, "bucket, or in what shares it")
    return Compared(report, {"candidate_share": candidate_share(hashes)})


def hashes_of(table: pa.Table) -> Array:
    """(n, tables): the buckets that Spark's ``transform`` put the rows in, each a vector of one number."""
    tables = table[HASHES].to_pylist()
    return np.array([[one["values"][0] for one in row] for row in tables], dtype=np.float64)


def sharing(
    model: BucketedRandomProjectionLSHModel, scored: DataFrame, rows: NDArray[np.int64]
) -> dict[int, dict[int, float]]:
    """For each of ``rows`` those that share a bucket with it, and their distances: ``{row: {other: distance}}``.

    They are the candidates of Spark's ``approxNearestNeighbors``, which fails where Spark interprets its plans.
    """
    asked = scored.filter(F.col(ROW).isin([int(row) for row in rows]))
    pairs = model.approxSimilarityJoin(asked, scored, float("inf"), DISTANCE)
    found: dict[int, dict[int, float]] = {int(row): {} for row in rows}
    for row, other, distance in pairs.select(f"datasetA.{ROW}", f"datasetB.{ROW}", DISTANCE).collect():
        found[row][other] = distance
    return found


def apart(rows: NDArray[np.int64], ours: Nearest, spark: Mapping[int, float]) -> float:
    """The largest relative difference between our distances and Spark's; infinite where other rows were found."""
    if ours.probe == "multi" or set(rows.tolist()) != set(spark):
        return np.inf
    theirs = np.array([spark[row] for row in rows.tolist()])
    return float(difference(ours.distances[:, None], theirs[:, None]).max())


def same_buckets(projections: Array, hashes: Array) -> NDArray[np.bool_]:
    """(n,): whether a row is in Spark's buckets (n, tables), or is as near to their edge as rounding may put it."""
    slack = TOLERANCE * np.maximum(1.0, np.abs(projections))
    inside = (projections >= hashes - slack) & (projections <= hashes + 1.0 + slack)
    same: NDArray[np.bool_] = np.logical_and.reduce(inside, axis=1)
    return same


def candidate_share(hashes: Array) -> float | None:
    """The share of rows that have a bucket in common with a row, on average: 1 and the search is exhaustive."""
    if not len(hashes):
        return None
    return float(np.mean([(hashes == own).any(axis=1).mean() for own in hashes]))


# --- texts --------------------------------------------------------------------------------------------------------


def text_stages(inputs: Inputs, empty_strings: bool) -> list[Stage]:
    """Words in lower case, plurals folded, counted, weighed. Empty texts are as good as any: they have no word."""
    return [
        RegexTokenizer(inputCol=inputs.model.features[0], outputCol=WORDS, gaps=False, pattern=SPARK_WORD),
        SQLTransformer(statement=f"select *, {fold(WORDS)} as {FOLDED} from __THIS__"),
        CountVectorizer(inputCol=FOLDED, outputCol=COUNTS),
        IDF(inputCol=COUNTS, outputCol=FEATURES, **inputs.model.params),
    ]


def fold(words: str) -> str:
    """Spark's SQL for the words of a column with their plurals folded, by the same rules as ``scoring.text``."""
    folded = "word"
    for pattern, singular in PLURALS:
        folded = f"regexp_replace({folded}, '{pattern}', '{singular}')"
    return f"transform({words}, word -> {folded})"


def export_text(path: Path, inputs: Inputs, fitted: PipelineModel, seen: Mapping[str, Any]) -> None:
    """The scorer file, its words in order: Spark's own order among equally frequent ones is left to chance."""
    words: list[str] = fitted.stages[-2].vocabulary
    if not words:
        raise TrainingFailed(f"{inputs.name}: there is no word in {inputs.model.features[0]}")
    name = inputs.model.features[0]
    order = sorted(range(len(words)), key=words.__getitem__)
    document = {
        "model": inputs.name,
        "estimator": inputs.model.estimator,
        "features": [{"name": name, "kind": "string", **seen[name]}],
        "vocabulary": [words[place] for place in order],
    }
    write(path, document, {"idf": values(fitted.stages[-1].idf)[order]})


def compare_text(scorer: TextScorer, inputs: Inputs, fitted: PipelineModel, scored: DataFrame) -> Compared:
    """The TF-IDF vectors of all rows, word by word."""
    collected = scored.select(column(scorer.column).alias("text"), FEATURES).collect()
    texts = [row["text"] for row in collected]
    places = np.array([scorer.places[word] for word in fitted.stages[-2].vocabulary])
    spark = by_place([row[FEATURES] for row in collected], places)
    furthest = np.array(abs(scorer.weights(texts) - spark).max(axis=1).todense()).ravel()
    equal = furthest <= TOLERANCE * np.maximum(1.0, np.array(spark.max(axis=1).todense()).ravel())
    report = {
        "rows": len(texts),
        "equal": int(equal.sum()),
        "max_difference": float(furthest.max(initial=0.0)),
    }
    if not equal.all():
        raise differs(scorer, report, "TF-IDF vector")
    words = [word for text in texts for word in words_of(text)]
    unknown = sum(len(scorer.unknown(word)) for word in words)
    return Compared(report, {"known_words": 1.0 - unknown / len(words) if words else None})


def by_place(vectors: Sequence[Any], places: NDArray[np.intp]) -> sparse.csr_array:
    """(n, words): Spark's sparse vectors with each word at its place in ours."""
    ends = np.cumsum([0, *(len(one.indices) for one in vectors)])
    indices = np.concatenate([np.zeros(0, dtype=np.intp), *(places[one.indices] for one in vectors)])
    weights = np.concatenate([np.zeros(0), *(one.values for one in vectors)])
    return sparse.csr_array((weights, indices, ends), (len(vectors), len(places)))


def differs(scorer: scoring.Scorer, report: Mapping[str, Any], what: str) -> ParityFailed:
    return ParityFailed(
        f"the scorer of {scorer.model} differs from Spark on {report['rows'] - report['equal']} of {report['rows']} "
        f"rows in their {what}, by up to {report['max_difference']:.3g}",
        "this is a fault in Tidemill or a damaged file: the generation is not published; please report it",
    )


class Way(NamedTuple):
    """How a kind of model is made: its stages, its scorer file, and its comparison with Spark."""

    stages: Callable[[Inputs, bool], list[Stage]]
    export: Callable[[Path, Inputs, PipelineModel, Mapping[str, Any]], None]
    compare: Callable[..., Compared]


WAYS = {
    "neighbours": Way(neighbour_stages, export, compare_neighbours),
    "text": Way(text_stages, export_text, compare_text),
}
