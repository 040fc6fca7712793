"""What a model can be asked for with success: a user and an item, a text, a key of the stream."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from tidemill.api.models.registry import Snapshot
from tidemill.api.rows.batch_rows import page
from tidemill.errors import CatalogError
from tidemill.run.folder import Run
from tidemill.scoring import Scorer
from tidemill.scoring.als import AlsScorer
from tidemill.scoring.base import lowest
from tidemill.scoring.text import TextScorer

MOST_READ = 100


class Examples:
    """Examples that the newest generation knows. Safe to share between threads."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._row: tuple[int, dict[str, Any]] = (0, {})  # of this generation
        self._reading = threading.Lock()

    def of(self, snapshot: Snapshot, model: str) -> dict[str, Any] | None:
        """``{"user", "item"}`` of a recommender, ``{"text"?, "key"?}`` of others; None where there is none."""
        if snapshot.newest is None:
            return None
        scorer = snapshot.newest.scorers[model]
        key = None if isinstance(scorer, AlsScorer) else self.key(snapshot)
        return (known(scorer) | ({} if key is None else {"key": key})) or None

    def ratings(self, snapshot: Snapshot, model: str) -> dict[str, float]:
        """Ratings that a recommender can be asked with; before there is a generation only their form."""
        scorer = snapshot.newest.scorers.get(model) if snapshot.newest else None
        return rated(scorer) if isinstance(scorer, AlsScorer) and scorer.items else {"1": 1.0}

    def key(self, snapshot: Snapshot) -> Any:
        """A key of the newest generation's rows; None where the stream has none, or no row can be read."""
        return self.row(snapshot).get(self.run.pipeline.stream.key or "")

    def row(self, snapshot: Snapshot) -> dict[str, Any]:
        """A row of the newest generation, if there is one a row that lacks nothing; empty where none can be read."""
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
        """A row of a batch; None where it can't be read just now."""
        try:
            batch = self.run.catalog.batch(number)
            if batch is None:
                return None
            rows: list[dict[str, Any]] = page(self.run, batch, 0, MOST_READ).to_pylist()
        except CatalogError:
            return None  # an example is worth no refusal: who asks for the batch itself is told
        return next((row for row in rows if None not in row.values()), rows[0] if rows else {})


def rated(scorer: AlsScorer) -> dict[str, float]:
    """The two items that have the most ratings, the one with the best rating of the scale and the other with the worst;
    1 for both where the model has no scale."""
    most = lowest(-scorer.rating_counts().astype(np.float64), 2)
    best, worst = (scorer.scale.maximum, scorer.scale.minimum) if scorer.scale else (1.0, 1.0)
    items = [str(scorer.titles[0][int(place)].as_py()) for place in most]
    return dict(zip(items, (best, worst), strict=False))  # there may be a single item


def known(scorer: Scorer) -> dict[str, Any]:
    """What the scorer itself knows."""
    if isinstance(scorer, AlsScorer) and scorer.users and scorer.items:
        item = scorer.titles[0][int(scorer.rating_counts().argmax())].as_py()
        return {"user": next(iter(scorer.users)), "item": str(item)}
    if isinstance(scorer, TextScorer) and scorer.features[0].example is not None:
        return {"text": scorer.features[0].example}
    return {}
