"""The page data."""

from __future__ import annotations


def page() -> None:
    pass
