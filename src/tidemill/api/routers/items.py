"""Endpoint: the items of a recommender, found by their id or by words of the side table that describes them."""

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
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import naming, resolve_generation
from tidemill.api.models.registry import ModelRegistry
from tidemill.run.catalog import GenerationRef
from tidemill.scoring.als import AlsScorer, als_scorer
from tidemill.scoring.words import word_pattern

ItemText = Annotated[
    str, Query(max_length=200, description="How the item's id begins, or words of its titles; nothing for all items.")
]
ItemLimit = Annotated[int, Query(ge=1, le=100, description="At most this many items.")]
MAX_WORDS = 8
Mask = NDArray[np.bool_]  # (items,)


def add_routes(app: FastAPI, context: RouteContext) -> None:
    """The endpoint of every model that recommends."""
    for name in context.models_of("recommendation"):
        app.add_api_route(
            f"/models/{name}/items",
            ItemEndpoints(context.registry, name, context.file_limiter).items,
            summary="Items by the beginning of their id, or by words of their titles",
            tags=[name],
            responses=openapi.giving(schemas.Items, 404, 422, 503),
            response_class=Json,
        )


class ItemSearch:
    """A search of one scorer's items. Immutable."""

    def __init__(self, scorer: AlsScorer) -> None:
        self._table = scorer.titles
        self._counts = scorer.rating_counts()
        self._ids = pl.Series([normalized(item) for item in scorer.items], dtype=pl.String)
        columns = [scorer.titles.column(name) for name in scorer.titles.column_names]
        rows = zip(*(column.to_pylist() for column in columns if pa.types.is_string(column.type)), strict=True)
        self._texts = pl.Series([f" {normalized(' '.join(filter(None, row)))}" for row in rows], dtype=pl.String)

    def search(self, text: str, limit: int) -> tuple[list[dict[str, Any]], bool]:
        """The best ``limit`` items, and whether there are more.

        An item matches if its id begins with the text, or if its texts contain each of the first ``MAX_WORDS``
        different words. First come matches by id and those in which each word begins a word; equal matches are ordered
        by their number of ratings, then by id.
        """
        matching, better = self._match(normalized(text)) if text.strip() else (self._all(True), self._all(True))
        indices = np.flatnonzero(matching)
        order = np.lexsort((-self._counts[indices], ~better[indices]))[:limit]
        rows: list[dict[str, Any]] = self._table.take(pa.array(indices[order])).to_pylist()
        return rows, len(indices) > limit

    def _all(self, value: bool) -> Mask:
        return np.full(len(self._ids), value)

    def _match(self, text: str) -> tuple[Mask, Mask]:
        """Which items match, and which of them match better than the others."""
        if not text:
            return self._all(False), self._all(False)
        by_id = self._ids.str.starts_with(text).to_numpy()
        if not len(self._texts):
            return by_id, by_id
        containing, beginning = self._all(True), self._all(True)
        for word in list(dict.fromkeys(text.split()))[:MAX_WORDS]:
            containing &= self._texts.str.contains(word, literal=True).to_numpy()
            beginning &= self._texts.str.contains(f" {word}", literal=True).to_numpy()
        return by_id | containing, by_id | beginning


def normalized(text: str) -> str:
    """A text's words without case, accents and punctuation, separated by one space. Vowel signs belong to words."""
    if text.isascii():
        return re.sub(r"[\W_]+", " ", text.lower()).strip()
    letters = (char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))
    return " ".join(match[0] for match in word_pattern().finditer("".join(letters).replace("_", " ")))


class ItemEndpoints:
    """Searches the items of a recommender's champion. The search is built on the first request for it."""

    def __init__(self, registry: ModelRegistry, model: str, limiter: CapacityLimiter) -> None:
        self.registry = registry
        self.model = model
        self._limiter = limiter
        self._built: tuple[GenerationRef, ItemSearch] | None = None
        self._building = threading.Lock()

    async def items(self, q: ItemText = "", limit: ItemLimit = 20) -> Json:
        snapshot, ref = resolve_generation(self.registry, None, self.model)
        scorer = als_scorer(await self.registry.scorer(snapshot, ref, self.model))
        return Json(await to_thread.run_sync(self._search, ref, scorer, q, limit, limiter=self._limiter))

    def _search(self, ref: GenerationRef, scorer: AlsScorer, text: str, limit: int) -> schemas.Items:
        search = self._item_search(ref, scorer)
        items, more = search.search(text, limit)
        return schemas.Items.model_validate({"model": self.model, **naming(ref), "items": items, "more": more})

    def _item_search(self, ref: GenerationRef, scorer: AlsScorer) -> ItemSearch:
        with self._building:
            if self._built is None or self._built[0] != ref:
                self._built = (ref, ItemSearch(scorer))
            return self._built[1]
