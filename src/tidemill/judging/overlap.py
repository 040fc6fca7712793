"""How much the answers of a model of similar rows or texts change from one generation to the next.

There is no truth to compare such models with, so nothing here says which generation is better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tidemill.run.batch_tables import evenly
from tidemill.scoring.als import Places
from tidemill.scoring.base import Scorer
from tidemill.scoring.neighbours import NeighboursScorer
from tidemill.scoring.text import TextScorer

TOP = 10
MOST_QUERIES = 100
MOST_ROWS = 5_000  # that are searched

Search = Callable[[int], Places]
"""Gives up to ``TOP`` rows that are most similar to the row at an index, without that row."""


class Overlap(NamedTuple):
    """The mean share of rows that two models have in common among their ``TOP`` most similar ones, and the number of
    rows asked; None where no row could be asked."""

    share: float | None
    queries: int


def overlap_at_10(now: Scorer, before: Scorer, table: pa.Table) -> Overlap:
    """How much the 10 rows that two models find most similar to a row are the same, over up to 100 rows of the table.

    Both search the same rows: of up to 5,000 spread evenly over the table those that have every feature of both models.
    The rows asked are spread evenly over these. A row to which neither model finds any similar one is not counted.
    Where one finds fewer rows than the other, the share is of the longer list.

    Raises:
        TypeError: a model does not search rows.
    """
    names = list(dict.fromkeys(feature.column for scorer in (now, before) for feature in scorer.features))
    rows = table.select(names).take(evenly(MOST_ROWS, len(table))).drop_null()
    searches = [search_of(scorer, rows) for scorer in (now, before)]
    shares = [share_of(*(search(row) for search in searches)) for row in evenly(MOST_QUERIES, len(rows)).tolist()]
    counted = [share for share in shares if share is not None]
    return Overlap(float(np.mean(counted)) if counted else None, len(counted))


def share_of(ours: Places, theirs: Places) -> float | None:
    """The share of rows in both lists, of the longer list; None where both are empty."""
    longest = max(len(ours), len(theirs))
    return len(np.intersect1d(ours, theirs)) / longest if longest else None


def search_of(scorer: Scorer, rows: pa.Table) -> Search:
    """How the scorer searches these rows, all of which have its features.

    Raises:
        TypeError: the scorer does not search rows.
    """
    if isinstance(scorer, NeighboursScorer):
        return neighbour_search(scorer, rows)
    if isinstance(scorer, TextScorer):
        return text_search(scorer, rows)
    raise TypeError(f"{scorer.model}, a {scorer.estimator}, does not search for similar rows")


def neighbour_search(scorer: NeighboursScorer, rows: pa.Table) -> Search:
    """A search by the distance of features. A row at a distance that no 64-bit float holds is not found."""
    with np.errstate(over="ignore", invalid="ignore"):  # enormous numbers
        encoded, _ = scorer.encoder.table(rows)
        hashes = scorer.hashes(encoded)
    index = scorer.searched(encoded, hashes)

    def search(row: int) -> Places:
        own = slice(row, row + 1)
        query = encoded.take(own)
        with np.errstate(over="ignore", invalid="ignore"):  # enormous numbers
            nearest = index.nearest(query, hashes[own], TOP + 1)
        return without(nearest.places[np.isfinite(nearest.distances)], row)

    return search


def text_search(scorer: TextScorer, rows: pa.Table) -> Search:
    """A search by the words in common."""
    index, _ = scorer.index(rows)
    texts = rows[scorer.column]
    return lambda row: without(index.similar(texts[row].as_py(), TOP + 1).places, row)


def without(places: Places, row: int) -> Places:
    """The first ``TOP`` of the rows that are another one."""
    others: Places = places[places != row][:TOP]
    return others
