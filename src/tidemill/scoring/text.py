"""Similar texts: words weighed by Spark's TF-IDF, compared by the cosine of their angle."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]  # scipy has no types

from tidemill.scoring.base import Scorer, lowest, scorer_of
from tidemill.scoring.features import Feature
from tidemill.scoring.storage import Array, Stored

# Letters, numbers and the underscore: the same characters as in SPARK_WORD, which Java reads.
WORD = re.compile(r"\w+")
SPARK_WORD = r"[\p{L}\p{N}_]+"
# Harman's S stemmer, for words of three characters and more: the first of these that is found is replaced, in Python
# and in Spark alike. (D. Harman: How effective is suffixing? JASIS 42(1), 1991.)
PLURALS = ((r"(?<=.)(?<![ae])ies$", "y"), (r"(?<=..)(?<![us])s$", ""))
FOLDS = [(re.compile(pattern), singular) for pattern, singular in PLURALS]


def words_of(text: str) -> list[str]:
    """The words of a text as they stand in it, in lower case, as Spark's ``RegexTokenizer`` finds them."""
    return WORD.findall(text.lower())


def folded(word: str) -> str:
    """A word in lower case without its plural's ending: laptops is laptop, batteries battery; glass and bus stay."""
    for pattern, singular in FOLDS:
        found, count = pattern.subn(singular, word)
        if count:
            return found
    return word


class Similar(NamedTuple):
    """The rows found, by their places among those searched, the most similar first and equally similar ones in their
    order; ``unknown`` are the words asked for that no training row had."""

    places: NDArray[np.intp]
    similarities: Array
    unknown: list[str]


@scorer_of("IDF")
class TextScorer(Scorer):
    """Words and their inverse document frequencies. Array: idf (words,)."""

    kind = "text"

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.features = tuple(Feature(**one) for one in stored.text["features"])
        self.column = self.features[0].name
        self.idf = stored.arrays["idf"]
        self.places = {word: place for place, word in enumerate(stored.text["vocabulary"])}
        if self.idf.shape != (len(self.places),):
            raise ValueError(f"idf has shape {self.idf.shape} for {len(self.places)} words")

    def weights(self, texts: Iterable[str]) -> sparse.csr_array:
        """(n, words): how often each known word is in each text, times its idf: the vectors of Spark's ``IDFModel``."""
        seen: dict[str, int] = {}  # each word as it stands is folded and looked up only once
        places: list[int] = []
        ends = [0]
        for text in texts:
            for word in words_of(text):
                place = seen.get(word)
                if place is None:
                    place = seen[word] = self.places.get(folded(word), -1)
                if place >= 0:
                    places.append(place)
            ends.append(len(places))
        shape = (len(ends) - 1, len(self.places))
        weights = sparse.csr_array((np.ones(len(places)), np.array(places, dtype=np.int64), np.array(ends)), shape)
        weights.sum_duplicates()
        weights.data *= self.idf[weights.indices]
        return weights

    def unknown(self, text: str) -> list[str]:
        """The words of a text that training has not seen, each once, as they stand in it."""
        return [word for word in dict.fromkeys(words_of(text)) if folded(word) not in self.places]

    def index(self, table: pa.Table) -> tuple[Texts, NDArray[np.bool_]]:
        """The rows of a table that have a text, to be searched, and which of its rows (n,) these are."""
        texts = table[self.column]
        return Texts(self, texts.drop_null().to_pylist()), texts.is_valid().to_numpy()


class Texts:
    """Texts that are searched for similar ones. Immutable."""

    def __init__(self, scorer: TextScorer, texts: Sequence[str]) -> None:
        self._scorer = scorer
        self._by_word = sparse.csr_array(normalised(scorer.weights(texts)).T)

    def similar(self, text: str, top: int) -> Similar:
        """The ``top`` texts with the highest cosine to this one; fewer where fewer have a weighty word in common."""
        asked = normalised(self._scorer.weights([text]))
        cosines: Array = self._by_word[asked.indices].T @ asked.data
        having = np.flatnonzero(cosines > 0)
        best = having[lowest(-cosines[having], top)]
        return Similar(best, np.minimum(cosines[best], 1.0), self._scorer.unknown(text))


def normalised(weights: sparse.csr_array) -> sparse.csr_array:
    """The same with rows of length 1; a row without a weight has none."""
    lengths = np.sqrt((weights * weights).sum(axis=1))
    rows = np.repeat(lengths, np.diff(weights.indptr))
    shares = np.divide(weights.data, rows, out=np.zeros_like(rows), where=rows > 0)
    return sparse.csr_array((shares, weights.indices, weights.indptr), weights.shape)
