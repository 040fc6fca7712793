"""What a check says about the messages of a topic."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tidemill.pipeline import Source
from tidemill.process.topic_preview import MessageReject, TopicPreview, absent_from
from tidemill.sources.preview import Untried


@pytest.mark.parametrize("before", ["", "payload."])
def test_changes_of_debezium_without_unwrap(before: str) -> None:
    """Where no message has a declared column and all look like Debezium's, the check names the setting that reads them;
    not where the columns are declared as parts of the envelope."""
    names = [f"{before}{name}" for name in ("op", "before", "after", "after.n")]
    source = Source.model_validate({"topic": "t", "columns": {"n": "int"}})
    assert [note.path for note in absent_from("the messages", names, source)] == ["source.columns.n", "source.unwrap"]
    unwrapped = source.model_copy(update={"unwrap": "debezium"})
    assert [note.path for note in absent_from("the messages", names, unwrapped)] == ["source.columns.n"]
    parts = Source.model_validate({"topic": "t", "columns": {"n": {"type": "int", "from": f"{before}after.n"}}})
    assert absent_from("the messages", names, parts) == ()


def test_rejects_are_told_by_their_reasons() -> None:
    """Each reason stands once, with the first message that has it and how many follow."""
    reasons = ["a tombstone", "n is missing", "a tombstone", "a tombstone"]
    rejects = tuple(MessageReject("0", offset, reason, "") for offset, reason in enumerate(reasons))
    preview = TopicPreview(
        "the topic t", pa.table({"n": [1]}), rejects, Untried(None, exact=False), several_files=False
    )
    assert preview.sentence() == (
        "first 5 messages: 1 fit, 4 rejected: "
        "partition 0, offset 0, and 2 more: a tombstone; partition 0, offset 1: n is missing"
    )
