"""What a model can be asked for with success: a user and an item, a text, a key of the stream."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from tidemill.errors import CatalogError
from tidemill.run import Run
from tidemill.scoring import Scorer
from tidemill.scoring.als import AlsScorer
from tidemill.scoring.text import TextScorer
from tidemill.serving.batch_rows import chosen
from tidemill.serving.live import Snapshot


class Examples:
    """Examples that the newest generation knows. Safe to share between threads."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._key: tuple[int, Any] = (0, None)  # of this generation
        self._reading = threading.Lock()

    def of(self, snapshot: Snapshot, model: str) -> dict[str, Any] | None:
        """``{"user", "item"}`` of a recommender, ``{"text"?, "key"?}`` of others; None where there is none."""
        if snapshot.newest is None:
            return None
        scorer = snapshot.newest.scorers[model]
        key = None if isinstance(scorer, AlsScorer) else self.key(snapshot)
        return (known(scorer) | ({} if key is None else {"key": key})) or None

    def key(self, snapshot: Snapshot) -> Any:
        """A key of the newest generation's rows; None where the stream has none, or its row has none."""
        name, newest = self.run.pipeline.stream.key, snapshot.newest
        if name is None or newest is None or not newest.record.batches:
            return None
        with self._reading:
            if self._key[0] != newest.number:
                self._key = (newest.number, self._first(newest.record.batches[-1], name))
            return self._key[1]

    def _first(self, number: int, name: str) -> Any:
        batch = self.run.catalog.batch(number)
        if batch is None:
            return None
        try:
            return chosen(self.run, batch, np.zeros(1, np.int64), [name])[name][0].as_py()
        except CatalogError:
            return None  # an example is worth no refusal: who asks for the batch itself is told


def known(scorer: Scorer) -> dict[str, Any]:
    """What the scorer itself knows."""
    if isinstance(scorer, AlsScorer) and scorer.users and scorer.items:
        item = scorer.titles[0][int(scorer.rating_counts().argmax())].as_py()
        return {"user": next(iter(scorer.users)), "item": str(item)}
    if isinstance(scorer, TextScorer) and scorer.features[0].example is not None:
        return {"text": scorer.features[0].example}
    return {}
