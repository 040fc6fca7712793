"""Which generations are scored on a new batch. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def kept(published: Sequence[int], batch: int, serving: Iterable[int]) -> list[int]:
    """The generations before ``batch`` that are scored on it, in order: O(log of their number).

    They are the first, the newest, the one before that, those whose age in batches is 1, 2, 4, 8 and so on, and those
    ``serving``.

    Args:
        published: the numbers of the published generations, in order.
    """
    before = [number for number in published if number < batch]
    if not before:
        return []
    ages = {batch - (1 << power) for power in range(batch.bit_length())}
    wanted = {before[0], *before[-2:], *ages, *serving}
    return [number for number in before if number in wanted]
