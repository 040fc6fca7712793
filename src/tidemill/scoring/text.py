"""Similar texts: words weighted by Spark's TF-IDF, texts compared by the cosine of their angle.

The words are those of :mod:`tidemill.scoring.words`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]  # scipy has no types

from tidemill.scoring import words
from tidemill.scoring.base import Scorer, lowest, scorer_of
from tidemill.scoring.features import Feature
from tidemill.scoring.storage import Array, Stored

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


class Similar(NamedTuple):
    """The most similar texts, by their indices among those searched, the most similar first; ties keep their order.

    ``unknown`` are the words of the query that no training row has.
    """

    places: NDArray[np.intp]
    similarities: Array
    unknown: list[str]


@scorer_of("IDF")
class TextScorer(Scorer):
    """Words and their inverse document frequencies. Text: vocabulary, the terms; tokens, the number of the
    tokenizer. Array: idf (terms,)."""

    kind = "text"

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.features = tuple(Feature(**document) for document in stored.text["features"])
        self.column = self.features[0].name
        self.idf = stored.arrays["idf"]
        self.tokenizer = TOKENIZERS[stored.text.get("tokens", 1)]
        self.places = {word: position for position, word in enumerate(stored.text["vocabulary"])}
        if self.idf.shape != (len(self.places),):
            raise ValueError(f"idf has shape {self.idf.shape} for {len(self.places)} words")

    def weights(self, texts: Iterable[str]) -> sparse.csr_array:
        """(n, words): the count of each known word in each text, times its idf: the vectors of Spark's ``IDFModel``."""
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

    def index(self, table: pa.Table) -> tuple[Texts, NDArray[np.bool_]]:
        """An index of the table's rows that have a text, and which of its rows (n,) these are."""
        texts = table[self.column]
        return Texts(self, texts.drop_null().to_pylist()), texts.is_valid().to_numpy()


class Texts:
    """Texts to search for similar ones. Immutable."""

    def __init__(self, scorer: TextScorer, texts: Sequence[str]) -> None:
        self._scorer = scorer
        self._by_word = sparse.csr_array(normalised(scorer.weights(texts)).T)

    def similar(self, text: str, top: int) -> Similar:
        """The ``top`` texts with the highest cosine to this one. Fewer if fewer share a word of positive weight."""
        query = normalised(self._scorer.weights([text]))
        cosines: Array = self._by_word[query.indices].T @ query.data
        positive = np.flatnonzero(cosines > 0)
        best = positive[lowest(-cosines[positive], top)]
        return Similar(best, np.minimum(cosines[best], 1.0), self._scorer.unknown(text))


def normalised(weights: sparse.csr_array) -> sparse.csr_array:
    """The weights with rows scaled to length 1. A row of zeros stays zeros."""
    lengths = np.sqrt((weights * weights).sum(axis=1))
    rows = np.repeat(lengths, np.diff(weights.indptr))
    shares = np.divide(weights.data, rows, out=np.zeros_like(rows), where=rows > 0)
    return sparse.csr_array((shares, weights.indices, weights.indptr), weights.shape)
