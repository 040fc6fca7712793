"""The answered requests: what is kept of them, and how long."""

from __future__ import annotations

import pytest

from tidemill.errors import KeyReused
from tidemill.kafka.intake import Outcome, Rejected
from tidemill.producer import answered
from tidemill.producer.answered import KEPT_SECONDS, Answer, AnsweredRequests, Record

OUTCOME = Outcome(2, 1, (Rejected(3, "n is 'x'"),), {0: (17, 18), 4: (0, 0)})


def test_a_record_is_read_as_it_was_written() -> None:
    """A transaction's id and the answers of its requests, by key."""
    record = Record("t", {"a": Answer("digest", OUTCOME), "b": Answer("", Outcome(0))})
    assert Record.decode(record.encode()) == record


def test_the_newest_keys_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many at the most, and none longer than a day."""
    monkeypatch.setattr(answered, "KEPT_KEYS", 2)
    kept = AnsweredRequests()
    for at, key in enumerate("abc"):
        kept.add({key: Answer(key, OUTCOME)}, at)
    assert [kept.get(key, 2) is not None for key in "abc"] == [False, True, True]
    assert kept.get("b", 1 + KEPT_SECONDS) is not None
    assert kept.get("b", 1.5 + KEPT_SECONDS) is None
    kept.add({"d": Answer("d", OUTCOME)}, 5 + KEPT_SECONDS)
    assert len(kept) == 1


def test_a_key_belongs_to_one_body() -> None:
    """Another body is refused."""
    answer = Answer("digest", OUTCOME)
    assert answer.for_digest("digest") == OUTCOME
    with pytest.raises(KeyReused):
        answer.for_digest("other")
