"""Helpers of the generators: weighted draws, joined text columns, and permuted numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
GOLDEN = 0.6180339887498949
LOW_BITS = 20


def pick(random: np.random.Generator, weights: Sequence[float], size: int) -> np.ndarray:
    """``size`` indices into ``weights``, each drawn with probability proportional to its weight."""
    ends = np.cumsum(weights)
    places: np.ndarray = np.searchsorted(ends, random.random(size) * ends[-1], side="right")
    return places


def scatter(numbers: np.ndarray, modulus: int) -> np.ndarray:
    """A permutation of the numbers below ``modulus`` (at most 2**42) that moves neighbours far apart."""
    step = int(modulus * GOLDEN) | 1
    while np.gcd(step, modulus) != 1:
        step += 2
    high, low = numbers >> LOW_BITS, numbers & ((1 << LOW_BITS) - 1)
    places: np.ndarray = (high * ((step << LOW_BITS) % modulus) % modulus + low * step) % modulus
    return places


def digits(numbers: np.ndarray, length: int, alphabet: str = BASE36) -> pa.Array:
    """Each number as a text of ``length`` characters of the (ASCII) alphabet."""
    signs = np.frombuffer(alphabet.encode(), np.uint8)
    places = len(signs) ** np.arange(length - 1, -1, -1)
    texts = np.ascontiguousarray(signs[numbers[:, None] // places % len(signs)])
    return pa.array(texts.view(f"S{length}")[:, 0]).cast(pa.string())


def join(*parts: pa.Array | np.ndarray | str, by: str = "") -> pa.Array:
    """Texts concatenated row by row. Whole numbers are written as text; a single text is used in every row."""
    texts = [part if isinstance(part, str) else pa.array(part).cast(pa.string()) for part in parts]
    return pc.binary_join_element_wise(*texts, by)


def words(text: str) -> np.ndarray:
    """The words of a text; ``_`` in a word stands for a blank."""
    return np.array([word.replace("_", " ") for word in text.split()])
