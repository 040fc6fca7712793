"""Tidemill: a stream cut into exact batches, generations of models trained from them, all served live."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """``__version__``, looked up when it is asked for: that takes longer than loading the command."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("tidemill")
