"""A run that has gone on for long: many generations of ten models, many batches, all of the catalog's own making."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from tests.support.serving_run import DOCUMENT, TEXT, new_run, scorer_parts, scorer_path, seal, trained_model
from tidemill.judging.kept import kept
from tidemill.run.catalog.schema import metadata
from tidemill.run.folder import Run
from tidemill.scoring.storage import write

AT = "2026-01-01T00:00:00.000Z"
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
    copy_scorers(run)
    models = [asdict(trained_model(run, 1, name)) for name in run.pipeline.models]
    sealed_as = {"cut": "rows", "decided_at": AT, "sealed_at": AT, "rows": 3, "bytes": 100, "sha256": "0" * 64}
    published_as = {"state": "published", "batches": [1], "rows": 3, "began_at": AT, "published_at": AT}
    numbers = range(1, generations + 1)
    insert(
        run,
        batches=[
            sealed_as | {"batch": number, "path": f"batches/batch-{number:05}.parquet", "rejected": number % 2}
            for number in range(2, batches + 1)
        ],
        batch_partitions=[
            {"batch": number, "partition": 0, "first_offset": 3 * number, "last_offset": 3 * number + 2}
            for number in range(2, batches + 1)
        ],
        generations=[published_as | {"generation": number} for number in numbers],
        models=[
            model | {"generation": number} | ({"metrics": {"cost": float(number)}} if model["model"] == "group" else {})
            for number in numbers
            for model in models
        ],
    )
    return run


def judge(run: Run, generations: int, names: Sequence[str] = ("size",)) -> None:
    """Every generation of these models is judged: provisionally on its own batch, settled on the next. Generation g has
    a loss of 1 / g, and each decision is that the newest serves."""
    kept_on = {batch: kept(range(1, generations + 1), batch, ()) for batch in range(2, generations + 1)}
    blocks = {"variance": 0.5, "sums": np.full(20, 0.1).tobytes(), "counts": np.ones(20).tobytes()}
    cell = {"line": "", "loss_name": "absolute error", "n": 20, "shown": {"rmse": 1.5}} | blocks
    compared = {"line": "", "evidence": "settled", "loss_name": "absolute error", "decides": True, "rows": 20}
    compared |= {"gain": 0.1, "low": 0.05, "high": 0.15, "margin": 0.01, "word": "paid", "rows_needed": None}
    compared |= {"loss": 1.0, "reference_loss": 1.1, "checks": {"wilcoxon_p": 0.01}}
    decided = {"action": "newest", "by": "gate", "because": "the newest serves", "decided_at": AT}
    settled = [(name, batch, number) for name in names for batch, numbers in kept_on.items() for number in numbers]
    own = [(name, number) for name in names for number in range(1, generations + 1)]
    insert(
        run,
        judgings=[
            {"line": "", "batch": batch, "evidence": evidence, "seconds": 0.1, "judged_at": AT}
            for batch in range(1, generations + 1)
            for evidence in ("settled", "provisional")
        ],
        cells=[
            cell
            | {"model": name, "batch": batch, "generation": number, "mean": 1 / number}
            | {"evidence": "provisional" if number == batch else "settled", "trivial": False}
            for name, batch, number in [*settled, *((name, number, number) for name, number in own)]
        ],
        comparisons=[
            compared
            | {"model": name, "generation": number, "against": against, "batch": number + 1}
            | {"reference": None if against == "trivial" else max(1, number - 1)}
            for name, number in own
            for against in ("previous", "champion", "first", "trivial")
        ],
        decisions=[
            decided | {"model": name, "generation": number, "champion": number, "former": number - 1 or None}
            for name, number in own
        ],
    )


def insert(run: Run, **rows: list[dict[str, Any]]) -> None:
    """Put these rows into the catalog's tables of those names, all in one transaction."""
    with run.catalog.engine.begin() as connection:
        for table, values in rows.items():
            if values:
                connection.execute(sa.insert(metadata.tables[table]), values)


def copy_scorers(run: Run) -> None:
    for name in run.pipeline.models:
        path = scorer_path(run, 1, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        text, arrays = scorer_parts("size" if name in COPIES else name, 1.0)
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
