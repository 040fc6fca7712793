"""The messages of an output: each row with its prediction, as a JSON object. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.kafka.codec import encode
from tidemill.outputs.champions import Champion
from tidemill.pipeline import Output
from tidemill.scoring import RowScorer
from tidemill.scoring.base import TableScores, class_name

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class OutputRows:
    """Rows of the stream. ``partitions`` and ``offsets``: (n,), where each row of ``table`` (n rows) came from."""

    table: pa.Table
    partitions: Indices
    offsets: Indices


def predictions(output: Output, champion: Champion, rows: OutputRows, key: str | None) -> list[bytes]:
    """The value of each row's message, in order. ``key``: the column of the stream's keys, if it has one.

    A row without an answer has the prediction null, and the reason; one with categories that were not seen in training
    has these.
    """
    scorer, count = champion.scorer, len(rows.table)
    scores = scorer.table_scores(rows.table)
    answers = finite(scores.answers)
    parts: dict[str, Any] = {"key": rows.table[key]} if key is not None else {}
    parts |= {"model": constant(output.model, count), "generation": constant(champion.ref.number, count)}
    if champion.ref.line:
        parts["line"] = constant(champion.ref.line, count)
    parts["prediction"] = answers
    if scores.probability is not None:
        parts["probability"] = probabilities(scorer, scores, answers)
    if scorer.labels:
        parts["label"] = labels(scorer, answers)
    parts |= {"partition": pa.array(rows.partitions), "offset": pa.array(rows.offsets)}
    values = encode(pa.table(parts | {name: rows.table[name] for name in output.columns}))
    for index, more in remarks(scorer, rows.table, scores, answers).items():
        document = orjson.loads(values[index])
        values[index] = orjson.dumps({**document, **more})
    return values


def constant(value: object, count: int) -> pa.Array:
    return pa.repeat(value, count)


def finite(answers: pa.Array) -> pa.Array:
    """The answers, null in place of an infinite one, which JSON does not have."""
    if not pa.types.is_floating(answers.type):
        return answers
    return pc.if_else(pc.is_finite(answers), answers, pa.scalar(None, answers.type))


def probabilities(scorer: RowScorer, scores: TableScores, answers: pa.Array) -> pa.Array:
    """For each row of the table the probability of each class or cluster; null without an answer."""
    assert scores.probability is not None
    names, order = scorer.probability_names
    in_table = np.full((len(answers), len(order)), np.nan)
    in_table[scores.scored] = scores.probability[:, order]
    columns = [pa.array(in_table[:, index]) for index in range(len(order))]
    return pa.StructArray.from_arrays(columns, names, mask=answers.is_null())


def labels(scorer: RowScorer, answers: pa.Array) -> pa.Array:
    """The name that the pipeline file gives to each answer; null where it gives none."""
    different = answers.dictionary_encode()
    names = [
        None if value is None else scorer.labels.get(class_name(value)) for value in different.dictionary.to_pylist()
    ]
    return pa.array(names, pa.string()).take(different.indices)


def remarks(scorer: RowScorer, table: pa.Table, scores: TableScores, answers: pa.Array) -> dict[int, dict[str, Any]]:
    """What else is to be said of some rows, by their indices: why there is no answer, or which categories are new."""
    without = np.flatnonzero(answers.is_null().to_numpy(zero_copy_only=False)).tolist()
    said: dict[int, dict[str, Any]] = {index: {"reason": reason(scorer, table, index)} for index in without}
    encoder = scorer.encoder
    for feature, known, codes in zip(encoder.strings, encoder.codes, scores.encoded.codes, strict=True):
        for index in scores.scored[codes == len(known)].tolist():
            more = said.setdefault(index, {})
            if "reason" not in more:
                more.setdefault("unseen", {})[feature.name] = table[feature.name][index].as_py()
    return said


def reason(scorer: RowScorer, table: pa.Table, index: int) -> str:
    """Why there is no answer for this row."""
    missing = [feature.name for feature in scorer.features if not table[feature.name][index].is_valid]
    return f"{missing[0]} is missing" if missing else "the model has no answer for these features"
