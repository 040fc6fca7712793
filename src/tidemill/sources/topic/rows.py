"""Rows from messages: columns of the value, and one of the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import polars as pl
import pyarrow as pa

from tidemill.kafka.codec import BadMessage, Keyed
from tidemill.pipeline import Column, arrow_schema
from tidemill.sources.chunk import join_reasons
from tidemill.sources.text_values import typed_column

TOMBSTONE = "a tombstone: the message has no value"
KEY_NOT_TEXT = "its key is not UTF-8"
KEY_IS_BINARY = "its key has a byte 0, as a binary number or the id of a schema has: only keys that are texts are read"


class ValueReader(Protocol):
    """Reads the values of messages, none of which is missing, as rows of the columns that are in values."""

    def read(self, values: Sequence[bytes]) -> tuple[pa.Table, dict[int, str]]:
        """The rows, in order, and for each value that is no row its position and the reason."""

    def records(self, values: Sequence[bytes]) -> tuple[dict[int, Mapping[str, Any]], dict[int, str]]:
        """The record of each value, in which the columns are sought, by the value's position; and the reason for each
        value without one."""

    def names_in(self, values: Sequence[bytes]) -> list[str]:
        """The names that the rows in some of these values have, those of nested values as paths."""


@dataclass(frozen=True)
class TopicRows:
    """Decodes messages that others write: a :class:`~tidemill.kafka.codec.ValueDecoder`.

    Headers are ignored. A message without a value is no row.

    Attributes:
        columns: all declared ones; ``reader`` reads all but ``key_column``, which is the text of the message's key.
        timestamp: the column that says a row's time; None where Kafka's timestamp does.
        native: whether the reader works outside Python's lock, for the most part, and asks nobody.
    """

    columns: Sequence[Column]
    reader: ValueReader
    key_column: str | None = None
    timestamp: str | None = None
    native: bool = False

    def decode(self, messages: Sequence[Keyed], values: Sequence[bytes | None]) -> tuple[pa.Table, list[BadMessage]]:
        """The rows of the messages, in order, and the messages that are not rows, in order, with every reason."""
        there: Sequence[int] = range(len(values))
        reasons: dict[int, list[str]] = {}
        if None in values:
            there = [index for index, value in enumerate(values) if value is not None]
            reasons = {index: [TOMBSTONE] for index, value in enumerate(values) if value is None}
            values = [values[index] for index in there]
        table, unread = self.reader.read(cast("Sequence[bytes]", values))
        reasons |= {there[index]: [reason] for index, reason in unread.items()}
        if self.key_column is not None:
            table = self._with_keys(table, [messages[index].key() for index in there], there, unread, reasons)
        bad = [BadMessage(index, join_reasons(reasons[index])) for index in sorted(reasons)]
        return table.select([column.name for column in self.columns]).cast(arrow_schema(self.columns)), bad

    def _with_keys(
        self,
        table: pa.Table,
        keys: Sequence[bytes | None],
        there: Sequence[int],
        unread: Mapping[int, str],
        reasons: dict[int, list[str]],
    ) -> pa.Table:
        """The rows of ``table`` whose keys fit, with the column of the key. The reasons for the others are added."""
        column = next(column for column in self.columns if column.name == self.key_column)
        texts, broken = texts_of(keys)
        typed, misfits = typed_column(pl.Series(texts, dtype=pl.String), column)
        misfits |= broken
        for index, reason in misfits.items():
            reasons.setdefault(there[index], []).append(reason)
        read = [index for index in range(len(keys)) if index not in unread]
        table = table.append_column(column.name, typed.take(pa.array(read, pa.int64())))
        return table.filter(pa.array([index not in misfits for index in read], pa.bool_())) if misfits else table


def texts_of(keys: Sequence[bytes | None]) -> tuple[list[str | None], dict[int, str]]:
    """The keys as texts, None where there is none; and the reasons for those that are no texts."""
    texts: list[str | None] = []
    broken: dict[int, str] = {}
    for index, key in enumerate(keys):
        try:
            texts.append(None if key is None else text_of(key))
        except ValueError as error:
            texts.append(None)
            broken[index] = str(error)
    return texts, broken


def text_of(key: bytes) -> str:
    """
    Raises:
        ValueError: the key is no text.
    """
    if key.startswith(b"\0"):
        raise ValueError(KEY_IS_BINARY)
    try:
        text = key.decode()
    except UnicodeDecodeError:
        raise ValueError(KEY_NOT_TEXT) from None
    if "\0" in text:
        raise ValueError(KEY_IS_BINARY)
    return text
