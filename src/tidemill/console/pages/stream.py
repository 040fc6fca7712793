"""The page stream."""

from __future__ import annotations


def page() -> None:
    pass
