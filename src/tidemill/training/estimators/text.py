"""Similar texts: IDF over the terms of a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.ml import PipelineModel
from pyspark.ml.feature import IDF, CountVectorizer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses
from scipy import sparse  # type: ignore[import-untyped]  # scipy has no types

from tidemill.errors import Fault, TrainingFailed
from tidemill.pipeline import Model
from tidemill.scoring.parity import TOLERANCE, counted
from tidemill.scoring.storage import Stored
from tidemill.scoring.terms import TOKENS
from tidemill.scoring.text import TextScorer
from tidemill.texts import shorten
from tidemill.training.estimators.rules import least
from tidemill.training.estimators.search import SearchMethod, parity_failure, train_search
from tidemill.training.export import vector_values
from tidemill.training.features import FEATURES, Stage, column, spark_name
from tidemill.training.probes import UNSEEN, Probes, spread
from tidemill.training.registry import EstimatorSpec, Metrics, Outcome, TrainingInputs, TrainingJob
from tidemill.training.sampling import PROBE
from tidemill.training.words import terms_of

TERMS, COUNTS = "__terms", "__counts"
MOST_WORDS = 600  # that probes are made of


def column_faults(path: str, model: Model, kinds: Mapping[str, str]) -> Iterator[Fault]:
    """Features other than one string column."""
    if len(model.features) != 1 or kinds.get(model.features[0]) != "string":
        yield Fault(f"{path}.features", shorten(list(model.features)), "one string column")


def text_stages(inputs: TrainingInputs, empty_strings: bool) -> list[Stage]:
    """The terms of a text, counted and weighted. An empty text has none."""
    return [
        terms_of(spark_name(inputs.model.features[0]), TERMS),
        CountVectorizer(inputCol=TERMS, outputCol=COUNTS),
        IDF(inputCol=COUNTS, outputCol=FEATURES, **inputs.model.params),
    ]


def text_content(inputs: TrainingInputs, fitted: PipelineModel, seen: Mapping[str, Any]) -> Stored:
    """The scorer's content. Words are sorted, as Spark's order of equally frequent words varies.

    Raises:
        TrainingFailed: the texts have no word.
    """
    name = inputs.model.features[0]
    words: list[str] = fitted.stages[-2].vocabulary
    if not words:
        raise TrainingFailed(f"{inputs.name}: there is no word in {name}")
    order = sorted(range(len(words)), key=words.__getitem__)
    document = {
        "model": inputs.name,
        "estimator": inputs.model.estimator,
        "features": [{"name": name, "kind": "string", **seen[name]}],
        "tokens": TOKENS,
        "vocabulary": [words[index] for index in order],
    }
    return Stored(document, {"idf": vector_values(fitted.stages[-1].idf)[order]})


def text_probes(scorer: TextScorer, real: pa.Table) -> Probes:
    """Texts of one word: words of training, as they are and in the plural, an unseen one, and none."""
    words = spread(list(scorer.places), MOST_WORDS)
    texts = [*words, *(f"{word}s" for word in words), UNSEEN, ""]
    return Probes([{scorer.column: text} for text in texts], {"words": [len(words), len(scorer.places)]})


def compare_text(
    scorer: TextScorer, inputs: TrainingInputs, fitted: PipelineModel, scored: DataFrame
) -> dict[str, Any]:
    """Compare the TF-IDF vectors of all rows, word by word.

    Raises:
        ParityFailed: a vector differs.
    """
    is_probe = F.col(PROBE) if PROBE in scored.columns else F.lit(False)
    collected = scored.select(column(scorer.column).alias("text"), FEATURES, is_probe.alias(PROBE)).collect()
    texts = [row["text"] for row in collected]
    positions = np.array([scorer.places[word] for word in fitted.stages[-2].vocabulary])
    spark = reordered([row[FEATURES] for row in collected], positions)
    differences = np.array(abs(scorer.weights(texts) - spark).max(axis=1).todense()).ravel()
    equal = differences <= TOLERANCE * np.maximum(1.0, np.array(spark.max(axis=1).todense()).ravel())
    made = np.array([row[PROBE] for row in collected], dtype=bool)
    report = counted(equal, float(differences.max(initial=0.0)), made)
    if not equal.all():
        raise parity_failure(scorer, report, "TF-IDF vector")
    return report


def reordered(vectors: Sequence[Any], positions: NDArray[np.intp]) -> sparse.csr_array:
    """(n, words): Spark's sparse vectors with their words in the scorer's order.

    Args:
        positions: (words,), the scorer's position of each of Spark's words.
    """
    ends = np.cumsum([0, *(len(vector.indices) for vector in vectors)])
    indices = np.concatenate([np.zeros(0, dtype=np.intp), *(positions[vector.indices] for vector in vectors)])
    weights = np.concatenate([np.zeros(0), *(vector.values for vector in vectors)])
    return sparse.csr_array((weights, indices, ends), (len(vectors), len(positions)))


def text_metrics(scorer: TextScorer, rows: pa.Table) -> Metrics:
    words = [word for text in rows[scorer.column].to_pylist() for word in scorer.vocabulary.tokenizer.words(text)]
    return {"known_words": sum(map(scorer.vocabulary.knows, words)) / len(words) if words else None}


TEXT = SearchMethod(text_stages, text_content, text_probes, compare_text, text_metrics)


def train_text(job: TrainingJob) -> Outcome:
    return train_search(job, TEXT)


ESTIMATORS = (
    EstimatorSpec(
        IDF,
        train=train_text,
        rules={"minDocFreq": least(0)},
        can_scale=False,
        model_faults=column_faults,
    ),
)
