"""What did not fit, read from the rejects files. Which files there are is the catalog's word, never a client's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.api.inputs import shown
from tidemill.api.models.registry import Snapshot
from tidemill.api.rows.reject_lines import RejectLines
from tidemill.errors import CatalogError, NotFound, did_you_mean
from tidemill.run.folder import Run

MOST_PLACES = 1000  # batches that are listed, the newest
MOST_REASONS = 50
MOST_TEXT = 500
SHOWN = ("reason", "file", "line", "partition", "offset", "text")
SOURCE, TAIL, TABLE = "source", "tail", "table-"
BATCH = re.compile(r"batch-(\d{5,9})")


@dataclass(frozen=True)
class Place:
    """Where rejects are kept: its name, how many they are, and their file."""

    name: str
    rejected: int
    path: Path


def overview(run: Run, snapshot: Snapshot) -> dict[str, Any]:
    """How many rows did not fit, of the stream and of its side tables, and where."""
    listed = list(places(run, snapshot))
    in_tables = sum(one.rejected for one in listed if one.name.startswith(TABLE))
    return {
        "rejected": snapshot.counts.rejected + in_tables,
        "places": [{"place": one.name, "rejected": one.rejected} for one in listed],
    }


def places(run: Run, snapshot: Snapshot) -> Iterator[Place]:
    """Every place that has rejects, the batches last; of these the newest ``MOST_PLACES``, in order."""
    yield from (place for place in fixed(run, snapshot) if place.rejected)
    for number, rejected, path in run.catalog.batches_with_rejects(MOST_PLACES):
        yield of_batch(run, number, rejected, path)


def fixed(run: Run, snapshot: Snapshot) -> list[Place]:
    """The places that are there whether or not they have rejects."""
    tables = {name: table.rejected for name, table in run.catalog.side_tables().items()}
    return [
        Place(SOURCE, snapshot.counts.source_rejected, run.rejects / "source.jsonl"),
        *(
            Place(f"{TABLE}{name}", tables.get(name, 0), run.rejects / f"table-{name}.jsonl")
            for name in run.pipeline.tables
        ),
        Place(TAIL, run.catalog.rejected_after_last(), run.rejects / "tail.jsonl"),
    ]


def of_batch(run: Run, number: int, rejected: int, path: str | None) -> Place:
    name = f"batch-{number:05}"
    return Place(name, rejected, run.folder / path if path else run.rejects / f"{name}.jsonl")


def find(run: Run, snapshot: Snapshot, name: str) -> Place:
    """The place of this name.

    Raises:
        NotFound: there is none.
    """
    known = {place.name: place for place in fixed(run, snapshot)}
    if name in known:
        return known[name]
    match = BATCH.fullmatch(name)
    batch = run.catalog.batch(int(match[1])) if match else None
    if batch is None:
        raise NotFound(f"there are no rejects of {shown(name)}", did_you_mean(name, [*known, "batch-00001"]))
    return of_batch(run, batch.batch, batch.rejected, batch.rejects_path)


def some(place: Place, lines: RejectLines, offset: int, limit: int) -> dict[str, Any]:
    """Some rejects of a place, and how often each reason occurs among the first ones.

    Of a file that grows there are as many as the catalog counts, as far as they are written.

    Raises:
        CatalogError: its file is missing or damaged.
    """
    items, counted = read(place, lines, offset, limit)
    return {
        "place": place.name,
        "rejected": place.rejected,
        "offset": offset,
        "items": [item(one) for one in items],
        "reasons": [{"reason": reason, "count": count} for reason, count in counted.most_common(MOST_REASONS)],
        "counted": counted.total(),
    }


def read(place: Place, lines: RejectLines, offset: int, limit: int) -> tuple[list[dict[str, Any]], Counter[str]]:
    try:
        with place.path.open("rb") as file:
            items = lines.page(file, offset, limit) if offset < place.rejected else []
            return items, lines.reasons(file)
    except FileNotFoundError as error:
        if place.rejected and place.name != SOURCE:  # which a producer that begins again writes anew
            raise unreadable(place) from error
        return [], Counter()
    except (OSError, ValueError, TypeError) as error:  # no JSON, or no object
        raise unreadable(place) from error


def unreadable(place: Place) -> CatalogError:
    return CatalogError(
        f"the rejects of {place.name} can't be read: {place.path.name} is missing or damaged",
        "the sealed rows are whole all the same; put the file back as it was",
    )


def item(reject: dict[str, Any]) -> dict[str, Any]:
    told = {part: reject[part] for part in SHOWN if reject.get(part) is not None}
    return told | {"text": str(told.get("text", ""))[:MOST_TEXT]}
