"""The rows of a request for the stream: read within bounds, and checked as the stream's consumer checks them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from anyio import to_thread

from tidemill.api.values import EXAMPLES, EXPECTED, JSON_TYPES, shown
from tidemill.errors import BadJson, BodyTooLarge, FeatureError
from tidemill.kafka.codec import decode, loads, row_in
from tidemill.kafka.intake import MessageSpool, Rejected, RowMessage, RowRequest
from tidemill.kafka.messages import message_of, messages
from tidemill.pipeline import Pipeline
from tidemill.texts import shorten_text

MAX_ROWS = 10_000  # of a JSON body
MAX_STREAM_BYTES = 256 * 2**20  # of an NDJSON body
MAX_LINE_BYTES = 2**20
LINES_AT_ONCE = 5_000
BYTES_AT_ONCE = 2**20
MOST_REJECTED = 100  # that an answer lists
MOST_REASON = 200  # characters

Row = dict[str, Any]
Objection = Callable[[RowMessage], str | None]
"""Why a topic does not take a message; None where it does."""


class RowBodies:
    """Reads the bodies of requests with rows of the stream. Built once."""

    def __init__(self, pipeline: Pipeline, folder: Path, objection: Objection) -> None:
        """``folder``: where the rows of large requests wait, in a file without a name."""
        self.columns = pipeline.source.schema_
        self._key = next((column for column in self.columns if column.name == pipeline.key), None)
        self._partitions = pipeline.stream.partitions
        self._folder = folder
        self._objection = objection

    def json(self, body: bytes, key: str | None) -> RowRequest:
        """The rows of a JSON body: one object, a list of them, or ``{"rows": [...]}``.

        Raises:
            BadJson: it is not JSON.
            FeatureError: it has another form.
            BodyTooLarge: it has more than ``MAX_ROWS`` rows.
        """
        rows = self._rows_in(body)
        checked = CheckedRows(self._folder, self._objection)
        for number, row in enumerate(rows, start=1):
            try:
                message = message_of(row_in(row, self.columns), self._key, self._partitions)
            except (ValueError, AttributeError):  # another notation, which only Arrow reads, or no row
                self._check_alone(number, row, checked)
            else:
                checked.add(number, message)
        return checked.request(key, sha256(b"json\n" + body).hexdigest())

    def _check_alone(self, number: int, row: Any, checked: CheckedRows) -> None:
        try:
            value = json.dumps(row).encode()  # orjson writes NaN as null
        except RecursionError:
            checked.reject(number, "it has a deeply nested value")
        else:
            self._check([(number, value)], checked)

    def _rows_in(self, body: bytes) -> Sequence[Any]:
        try:
            document = loads(body)
        except ValueError as error:
            raise BadJson(
                f"the body is not JSON: {error}" if body.strip() else "the body is empty", self.hint()
            ) from None
        if isinstance(document, dict):
            document = document["rows"] if isinstance(document.get("rows"), list) else [document]
        if not isinstance(document, list):
            raise FeatureError(f"the body is {shown(document)}, neither a row nor a list of rows", self.hint())
        if len(document) > MAX_ROWS:
            raise BodyTooLarge(
                f"{len(document)} rows in one JSON body; at most {MAX_ROWS}", "send them as application/x-ndjson"
            )
        return document

    async def ndjson(self, body: AsyncIterator[bytes], key: str | None) -> RowRequest:
        """The rows of an NDJSON body, one JSON object a line, in constant memory. Empty lines are no rows.

        Raises:
            BodyTooLarge: it has more than ``MAX_STREAM_BYTES``.
        """
        checked, lines, digest = CheckedRows(self._folder, self._objection), Lines(), sha256(b"ndjson\n")
        try:
            async for chunk in body:
                digest.update(chunk)
                lines.feed(chunk)
                if lines.total > MAX_STREAM_BYTES:
                    raise BodyTooLarge(
                        f"the body is over {MAX_STREAM_BYTES} bytes (256 MiB)", "send the rows in several requests"
                    )
                if lines.enough:
                    await to_thread.run_sync(self._check, lines.take(), checked)
            await to_thread.run_sync(self._check, lines.finish(), checked)
        except BaseException:
            checked.spool.close()
            raise
        return checked.request(key, digest.hexdigest())

    def _check(self, lines: Sequence[tuple[int, bytes]], checked: CheckedRows) -> None:
        table, bad = decode([line for _, line in lines], self.columns)
        key, reasons = None if self._key is None else self._key.name, dict(bad)
        fitting = iter(messages(table, key, self._partitions))
        for position, (number, _) in enumerate(lines):
            if reason := reasons.get(position):
                checked.reject(number, reason)
            else:
                checked.add(number, next(fitting))

    def hint(self) -> str:
        columns = ", ".join(f"{column.name} ({column.kind}{'?' * column.optional})" for column in self.columns[:12])
        more = ", …" if len(self.columns) > 12 else ""
        return f'send a row as a JSON object, a list of them, or {{"rows": [...]}}; a row has {columns}{more}'

    def example(self) -> Row:
        return {column.name: EXAMPLES[column.kind] for column in self.columns}

    def schema(self) -> dict[str, Any]:
        """JSON Schema of one row."""
        properties: dict[str, dict[str, Any]] = {}
        for column in self.columns:
            plain = dict(JSON_TYPES[column.kind])
            properties[column.name] = {"anyOf": [plain, {"type": "null"}]} if column.optional else plain
            described = [text for text in (column.title, column.unit and f"in {column.unit}") if text]
            properties[column.name]["description"] = ", ".join(described) or EXPECTED[column.kind]
        return {
            "type": "object",
            "properties": properties,
            "required": [column.name for column in self.columns if not column.optional],
            "description": "A row of the stream. Other keys are ignored.",
        }


class CheckedRows:
    """The rows of a request so far: those that fit, and how many do not, with the first ones."""

    def __init__(self, folder: Path, objection: Objection) -> None:
        self.spool = MessageSpool(folder)
        self._objection = objection
        self.rejected = 0
        self.examples: list[Rejected] = []

    def add(self, number: int, message: RowMessage) -> None:
        """Add a row that fits the columns, if the topic takes it."""
        if reason := self._objection(message):
            self.reject(number, reason)
        else:
            self.spool.add(message)

    def reject(self, number: int, reason: str) -> None:
        self.rejected += 1
        if len(self.examples) < MOST_REJECTED:
            self.examples.append(Rejected(number, shorten_text(reason, MOST_REASON)))

    def request(self, key: str | None, digest: str) -> RowRequest:
        return RowRequest(self.spool, self.rejected, tuple(self.examples), key, digest)


class Lines:
    """Cuts a body into numbered lines while it arrives. A line that is too long is cut, so that it is no JSON."""

    def __init__(self) -> None:
        self.total = 0
        self._rest = bytearray()
        self._lines: list[tuple[int, bytes]] = []
        self._bytes = 0
        self._number = 0

    @property
    def enough(self) -> bool:
        """Whether so many lines are complete that they should be checked."""
        return len(self._lines) >= LINES_AT_ONCE or self._bytes >= BYTES_AT_ONCE

    def feed(self, chunk: bytes) -> None:
        self.total += len(chunk)
        first, *others = chunk.split(b"\n")
        self._extend(first)
        for line in others:
            self._complete()
            self._extend(line)

    def take(self) -> list[tuple[int, bytes]]:
        """The complete lines since the last call, with their numbers from 1."""
        lines, self._lines, self._bytes = self._lines, [], 0
        return lines

    def finish(self) -> list[tuple[int, bytes]]:
        """The last lines; the very last one need not have an end."""
        self._complete()
        return self.take()

    def _extend(self, piece: bytes) -> None:
        self._rest += piece[: MAX_LINE_BYTES + 1 - len(self._rest)]

    def _complete(self) -> None:
        self._number += 1
        line = bytes(self._rest.strip())
        self._rest.clear()
        if line:
            self._lines.append((self._number, line))
            self._bytes += len(line)
