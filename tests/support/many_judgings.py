"""The judgings of a run of many generations: cells, comparisons, drifts and decisions as the judge would record them.

Their shape is the judge's; their figures are planted: the loss of generation g on batch b is 1 + (b - g) / 1000 with a
little noise, so it grows with a generation's age.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from tests.support.many_run import AT
from tidemill.judging.kept import kept
from tidemill.run.catalog import Evidence
from tidemill.run.catalog.schema import metadata
from tidemill.run.folder import Run

BLOCKS = 64
ROWS = {"provisional": 640, "settled": 3200}
AGEING = 0.001
TRIVIAL_LOSS = 2.5
WORDS = ("paid", "no difference", "can't tell", "cost")
LOSSES = {"good": "log loss", "group": "squared distance"}
SHOWN = {
    "log loss": {"accuracy": 0.91, "f1": 0.9, "auc": 0.95, "brier": 0.11, "calibration": 0.02},
    "absolute error": {"rmse": 1.78, "r2": 0.61, "bias": -0.01, "mae": 1.4},
}
Row = tuple[Any, ...]


def judge_many(run: Run, generations: int, models: Sequence[str] | None = None) -> None:
    """Record two looks at each batch, for these models or all. All generations are published, and under the policy
    ``report`` each was the champion when it was new."""
    kinds: tuple[Evidence, ...] = ("settled", "provisional")
    looks = [(batch, evidence) for batch in range(1, generations + 1) for evidence in kinds]
    models = models or list(run.pipeline.models)
    insert_rows(run, "judgings", (("", batch, evidence, None, None, 0.3, None, AT) for batch, evidence in looks))
    insert_rows(run, "cells", (row for look in looks for row in cell_rows(models, *look)))
    insert_rows(run, "comparisons", (row for look in looks for row in comparison_rows(models, *look)))
    insert_rows(run, "drifts", (row for batch in range(2, generations + 1) for row in drift_rows(batch)))
    insert_rows(run, "decisions", decision_rows(models, generations))


def insert_rows(run: Run, table: str, rows: Iterator[Row]) -> None:
    """Put rows, which have a value for each column, into a table, all in one transaction."""
    columns = len(metadata.tables[table].columns)
    statement = f"INSERT INTO {table} VALUES ({', '.join('?' * columns)})"
    with run.catalog.engine.begin() as connection:
        while some := list(islice(rows, 10_000)):
            connection.exec_driver_sql(statement, some)


def scored(batch: int, evidence: Evidence) -> tuple[list[int], int]:
    """The generations that are scored in a look, and the one that is compared; 0 before there is one."""
    if evidence == "settled":
        return kept(range(1, batch), batch, {batch - 1, batch - 2}), batch - 1
    return sorted({1, max(1, batch - 1), batch}), batch


def loss_of(generation: int, batch: int) -> float:
    return 1 + AGEING * (batch - generation)


def cell_rows(models: Sequence[str], batch: int, evidence: Evidence) -> Iterator[Row]:
    numbers, newest = scored(batch, evidence)
    if not newest:
        return
    n = ROWS[evidence]
    counts = np.full(BLOCKS, n / BLOCKS)
    packed = zlib.compress(counts.tobytes())  # as the catalog's type does
    noise = np.random.default_rng(batch).normal(0, 0.05, (len(models), BLOCKS))
    for model, spread in zip(models, noise - noise.mean(axis=1, keepdims=True), strict=True):
        loss = LOSSES.get(model, "absolute error")
        shown = json.dumps(SHOWN.get(loss, {}))
        for number, trivial in [*((number, 0) for number in numbers), (newest, 1)]:
            mean = TRIVIAL_LOSS if trivial else loss_of(number, batch)
            sums = ((mean + spread) * counts).tobytes()
            about = ("", model, batch, evidence, number, loss, trivial)
            yield *about, n, mean, 0.5, sums, packed, shown


def comparison_rows(models: Sequence[str], batch: int, evidence: Evidence) -> Iterator[Row]:
    _, newest = scored(batch, evidence)
    if not newest:
        return
    before = newest - 1
    references = {"champion": before, "previous": before, "first": 1} if before else {}
    for model in models:
        loss_name = LOSSES.get(model, "absolute error")
        checks = json.dumps({"mcnemar_p": 0.12} if loss_name == "log loss" else {"wilcoxon_p": 0.82})
        loss = loss_of(newest, batch)
        for against, number in {**references, "trivial": None}.items():
            reference_loss = TRIVIAL_LOSS if number is None else loss_of(number, batch)
            gain = reference_loss - loss
            word = WORDS[newest % len(WORDS)] if against == "previous" else "paid"
            yield (
                *("", model, newest, against, evidence, loss_name, 1, number, batch, ROWS[evidence]),
                *(
                    loss,
                    reference_loss,
                    gain,
                    gain - 0.004,
                    gain + 0.005,
                    0.01 * reference_loss,
                    word,
                    None,
                    checks,
                    "",
                ),
            )


def drift_rows(batch: int) -> Iterator[Row]:
    details = json.dumps({"distance": 0.07, "new": [], "missing": [0.0, 0.0], "measure": "mean"})
    for column in ("kind", "hours", "count", "on", "good", "size", "size: prediction", "good: prediction"):
        yield batch, column, batch - 1, "ks", 0.05, 0.8, int(batch % 100 == 0), details, 1.5, 1.6, ""


def decision_rows(models: Sequence[str], generations: int) -> Iterator[Row]:
    numbers = iter(range(1, generations * len(models) + 1))
    for generation in range(1, generations + 1):
        former = generation - 1 or None
        action = "newest" if former else "first"
        because = "the policy is report: the newest generation serves" if former else "it is the first generation"
        for model in models:
            about = (next(numbers), model, action, generation, generation, former, "gate", because)
            yield *about, None, None, "null", AT, "", ""
