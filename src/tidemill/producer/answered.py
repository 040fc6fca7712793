"""The requests with rows that were answered: which keys were used, with which body, and with what outcome. Pure.

Each transaction of rows has one record of them, in a topic of its own, so that rows and record are committed together.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from tidemill.errors import KeyReused
from tidemill.kafka.intake import Outcome, Rejected

KEPT_SECONDS = 24 * 3600.0
KEPT_KEYS = 100_000
RETENTION = {
    "cleanup.policy": "delete",
    "retention.ms": str(round(KEPT_SECONDS * 1000)),
    "retention.bytes": str(128 * 2**20),
    "segment.bytes": str(16 * 2**20),
    "segment.ms": str(3600 * 1000),
}
"""Of the topic of answered requests: what bounds it on the disk."""


class Answer(NamedTuple):
    """The outcome of a request, with the digest of its body."""

    digest: str
    outcome: Outcome

    def for_digest(self, digest: str) -> Outcome:
        """The outcome for a repeated request.

        Raises:
            KeyReused: its body is another.
        """
        if digest != self.digest:
            raise key_reused()
        return self.outcome


def key_reused() -> KeyReused:
    return KeyReused(
        "this Idempotency-Key was used with another body",
        "give each request its own key, and send the same body when you repeat one",
    )


Extents = Mapping[int, tuple[int, int]]  # by partition, the first and the last offset
Moves = Mapping[int, Mapping[int, int]]  # by partition, from the former offset of a row to the new one
NOWHERE: Extents = MappingProxyType({})


class Record(NamedTuple):
    """The record of a transaction: its id, the answers of its requests by their keys, and where its rows are (nowhere
    in records of an older version)."""

    transaction: str
    answers: Mapping[str, Answer]
    rows: Extents = NOWHERE

    def encode(self) -> bytes:
        answers = {key: [answer.digest, encoded(answer.outcome)] for key, answer in self.answers.items()}
        rows = encoded_extents(self.rows)
        return orjson.dumps({"transaction": self.transaction, "answers": answers, "rows": rows})

    @classmethod
    def decode(cls, value: bytes) -> Record:
        content = orjson.loads(value)
        answers = {key: Answer(digest, decoded(outcome)) for key, (digest, outcome) in content["answers"].items()}
        return cls(content["transaction"], answers, decoded_extents(content.get("rows", {})))

    def moved(self, moves: Moves) -> Record:
        """The record after some of its rows were written again."""
        answers = {
            key: answer._replace(outcome=moved_outcome(answer.outcome, moves)) for key, answer in self.answers.items()
        }
        return self._replace(answers=answers, rows=moved_extents(self.rows, moves))


def moved_outcome(outcome: Outcome, moves: Moves) -> Outcome:
    return replace(outcome, offsets=moved_extents(outcome.offsets, moves))


def moved_extents(extents: Extents, moves: Moves) -> Extents:
    return {
        partition: (moves[partition][first], moves[partition][last]) if partition in moves else (first, last)
        for partition, (first, last) in extents.items()
    }


def encoded(outcome: Outcome) -> dict[str, Any]:
    examples = [list(example) for example in outcome.examples]
    counts = {"accepted": outcome.accepted, "rejected": outcome.rejected}
    return {**counts, "examples": examples, "offsets": encoded_extents(outcome.offsets)}


def encoded_extents(extents: Extents) -> dict[str, tuple[int, int]]:
    return {str(partition): ends for partition, ends in extents.items()}


def decoded(content: Mapping[str, Any]) -> Outcome:
    examples = tuple(Rejected(row, reason) for row, reason in content["examples"])
    return Outcome(content["accepted"], content["rejected"], examples, decoded_extents(content["offsets"]))


def decoded_extents(content: Mapping[str, Any]) -> Extents:
    return {int(partition): (first, last) for partition, (first, last) in content.items()}


class AnsweredRequests:
    """The newest answers by key: at most ``KEPT_KEYS``, none older than ``KEPT_SECONDS``. Not safe for threads."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, answers: Mapping[str, Answer], at: float) -> None:
        """Keep answers that were given ``at`` (seconds from any origin), after all those before."""
        for key, answer in answers.items():
            self._answers[key] = (at, answer)
            self._answers.move_to_end(key)
        while len(self._answers) > KEPT_KEYS or (self._answers and self._oldest() < at - KEPT_SECONDS):
            self._answers.popitem(last=False)

    def get(self, key: str, now: float) -> Answer | None:
        at, answer = self._answers.get(key, (0.0, None))
        return answer if at >= now - KEPT_SECONDS else None

    def _oldest(self) -> float:
        return next(iter(self._answers.values()))[0]
