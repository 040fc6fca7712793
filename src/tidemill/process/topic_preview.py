"""Reads the first messages of a topic that others write, to see whether they fit the declared columns."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tidemill.collector.kafka_reader import KafkaReader
from tidemill.collector.open_batch import Decoded
from tidemill.collector.reader import Message
from tidemill.errors import Fault
from tidemill.kafka.client import (
    KafkaConnection,
    client_settings,
    connect_admin,
    existing_topic,
    first_offsets,
    refuse_without_address,
)
from tidemill.pipeline import Loaded, Source
from tidemill.sources.chunk import MOST_TEXT, Reject, absent_notes, cut
from tidemill.sources.preview import PREVIEW_BYTES, PREVIEW_ROWS, Preview, Untried, reason_of
from tidemill.sources.topic import decoder_of
from tidemill.texts import MOST_EXAMPLES

ANSWER_SECONDS = 5.0  # for the messages, once Kafka has answered


class MessageReject(Reject):
    """A message that is no row. Its ``file`` is its partition, and its ``line`` its offset."""

    @property
    def place(self) -> str:
        return f"partition {self.file}, offset {self.line}"

    def document(self) -> dict[str, Any]:
        return {"partition": int(self.file), "offset": self.line, "reason": self.reason, "text": self.text}


@dataclass(frozen=True)
class TopicPreview(Preview):
    """The first messages of a topic, with a note for each declared column that none of them has."""

    notes: tuple[Fault, ...] = ()

    @property
    def which(self) -> str:
        return f"first {len(self):,} messages"

    def sentence(self) -> str:
        """The result, with the first message of each kind of reject: many alike are usual, such as tombstones."""
        if not self.rejects:
            return super().sentence()
        kinds = self.kinds()
        shown = [
            f"{first.place}{f', and {count - 1:,} more' if count > 1 else ''}: {reason_of(first)}"
            for first, count in kinds[:MOST_EXAMPLES]
        ]
        left = sum(count for _, count in kinds[MOST_EXAMPLES:])
        others = [f"and {left:,} for other reasons"] if left else []
        return f"{self.which}: {len(self.rows):,} fit, {len(self.rejects):,} rejected: {'; '.join([*shown, *others])}"


def preview_topic(loaded: Loaded, bootstrap: str | None) -> TopicPreview:
    """The first messages that the topic holds. Nothing is written to Kafka.

    Raises:
        BootstrapError: no address is known, or no Kafka answers there.
        TopicError: there is no such topic.
        StreamFailed: it can't be read, or the registry of its schemas does not answer.
        SourceError: the packages that read its values are not installed.
        RegistryError: the registry refuses.
    """
    decoder = decoder_of(loaded.pipeline.source, loaded.folder)
    address = bootstrap or loaded.pipeline.stream.bootstrap_servers
    refuse_without_address(loaded.pipeline, address)
    assert address is not None
    connection = KafkaConnection(address, client_settings(loaded.pipeline.stream, loaded.folder))
    admin = connect_admin(connection)
    topic = existing_topic(admin, loaded.pipeline.topic)
    with KafkaReader(connection, topic, "tidemill-check") as reader:
        reader.seek(first_offsets(admin, topic))
        parts: list[pa.Table] = [Decoded([], decoder).table]
        names: dict[str, None] = {}
        rejects: list[Reject] = []
        end, seen, size = time.monotonic() + ANSWER_SECONDS, 0, 0
        while seen < PREVIEW_ROWS and size < PREVIEW_BYTES and time.monotonic() < end:
            decoded = Decoded(reader.read(PREVIEW_ROWS - seen), decoder)
            seen += len(decoded.messages)
            size += sum(len(value or b"") for value in decoded.values)
            parts.append(decoded.table)
            names |= dict.fromkeys(decoder.reader.names_in([value for value in decoded.values if value is not None]))
            rejects += rejects_in(decoded)
            if reader.drained >= reader.positions.keys():
                break
    untried, title = Untried(None, exact=False), f"the topic {topic.name}"
    notes = absent_from(f"the {seen:,} messages tried of {title}", list(names), loaded.pipeline.source) if names else ()
    return TopicPreview(title, pa.concat_tables(parts), tuple(rejects), untried, several_files=False, notes=notes)


def absent_from(label: str, names: Sequence[str], source: Source) -> tuple[Fault, ...]:
    """A note for each column of the value that no message has, and one if the rows seem to be in an envelope."""
    columns = [column for column in source.schema_ if column.name != source.key_column]
    notes = tuple(absent_notes(label, names, columns, "source", "have no"))
    return (*notes, *envelope_notes(names)) if notes and source.unwrap is None else notes


def envelope_notes(names: Sequence[str]) -> Iterator[Fault]:
    """A note where the messages have the keys of Debezium's events."""
    if any({f"{before}op", f"{before}after"} <= set(names) for before in ("", "payload.")):
        found = "nothing, while the messages look like changes of Debezium"
        yield Fault("source.unwrap", found, '"debezium", which reads the row after each change')


def rejects_in(decoded: Decoded) -> list[Reject]:
    """The messages that are no rows."""
    return [reject_of(decoded.messages[index], reason) for index, reason in sorted(decoded.reasons.items())]


def reject_of(message: Message, reason: str) -> MessageReject:
    text = (message.value() or b"")[: 4 * MOST_TEXT].decode("utf-8", "surrogateescape")
    return MessageReject(str(message.partition()), message.offset(), reason, cut(text))
