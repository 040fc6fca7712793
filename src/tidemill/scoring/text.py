"""Similar texts: words weighted by Spark's TF-IDF, texts compared by the cosine of their angle.

The words are those of :mod:`tidemill.scoring.words`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]  # scipy has no types

from tidemill.scoring.base import Scorer, lowest, scorer_of
from tidemill.scoring.features import Feature
from tidemill.scoring.storage import Array, Stored
from tidemill.scoring.terms import Vocabulary


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
        self.vocabulary = Vocabulary(
            stored.text["vocabulary"], stored.arrays["idf"], tokens=stored.text.get("tokens", 1)
        )

    @property
    def places(self) -> dict[str, int]:
        """The position of each word."""
        return self.vocabulary.places

    def weights(self, texts: Iterable[str]) -> sparse.csr_array:
        """(n, words): see :meth:`Vocabulary.weights`."""
        return self.vocabulary.weights(texts)

    def unknown(self, text: str) -> list[str]:
        """The words of a text that were not seen in training, each once, with their endings."""
        return self.vocabulary.unknown(text)

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
