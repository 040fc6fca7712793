"""Values that begin with the id of their schema in a registry, as Confluent's serializers write them.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format: a byte 0,
the id in 4 bytes, and the record.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from tidemill.pipeline import Column
from tidemill.sources.paths import names_in
from tidemill.sources.topic.envelopes import Unwrap
from tidemill.sources.topic.registry import RegisteredSchema
from tidemill.sources.topic.typed_values import typed_rows

T = TypeVar("T")

FRAME = struct.Struct(">bI")
UNUSABLE = "schema {} can't be used: {}"

Decode = Callable[[bytes], object]
"""Decodes the bytes behind the id; raises ValueError where they are no value of the schema."""


class Schemas(Protocol):
    """The schemas of a registry, by their ids: a :class:`~tidemill.sources.topic.registry.SchemaRegistry`."""

    def schemas(self, ids: Collection[int]) -> Mapping[int, RegisteredSchema]: ...


class FramedValues:
    """Reads values with the id of their schema: a :class:`~tidemill.sources.topic.rows.ValueReader`."""

    def __init__(
        self,
        columns: Sequence[Column],
        registry: Schemas,
        kind: str,
        compile: Callable[[RegisteredSchema], Decode],
        unwrap: Unwrap | None = None,
    ) -> None:
        """
        Args:
            kind: of the schemas, as the registry names it.
            compile: the decoder of a schema; raises ValueError where there is none.
            unwrap: takes the row out of the value's envelope; raises ValueError where there is none.
        """
        self._columns = columns
        self._registry = registry
        self._kind = kind
        self._compile = compile
        self._unwrap = unwrap
        self._decoders: dict[int, Decode | str] = {}

    def read(self, values: Sequence[bytes]) -> tuple[pa.Table, dict[int, str]]:
        records, reasons = self.records(values)
        there = list(records)
        table, unfit = typed_rows(list(records.values()), self._columns)
        return table, reasons | {there[index]: reason for index, reason in unfit.items()}

    def names_in(self, values: Sequence[bytes]) -> list[str]:
        return names_in(list(self.records(values)[0].values()), self._columns)

    def records(self, values: Sequence[bytes]) -> tuple[dict[int, Mapping[str, Any]], dict[int, str]]:
        ids, reasons = ids_of(values)
        self._learn(set(ids.values()))
        records = {}
        for index, id in ids.items():
            try:
                records[index] = self._record(id, values[index])
            except ValueError as error:
                reasons[index] = str(error)
        return records, reasons

    def _learn(self, ids: Collection[int]) -> None:
        """Have a decoder, or the reason why there is none, for each id that the registry knows."""
        new = [id for id in ids if id not in self._decoders]
        for id, schema in self._registry.schemas(new).items() if new else ():
            self._decoders[id] = self._decoder(id, schema)

    def _decoder(self, id: int, schema: RegisteredSchema) -> Decode | str:
        if schema.kind != self._kind:
            return UNUSABLE.format(id, f"it is {schema.kind}, not {self._kind}: see source.value")
        try:
            return self._compile(schema)
        except ValueError as error:
            return UNUSABLE.format(id, error)

    def _record(self, id: int, value: bytes) -> Mapping[str, Any]:
        decode = self._decoders.get(id, f"the registry has no schema {id}")
        if isinstance(decode, str):
            raise ValueError(decode)
        record = decode(value[FRAME.size :])
        if self._unwrap is not None:
            record = self._unwrap(record)
        if not isinstance(record, dict):
            raise ValueError(f"schema {id} is no record but a single value")
        return record


def attempted(read: Callable[[bytes], T], values: Sequence[bytes]) -> tuple[dict[int, T], dict[int, str]]:
    """What is read from each value, by the value's place; and the reason where ``read`` raises ValueError."""
    there, reasons = {}, {}
    for index, value in enumerate(values):
        try:
            there[index] = read(value)
        except ValueError as error:
            reasons[index] = str(error)
    return there, reasons


def ids_of(values: Sequence[bytes]) -> tuple[dict[int, int], dict[int, str]]:
    """The schema's id of each value, by the value's place; and the reason for each value without one."""
    return attempted(id_of, values)


def id_of(value: bytes) -> int:
    """The schema's id that a value begins with.

    Raises:
        ValueError: there is none.
    """
    if not value:
        raise ValueError("an empty message")
    if value[0] != 0:
        if value.lstrip()[:1] in (b"{", b"["):
            raise ValueError('no schema id: this looks like JSON (value = "json" reads it)')
        raise ValueError(f"no schema id: it begins with 0x{value[0]:02x}, not 0x00; ids in headers are not read")
    if len(value) < FRAME.size:
        raise ValueError(f"truncated: {len(value)} bytes, fewer than the {FRAME.size} that begin with the schema id")
    id: int = FRAME.unpack_from(value)[1]
    if id == 0:
        raise ValueError(
            "schema id 0: Apicurio's ids of 8 bytes are not read; set apicurio.registry.id-handler to "
            "Default4ByteIdHandler and use-id to contentId in its writers"
        )
    return id
