"""Messages that others write, as rows of the declared columns. No file here knows a Kafka client.

A notation of the values is one file with a :class:`ValueReader`, and its entry in :data:`READERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tidemill.errors import SourceError
from tidemill.pipeline import Column, Source
from tidemill.sources.topic.envelopes import Unwrap, debezium_row
from tidemill.sources.topic.framed_values import FramedValues
from tidemill.sources.topic.json_values import JsonValues
from tidemill.sources.topic.registry import Patience, SchemaRegistry, impatient
from tidemill.sources.topic.rows import TopicRows, ValueReader

__all__ = ["KINDS", "READERS", "Patience", "TopicRows", "ValueReader", "decoder_of", "impatient", "reader_of"]

PACKAGES = {"avro": ("fastavro",), "protobuf": ("google.protobuf", "grpc_tools")}
"""What the optional dependencies ``registry`` bring, by ``source.value``."""
KINDS = {"avro": "AVRO", "protobuf": "PROTOBUF"}
"""The kinds of schemas, as a registry names them, by ``source.value``."""


NATIVE = ("json",)
"""What is read outside Python's lock, for the most part, without asking a registry, by ``source.value``."""


@dataclass(frozen=True)
class Reading:
    """What the readers of values have in common: the columns that are in values, the source's settings, the folder of
    its relative paths, and what to do while the registry does not answer."""

    columns: Sequence[Column]
    source: Source
    folder: Path
    patience: Patience

    @property
    def unwrap(self) -> Unwrap | None:
        return debezium_row if self.source.unwrap == "debezium" else None

    def open_registry(self) -> SchemaRegistry:
        assert self.source.registry is not None  # the file would have a fault
        return SchemaRegistry(self.source.registry, self.folder, self.patience)


def avro_values(reading: Reading) -> ValueReader:
    from tidemill.sources.topic.avro import avro_decoder

    return FramedValues(reading.columns, reading.open_registry(), KINDS["avro"], avro_decoder, reading.unwrap)


def protobuf_values(reading: Reading) -> ValueReader:
    from tidemill.sources.topic.protobuf import protobuf_decoder

    return FramedValues(reading.columns, reading.open_registry(), KINDS["protobuf"], protobuf_decoder, reading.unwrap)


READERS: Mapping[str, Callable[[Reading], ValueReader]] = {
    "json": lambda reading: JsonValues(reading.columns, reading.unwrap),
    "avro": avro_values,
    "protobuf": protobuf_values,
}
"""How values are read, by ``source.value``. The packages of all but JSON are optional."""


def decoder_of(source: Source, folder: Path = Path(), patience: Patience = impatient) -> TopicRows:
    """The decoder of the messages of a topic that others write; arguments and errors as for :func:`reader_of`."""
    columns = source.schema_
    in_value = [column for column in columns if column.name != source.key_column]
    reader = reader_of(source, in_value, folder, patience)
    return TopicRows(columns, reader, source.key_column, source.timestamp, native=source.value in NATIVE)


def reader_of(
    source: Source, columns: Sequence[Column], folder: Path = Path(), patience: Patience = impatient
) -> ValueReader:
    """The reader of the messages' values as rows of these columns.

    Args:
        folder: relative paths of the registry's secrets start there.
        patience: what to do where the registry does not answer.

    Raises:
        SourceError: the packages that it takes are not installed.
        RegistryError: a secret of the registry can't be read.
    """
    if not all(map(is_installed, PACKAGES.get(source.value, ()))):
        raise SourceError(
            f'source.value = "{source.value}" needs packages that are not installed',
            "pip install 'tidemill[registry]'",
        )
    return READERS[source.value](Reading(columns, source, folder, patience))


def is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the package that it is in is missing
        return False
