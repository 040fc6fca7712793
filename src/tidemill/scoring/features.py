"""The feature stages without Spark: plain rows in, a scaled numeric block and category codes out.

The vector of Spark's stages is [numeric block, one-hot block of each string feature, TF-IDF block of each text]. A
one-hot block has at most a single 1, so nothing is multiplied by it: a model's numbers for a block are looked up by the
category's code. The code after the last stands for a category that was not seen in training (in Spark a block of
zeros). The TF-IDF blocks are one sparse matrix.

A feature may be a function of a column, such as ``hour(ordered_at)``: rows and tables have the column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import add, itemgetter
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]  # scipy has no types

from tidemill.errors import FeatureError
from tidemill.scoring import calendar
from tidemill.scoring.arithmetic import products, row_product
from tidemill.scoring.storage import Array, Stored
from tidemill.scoring.terms import Vocabulary, unpacked
from tidemill.texts import shorten

Codes = NDArray[np.intp]
Row = Mapping[str, Any]

Kind = Literal["int", "float", "string", "bool", "text"]

WANTED = {
    "int": "a whole number",
    "float": "a number",
    "string": "a string",
    "bool": "true or false",
    "timestamp": "a timestamp",
}


@dataclass(frozen=True)
class Feature:
    """One feature of a model.

    ``kind``: ``string`` for categories, ``text`` for the weights of terms. ``categories``: those seen in training, the
    most frequent first. ``minimum`` and ``maximum`` are from the training rows too, as is ``example``, a value of the
    feature's column. ``function``: what makes the feature of the column ``of``, with the clock of ``zone``; without one
    the feature is the column of its name.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    example: Any = None
    function: str | None = None
    of: str | None = None
    zone: str = "UTC"

    @property
    def column(self) -> str:
        """The column that rows and tables have."""
        return self.of or self.name

    @property
    def is_calendar(self) -> bool:
        return self.function in calendar.PARTS

    @property
    def input_kind(self) -> str:
        """The type of the column's values."""
        return "timestamp" if self.is_calendar else "string" if self.kind == "text" else self.kind

    def reader(self) -> Callable[[Any], Any]:
        """The function from a value of the column to that of the feature; TypeError where it has another type."""
        if not self.is_calendar:
            return text if self.kind in ("string", "text") else same
        part = calendar.part(str(self.function), calendar.zone_of(self.zone))
        return (lambda moment: str(part(moment))) if self.kind == "string" else part

    def values(self, table: pa.Table) -> pa.ChunkedArray:
        """The feature's values in the rows of a table; null where the column's value is missing."""
        column = table[self.column]
        if not self.is_calendar:
            return column
        parts = calendar.parts(str(self.function), self.zone, column)
        return parts.cast(pa.string()) if self.kind == "string" else parts


def feature_of(document: Mapping[str, Any]) -> Feature:
    """The feature of a scorer file's document."""
    known = document.get("categories")
    return Feature(**{**document, "categories": None if known is None else tuple(known)})


class Encoded(NamedTuple):
    """n encoded rows. ``numbers``: (n, numeric features), scaled. ``codes``: for each string feature (n,). ``terms``:
    (n, terms of all texts), their weights; None for a model without texts."""

    numbers: Array
    codes: list[Codes]
    terms: sparse.csr_array | None = None

    def take(self, rows: Any) -> Encoded:
        """Some of the rows: by a slice, a mask or indices."""
        terms = None if self.terms is None else self.terms[rows]
        return Encoded(self.numbers[rows], [codes[rows] for codes in self.codes], terms)


class Split(NamedTuple):
    """A model's matrix over the feature vector, split by blocks: (numeric features, m); for each string feature
    (categories + 1, m), whose last row is for unseen categories; and (terms of all texts, m)."""

    numbers: Array
    tables: list[Array]
    terms: Array


class Encoder:
    """The feature stages of one model.

    Arrays of the n-th text feature: terms_n and term_ends_n, its vocabulary; idf_n (terms,).
    """

    def __init__(self, stored: Stored) -> None:
        self.features = tuple(map(feature_of, stored.text["features"]))
        self.numeric = [feature for feature in self.features if feature.kind not in ("string", "text")]
        self.numbers = [feature.name for feature in self.numeric]
        self.strings = [feature for feature in self.features if feature.kind == "string"]
        self.texts = [feature for feature in self.features if feature.kind == "text"]
        self.pick = picker(self.numeric)
        self.codes = [{name: code for code, name in enumerate(feature.categories or ())} for feature in self.strings]
        self.readers = [feature.reader() for feature in self.strings]
        self.vocabularies = [vocabulary(stored, index) for index in range(len(self.texts))]
        self.scaling: Array | None = stored.arrays.get("scaling")
        if self.scaling is not None and self.scaling.shape != (3, len(self.numbers)):
            raise ValueError(f"scaling has shape {self.scaling.shape}")
        self._scales: list[tuple[float, ...]] | None = None
        if self.scaling is not None:
            self._scales = [tuple(scale) for scale in self.scaling.T.tolist()]
        self._coders = [
            (feature.column, read, known, len(known))
            for feature, known, read in zip(self.strings, self.codes, self.readers, strict=True)
        ]

    @property
    def columns(self) -> list[str]:
        """The columns that a row needs, each once."""
        return list(dict.fromkeys(feature.column for feature in self.features))

    def encode(self, rows: Sequence[Row]) -> Encoded:
        """The rows encoded.

        Raises:
            FeatureError: a feature is missing or of the wrong type; the message names it.
        """
        try:
            numbers = np.array([self.pick(row) for row in rows])
            codes = [
                np.array([known.get(read(row[feature.column]), len(known)) for row in rows], dtype=np.intp)
                for feature, known, read in zip(self.strings, self.codes, self.readers, strict=True)
            ]
            terms = self.weights([[text(row[feature.column]) for row in rows] for feature in self.texts])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self.fault(rows) from error
        if numbers.dtype.kind not in "fiub" or not np.isfinite(numbers).all():
            raise self.fault(rows)
        return Encoded(self.scale(numbers.reshape(len(rows), -1).astype(np.float64, copy=False)), codes, terms)

    def encode_columns(self, columns: Mapping[str, Sequence[Any]]) -> Encoded:
        """Rows encoded that are given by the values of each column, as :meth:`encode` does it.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: a column is missing or has a value of another type.
        """
        count = len(columns[self.columns[0]])
        numbers = np.empty((count, len(self.numeric)))
        for place, feature in enumerate(self.numeric):
            values = columns[feature.column]
            numbers[:, place] = list(map(feature.reader(), values)) if feature.is_calendar else values
        if not np.isfinite(numbers).all():
            raise ValueError("not finite")
        codes = [
            np.array([known.get(value, size) for value in map(read, columns[column])], dtype=np.intp)
            for column, read, known, size in self._coders
        ]
        terms = self.weights([list(map(text, columns[feature.column])) for feature in self.texts])
        return Encoded(self.scale(numbers), codes, terms)

    def encode_one(self, row: Row) -> tuple[list[float], list[int]]:
        """The scaled numbers and the codes of one row without texts: those of ``encode([row])``.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: a feature is missing, of the wrong type or not finite;
                :meth:`encode` names it.
        """
        numbers = [value * 1.0 for value in self.pick(row)]  # a text is no number here, as for numpy
        if not all(map(math.isfinite, numbers)):
            raise ValueError("not finite")
        if self._scales is not None:
            numbers = [
                (number - shift) * factor + offset
                for number, (shift, factor, offset) in zip(numbers, self._scales, strict=True)
            ]
        return numbers, [known.get(read(row[column]), size) for column, read, known, size in self._coders]

    def unseen_of(self, row: Row, codes: Sequence[int]) -> dict[str, str] | None:
        """The unseen categories of one row with these codes, ``{feature: category}``; None if there are none."""
        unseen = None
        for code, feature, (column, read, _, size) in zip(codes, self.strings, self._coders, strict=True):
            if code == size:
                unseen = {**(unseen or {}), feature.name: read(row[column])}
        return unseen

    def weights(self, texts: Sequence[Sequence[str]]) -> sparse.csr_array | None:
        """(n, terms): the weights of the n values of each text feature; None without such a feature."""
        blocks = [known.weights(values) for known, values in zip(self.vocabularies, texts, strict=True)]
        if len(blocks) > 1:
            return sparse.csr_array(sparse.hstack(blocks))
        return blocks[0] if blocks else None

    def unseen(self, column: Callable[[str], Sequence[Any]], encoded: Encoded) -> dict[int, dict[str, str]]:
        """By the index of each row with unseen categories: ``{feature: category}``. ``column`` gives the values of a
        column by its name."""
        unseen: dict[int, dict[str, str]] = {}
        for feature, known, read, codes in zip(self.strings, self.codes, self.readers, encoded.codes, strict=True):
            places = np.flatnonzero(codes == len(known)).tolist()
            values = column(feature.column) if places else ()
            for index in places:
                unseen.setdefault(index, {})[feature.name] = read(values[index])
        return unseen

    def table(self, table: pa.Table) -> tuple[Encoded, NDArray[np.bool_]]:
        """The rows of a table that have all features, encoded, and which of the table's rows (n,) these are."""
        complete = np.ones(len(table), dtype=bool)
        for name in self.columns:
            complete &= table[name].is_valid().to_numpy()
        rows = table if complete.all() else table.filter(pa.array(complete))
        numbers = [feature.values(rows).cast(pa.float64(), safe=False).to_numpy() for feature in self.numeric]
        block = np.stack(numbers, axis=1) if numbers else np.zeros((len(rows), 0))
        codes = [
            pc.fill_null(pc.index_in(feature.values(rows), pa.array(feature.categories, pa.string())), len(known))
            for feature, known in zip(self.strings, self.codes, strict=True)
        ]
        terms = self.weights([rows[feature.column].to_pylist() for feature in self.texts])
        return Encoded(self.scale(block), [column.to_numpy().astype(np.intp) for column in codes], terms), complete

    def by_term(self, weights: Array) -> dict[str, dict[str, Array]]:
        """How often points have each term of each text feature, ``{feature: {term: (m,)}}``.

        Args:
            weights: (terms of all texts, m), those of the points.
        """
        ends = np.cumsum([len(known.places) for known in self.vocabularies])
        blocks = np.split(weights, ends[:-1]) if self.texts else []
        return {
            feature.name: dict(zip(known.places, counts_of(block, known.idf), strict=True))
            for feature, known, block in zip(self.texts, self.vocabularies, blocks, strict=True)
        }

    def scale(self, numbers: Array) -> Array:
        """(x - shift) * factor + offset, in Spark's own order of operations."""
        if self.scaling is None:
            return numbers
        shift, factor, offset = self.scaling
        scaled: Array = (numbers - shift) * factor + offset
        return scaled

    def unscale(self, numbers: Array) -> Array:
        """Scaled numbers in their original units. A constant feature gets its constant."""
        if self.scaling is None:
            return numbers
        shift, factor, offset = self.scaling
        inverse = np.divide(1.0, factor, out=np.zeros_like(factor), where=factor != 0)
        unscaled: Array = (numbers - offset) * inverse + shift
        return unscaled

    def split(self, matrix: Array) -> Split:
        """``matrix`` (positions of the feature vector, m) split by blocks.

        Raises:
            ValueError: it has not as many rows as the vector has positions.
        """
        ends = np.cumsum([len(self.numbers), *(len(known) for known in self.codes)])
        positions = ends[-1] + self.term_count
        if len(matrix) != positions:
            raise ValueError(f"the model has {len(matrix)} coefficients for {positions} places")
        numbers, *blocks, terms = np.split(matrix, ends)
        zeros = np.zeros((1, matrix.shape[1]))
        return Split(numbers, [np.concatenate([block, zeros]) for block in blocks], terms)

    @property
    def term_count(self) -> int:
        """The number of terms of all texts."""
        return sum(len(known.places) for known in self.vocabularies)

    def fault(self, rows: Sequence[Row]) -> FeatureError:
        """The error for the first bad value in rows that can't be encoded."""
        for row in rows:
            for feature in self.features:
                name, wanted = feature.column, WANTED[feature.input_kind]
                if name not in row or row[name] is None:
                    return FeatureError(f"{name} is missing", f"give it as {wanted}")
                value = row[name]
                if not fits(value, feature.input_kind):
                    return FeatureError(f"{name} is {shorten(value, 40)}, not {wanted}", "correct that value")
        return FeatureError("the rows can't be scored", "give every feature, of its declared type")


def product(encoded: Encoded, split: Split) -> Array:
    """(n, m): each row's feature vector times the split matrix, added position by position."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = products(encoded.numbers, split.numbers)
        for codes, table in zip(encoded.codes, split.tables, strict=True):
            total = total + table[codes]
        if encoded.terms is not None:
            total = total + encoded.terms @ split.terms
    return total


def row_products(split: Split) -> Callable[[list[float], list[int]], list[float]]:
    """The function from a row's numbers and codes to its products (m,) with the split matrix, without texts."""
    outputs = split.numbers.T.tolist()
    tables = [table.tolist() for table in split.tables]
    if len(outputs) == 1:
        only, columns = outputs[0], [[row[0] for row in table] for table in tables]

        def single(numbers: list[float], codes: list[int]) -> list[float]:
            total = row_product(numbers, only) if only else 0.0
            for code, column in zip(codes, columns, strict=True):
                total += column[code]
            return [total]

        return single

    def several(numbers: list[float], codes: list[int]) -> list[float]:
        totals = [row_product(numbers, weights) if weights else 0.0 for weights in outputs]
        for code, table in zip(codes, tables, strict=True):
            totals = list(map(add, totals, table[code]))
        return totals

    return several


def counts_of(weights: Array, idf: Array) -> Array:
    """(terms, m): weights (terms, m) without the terms' idf; 0 for a term that every text of training has."""
    counts: Array = np.divide(weights, idf[:, None], out=np.zeros_like(weights), where=idf[:, None] > 0)
    return counts


def vocabulary(stored: Stored, index: int) -> Vocabulary:
    """The vocabulary of the text feature at ``index``."""
    arrays: Mapping[str, Any] = stored.arrays
    terms = unpacked(arrays[f"terms_{index}"], arrays[f"term_ends_{index}"])
    return Vocabulary(terms, arrays[f"idf_{index}"], tokens=stored.text["tokens"])


def picker(features: Sequence[Feature]) -> Callable[[Row], tuple[Any, ...]]:
    """A fast function from a row to the values of numeric features, always a tuple."""
    names = [feature.column for feature in features]
    if any(feature.is_calendar for feature in features):
        readers = [feature.reader() for feature in features]
        return lambda row: tuple(read(row[name]) for name, read in zip(names, readers, strict=True))
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: tuple(row[name] for name in names)


def same(value: Any) -> Any:
    return value


def text(value: Any) -> str:
    """The value itself. Raises TypeError where it is not a string."""
    if type(value) is not str:
        raise TypeError("a string is expected")
    return value


def fits(value: Any, kind: str) -> bool:
    """Whether a value has a feature's type, and is finite."""
    if kind == "string":
        return isinstance(value, str)
    if kind == "timestamp":
        return isinstance(value, datetime) and value.tzinfo is not None
    try:
        return isinstance(value, (int, float, np.number, np.bool_)) and math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False
