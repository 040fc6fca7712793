"""The rows of the stream by their key, read from the batch files of a generation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds

from tidemill.catalog import Batch, Generation
from tidemill.errors import NotFound, ParameterError
from tidemill.rows import arrow_schema
from tidemill.run import Run
from tidemill.serving.generation_rows import batch_dataset, unreadable
from tidemill.serving.inputs import WANTED, shown
from tidemill.spec import Column

WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


class Found(NamedTuple):
    """A row of the stream and the batch it is in."""

    batch: int
    row: dict[str, Any]


class Lookup:
    """Finds rows by ``stream.key``. Which files are read is the catalog's word; a client gives only the key's value."""

    def __init__(self, run: Run) -> None:
        self.run = run
        columns = run.pipeline.source.schema_
        self._key = next((column for column in columns if column.name == run.pipeline.stream.key), None)
        self._schema = arrow_schema(columns)

    def find(self, generation: Generation, text: str, limit: int) -> list[Found]:
        """The newest ``limit`` rows with this key in the generation's batches, newest first.

        Raises:
            NotFound: the stream has no key, or none of these rows has this one.
            ParameterError: the text is no value of the key's type.
        """
        if self._key is None:
            raise NotFound("the rows of this stream have no key", "declare one in the pipeline file: [stream] key")
        value = pa.scalar(key_value(self._key, text), self._schema.field(self._key.name).type)
        found: list[Found] = []
        for batch in self._newest_first(generation):
            found.extend(Found(batch.batch, row) for row in self._rows(batch, value))
            if len(found) >= limit:
                break
        if not found:
            batches = f"batch {generation.batches[0]}" if len(generation.batches) == 1 else "its batches"
            raise NotFound(
                f"no row with {self._key.name} {shown(text)} in generation {generation.generation}",
                f"it was trained on {batches}: the row was not streamed by then, or is in another generation",
            )
        return found[:limit]

    def _newest_first(self, generation: Generation) -> Iterator[Batch]:
        numbers = set(generation.batches)
        sealed = self.run.catalog.batches(after=min(numbers) - 1) if numbers else []
        return (batch for batch in reversed(sealed) if batch.batch in numbers)

    def _rows(self, batch: Batch, value: pa.Scalar) -> list[dict[str, Any]]:
        assert self._key is not None
        try:
            table = batch_dataset(self.run, batch).to_table(filter=ds.field(self._key.name) == value, use_threads=False)
        except (OSError, pa.ArrowInvalid) as error:
            raise unreadable(batch) from error
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows[::-1]


def key_value(column: Column, text: str) -> Any:
    """The value of the key column that ``text`` stands for.

    Raises:
        ParameterError: it stands for none.
    """
    if column.kind == "string":
        return text
    if column.kind == "int" and WHOLE_NUMBER.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    if column.kind == "float" and NUMBER.fullmatch(text):
        return float(text)
    if column.kind == "bool" and text in ("true", "false"):
        return text == "true"
    moment = timestamp(text) if column.kind == "timestamp" else None
    if moment is None:
        wanted = WANTED.get(column.kind, "a timestamp (ISO 8601)")
        raise ParameterError(f"the key {column.name} is {shown(text)}, not {wanted}", "give a key as it was streamed")
    return moment


def timestamp(text: str) -> datetime | None:
    """An ISO 8601 moment; one without a zone is in UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
