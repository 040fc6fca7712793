"""Rows as messages: value, key and partition, each a pure function of the row."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson
import pyarrow as pa

from tidemill.kafka.codec import encode
from tidemill.kafka.intake import RowMessage
from tidemill.pipeline import Column
from tidemill.types import COLUMN_TYPES


@dataclass(frozen=True)
class Messages:
    """Messages in order, column by column, so that there is no object for each of them.

    ``values``, ``keys`` and ``partitions`` are equally long; position i of each belongs to message i.
    """

    values: Sequence[bytes]
    keys: Sequence[bytes | None]
    partitions: Sequence[int]

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[RowMessage]:
        return map(RowMessage, self.partitions, self.keys, self.values)

    def __getitem__(self, positions: slice) -> Messages:
        return Messages(self.values[positions], self.keys[positions], self.partitions[positions])

    @cached_property
    def value_bytes(self) -> int:
        return sum(map(len, self.values))

    def each(self) -> Iterator[Messages]:
        """The messages one by one."""
        return (self[position : position + 1] for position in range(len(self)))

    def select(self, positions: Sequence[int]) -> Messages:
        """The messages at these positions."""
        return Messages(
            [self.values[position] for position in positions],
            [self.keys[position] for position in positions],
            [self.partitions[position] for position in positions],
        )

    def without(self, positions: Collection[int]) -> Messages:
        """All messages but those at these positions."""
        if list(positions) == [len(self) - 1]:
            return self[:-1]
        values, keys, partitions = list(self.values), list(self.keys), list(self.partitions)
        for position in sorted(positions, reverse=True):
            del values[position], keys[position], partitions[position]
        return Messages(values, keys, partitions)

    def last_positions(self) -> dict[int, int]:
        """The position of the last message of each partition that has messages."""
        return dict(zip(self.partitions, range(len(self)), strict=True))

    def values_by_partition(self) -> Mapping[int, Sequence[bytes]]:
        """The values in order, by the partition that they go to."""
        values: dict[int, list[bytes]] = {partition: [] for partition in set(self.partitions)}
        if len(values) == 1:
            return {self.partitions[0]: self.values}
        for partition, value in zip(self.partitions, self.values, strict=True):
            values[partition].append(value)
        return values


def messages(rows: pa.Table, key: str | None, partitions: int) -> Messages:
    """The rows as messages for their partitions, in order."""
    values = encode(rows)
    keys = [None] * len(values) if key is None else wire_keys(rows[key])
    if partitions == 1:
        return Messages(values, keys, [0] * len(values))
    hashed = [value if own_key is None else own_key for value, own_key in zip(values, keys, strict=True)]
    return Messages(values, keys, [partition_of(content, partitions) for content in hashed])


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


def wire_keys(column: pa.ChunkedArray) -> list[bytes | None]:
    """:func:`wire_key` of each value. Arrow writes whole numbers as JSON does."""
    if pa.types.is_integer(column.type) or pa.types.is_string(column.type):
        keys: list[bytes | None] = column.cast(pa.string()).cast(pa.binary()).to_pylist()
        return keys
    return [wire_key(value) for value in column.to_pylist()]


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a row, by the CRC-32 of its key (of the whole row where it has none), as librdkafka's
    ``consistent`` partitioner chooses it."""
    return zlib.crc32(key) % partitions
