"""Finds the rows of a generation that are most like another one: the nearest by features, or the closest by words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from anyio import to_thread
from numpy.typing import NDArray

from tidemill import schemas
from tidemill.api.dependencies import RequestedGeneration, checked_top, naming
from tidemill.api.inputs import ModelInputs
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.models.snapshot import LoadedGeneration
from tidemill.api.rows.generation_rows import GenerationRows
from tidemill.api.values import key_value, shown
from tidemill.errors import FeatureError, NotFound
from tidemill.pipeline import Column, Pipeline
from tidemill.run.catalog import GenerationRef
from tidemill.scoring import Kind
from tidemill.scoring.neighbours import Neighbours, NeighboursScorer
from tidemill.scoring.storage import Array
from tidemill.scoring.text import Texts, TextScorer

SEARCHED_KINDS: tuple[Kind, ...] = ("neighbours", "text")  # of models whose generation's rows are searched

Row = Mapping[str, Any]
Indices = NDArray[np.intp]
SimilarBody = schemas.NearRows | schemas.AlikeRows


class Matches(NamedTuple):
    """Rows by their indices in a generation's table, the best first, with their distances or similarities (n,).

    ``unknown``: the values of the request that training has not seen. ``probe``: how far a neighbour search went.
    """

    indices: Indices
    values: Array
    unknown: list[str]
    probe: str | None = None


@dataclass(frozen=True)
class NeighbourIndex:
    """The rows of a generation, searched by their features. ``indices``: those in ``table`` that can be found."""

    scorer: NeighboursScorer
    table: pa.Table
    indices: Indices
    neighbours: Neighbours

    def search(self, row: Row, top: int) -> Matches:
        """The nearest rows, without those whose distance exceeds a 64-bit float.

        Raises:
            FeatureError: every row is too far.
        """
        encoded = self.scorer.encoder.encode([row])
        with np.errstate(over="ignore", invalid="ignore"):
            near = self.neighbours.nearest(encoded, self.scorer.hashes(encoded), top)
        finite = np.isfinite(near.distances)
        if len(self.indices) and not finite.any():
            raise FeatureError("the row is too far from every other to say how far", "give numbers that can be squared")
        unknown = [row[name] for name in self.scorer.unseen(encoded)]
        return Matches(self.indices[near.places[finite]], near.distances[finite], unknown, near.probe)


@dataclass(frozen=True)
class TextIndex:
    """The rows of a generation, searched by their words. ``indices``: those in ``table`` that can be found."""

    scorer: TextScorer
    table: pa.Table
    indices: Indices
    texts: Texts

    def search(self, row: Row, top: int) -> Matches:
        """The rows whose text is most similar to the row's."""
        similar = self.texts.similar(row[self.scorer.column], top)
        return Matches(self.indices[similar.places], similar.similarities, similar.unknown)


RowIndex = NeighbourIndex | TextIndex


def build_index(scorer: NeighboursScorer | TextScorer, table: pa.Table, newest_of: str | None) -> RowIndex:
    """An index of a generation's rows without those that lack a feature.

    With ``newest_of``, a column, only the newest of the rows with the same value in it can be found. The rows stay in
    ``table``; the index holds only the data that the search needs beside them.
    """
    indices = last_of_each_key(table[newest_of]) if newest_of else np.arange(len(table))
    columns = table.select(list(dict.fromkeys(feature.column for feature in scorer.features)))
    columns = columns if len(indices) == len(table) else columns.take(indices)
    if isinstance(scorer, TextScorer):
        texts, complete = scorer.index(columns)
        return TextIndex(scorer, table, indices[complete], texts)
    neighbours, complete = scorer.index(columns)
    return NeighbourIndex(scorer, table, indices[complete], neighbours)


def last_of_each_key(keys: pa.ChunkedArray) -> Indices:
    """The indices of each key's last row, in order; every row without a key counts as a key of its own."""
    column = pl.Series(keys)
    return (column.is_last_distinct() | column.is_null()).arg_true().to_numpy().astype(np.intp)


class SimilarRows:
    """Finds similar rows by one model. ``build_index`` must be registered as the registry's index ``index_name``."""

    def __init__(self, registry: ModelRegistry, model: str, inputs: ModelInputs, rows: GenerationRows) -> None:
        self.registry = registry
        self.model = model
        self.inputs = inputs
        self.rows = rows
        pipeline = registry.run.pipeline
        self.key = key_column(pipeline)
        self.newest_of = pipeline.key if pipeline.models[model].newest_of_key else None
        self.index_name = f"similar rows of {model}"

    def build_index(self, loaded: LoadedGeneration) -> RowIndex | None:
        """The index of a generation; None if it was trained before the pipeline declared the model."""
        scorer = loaded.scorers.get(self.model)
        if scorer is None:
            return None
        assert isinstance(scorer, NeighboursScorer | TextScorer)
        return build_index(scorer, self.rows.of(loaded.record), self.newest_of)

    async def by_row(self, requested: RequestedGeneration, row: Row, top: int) -> SimilarBody:
        """The rows most like this one, given by its features.

        Raises:
            FeatureError: a feature is missing or of the wrong type, or ``top`` is out of range.
            NotFound, NotReady: the generation has no such model, or its index can't be built.
        """
        checked = self.inputs.row(row)
        index = await self._index(requested)
        return await to_thread.run_sync(self._search, requested.ref, index, checked, checked_top(top))

    async def by_text(self, requested: RequestedGeneration, text: str, top: int) -> SimilarBody:
        """The rows whose text is most similar to this one.

        Raises:
            FeatureError: the model does not compare texts, or ``top`` is out of range.
            NotFound, NotReady: the generation has no such model, or its index can't be built.
        """
        index = await self._index(requested)
        if not isinstance(index, TextIndex):
            raise FeatureError(f"{self.model} does not compare texts", "give a row, or the key of one")
        row = {index.scorer.column: text}
        return await to_thread.run_sync(self._search, requested.ref, index, row, checked_top(top))

    async def by_key(self, requested: RequestedGeneration, key: str, top: int) -> SimilarBody:
        """The rows most like the newest row with this key, without that row; the answer has the key too.

        Raises:
            FeatureError: ``top`` is out of range.
            ParameterError: the key is not of its column's type.
            NotFound, NotReady: there is no such row, the generation has no such model, or its index can't be built.
        """
        index = await self._index(requested)
        return await to_thread.run_sync(self._search_by_key, requested.ref, index, key, checked_top(top))

    async def _index(self, requested: RequestedGeneration) -> RowIndex:
        await to_thread.run_sync(self.registry.trained_model, *requested, self.model)
        index: RowIndex = await self.registry.index(*requested, self.index_name)
        return index

    def _search(self, ref: GenerationRef, index: RowIndex, row: Row, top: int) -> SimilarBody:
        return self._body(ref, index, index.search(row, top))

    def _search_by_key(self, ref: GenerationRef, index: RowIndex, key: str, top: int) -> SimilarBody:
        row = self._row_index(ref, index, key)
        matches = index.search(row_at(index.table, row), top + 1)
        others = np.flatnonzero(matches.indices != row)[:top]
        matches = matches._replace(indices=matches.indices[others], values=matches.values[others])
        return self._body(ref, index, matches, key)

    def _row_index(self, ref: GenerationRef, index: RowIndex, key: str) -> int:
        """The index of the newest row with this key."""
        if self.key is None:
            raise NotFound("the rows of this stream have no key", "declare one in the pipeline file: [stream] key")
        column = index.table[self.key.name]
        rows = pc.indices_nonzero(pc.equal(column, pa.scalar(key_value(self.key, key), column.type)))
        if not len(rows):
            hint = "the row was not streamed by then, or is in another generation"
            raise NotFound(f"no row with {self.key.name} {shown(key)} in generation {ref}", hint)
        row = int(rows[-1].as_py())
        if not np.isin(row, index.indices):
            message = f"the newest row with {self.key.name} {shown(key)} lacks a value that {self.model} looks at"
            raise NotFound(message, f"POST a row to /models/{self.model}/similar")
        return row

    def _body(self, ref: GenerationRef, index: RowIndex, matches: Matches, key: str | None = None) -> SimilarBody:
        rows = zip(matches.values.tolist(), index.table.take(matches.indices).to_pylist(), strict=True)
        common = {"model": self.model, **naming(ref), "unknown": matches.unknown, "key": key}
        if isinstance(index, TextIndex):
            items = [schemas.AlikeRow(similarity=value, row=row) for value, row in rows]
            return schemas.AlikeRows.model_validate(common | {"items": items})
        nearest = [schemas.NearRow(distance=value, row=row) for value, row in rows]
        return schemas.NearRows.model_validate(common | {"items": nearest, "probe": matches.probe})


def key_column(pipeline: Pipeline) -> Column | None:
    """The column that the stream is keyed by."""
    return next((column for column in pipeline.source.schema_ if column.name == pipeline.key), None)


def row_at(table: pa.Table, index: int) -> dict[str, Any]:
    row: dict[str, Any] = table.slice(index, 1).to_pylist()[0]
    return row
