"""The page generations."""

from __future__ import annotations


def page() -> None:
    pass
