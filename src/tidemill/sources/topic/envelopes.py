"""Envelopes around the rows in values."""

from __future__ import annotations

from collections.abc import Callable

from tidemill.texts import shorten

Unwrap = Callable[[object], object]
"""Takes the row out of a value's envelope; raises ValueError where there is none."""

WITH_ROW = {"c": "created", "u": "updated", "r": "read"}
WITHOUT_ROW = {"d": "the row was deleted", "t": "the table was truncated", "m": "a message of the connector"}


def debezium_row(value: object) -> object:
    """The row after a change, of a Debezium event, with or without its ``schema`` and ``payload``.

    Raises:
        ValueError: the event has no such row: it is a deletion, or no event.
    """
    event = value
    if isinstance(value, dict) and "payload" in value and "op" not in value:
        event = value["payload"]
    if not isinstance(event, dict) or "op" not in event:
        raise ValueError(f"not a Debezium event: {shorten(value, 40)}")
    operation = event["op"]
    if operation in WITHOUT_ROW:
        raise ValueError(f'{WITHOUT_ROW[operation]} (Debezium\'s op "{operation}")')
    if operation not in WITH_ROW:
        raise ValueError(f"an unknown Debezium op: {shorten(operation, 40)}")
    after = event.get("after")
    if not isinstance(after, dict):
        raise ValueError(f'a Debezium event with op "{operation}" and no row after it')
    return after
