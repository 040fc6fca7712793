"""Rows as messages: value, key and partition, each a pure function of the row."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pyarrow as pa

from tidemill.kafka.codec import encode
from tidemill.kafka.intake import RowMessage
from tidemill.pipeline import Column
from tidemill.types import COLUMN_TYPES

Messages = list[dict[str, Any]]
"""Messages as Kafka's client takes them: each with ``value``, ``key`` and ``partition``."""


def messages(rows: pa.Table, key: str | None, partitions: int, together: bool) -> Iterator[Messages]:
    """The rows as messages for their partitions: in one list (``together``), or one list per row."""
    values = encode(rows)
    keys = [None] * len(values) if key is None else [wire_key(value) for value in rows[key].to_pylist()]
    batch: Messages = [
        {"value": value, "key": own_key, "partition": partition_of(value if own_key is None else own_key, partitions)}
        for value, own_key in zip(values, keys, strict=True)
    ]
    if together:
        return iter([batch] if batch else [])
    return ([message] for message in batch)


def message_of(row: Mapping[str, Any], key: Column | None, partitions: int) -> RowMessage:
    """A row of :func:`tidemill.kafka.codec.row_in` as a message. With a key, it has the partition of the source's rows
    with that key."""
    value = orjson.dumps(row)
    own = None if key is None or row[key.name] is None else COLUMN_TYPES[key.kind].from_json(row[key.name])
    own_key = wire_key(own)
    return RowMessage(partition_of(value if own_key is None else own_key, partitions), own_key, value)


def wire_key(value: object) -> bytes | None:
    """A message's key: a string as it is, anything else as JSON."""
    if value is None:
        return None
    return value.encode() if isinstance(value, str) else orjson.dumps(value, default=str)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a row, by the CRC-32 of its key (of the whole row where it has none), as librdkafka's
    ``consistent`` partitioner chooses it."""
    return zlib.crc32(key) % partitions
