"""The rows of the stream by their key, read from the batch files of a generation.

A sealed batch never changes, so the hashes of its keys, computed on the first lookup, always show which keys it lacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from tidemill.api.models.cache import SharedCache
from tidemill.api.values import key_value, shown
from tidemill.errors import Gone, NotFound
from tidemill.pipeline import arrow_schema
from tidemill.run.batch_tables import batch_dataset, unreadable
from tidemill.run.catalog import Batch, Generation
from tidemill.run.folder import Run
from tidemill.texts import ranges

MAX_NAMED = 5  # generations in a hint
MAX_BATCHES, MAX_BYTES = 100_000, 64 * 2**20  # of cached hashes: 8 million keys

Hashes = NDArray[np.uint64]  # ascending


class KeyedRow(NamedTuple):
    """A row of the stream and the batch it is in."""

    batch: int
    values: dict[str, Any]


class KeyHashes:
    """Which batches may have a key.

    The cache holds 8 bytes for each different key. It drops the least recently used hashes first; they are computed
    again when needed.
    """

    def __init__(self, run: Run, key: pa.Field) -> None:
        self._run = run
        self._key = key
        self._cache: SharedCache[int, Hashes] = SharedCache(MAX_BATCHES, MAX_BYTES, lambda hashes: hashes.nbytes)

    def may_have(self, batch: Batch, value: pa.Scalar) -> bool:
        """Whether a batch may have the key; False is certain.

        Raises:
            CatalogError: its file must be read, and is missing or damaged.
        """
        try:
            hashes = self._cache[batch.batch]
        except KeyError:
            self._cache[batch.batch] = hashes = self._read(batch)
        wanted = hashed(pa.array([value], self._key.type))[0]
        index = int(np.searchsorted(hashes, wanted))
        return index < len(hashes) and bool(hashes[index] == wanted)

    def _read(self, batch: Batch) -> Hashes:
        try:
            table = batch_dataset(self._run, batch).to_table(columns=[self._key.name], use_threads=False)
        except (OSError, pa.ArrowInvalid) as error:
            raise unreadable(self._run, batch) from error
        return np.unique(hashed(table.column(0).combine_chunks()))


def hashed(keys: pa.Array) -> Hashes:
    """A hash of each key. -0 and 0 are the same key, as in a filter."""
    series = pl.Series(pl.from_arrow(keys))
    if series.dtype.is_float():
        series = series + 0.0
    return series.hash(seed=0).to_numpy()


class Lookup:
    """Finds rows by ``stream.key``. The catalog says which files are read; a client gives only the key's value."""

    def __init__(self, run: Run) -> None:
        self.run = run
        columns = run.pipeline.source.schema_
        self._key = next((column for column in columns if column.name == run.pipeline.key), None)
        self._schema = arrow_schema(columns)
        self._hashes = KeyHashes(run, self._schema.field(self._key.name)) if self._key else None

    def find(self, generation: Generation, text: str, limit: int) -> list[KeyedRow]:
        """The newest ``limit`` rows with this key in the generation's batches, newest first.

        Raises:
            NotFound: the stream has no key, or none of these rows has this one.
            ParameterError: the text is not a value of the key's type.
        """
        if self._key is None:
            raise NotFound("the rows of this stream have no key", "declare one in the pipeline file: [stream] key")
        value = pa.scalar(key_value(self._key, text), self._schema.field(self._key.name).type)
        rows: list[KeyedRow] = []
        for batch in self._newest_first(generation):
            rows.extend(KeyedRow(batch.batch, row) for row in self._rows(batch, value))
            if len(rows) >= limit:
                break
        if not rows:
            raise NotFound(
                f"no row with {self._key.name} {shown(text)} in generation {generation.ref}",
                self._whereabouts(generation, value),
            )
        return rows[:limit]

    def _whereabouts(self, generation: Generation, value: pa.Scalar) -> str:
        """The place of a row that this generation's batches lack."""
        own, batches = set(generation.batches), self.run.catalog.batches()
        removed = [batch.batch for batch in batches if batch.removed_at]
        others = (batch for batch in batches if batch.batch not in own and not batch.removed_at)
        having = {batch.batch for batch in others if self._has(batch, value)}
        if not having and removed:
            return f"no other batch that is kept has it; {ranges(removed)} may have had it, and are no longer kept"
        if not having:
            return "it was never streamed: neither its batches nor any other sealed batch has it"
        published = self.run.catalog.generations(state="published")
        numbers = [one.generation for one in published if having & set(one.batches) and not one.removed_at]
        if not numbers:
            return f"batch {max(having)} has it, which no generation that is there was trained on"
        return f"it was streamed: ask for {named_generations(numbers)}"

    def _has(self, batch: Batch, value: pa.Scalar) -> bool:
        assert self._key is not None
        assert self._hashes is not None
        try:
            if not self._hashes.may_have(batch, value):
                return False
            count: int = batch_dataset(self.run, batch).count_rows(filter=ds.field(self._key.name) == value)
        except Gone:  # it was removed a moment ago
            return False
        except (OSError, pa.ArrowInvalid) as error:
            raise unreadable(self.run, batch) from error
        return count > 0

    def _newest_first(self, generation: Generation) -> Iterator[Batch]:
        numbers = set(generation.batches)
        sealed = self.run.catalog.batches(after=min(numbers) - 1) if numbers else []
        return (batch for batch in reversed(sealed) if batch.batch in numbers)

    def _rows(self, batch: Batch, value: pa.Scalar) -> list[dict[str, Any]]:
        assert self._key is not None
        assert self._hashes is not None
        if not self._hashes.may_have(batch, value):
            return []
        try:
            table = batch_dataset(self.run, batch).to_table(filter=ds.field(self._key.name) == value, use_threads=False)
        except (OSError, pa.ArrowInvalid) as error:
            raise unreadable(self.run, batch) from error
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows[::-1]


def named_generations(generations: Sequence[int]) -> str:
    """The newest of these generations, for a sentence."""
    newest = [str(number) for number in generations[-MAX_NAMED:]]
    more = " (and older ones)" if len(generations) > MAX_NAMED else ""
    return f"generation{'s' if len(newest) > 1 else ''} {', '.join(newest)}{more}"
