"""The page try_it."""

from __future__ import annotations


def page() -> None:
    pass
