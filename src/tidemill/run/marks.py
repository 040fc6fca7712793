"""The marks that a run writes into its topics as headers: its claim, its position, the stream's end, its HTTP rows.

Each mark is signed (HMAC-SHA256) with the run's secret, which only the catalog holds. The signature covers the mark's
content and kind, the topic's id and the partition, so no other writer can forge a mark or reuse one elsewhere. Of the
source's rows only the last one of each partition in a transaction carries a mark: one on every row would halve the
rate. Every row that came by HTTP carries one, with a digest of the row, so that it is told from the source's rows and
from those of other writers.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from operator import methodcaller
from typing import Any, Literal, Protocol

Kind = Literal[
    "tidemill-claim",
    "tidemill-position",
    "tidemill-end",
    "tidemill-source-end",
    "tidemill-row",
    "tidemill-requests",
    "tidemill-written",
]

CLAIM: Kind = "tidemill-claim"
POSITION: Kind = "tidemill-position"
END: Kind = "tidemill-end"
SOURCE_END: Kind = "tidemill-source-end"  # of an open stream: after the source's last row
ROW: Kind = "tidemill-row"  # of a row that came by HTTP
REQUESTS: Kind = "tidemill-requests"  # of a record of answered requests, in a topic of their own
WRITTEN: Kind = "tidemill-written"  # of a message of predictions: up to which row they are written

SIGNATURE = "mac"
MOST_BYTES = 1024  # of a mark: a longer header is another writer's, and is not parsed


class Marked(Protocol):
    """The part of a Kafka message that marks need."""

    def partition(self) -> int: ...
    def headers(self) -> Any: ...
    def set_headers(self, headers: Any) -> None: ...


class Marks:
    """Writes and reads the marks of one run in one topic."""

    def __init__(self, run_id: str, secret: str | None, topic_id: str) -> None:
        """``secret`` is None in a run that started before marks were signed: its marks have no signature."""
        self.run_id = run_id
        self._secret = None if secret is None else bytes.fromhex(secret)
        self._topic_id = topic_id

    def write(self, kind: Kind, partition: int, **fields: Any) -> tuple[str, bytes]:
        """The header of a mark for a message of this partition."""
        content = {"run": self.run_id, **fields}
        if self._secret is not None:
            content[SIGNATURE] = self._signature(kind, partition, content)
        return kind, json.dumps(content, separators=(",", ":")).encode()

    def read(self, message: Marked, kind: Kind) -> dict[str, Any] | None:
        """The content of this run's mark of that kind in a message; None where there is none."""
        ours = (content for content in unverified(message, kind) if content.get("run") == self.run_id)
        return next((content for content in ours if self._is_genuine(kind, message.partition(), content)), None)

    def sign_value(self, kind: Kind, partition: int, value: bytes) -> tuple[str, bytes]:
        """The header of a mark that holds for a message of this partition with this value alone."""
        return self.write(kind, partition, value=digest_of(value))

    def signs_value(self, message: Marked, kind: Kind, value: bytes | None) -> bool:
        """Whether the message, which has this value, carries this run's mark of that kind for it."""
        content = self.read(message, kind) if value is not None and headers_of(message) else None
        return content is not None and value is not None and content.get("value") == digest_of(value)

    def _is_genuine(self, kind: Kind, partition: int, content: dict[str, Any]) -> bool:
        """Whether this run signed the mark for this partition. Removes the signature from ``content``."""
        signature = content.pop(SIGNATURE, None)
        if self._secret is None:
            return True
        expected = self._signature(kind, partition, content)
        return isinstance(signature, str) and hmac.compare_digest(
            signature.encode("utf-8", "surrogatepass"), expected.encode()
        )

    def _signature(self, kind: Kind, partition: int, content: dict[str, Any]) -> str:
        assert self._secret is not None
        text = json.dumps([kind, self._topic_id, partition, content], sort_keys=True, separators=(",", ":"))
        return hmac.digest(self._secret, text.encode("utf-8", "surrogatepass"), "sha256").hex()


def digest_of(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


ask_headers = methodcaller("headers")  # never specialized


def headers_of(message: Marked) -> Sequence[tuple[str, bytes | str | None]]:
    """A message's headers; none where a name is not UTF-8, which no run writes.

    For such a name Kafka's client returns a list that crashes the interpreter, and sets an error that Python checks
    only after a call that it has not specialized. A second call would return that list without an error, so the headers
    are removed from the message.
    """
    try:
        return ask_headers(message) or ()
    except (SystemError, UnicodeDecodeError):
        message.set_headers([])
        return ()


def unverified(message: Marked, kind: Kind) -> Iterator[dict[str, Any]]:
    """The content of all marks of that kind in a message, by any writer, in order. Other headers are left out."""
    for name, value in headers_of(message):
        if name == kind and isinstance(value, bytes) and len(value) <= MOST_BYTES:
            try:
                content = json.loads(value)
            except (ValueError, RecursionError):
                continue
            if isinstance(content, dict):
                yield content
