"""Values that are one JSON object each, read as the lines of a file of JSON Lines are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from tidemill.pipeline import Column
from tidemill.sources.paths import names_in
from tidemill.sources.readers.jsonl import JsonObjects, record_of
from tidemill.sources.topic.envelopes import Unwrap


class JsonValues:
    """Reads JSON values. Keys that no column names are ignored."""

    def __init__(self, columns: Sequence[Column], unwrap: Unwrap | None = None) -> None:
        """``unwrap``: takes the row out of the value's envelope; raises ValueError where there is none."""
        self._objects = JsonObjects(columns)
        self._unwrap = unwrap

    def read(self, values: Sequence[bytes]) -> tuple[pa.Table, dict[int, str]]:
        if self._unwrap is None:
            return self._objects.read(values)
        rows, there, reasons = [], [], {}
        for index, value in enumerate(values):
            try:
                rows.append(unwrapped(value, self._unwrap))
                there.append(index)
            except ValueError as error:
                reasons[index] = str(error)
        table, unfit = self._objects.read(rows)
        return table, reasons | {there[index]: reason for index, reason in unfit.items()}

    def records(self, values: Sequence[bytes]) -> tuple[dict[int, Mapping[str, Any]], dict[int, str]]:
        records, reasons = {}, {}
        for index, value in enumerate(values):
            try:
                records[index] = self._record(value)
            except ValueError as error:
                reasons[index] = str(error)
        return records, reasons

    def _record(self, value: bytes) -> Mapping[str, Any]:
        record = record_of(value if self._unwrap is None else unwrapped(value, self._unwrap))
        if record is None:
            raise ValueError("no JSON object")
        return record

    def names_in(self, values: Sequence[bytes]) -> list[str]:
        return names_in(list(self.records(values)[0].values()), self._objects.columns)


def unwrapped(value: bytes, unwrap: Unwrap) -> bytes:
    """The row of a value, as JSON.

    Raises:
        ValueError: the value is not JSON, or has no row in it.
    """
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    return orjson.dumps(unwrap(document))
