"""A run that has gone on for long: many generations of ten models, many batches, all of the catalog's own making."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from tests.support.serving_run import DOCUMENT, TEXT, new_run, scorer_of, scorer_path, seal, trained
from tidemill.run.catalog import Decision, Sealed, Span
from tidemill.run.folder import Run
from tidemill.scoring.storage import write

COPIES = tuple(f"size{number}" for number in range(2, 9))  # of the model ``size``, with its features


def many_document() -> dict[str, Any]:
    """The test pipeline with ten models."""
    document = deepcopy(DOCUMENT)
    document["models"] |= {name: deepcopy(document["models"]["size"]) for name in COPIES}
    return document


def many_run(folder: Path, generations: int, batches: int = 1) -> Run:
    """Generation g, of batch 1 alone, has a cost of g in its model ``group``; all share the scorers of the first.

    Batch 1 has a file; of the others only the catalog knows.
    """
    run = new_run(folder, document=many_document())
    seal(run, 1, [{"id": number, "hours": float(number)} for number in range(3)])
    for number in range(2, batches + 1):
        run.catalog.decide(Decision(number, "rows", (Span(0, 3 * number, 3 * number + 2),)))
        path = f"batches/batch-{number:05}.parquet"
        run.catalog.seal(number, Sealed(path, 3, 100, "0" * 64, rejected=number % 2, rejects_path=None))
    copy_scorers(run)
    models = [trained(run, 1, name) for name in run.pipeline.models]
    for number in range(1, generations + 1):
        run.catalog.begin_generation(number, [1], 3)
        metrics: dict[str, dict[str, float | None]] = {"group": {"cost": float(number)}}
        run.catalog.publish_generation(
            number, [replace(one, metrics=metrics.get(one.model, one.metrics)) for one in models]
        )
    return run


def copy_scorers(run: Run) -> None:
    for name in run.pipeline.models:
        path = scorer_path(run, 1, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        text, arrays = scorer_of("size" if name in COPIES else name, 1.0)
        write(path, TEXT | text, {key: np.array(values) for key, values in arrays.items()})


def statements(run: Run, work: Callable[[], object], of_thread: int | None = None) -> list[str]:
    """The SQL statements that the run's catalog is asked while ``work`` is done: by one thread, or by all, among them
    the one that watches it."""
    asked: list[str] = []

    def note(*told: Any) -> None:
        if of_thread in (None, threading.get_ident()):
            asked.append(told[2])

    sa.event.listen(run.catalog.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        sa.event.remove(run.catalog.engine, "before_cursor_execute", note)
    return asked
