"""Rejected rows, read from the rejects files. The catalog says which files there are, never a client."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tidemill import schemas
from tidemill.api.models.snapshot import Snapshot
from tidemill.api.rows.reject_lines import RejectLines, newest
from tidemill.api.values import shown
from tidemill.errors import CatalogError, NotFound
from tidemill.run.folder import Run
from tidemill.run.integrity import refuse_removed_batch
from tidemill.texts import did_you_mean

MAX_BATCHES = 1000  # listed, the newest
MAX_REASONS = 50
MAX_TEXT = 500
SOURCE, TAIL, TABLE = "source", "tail", "table-"
BATCH = re.compile(r"batch-(\d{5,9})")


@dataclass(frozen=True)
class RejectsFile:
    """The rejects of one place: the place's name, how many they are, and their file."""

    name: str
    rejected: int
    path: Path


def overview(run: Run, snapshot: Snapshot) -> schemas.RejectPlaces:
    """How many rows of the stream and of its side tables were rejected, and where."""
    files = list(files_with_rejects(run, snapshot))
    in_tables = sum(file.rejected for file in files if file.name.startswith(TABLE))
    return schemas.RejectPlaces(
        rejected=snapshot.counts.rejected + in_tables,
        places=[schemas.RejectPlace(place=file.name, rejected=file.rejected) for file in files],
    )


def files_with_rejects(run: Run, snapshot: Snapshot) -> Iterator[RejectsFile]:
    """Every place that has rejects; last the newest ``MAX_BATCHES`` batches, in order."""
    yield from (file for file in fixed_files(run, snapshot) if file.rejected)
    for number, rejected, path in run.catalog.batches_with_rejects(MAX_BATCHES):
        yield batch_file(run, number, rejected, path)


def fixed_files(run: Run, snapshot: Snapshot) -> list[RejectsFile]:
    """The places that exist whether or not they have rejects."""
    tables = {name: table.rejected for name, table in run.catalog.side_tables().items()}
    return [
        RejectsFile(SOURCE, snapshot.counts.source_rejected, run.rejects / "source.jsonl"),
        *(
            RejectsFile(f"{TABLE}{name}", tables.get(name, 0), run.rejects / f"table-{name}.jsonl")
            for name in run.pipeline.tables
        ),
        RejectsFile(TAIL, run.catalog.rejected_after_last(), run.rejects / "tail.jsonl"),
    ]


def batch_file(run: Run, number: int, rejected: int, path: str | None) -> RejectsFile:
    name = f"batch-{number:05}"
    return RejectsFile(name, rejected, run.folder / path if path else run.rejects / f"{name}.jsonl")


def find(run: Run, snapshot: Snapshot, name: str) -> RejectsFile:
    """The rejects of the place with this name.

    Raises:
        NotFound: there is no such place.
        Gone: its batch's files were removed.
    """
    known = {file.name: file for file in fixed_files(run, snapshot)}
    if name in known:
        return known[name]
    match = BATCH.fullmatch(name)
    batch = run.catalog.batch(int(match[1])) if match else None
    if batch is None:
        raise NotFound(f"there are no rejects of {shown(name)}", did_you_mean(name, [*known, "batch-00001"]))
    if batch.removed_at:
        refuse_removed_batch(run, batch.batch)
    return batch_file(run, batch.batch, batch.rejected, batch.rejects_path)


def page(file: RejectsFile, lines: RejectLines, offset: int, limit: int) -> schemas.RejectsBody:
    """Some rejects of a place, and how often each reason occurs among the first ones.

    ``rejected`` is the catalog's count; of a file that is still growing only the lines already written are answered.

    Raises:
        CatalogError: the file is missing or damaged.
    """
    items, reasons = read(file, lines, offset, limit)
    return schemas.RejectsBody(
        place=file.name,
        rejected=file.rejected,
        offset=offset,
        items=items,
        reasons=[schemas.ReasonCount(reason=reason, count=count) for reason, count in reasons.most_common(MAX_REASONS)],
        counted=reasons.total(),
    )


def newest_rejects(file: RejectsFile) -> list[dict[str, Any]]:
    """The newest rejects of a place, the last one first.

    Raises:
        CatalogError: the file is missing or damaged.
    """
    with reading(file) as opened:
        return newest(opened) if opened else []


@contextmanager
def reading(file: RejectsFile) -> Iterator[BinaryIO | None]:
    """Open a file of rejects; None where it isn't there and need not be.

    Raises:
        CatalogError: it is missing or damaged.
    """
    try:
        with file.path.open("rb") as opened:
            yield opened
    except FileNotFoundError as error:
        if file.rejected and file.name != SOURCE:  # a producer that starts over writes the source's file again
            raise unreadable(file) from error
        yield None
    except (OSError, ValueError, TypeError) as error:  # a line is not JSON, not an object, or not a reject
        raise unreadable(file) from error


def read(
    file: RejectsFile, lines: RejectLines, offset: int, limit: int
) -> tuple[list[schemas.RejectBody], Counter[str]]:
    with reading(file) as opened:
        if opened is None:
            return [], Counter()
        rejects = lines.page(opened, offset, limit) if offset < file.rejected else []
        return [reject_body(reject) for reject in rejects], lines.reasons(opened)


def unreadable(file: RejectsFile) -> CatalogError:
    return CatalogError(
        f"the rejects of {file.name} can't be read: {file.path.name} is missing or damaged",
        "the sealed rows are complete all the same; put the file back as it was",
    )


def reject_body(reject: dict[str, Any]) -> schemas.RejectBody:
    """
    Raises:
        ValueError: a value is of the wrong type.
    """
    known = {key: reject[key] for key in schemas.RejectBody.model_fields if reject.get(key) is not None}
    return schemas.RejectBody.model_validate(known | {"text": str(known.get("text", ""))[:MAX_TEXT]})
