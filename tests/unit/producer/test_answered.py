"""The answered requests: what is kept of them, and how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidemill.errors import KeyReused
from tidemill.kafka.intake import Outcome, Rejected
from tidemill.producer import answered
from tidemill.producer.answered import KEPT_SECONDS, Answer, AnsweredRequests, Record

OUTCOME = Outcome(2, 1, (Rejected(3, "n is 'x'"),), {0: (17, 18), 4: (0, 0)})


def test_a_record_is_read_as_it_was_written() -> None:
    """A transaction's id, the answers of its requests, by key, and where its rows are, which older records lack."""
    record = Record("t", {"a": Answer("digest", OUTCOME), "b": Answer("", Outcome(0))}, {0: (17, 18), 4: (0, 0)})
    assert Record.decode(record.encode()) == record
    assert Record.decode(b'{"transaction": "t", "answers": {}}') == Record("t", {})


def test_a_record_follows_its_rows_where_they_are_written_again() -> None:
    """Those of one partition went elsewhere: its answers say where, and the other partition's are as they were."""
    record = Record("t", {"a": Answer("digest", OUTCOME)}, {0: (16, 18), 4: (0, 0)}).moved(
        {0: {16: 30, 17: 31, 18: 33}}
    )
    assert record.rows == {0: (30, 33), 4: (0, 0)}
    assert record.answers["a"] == Answer("digest", replace(OUTCOME, offsets={0: (31, 33), 4: (0, 0)}))


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
