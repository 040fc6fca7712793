"""What is made of a transaction of predictions that Kafka believes ended, but that is still open."""

from __future__ import annotations

import pytest

from tidemill.outputs.recovery import Forgotten, Position

OPEN = {0: Position(100), 1: Position(50)}


@pytest.mark.parametrize(
    ("recorded", "known", "visible", "committed"),
    [
        ({}, {}, {}, False),
        ({0: Position(90), 1: Position(40)}, {0: 90, 1: 40}, {0: Position(90)}, False),
        ({0: Position(100), 1: Position(50)}, {0: 90}, {}, True),
        (None, {0: 90, 1: 40}, {0: Position(90), 1: Position(40)}, False),
        (None, {0: 100, 1: 50}, {}, True),
        (None, {}, {1: Position(50)}, True),
    ],
    ids=["the first", "nothing of it", "the record", "the record open", "the catalog", "another partition"],
)
def test_it_was_committed_where_a_part_of_it_is(
    recorded: dict[int, Position] | None, known: dict[int, int], visible: dict[int, Position], committed: bool
) -> None:
    """Kafka ends a transaction one partition after the other, the record of offsets among them."""
    forgotten = Forgotten({2: 7}, OPEN, recorded)
    assert forgotten.may_be
    assert forgotten.is_committed(known, visible) is committed


def test_predictions_without_their_record_were_committed() -> None:
    """Where the record of offsets alone is open, the predictions are there."""
    assert Forgotten({}, {}, None).is_committed({}, {0: Position(5)})
    assert not Forgotten({2: 7}, {}, {}).may_be
