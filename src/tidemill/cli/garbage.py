"""When Python searches for garbage in cycles. Nothing else depends on it: what is in no cycle goes at once."""

from __future__ import annotations

import gc

SEARCHED_AFTER = (100_000, 10, 5)
"""New objects before a search. Rows pass as many small objects, none of which is in a cycle: with Python's own 700 the
collector spent a quarter of its processor time on searches."""


def search_seldom() -> None:
    """Search from now on, but never in what is there: the modules of a process that has begun its work."""
    gc.freeze()
    gc.set_threshold(*SEARCHED_AFTER)
    gc.enable()
