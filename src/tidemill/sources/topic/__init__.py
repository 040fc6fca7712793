"""Messages that others write, as rows of the declared columns. No file here knows a Kafka client.

A notation of the values is one file with a :class:`ValueReader`, and its entry in :data:`READERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tidemill.pipeline import Column, Source
from tidemill.sources.topic.envelopes import debezium_row
from tidemill.sources.topic.json_values import JsonValues
from tidemill.sources.topic.rows import TopicRows, ValueReader

__all__ = ["READERS", "TopicRows", "ValueReader", "decoder_of"]

READERS: Mapping[str, Callable[[Sequence[Column], Source], ValueReader]] = {
    "json": lambda columns, source: JsonValues(columns, debezium_row if source.unwrap == "debezium" else None),
}
"""How values are read, by ``source.value``."""


def decoder_of(source: Source) -> TopicRows:
    """The decoder of the messages of a topic that others write."""
    columns = source.schema_
    in_value = [column for column in columns if column.name != source.key_column]
    return TopicRows(columns, READERS[source.value](in_value, source), source.key_column, source.timestamp)
