"""Endurance, in its short form: `make soak` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.torture import soak


@pytest.mark.timeout(900)
def test_three_minutes_of_a_steady_stream_with_random_kills(tmp_path: Path) -> None:
    """2,000 rows a second for three minutes, something killed every ten seconds: no row is lost, doubled or out of
    order, no sealed file changes, every generation is trained once, and the API answers."""
    seen = soak(tmp_path, seconds=180, kill_seconds=10)
    kills = seen["kills"]
    assert isinstance(kills, dict)
    assert sum(kills.values()) >= 5
    assert seen["answers"]
