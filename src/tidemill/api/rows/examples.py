"""Example values that a model can answer: a user and an item, a text, a key of the stream."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from tidemill.api.models.cache import SharedCache
from tidemill.api.models.snapshot import Snapshot
from tidemill.api.rows.batch_rows import page
from tidemill.errors import CatalogError, Gone
from tidemill.run.folder import Run
from tidemill.scoring import Scorer
from tidemill.scoring.als import AlsScorer
from tidemill.scoring.base import lowest
from tidemill.scoring.text import TextScorer

MAX_READ = 100
MAX_ROWS = 32  # cached: one of each generation that serves


class Examples:
    """Examples that the generations which serve can answer. Safe to share between threads."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._rows: SharedCache[int, dict[str, Any]] = SharedCache(MAX_ROWS)  # by the batch
        self._reading = threading.Lock()

    def of(self, snapshot: Snapshot, model: str) -> dict[str, Any] | None:
        """``{"user", "item"}`` for a recommender, ``{"text"?, "key"?}`` for others; None if there is no example."""
        scorer = snapshot.champion_scorer(model)
        if scorer is None:
            return None
        key = None if isinstance(scorer, AlsScorer) else self.key(snapshot, model)
        return (scorer_example(scorer) | ({} if key is None else {"key": key})) or None

    def ratings(self, snapshot: Snapshot, model: str) -> dict[str, float]:
        """Ratings for a request for recommendations; only their form before there is a generation."""
        scorer = snapshot.champion_scorer(model)
        return example_ratings(scorer) if isinstance(scorer, AlsScorer) and scorer.items else {"1": 1.0}

    def key(self, snapshot: Snapshot, model: str | None = None) -> Any:
        """A key of the rows of a model's champion, or of the newest generation; None if the stream has no key, or no
        row can be read."""
        return self.row(snapshot, model).get(self.run.pipeline.key or "")

    def row(self, snapshot: Snapshot, model: str | None = None) -> dict[str, Any]:
        """A row of a model's champion, or of the newest generation, preferably one without missing values; empty if
        none can be read."""
        generation = snapshot.newest if model is None else snapshot.champion(model)
        if generation is None or not generation.record.batches:
            return {}
        batch = generation.record.batches[-1]
        with self._reading:
            row = self._rows.peek(batch)
            if row is None:
                row = self._read(batch)
                if row is None:
                    return {}
                self._rows[batch] = row
            return row

    def _read(self, number: int) -> dict[str, Any] | None:
        """A row of a batch; None if it can't be read at the moment."""
        try:
            batch = self.run.catalog.batch(number)
            if batch is None:
                return None
            rows: list[dict[str, Any]] = page(self.run, batch, 0, MAX_READ).to_pylist()
        except (CatalogError, Gone):
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
