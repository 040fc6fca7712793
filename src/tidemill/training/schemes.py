"""Decides which batches a generation is trained on. Pure: numbers in, numbers out."""

from __future__ import annotations

from typing import Literal

Scheme = Literal["windowed", "cumulative", "sliding"]


def batches_of(scheme: Scheme, generation: int, window: int | None = None) -> range:
    """The numbers of the batches that generation ``generation`` (1 or more) is trained on, in order.

    Windowed: the batch of its own number. Cumulative: all batches up to that. Sliding: the last ``window`` up to that,
    fewer at the start.
    """
    first = {"windowed": generation, "cumulative": 1, "sliding": max(1, generation - (window or 1) + 1)}[scheme]
    return range(first, generation + 1)
