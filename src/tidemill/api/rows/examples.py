"""Example values that a model can answer: a user and an item, a text, a key of the stream."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from tidemill.api.models.snapshot import Snapshot
from tidemill.api.rows.batch_rows import page
from tidemill.errors import CatalogError
from tidemill.run.folder import Run
from tidemill.scoring import Scorer
from tidemill.scoring.als import AlsScorer
from tidemill.scoring.base import lowest
from tidemill.scoring.text import TextScorer

MAX_READ = 100


class Examples:
    """Examples from the newest generation. Safe to share between threads."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._row: tuple[int, dict[str, Any]] = (0, {})  # and the generation it is from
        self._reading = threading.Lock()

    def of(self, snapshot: Snapshot, model: str) -> dict[str, Any] | None:
        """``{"user", "item"}`` for a recommender, ``{"text"?, "key"?}`` for others; None if there is no example."""
        if snapshot.newest is None:
            return None
        scorer = snapshot.newest.scorers[model]
        key = None if isinstance(scorer, AlsScorer) else self.key(snapshot)
        return (scorer_example(scorer) | ({} if key is None else {"key": key})) or None

    def ratings(self, snapshot: Snapshot, model: str) -> dict[str, float]:
        """Ratings for a request for recommendations; only their form before there is a generation."""
        scorer = snapshot.newest.scorers.get(model) if snapshot.newest else None
        return example_ratings(scorer) if isinstance(scorer, AlsScorer) and scorer.items else {"1": 1.0}

    def key(self, snapshot: Snapshot) -> Any:
        """A key of the newest generation's rows; None if the stream has no key, or no row can be read."""
        return self.row(snapshot).get(self.run.pipeline.stream.key or "")

    def row(self, snapshot: Snapshot) -> dict[str, Any]:
        """A row of the newest generation, preferably one without missing values; empty if none can be read."""
        newest = snapshot.newest
        if newest is None or not newest.record.batches:
            return {}
        with self._reading:
            if self._row[0] != newest.number:
                row = self._read(newest.record.batches[-1])
                if row is None:
                    return {}
                self._row = (newest.number, row)
            return self._row[1]

    def _read(self, number: int) -> dict[str, Any] | None:
        """A row of a batch; None if it can't be read at the moment."""
        try:
            batch = self.run.catalog.batch(number)
            if batch is None:
                return None
            rows: list[dict[str, Any]] = page(self.run, batch, 0, MAX_READ).to_pylist()
        except CatalogError:
            return None  # it must not fail a request for other data; requests for the batch's rows report it
        return next((row for row in rows if None not in row.values()), rows[0] if rows else {})


def example_ratings(scorer: AlsScorer) -> dict[str, float]:
    """The two most rated items: the best rating of the scale for one, the worst for the other; 1 without a scale."""
    most = lowest(-scorer.rating_counts().astype(np.float64), 2)
    best, worst = (scorer.scale.maximum, scorer.scale.minimum) if scorer.scale else (1.0, 1.0)
    items = [str(scorer.titles[0][int(index)].as_py()) for index in most]
    return dict(zip(items, (best, worst), strict=False))  # there may be a single item


def scorer_example(scorer: Scorer) -> dict[str, Any]:
    """The example values that the scorer itself holds."""
    if isinstance(scorer, AlsScorer) and scorer.users and scorer.items:
        item = scorer.titles[0][int(scorer.rating_counts().argmax())].as_py()
        return {"user": next(iter(scorer.users)), "item": str(item)}
    if isinstance(scorer, TextScorer) and scorer.features[0].example is not None:
        return {"text": scorer.features[0].example}
    return {}
