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
from tidemill.scoring.parity import REPORT_IT, TOLERANCE, counted, difference
from tidemill.scoring.storage import Array, write
from tidemill.scoring.text import PLURALS, SPARK_WORD, TextScorer, words_of
from tidemill.training.evaluate import Metrics
from tidemill.training.export import export
from tidemill.training.export.arrays import values
from tidemill.training.features import FEATURES, HELD, Inputs, Stage, column, stages
from tidemill.training.outcome import SEED, Outcome
from tidemill.training.probes import UNSEEN, Probes, probes, spread
from tidemill.training.sampling import PROBE, sample, with_probes
from tidemill.training.session import local
from tidemill.training.survey import Found

HASHES, DISTANCE, ROW = "__hashes", "__distance", "__row"
WORDS, FOLDED, COUNTS = "__words", "__folded", "__counts"

QUERIES = 3  # rows for which Spark is asked for those near them
MOST_WORDS = 600


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
    scorer = scoring.load(scorer_path)
    parity = parity_of(scorer, inputs, fitted, usable, found)
    judged, count = (held, found.rows["holdout"]) if found.rows["holdout"] else (training, found.rows["train"])
    metrics = way.metrics(scorer, sample(judged, inputs.model.features, count))
    return Outcome(metrics_of(metrics, found), seconds, parity)


def parity_of(scorer: Any, inputs: Inputs, fitted: PipelineModel, usable: DataFrame, found: Found) -> dict[str, Any]:
    """The report on a sample of all rows, held out or not, and on probes: see ``fitting.parity_of``."""
    way = WAYS[inputs.estimator_kind]
    real = sample(usable, inputs.model.features, found.usable)
    made, probed = way.probes(scorer, real)
    rows = usable.sparkSession.createDataFrame(with_probes(real, made))
    scored = fitted.transform(rows.withColumn(ROW, F.monotonically_increasing_id())).cache()
    try:
        return way.compare(scorer, inputs, fitted, scored) | {"probed": probed}
    finally:
        scored.unpersist()


def probes_in(scored: pa.Table) -> NDArray[np.bool_]:
    """(n,): which of the rows are probes."""
    if PROBE not in scored.column_names:
        return np.zeros(len(scored), dtype=bool)
    made: NDArray[np.bool_] = scored[PROBE].to_numpy()
    return made


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


def neighbour_probes(scorer: NeighboursScorer, real: pa.Table) -> Probes:
    return probes(scorer.encoder, {}, real.to_pylist(), beyond=True)


def compare_neighbours(
    scorer: NeighboursScorer, inputs: Inputs, fitted: PipelineModel, scored: DataFrame
) -> dict[str, Any]:
    """The hashes of all rows, and for some of them which rows share a bucket with it, and how far off they are.

    A row on the edge of a bucket, within the tolerance, may be on either side of it: rounding decides. To find
    neighbours both take Spark's hashes, so that such a row changes nothing.
    """
    wanted = [*inputs.model.features, HASHES, ROW, PROBE]
    table = scored.select(*[column(name) for name in wanted if name in scored.columns]).toArrow()
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
    report = counted(equal, max(furthest, default=0.0), probes_in(table))
    if not (equal.all() and report["max_difference"] <= TOLERANCE):
        raise differs(scorer, report, "bucket, or in what shares it")
    return report


def neighbour_metrics(scorer: NeighboursScorer, rows: pa.Table) -> Metrics:
    return {"candidate_share": candidate_share(scorer.hashes(scorer.encoder.table(rows)[0]))}


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


def text_probes(scorer: TextScorer, real: pa.Table) -> Probes:
    """Texts of one word: words of training, as they are and in the plural, one never seen, and none."""
    words = spread(list(scorer.places), MOST_WORDS)
    texts = [*words, *(f"{word}s" for word in words), UNSEEN, ""]
    return Probes([{scorer.column: text} for text in texts], {"words": [len(words), len(scorer.places)]})


def compare_text(scorer: TextScorer, inputs: Inputs, fitted: PipelineModel, scored: DataFrame) -> dict[str, Any]:
    """The TF-IDF vectors of all rows, word by word."""
    is_probe = F.col(PROBE) if PROBE in scored.columns else F.lit(False)
    collected = scored.select(column(scorer.column).alias("text"), FEATURES, is_probe.alias(PROBE)).collect()
    texts = [row["text"] for row in collected]
    places = np.array([scorer.places[word] for word in fitted.stages[-2].vocabulary])
    spark = by_place([row[FEATURES] for row in collected], places)
    furthest = np.array(abs(scorer.weights(texts) - spark).max(axis=1).todense()).ravel()
    equal = furthest <= TOLERANCE * np.maximum(1.0, np.array(spark.max(axis=1).todense()).ravel())
    made = np.array([row[PROBE] for row in collected], dtype=bool)
    report = counted(equal, float(furthest.max(initial=0.0)), made)
    if not equal.all():
        raise differs(scorer, report, "TF-IDF vector")
    return report


def text_metrics(scorer: TextScorer, rows: pa.Table) -> Metrics:
    words = [word for text in rows[scorer.column].to_pylist() for word in words_of(text)]
    unknown = sum(len(scorer.unknown(word)) for word in words)
    return {"known_words": 1.0 - unknown / len(words) if words else None}


def by_place(vectors: Sequence[Any], places: NDArray[np.intp]) -> sparse.csr_array:
    """(n, words): Spark's sparse vectors with each word at its place in ours."""
    ends = np.cumsum([0, *(len(one.indices) for one in vectors)])
    indices = np.concatenate([np.zeros(0, dtype=np.intp), *(places[one.indices] for one in vectors)])
    weights = np.concatenate([np.zeros(0), *(one.values for one in vectors)])
    return sparse.csr_array((weights, indices, ends), (len(vectors), len(places)))


def differs(scorer: scoring.Scorer, report: Mapping[str, Any], what: str) -> ParityFailed:
    compared = report["rows"] + report["probes"]
    return ParityFailed(
        f"the scorer of {scorer.model} differs from Spark on {compared - report['equal'] - report['probes_equal']} of "
        f"{compared} rows in their {what}, by up to {report['max_difference']:.3g}",
        REPORT_IT,
    )


class Way(NamedTuple):
    """How a kind of model is made: its stages, its scorer file, the probes and the comparison with Spark, metrics."""

    stages: Callable[[Inputs, bool], list[Stage]]
    export: Callable[[Path, Inputs, PipelineModel, Mapping[str, Any]], None]
    probes: Callable[[Any, pa.Table], Probes]
    compare: Callable[..., dict[str, Any]]
    metrics: Callable[[Any, pa.Table], Metrics]


WAYS = {
    "neighbours": Way(neighbour_stages, export, neighbour_probes, compare_neighbours, neighbour_metrics),
    "text": Way(text_stages, export_text, text_probes, compare_text, text_metrics),
}
