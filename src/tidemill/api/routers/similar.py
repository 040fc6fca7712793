"""Rows of the stream like another one, over HTTP: the nearest by their features, or the most alike by their words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from anyio import to_thread
from fastapi import FastAPI, Path, Query, Request
from numpy.typing import NDArray

from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.answers import Json
from tidemill.api.inputs import Inputs, shown
from tidemill.api.models.registry import Live, Served
from tidemill.api.paging import DEFAULT_TOP, MOST_TOP, checked_top, read_object
from tidemill.api.routers.predict import read_body
from tidemill.api.routers.views import ChosenGeneration, newest_number
from tidemill.api.rows.generation_rows import GenerationRows
from tidemill.api.rows.lookup import key_value
from tidemill.errors import FeatureError, NotFound
from tidemill.pipeline import Column
from tidemill.scoring.neighbours import Neighbours, NeighboursScorer
from tidemill.scoring.storage import Array
from tidemill.scoring.text import Texts, TextScorer

Top = Annotated[int, Query(ge=1, le=MOST_TOP, description="At most so many rows.")]
Key = Annotated[str, Path(min_length=1, description="The value of the stream's key column.")]
Text = Annotated[str, Query(description="Words, in any order; plurals count as singulars.")]
Row = Mapping[str, Any]


class Found(NamedTuple):
    """Rows by their places in a generation's table, the best first, with ``values`` (n,), which are called ``measure``
    in the answer; what of the request is not known; and for neighbours how far was searched."""

    places: NDArray[np.intp]
    measure: str
    values: Array
    unknown: list[str]
    probe: str | None = None


@dataclass(frozen=True)
class NearRows:
    """The rows of a generation, searched by their features."""

    scorer: NeighboursScorer
    table: pa.Table
    places: NDArray[np.intp]
    index: Neighbours

    def like(self, row: Row, top: int) -> Found:
        """The nearest rows; none that is further off than a number of 64 bits can say.

        Raises:
            FeatureError: every row is.
        """
        encoded = self.scorer.encoder.encode([row])
        with np.errstate(over="ignore", invalid="ignore"):
            near = self.index.nearest(encoded, self.scorer.hashes(encoded), top)
        told = np.isfinite(near.distances)
        if len(self.places) and not told.any():
            raise FeatureError("the row is too far from every other to say how far", "give numbers that can be squared")
        unknown = [row[name] for name in self.scorer.unseen(encoded)]
        return Found(self.places[near.places[told]], "distance", near.distances[told], unknown, near.probe)


@dataclass(frozen=True)
class AlikeRows:
    """The rows of a generation, searched by their words."""

    scorer: TextScorer
    table: pa.Table
    places: NDArray[np.intp]
    index: Texts

    def like(self, row: Row, top: int) -> Found:
        alike = self.index.similar(row[self.scorer.column], top)
        return Found(self.places[alike.places], "similarity", alike.similarities, alike.unknown)


Searched = NearRows | AlikeRows


def searched(scorer: NeighboursScorer | TextScorer, table: pa.Table, key: str | None) -> Searched:
    """A generation's rows, to be searched: of those with the same key only the newest, and none that lacks a feature.

    The rows stay in ``table``; beside it there is only what the search needs of them.
    """
    places = newest_of_key(table[key]) if key else np.arange(len(table))
    columns = table.select([feature.name for feature in scorer.features])
    columns = columns if len(places) == len(table) else columns.take(places)
    if isinstance(scorer, TextScorer):
        texts, whole = scorer.index(columns)
        return AlikeRows(scorer, table, places[whole], texts)
    rows, whole = scorer.index(columns)
    return NearRows(scorer, table, places[whole], rows)


def newest_of_key(keys: pa.ChunkedArray) -> NDArray[np.intp]:
    """The places of the last row of each key, in order; every row without a key is one of its own."""
    column = pl.Series(keys)
    return (column.is_last_distinct() | column.is_null()).arg_true().to_numpy().astype(np.intp)


class SimilarRows:
    """Finds rows by one model. Every answer names the model and the generation; ``generation`` None is the newest.

    An answer is ``{"model", "generation", "items", "unknown"}``. An item is ``{"distance", "row"}`` of a model of
    neighbours, whose answers also say how far was searched (``probe``), or ``{"similarity", "row"}`` of one of texts.
    """

    def __init__(self, live: Live, model: str, inputs: Inputs, rows: GenerationRows) -> None:
        self.live = live
        self.model = model
        self.inputs = inputs
        self.rows = rows
        self._key = key_column(live)
        self._name = f"similar rows of {model}"
        live.prepare(self._name, self._made)

    async def by_row(self, generation: int | None, row: Row, top: int) -> dict[str, Any]:
        """The rows most like this one, given by its features.

        Raises:
            FeatureError: a feature is missing or of the wrong type, or ``top`` is out of range.
            NotFound, NotReady: there is no such generation.
        """
        checked = self.inputs.row(row)
        number, rows = await self._searched(generation)
        return await to_thread.run_sync(self._answer, number, rows, checked, checked_top(top))

    async def by_text(self, generation: int | None, text: str, top: int) -> dict[str, Any]:
        """The rows whose text has most in common with this one.

        Raises:
            FeatureError: the model does not compare texts, or ``top`` is out of range.
            NotFound, NotReady: there is no such generation.
        """
        number, rows = await self._searched(generation)
        if not isinstance(rows, AlikeRows):
            raise FeatureError(f"{self.model} does not compare texts", "give a row, or the key of one")
        return await to_thread.run_sync(self._answer, number, rows, {rows.scorer.column: text}, checked_top(top))

    async def by_key(self, generation: int | None, key: str, top: int) -> dict[str, Any]:
        """The rows most like the newest one with this key, itself left out; the answer names the key too.

        Raises:
            FeatureError: ``top`` is out of range.
            ParameterError: the key is not of its column's type.
            NotFound, NotReady: there is no such row, or no such generation.
        """
        number, rows = await self._searched(generation)
        return await to_thread.run_sync(self._by_key, number, rows, key, checked_top(top))

    async def _searched(self, generation: int | None) -> tuple[int, Searched]:
        snapshot = self.live.now
        number = generation or newest_number(self.live, snapshot)
        await to_thread.run_sync(self.live.trained, snapshot, number, self.model)
        rows: Searched = await self.live.extra(snapshot, number, self._name)
        return number, rows

    def _made(self, served: Served) -> Searched | None:
        """Before a generation takes requests. It has no such model if it was trained before that was declared."""
        scorer = served.scorers.get(self.model)
        if scorer is None:
            return None
        assert isinstance(scorer, NeighboursScorer | TextScorer)
        return searched(scorer, self.rows.of(served.record), self._key.name if self._key else None)

    def _by_key(self, number: int, rows: Searched, key: str, top: int) -> dict[str, Any]:
        place = self._place(number, rows, key)
        found = rows.like(row_at(rows.table, place), top + 1)
        others = np.flatnonzero(found.places != place)[:top]
        answer = self._document(number, rows, found._replace(places=found.places[others], values=found.values[others]))
        return answer | {"key": key}

    def _place(self, number: int, rows: Searched, key: str) -> int:
        """Where the newest row with this key stands."""
        if self._key is None:
            raise NotFound("the rows of this stream have no key", "declare one in the pipeline file: [stream] key")
        column = rows.table[self._key.name]
        value = pa.scalar(key_value(self._key, key), column.type)
        places = pc.indices_nonzero(pc.equal(column, value))
        if not len(places):
            hint = "the row was not streamed by then, or is in another generation"
            raise NotFound(f"no row with {self._key.name} {shown(key)} in generation {number}", hint)
        place = int(places[-1].as_py())
        if not np.isin(place, rows.places):
            lacking = f"the newest row with {self._key.name} {shown(key)} lacks a value that {self.model} looks at"
            raise NotFound(lacking, f"POST a row to /models/{self.model}/similar")
        return place

    def _answer(self, number: int, rows: Searched, row: Row, top: int) -> dict[str, Any]:
        return self._document(number, rows, rows.like(row, top))

    def _document(self, number: int, rows: Searched, found: Found) -> dict[str, Any]:
        plain = rows.table.take(found.places).to_pylist()
        items = [{found.measure: value, "row": row} for value, row in zip(found.values.tolist(), plain, strict=True)]
        probe = {"probe": found.probe} if found.probe else {}
        return {"model": self.model, "generation": number, "items": items, "unknown": found.unknown} | probe


def key_column(live: Live) -> Column | None:
    """The column that the stream is keyed by."""
    pipeline = live.run.pipeline
    return next((column for column in pipeline.source.schema_ if column.name == pipeline.stream.key), None)


def row_at(table: pa.Table, place: int) -> dict[str, Any]:
    row: dict[str, Any] = table.slice(place, 1).to_pylist()[0]
    return row


class SimilarViews:
    """The endpoints of one model that finds rows."""

    def __init__(self, similar: SimilarRows) -> None:
        self.similar = similar

    async def by_row(self, request: Request, generation: ChosenGeneration = None) -> Json:
        document = read_object(await read_body(request), ("row", "top"), ROW_HINT)
        row = document["row"]
        if not isinstance(row, dict):
            raise FeatureError(f"row is {shown(row)}, not a JSON object", ROW_HINT)
        return Json(await self.similar.by_row(generation, row, document.get("top", DEFAULT_TOP)))

    async def by_text(self, request: Request, generation: ChosenGeneration = None) -> Json:
        document = read_object(await read_body(request), ("text", "top"), TEXT_HINT)
        text = document["text"]
        if not isinstance(text, str):
            raise FeatureError(f"text is {shown(text)}, not a string", TEXT_HINT)
        return Json(await self.similar.by_text(generation, text, document.get("top", DEFAULT_TOP)))

    async def by_words(self, text: Text, top: Top = DEFAULT_TOP, generation: ChosenGeneration = None) -> Json:
        return Json(await self.similar.by_text(generation, text, top))

    async def by_key(self, key: Key, top: Top = DEFAULT_TOP, generation: ChosenGeneration = None) -> Json:
        return Json(await self.similar.by_key(generation, key, top))


ROW_HINT = 'send {"row": {feature: value, ...}, "top": 10}'
TEXT_HINT = 'send {"text": "words", "top": 10}'


def add_similar(app: FastAPI, similar: SimilarRows, kind: str) -> None:
    """The endpoints of a model that finds rows; ``kind``: neighbours or text."""
    model, views, base = similar.model, SimilarViews(similar), f"/models/{similar.model}/similar"
    described: dict[str, Any] = {"tags": [model], "response_class": Json}
    shape = schemas.AlikeRows if kind == "text" else schemas.NearRows
    app.add_api_route(
        base,
        views.by_text if kind == "text" else views.by_row,
        methods=["POST"],
        summary="The rows most like this text" if kind == "text" else "The rows most like this one",
        responses=openapi.giving(shape, 400, 404, 413, 422, 503),
        openapi_extra=similar_body(model, kind),
        **described,
    )
    if kind == "text":
        summary = "The rows most like this text"
        app.add_api_route(
            base, views.by_words, summary=summary, responses=openapi.giving(shape, 404, 422, 503), **described
        )
    if key_column(similar.live) is not None:
        summary = "The rows most like the newest one with this key"
        responses = openapi.giving(shape, 404, 422, 503)
        app.add_api_route(f"{base}/{{key:path}}", views.by_key, summary=summary, responses=responses, **described)


def similar_body(model: str, kind: str) -> dict[str, Any]:
    """The request body of the endpoint that finds rows."""
    asked = {"text": {"type": "string"}} if kind == "text" else {"row": openapi.reference(openapi.row_component(model))}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": asked | {"top": {"type": "integer", "minimum": 1, "maximum": MOST_TOP, "default": DEFAULT_TOP}},
        "required": list(asked),
        "additionalProperties": False,
    }
    if kind == "text":
        schema["examples"] = [{"text": "laptop sleeve", "top": 5}]
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
