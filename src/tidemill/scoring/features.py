"""The feature stages without Spark: plain rows in, a scaled numeric block and category codes out.

The vector of Spark's stages is [numeric block, one-hot block of each string feature]. A one-hot block has at most a
single 1, so nothing is multiplied by it: a model's numbers for a block are looked up by the category's code. The code
after the last stands for a category that was not seen in training (in Spark a block of zeros).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.errors import FeatureError
from tidemill.scoring.storage import Array, Stored
from tidemill.texts import shorten

Codes = NDArray[np.intp]
Row = Mapping[str, Any]

WANTED = {"int": "a whole number", "float": "a number", "string": "a string", "bool": "true or false"}


@dataclass(frozen=True)
class Feature:
    """One input of a model.

    ``categories``: of a string feature, those seen in training, the most frequent first. ``minimum``, ``maximum`` and
    ``example`` are from the training rows too.
    """

    name: str
    kind: Literal["int", "float", "string", "bool"]
    categories: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    example: Any = None


class Encoded(NamedTuple):
    """n encoded rows. ``numbers``: (n, numeric features), scaled. ``codes``: for each string feature (n,)."""

    numbers: Array
    codes: list[Codes]


class Split(NamedTuple):
    """A model's matrix over the feature vector, split by blocks: (numeric features, m), and for each string feature
    (categories + 1, m), whose last row is for unseen categories."""

    numbers: Array
    tables: list[Array]


class Encoder:
    """The feature stages of one model."""

    def __init__(self, stored: Stored) -> None:
        self.features = tuple(
            Feature(**{**document, "categories": None if (known := document["categories"]) is None else tuple(known)})
            for document in stored.text["features"]
        )
        self.numbers = [feature.name for feature in self.features if feature.kind != "string"]
        self.strings = [feature for feature in self.features if feature.kind == "string"]
        self.pick = picker(self.numbers)
        self.codes = [{name: code for code, name in enumerate(feature.categories or ())} for feature in self.strings]
        self.scaling: Array | None = stored.arrays.get("scaling")
        if self.scaling is not None and self.scaling.shape != (3, len(self.numbers)):
            raise ValueError(f"scaling has shape {self.scaling.shape}")

    def encode(self, rows: Sequence[Row]) -> Encoded:
        """The rows encoded.

        Raises:
            FeatureError: a feature is missing or of the wrong type; the message names it.
        """
        try:
            numbers = np.array([self.pick(row) for row in rows])
            codes = [
                np.array([known.get(text(row[feature.name]), len(known)) for row in rows], dtype=np.intp)
                for feature, known in zip(self.strings, self.codes, strict=True)
            ]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self.fault(rows) from error
        if numbers.dtype.kind not in "fiub" or not np.isfinite(numbers).all():
            raise self.fault(rows)
        return Encoded(self.scale(numbers.reshape(len(rows), -1).astype(np.float64, copy=False)), codes)

    def unseen(self, rows: Sequence[Row], encoded: Encoded) -> dict[int, dict[str, str]]:
        """By the index of each row with unseen categories: ``{feature: category}``."""
        unseen: dict[int, dict[str, str]] = {}
        for feature, known, codes in zip(self.strings, self.codes, encoded.codes, strict=True):
            if len(known) in (coded := codes.tolist()):  # for a single row faster than numpy
                for index in (index for index, code in enumerate(coded) if code == len(known)):
                    unseen.setdefault(index, {})[feature.name] = rows[index][feature.name]
        return unseen

    def table(self, table: pa.Table) -> tuple[Encoded, NDArray[np.bool_]]:
        """The rows of a table that have all features, encoded, and which of the table's rows (n,) these are."""
        complete = np.ones(len(table), dtype=bool)
        for feature in self.features:
            complete &= table[feature.name].is_valid().to_numpy()
        rows = table if complete.all() else table.filter(pa.array(complete))
        numbers = [rows[name].cast(pa.float64(), safe=False).to_numpy() for name in self.numbers]
        block = np.stack(numbers, axis=1) if numbers else np.zeros((len(rows), 0))
        codes = [
            pc.fill_null(pc.index_in(rows[feature.name], pa.array(feature.categories, pa.string())), len(known))
            for feature, known in zip(self.strings, self.codes, strict=True)
        ]
        return Encoded(self.scale(block), [column.to_numpy().astype(np.intp) for column in codes]), complete

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
        if len(matrix) != ends[-1]:
            raise ValueError(f"the model has {len(matrix)} coefficients for {ends[-1]} places")
        numbers, *blocks = np.split(matrix, ends[:-1])
        zeros = np.zeros((1, matrix.shape[1]))
        return Split(numbers, [np.concatenate([block, zeros]) for block in blocks])

    def fault(self, rows: Sequence[Row]) -> FeatureError:
        """The error for the first bad value in rows that can't be encoded."""
        for row in rows:
            for feature in self.features:
                if feature.name not in row or row[feature.name] is None:
                    return FeatureError(f"{feature.name} is missing", f"give it as {WANTED[feature.kind]}")
                value = row[feature.name]
                if not fits(value, feature.kind):
                    message = f"{feature.name} is {shorten(value, 40)}, not {WANTED[feature.kind]}"
                    return FeatureError(message, "correct that value")
        return FeatureError("the rows can't be scored", "give every feature, of its declared type")


def product(encoded: Encoded, split: Split) -> Array:
    """(n, m): each row's feature vector times the split matrix."""
    with np.errstate(over="ignore", invalid="ignore"):
        total: Array = encoded.numbers @ split.numbers
        for codes, table in zip(encoded.codes, split.tables, strict=True):
            total = total + table[codes]
    return total


def picker(names: Sequence[str]) -> Callable[[Row], tuple[Any, ...]]:
    """A fast function from a row to its values under ``names``, always a tuple."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: tuple(row[name] for name in names)


def text(value: Any) -> str:
    """The value itself. Raises TypeError where it is not a string."""
    if type(value) is not str:
        raise TypeError("a string is expected")
    return value


def fits(value: Any, kind: str) -> bool:
    """Whether a value has a feature's type, and is finite."""
    if kind == "string":
        return isinstance(value, str)
    try:
        return isinstance(value, (int, float, np.number, np.bool_)) and math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False
