"""The page clusters."""

from __future__ import annotations


def page() -> None:
    pass
