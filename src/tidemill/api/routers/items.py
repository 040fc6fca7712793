"""The items of a recommender, found by their id or by the words of what a side table tells of them."""

from __future__ import annotations

import re
import threading
import unicodedata
from typing import Annotated, Any

import numpy as np
import polars as pl
import pyarrow as pa
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Query
from numpy.typing import NDArray

from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.answers import Json
from tidemill.api.models.registry import Live
from tidemill.api.routers.views import newest_number
from tidemill.scoring.als import AlsScorer, als_scorer

ItemText = Annotated[
    str, Query(max_length=200, description="How the item's id begins, or words of its titles; nothing for all items.")
]
ItemLimit = Annotated[int, Query(ge=1, le=100, description="At most so many items.")]
MOST_WORDS = 8
Which = NDArray[np.bool_]  # (items,)


class Items:
    """The items of one scorer, to be searched. Immutable."""

    def __init__(self, scorer: AlsScorer) -> None:
        self._table = scorer.titles
        self._counts = scorer.rating_counts()
        self._ids = pl.Series([folded(one) for one in scorer.items], dtype=pl.String)
        texts = [scorer.titles.column(name) for name in scorer.titles.column_names]
        told = zip(*(column.to_pylist() for column in texts if pa.types.is_string(column.type)), strict=True)
        self._texts = pl.Series([f" {folded(' '.join(filter(None, row)))}" for row in told], dtype=pl.String)

    def search(self, text: str, limit: int) -> tuple[list[dict[str, Any]], bool]:
        """The best ``limit`` items and whether there are more.

        Found are those whose id begins with the text and those whose texts have each of its words; the first are those
        by id, and those in which each word begins a word; among equals those rated most often, then by id. Of the words
        ``MOST_WORDS`` are looked for, each once.
        """
        found, well = self._found(folded(text)) if text.strip() else (self._each(True), self._each(True))
        places = np.flatnonzero(found)
        order = np.lexsort((-self._counts[places], ~well[places]))[:limit]
        rows: list[dict[str, Any]] = self._table.take(pa.array(places[order])).to_pylist()
        return rows, len(places) > limit

    def _each(self, value: bool) -> Which:
        return np.full(len(self._ids), value)

    def _found(self, text: str) -> tuple[Which, Which]:
        """Which items are found, and which of them well."""
        if not text:
            return self._each(False), self._each(False)
        by_id = self._ids.str.starts_with(text).to_numpy()
        if not len(self._texts):
            return by_id, by_id
        having, beginning = self._each(True), self._each(True)
        for word in list(dict.fromkeys(text.split()))[:MOST_WORDS]:
            having &= self._texts.str.contains(word, literal=True).to_numpy()
            beginning &= self._texts.str.contains(f" {word}", literal=True).to_numpy()
        return by_id | having, by_id | beginning


def folded(text: str) -> str:
    """A text's words without case, accents and punctuation, a space between them."""
    if not text.isascii():
        text = "".join(one for one in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(one))
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


class ItemViews:
    """The items of one recommender's newest generation. What the search needs is made when it is first asked for."""

    def __init__(self, live: Live, model: str, searching: CapacityLimiter) -> None:
        self.live = live
        self.model = model
        self._searching = searching
        self._made: tuple[int, Items] | None = None
        self._making = threading.Lock()

    async def items(self, q: ItemText = "", limit: ItemLimit = 20) -> Json:
        return Json(await to_thread.run_sync(self._search, q, limit, limiter=self._searching))

    def _search(self, text: str, limit: int) -> dict[str, Any]:
        snapshot = self.live.now
        number = newest_number(self.live, snapshot)
        assert snapshot.newest is not None
        found, more = self._items(number, als_scorer(snapshot.newest.scorers[self.model])).search(text, limit)
        return {"model": self.model, "generation": number, "items": found, "more": more}

    def _items(self, number: int, scorer: AlsScorer) -> Items:
        with self._making:
            if self._made is None or self._made[0] != number:
                self._made = (number, Items(scorer))
            return self._made[1]


def add_items(app: FastAPI, live: Live, model: str, searching: CapacityLimiter) -> None:
    """The endpoint of a model that recommends. ``searching``: in whose turns it is searched."""
    app.add_api_route(
        f"/models/{model}/items",
        ItemViews(live, model, searching).items,
        summary="Items by the beginning of their id, or by words of their titles",
        tags=[model],
        responses=openapi.giving(schemas.Items, 422, 503),
        response_class=Json,
    )
