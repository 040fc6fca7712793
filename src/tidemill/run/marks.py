"""The marks that a run leaves in its topic, in headers: its claim, its position, the stream's end.

Each is signed (HMAC-SHA256) with the run's secret, which only the catalog has, over all that it says, its kind, its
topic's id and its partition: no other writer can make one, nor use one of another place. A mark stands only on the last
row of each partition in a transaction and on messages without a value; one on every row would halve the rate.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Sequence
from operator import methodcaller
from typing import Any, Literal, Protocol

Kind = Literal["tidemill-claim", "tidemill-position", "tidemill-end"]

CLAIM: Kind = "tidemill-claim"
POSITION: Kind = "tidemill-position"
END: Kind = "tidemill-end"

SIGNATURE = "mac"
MOST_BYTES = 1024  # of a mark: whatever is longer is another writer's, and is not even parsed


class Marked(Protocol):
    """What is needed of a Kafka message."""

    def partition(self) -> int: ...
    def headers(self) -> Any: ...
    def set_headers(self, headers: Any) -> None: ...


class Marks:
    """Writes and reads the marks of one run in one topic."""

    def __init__(self, run_id: str, secret: str | None, topic_id: str) -> None:
        """``secret`` is None for a run that began before marks were signed: it neither signs nor asks for it."""
        self.run_id = run_id
        self._secret = None if secret is None else bytes.fromhex(secret)
        self._topic_id = topic_id

    def write(self, kind: Kind, partition: int, **fields: Any) -> tuple[str, bytes]:
        """The header of a mark that a message of this partition is to bear."""
        said = {"run": self.run_id, **fields}
        if self._secret is not None:
            said[SIGNATURE] = self._signature(kind, partition, said)
        return kind, json.dumps(said, separators=(",", ":")).encode()

    def read(self, message: Marked, kind: Kind) -> dict[str, Any] | None:
        """What this run said in a message's mark of that kind; None where there is none, or another's."""
        ours = (said for said in unverified(message, kind) if said.get("run") == self.run_id)
        return next((said for said in ours if self._is_genuine(kind, message.partition(), said)), None)

    def _is_genuine(self, kind: Kind, partition: int, said: dict[str, Any]) -> bool:
        """Whether this run's writer said that there; the signature is taken out of it."""
        signature = said.pop(SIGNATURE, None)
        if self._secret is None:
            return True
        expected = self._signature(kind, partition, said)
        return isinstance(signature, str) and hmac.compare_digest(
            signature.encode("utf-8", "surrogatepass"), expected.encode()
        )

    def _signature(self, kind: Kind, partition: int, said: dict[str, Any]) -> str:
        assert self._secret is not None
        text = json.dumps([kind, self._topic_id, partition, said], sort_keys=True, separators=(",", ":"))
        return hmac.digest(self._secret, text.encode("utf-8", "surrogatepass"), "sha256").hex()


ask_headers = methodcaller("headers")  # never specialized


def headers_of(message: Marked) -> Sequence[tuple[str, bytes | str | None]]:
    """A message's headers; none where a name is not UTF-8, which no run writes.

    At such a name Kafka's client gives a list that crashes the interpreter, with an error set that Python only looks at
    after a call which it has not specialized. Asked again it gives that list without an error, so it is taken away.
    """
    try:
        return ask_headers(message) or ()
    except (SystemError, UnicodeDecodeError):
        message.set_headers([])
        return ()


def unverified(message: Marked, kind: Kind) -> Iterator[dict[str, Any]]:
    """What any writer says in a message's headers of that kind, in their order; what is no mark is left out."""
    for name, value in headers_of(message):
        if name == kind and isinstance(value, bytes) and len(value) <= MOST_BYTES:
            try:
                said = json.loads(value)
            except (ValueError, RecursionError):
                continue
            if isinstance(said, dict):
                yield said
