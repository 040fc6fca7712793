"""The vocabularies of fitted models: terms with their inverse document frequencies, and the weights of texts by them.

The words are those of :mod:`tidemill.scoring.words`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]  # scipy has no types

from tidemill.scoring import words
from tidemill.scoring.storage import Array

# The first tokenizer, of kept models: words end at combining marks, letters count as they are composed, and words of
# every script lose a plural ending.
EARLIER_WORD = re.compile(r"\w+")
EARLIER_PLURALS = (
    (re.compile(r"(?<=.)(?<![ae])ies$"), "y"),
    (re.compile(r"(?<=..)(?<![us])s$"), ""),
)


class Tokenizer(NamedTuple):
    """How texts are cut. ``words``: of a text, in their order; ``stem``: the term that a word is counted as."""

    words: Callable[[str], list[str]]
    stem: Callable[[str], str]


def earlier_words(text: str) -> list[str]:
    return EARLIER_WORD.findall(text.lower())


def earlier_stem(word: str) -> str:
    for pattern, singular in EARLIER_PLURALS:
        replaced, count = pattern.subn(singular, word)
        if count:
            return replaced
    return word


TOKENS = 2  # the tokenizer of new models; a scorer file without a number has the first
TOKENIZERS = {1: Tokenizer(earlier_words, earlier_stem), TOKENS: Tokenizer(words.words, words.stem)}


class Vocabulary:
    """The terms of a model (m), each with its position, and their inverse document frequencies, ``idf`` (m,)."""

    def __init__(self, terms: Sequence[str], idf: Array, tokens: int = TOKENS) -> None:
        """``tokens``: the number of the tokenizer."""
        self.tokenizer = TOKENIZERS[tokens]
        self.places = {term: position for position, term in enumerate(terms)}
        self.idf = idf
        if idf.shape != (len(self.places),):
            raise ValueError(f"idf has shape {idf.shape} for {len(self.places)} words")

    def weights(self, texts: Iterable[str]) -> sparse.csr_array:
        """(n, m): the count of each known term in each text, times its idf: the vectors of Spark's ``IDFModel``."""
        seen: dict[str, int] = {}  # so that each word is stemmed and looked up only once
        positions: list[int] = []
        ends = [0]
        for text in texts:
            for word in self.tokenizer.words(text):
                position = seen.get(word)
                if position is None:
                    position = seen[word] = self.places.get(self.tokenizer.stem(word), -1)
                if position >= 0:
                    positions.append(position)
            ends.append(len(positions))
        shape = (len(ends) - 1, len(self.places))
        counts = (np.ones(len(positions)), np.array(positions, dtype=np.int64), np.array(ends))
        weights = sparse.csr_array(counts, shape)
        weights.sum_duplicates()
        weights.data *= self.idf[weights.indices]
        return weights

    def unknown(self, text: str) -> list[str]:
        """The words of a text that were not seen in training, each once, with their endings."""
        return [word for word in dict.fromkeys(self.tokenizer.words(text)) if not self.knows(word)]

    def knows(self, word: str) -> bool:
        """Whether training saw this word."""
        return self.tokenizer.stem(word) in self.places


def packed(terms: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Terms as arrays of a scorer file: their bytes in UTF-8, and where each one ends."""
    encoded = [term.encode() for term in terms]
    return np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([len(term) for term in encoded], dtype=np.int64)


def unpacked(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> list[str]:
    """The terms that :func:`packed` made arrays of."""
    text, starts = data.astype(np.uint8).tobytes(), [0, *ends.tolist()[:-1]]
    return [text[start:end].decode() for start, end in zip(starts, ends.tolist(), strict=True)]
