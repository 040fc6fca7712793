"""Values that are one JSON object each, read as the lines of a file of JSON Lines are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import methodcaller
from typing import Any

import pyarrow as pa

from tidemill.kafka.codec import loads
from tidemill.pipeline import Column
from tidemill.sources.paths import names_in
from tidemill.sources.readers.jsonl import JsonObjects
from tidemill.sources.topic.envelopes import Unwrap
from tidemill.sources.topic.framed_values import FRAME, attempted

FRAMED = 'not JSON: it begins with the id of a schema (source.value = "avro" or "protobuf" reads those)'


class JsonValues:
    """Reads JSON values. Keys that no column names are ignored."""

    def __init__(self, columns: Sequence[Column], unwrap: Unwrap | None = None) -> None:
        """``unwrap``: takes the row out of the value's envelope; raises ValueError where there is none."""
        self._objects = JsonObjects(columns)
        self._unwrap = unwrap

    def read(self, values: Sequence[bytes]) -> tuple[pa.Table, dict[int, str]]:
        if self._unwrap is not None:
            rows, reasons = self.records(values)
            table, unfit = self._objects.read_records(list(rows.values()))
            there = list(rows)
        elif any(map(methodcaller("startswith", b"\0"), values)):
            texts, reasons = attempted(json_in, values)
            table, unfit = self._objects.read(list(texts.values()))
            there = list(texts)
        else:
            return self._objects.read(values)
        return table, reasons | {there[index]: reason for index, reason in unfit.items()}

    def records(self, values: Sequence[bytes]) -> tuple[dict[int, Mapping[str, Any]], dict[int, str]]:
        return attempted(self._row, values)

    def names_in(self, values: Sequence[bytes]) -> list[str]:
        return names_in(list(self.records(values)[0].values()), self._objects.columns)

    def _row(self, value: bytes) -> Mapping[str, Any]:
        """The row in a value.

        Raises:
            ValueError: it has none.
        """
        text = json_in(value)
        try:
            document = loads(text)
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None
        row = document if self._unwrap is None else self._unwrap(document)
        if not isinstance(row, dict):
            raise ValueError("not a JSON object")
        return row


def json_in(value: bytes) -> bytes:
    """A value's JSON, also behind the id of its schema, as Confluent's serializer for JSON Schema writes it.

    JSON itself never begins with a byte 0.

    Raises:
        ValueError: what is behind the id is not a JSON object.
    """
    if not value.startswith(b"\0"):
        return value
    text = value[FRAME.size :]
    if not text.lstrip().startswith(b"{"):
        raise ValueError(FRAMED)
    return text
