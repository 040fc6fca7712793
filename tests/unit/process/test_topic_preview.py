"""What a check says about the messages of a topic."""

from __future__ import annotations

import pytest

from tidemill.pipeline import Source
from tidemill.process.topic_preview import absent_from


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
