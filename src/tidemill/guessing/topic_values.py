"""Topics that others write: the rows in their values, with or without Debezium's envelope, and keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from tidemill.errors import SourceError
from tidemill.guessing.columns import ColumnGuess, Texts, guess_column
from tidemill.guessing.guess import FileGuess, most_rows
from tidemill.guessing.json_files import columns_of
from tidemill.guessing.numbers import FileNumbers
from tidemill.guessing.topic_notation import (
    Record,
    TopicAccess,
    TopicSample,
    notation_of,
    nullable_paths_of,
    records_of,
)
from tidemill.sources.topic.envelopes import debezium_row
from tidemill.sources.topic.rows import texts_of
from tidemill.texts import shorten

KEY = "key"


def guess_topic(sample: TopicSample, access: TopicAccess) -> FileGuess:
    """What the messages of a topic are like.

    Raises:
        SourceError: there is none, none holds a row, or it is not clear how the values are written.
        RegistryError, RegistryAway: the registry of the schemas refuses, or does not answer.
    """
    settings: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    notation = notation_of(sample, access)
    if notation.reason:
        settings["value"], reasons["value"] = notation
    records = records_of(sample, notation.value, access)
    events = sum(map(is_event, records))
    if 2 * events > sum(record is not None for record in records):
        settings["unwrap"] = "debezium"
        reasons["unwrap"] = f"{events:,} of {len(records):,} messages have op and the row after it, as Debezium's do"
        records = rows_after(sample, records)
    taken = [index for index, record in enumerate(records) if record is not None]
    taken = taken[: most_rows(len(records[taken[0]] or ()))]
    rows: list[Record] = [record for index in taken if (record := records[index]) is not None]
    columns, undeclared = columns_of(rows)
    nullable = nullable_paths_of(sample, notation.value, access)
    columns = [optional_by_schema(column, nullable, "after." if "unwrap" in settings else "") for column in columns]
    key, why = key_column([sample.keys[index] for index in taken], columns, rows)
    if key is not None:
        settings["key_column"], reasons["key_column"] = key.name, why
        columns.append(key)
    moments = [column.name for column in columns if column.kind == "timestamp" and not column.optional]
    if len(moments) == 1:
        settings["timestamp"] = moments[0]
        reasons["timestamp"] = "the only time that every row has; without this line Kafka's counts, when it was written"
    settings["until"] = "now"
    reasons["until"] = "the run ends at what is there at its start; without this line it follows the topic"
    fitting = sum(record is not None for record in records)
    others = len(records) - fitting
    notes = [f"{others:,} of {len(records):,} messages hold no row, and will be rejects"] if others else []
    return FileGuess(
        files=(),
        settings=settings,
        reasons=reasons,
        columns=tuple(columns),
        undeclared=undeclared,
        looked_at=len(rows),
        rows=round(sample.messages * fitting / len(records)),
        exact=sample.whole,
        whole=sample.whole and len(rows) == fitting,
        notes=(*notes, *([why] if key is None and why else [])),
        title=sample.title,
    )


def is_event(document: Record | None) -> bool:
    """Whether it is a change as Debezium writes it."""
    event = None if document is None else document.get("payload", document)
    return isinstance(event, dict) and "op" in event and ("after" in event or "before" in event)


def rows_after(sample: TopicSample, changes: Sequence[Record | None]) -> list[Record | None]:
    """The row after each change; None where there is none.

    Raises:
        SourceError: no change has one.
    """
    rows: list[Record | None] = []
    for change in changes:
        try:
            row = debezium_row(change)
        except ValueError:
            row = None
        rows.append(row if isinstance(row, dict) else None)
    if not any(rows):
        raise SourceError(f"no change in {sample.title} has a row after it", "write some rows first")
    return rows


def optional_by_schema(column: ColumnGuess, nullable: Collection[str], before: str) -> ColumnGuess:
    """The column, which may be missing where its schema says so. ``before``: where the row is in its envelope."""
    path = f"{before}{column.name}"
    ends = [index for index, sign in enumerate(path) if sign == "." and index >= len(before)]
    if column.optional or not any(path[:end] in nullable for end in (*ends, len(path))):
        return column
    return replace(column, optional=True, reason=f"{column.reason}; by its schema it may be null")


def key_column(
    keys: Sequence[bytes | None], columns: Sequence[ColumnGuess], rows: Sequence[Record]
) -> tuple[ColumnGuess | None, str]:
    """The column of the messages' keys, and why; none, and why not, where no message has one, they are no text, or a
    column of the values says the same."""
    if not any(keys):
        return None, ""
    texts, broken = texts_of(keys)
    if broken:
        reason = Counter(broken.values()).most_common(1)[0][0]
        return None, f"the keys are in no column, as {len(broken):,} of {len(keys):,} are no texts ({reason})"
    twin = next((column.name for column in columns if is_twin(texts, column.name, rows)), None)
    if twin is not None:
        return None, f"the messages' keys say the same as {twin}, so that they have no column of their own"
    if any(text and text.lstrip().startswith("{") for text in texts):
        return None, "the keys are JSON objects; key_column would hold them as text"
    names = {column.name for column in columns}
    name = next(name for name in (KEY, "message_key", *(f"key_{n}" for n in range(2, 9_999))) if name not in names)
    lacking = sum(text is None for text in texts)
    series = pl.Series(name, texts, pl.String)
    guess = guess_column(Texts(name, series), FileNumbers(), ())
    if guess.kind != "int" or guess.settings:
        guess = ColumnGuess(name, "string", False, f"{series.n_unique():,} different texts", series)
    why = f"the messages' keys, {shorten(next(text for text in texts if text), 30)} for one"
    return replace(guess, optional=guess.optional or bool(lacking)), f"{why}; {lacking:,} have none" if lacking else why


def is_twin(keys: Sequence[str | None], path: str, rows: Sequence[Record]) -> bool:
    """Whether each row has its message's key as a value."""
    return all(path in row and key is not None and str(row[path]) == key for key, row in zip(keys, rows, strict=True))
