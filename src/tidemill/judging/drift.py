"""Drift: whether the values of a batch are distributed as those of the reference, column by column.

Drift explains a verdict and decides nothing. A column is flagged only where the difference is beyond chance, corrected
for the number of columns, and of a size that matters. The population stability index above 0.1 is not such a rule: on
unchanged data of 100 rows it is exceeded most of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]  # scipy has no types

from tidemill.run.batch_tables import evenly
from tidemill.scoring.storage import Array
from tidemill.texts import shorten_text

Values: TypeAlias = pa.Array | pa.ChunkedArray
Counts: TypeAlias = NDArray[np.int64]

SIGNIFICANT = 0.05  # a p-value, corrected, below which a difference is not by chance
LEAST_EFFECT = 0.1  # the least effect that matters
LEAST_EXPECTED = 5  # in each cell of a chi-square test, by Cochran (1954)
LEAST_VALUES = 2 * LEAST_EXPECTED  # of each side: two cells of so many
MOST_VALUES = 10_000  # of each side, of a column of numbers
DISTINCT = 0.9  # of the values: a column of strings or whole numbers with more distinct ones may be an id
DENSE = 0.5  # of their range: distinct whole numbers that fill more of it are a counter
ALONG = 0.9  # the rank correlation of value and place above which a column grows along the stream
MOST_EXAMPLES, MOST_CHARACTERS = 5, 40  # of new categories


@dataclass(frozen=True)
class Drift:
    """The comparison of one column of a batch with the reference.

    Attributes:
        column: the column, or ``"NAME: missing"`` of the test of its missing values.
        test: ``ks``, the two-sample test of Kolmogorov and Smirnov, or ``chi-square``, of homogeneity.
        effect: from 0, the same, to 1: the statistic D of ``ks``; else Cramer's V, corrected
            for chance (:func:`cramers_v`), which for missing values is phi.
        p: the p-value, corrected for all columns that were tested with it.
        flagged: whether p is below ``SIGNIFICANT`` and the effect at least ``LEAST_EFFECT``.
        distance: of numbers the Wasserstein-1 distance in standard deviations of the reference; None where it has none.
        new: the categories of the batch that the reference lacks: up to five examples, the most frequent first.
        missing: the shares of missing values in the reference and in the batch.
        measure: what ``before`` and ``after`` are of the reference and of the batch: ``mean`` of numbers; ``share of
            'A'`` of the category whose share changed most; ``share missing``. None where nothing of it can be said.
    """

    column: str
    test: Literal["ks", "chi-square"]
    effect: float
    p: float
    flagged: bool
    distance: float | None = None
    new: tuple[str, ...] = ()
    missing: tuple[float, float] = (0.0, 0.0)
    measure: str | None = None
    before: float | None = None
    after: float | None = None


def drifts(reference: Mapping[str, Values], batch: Mapping[str, Values]) -> list[Drift]:
    """The comparisons of all columns that both sides have and that can be compared, in the reference's order.

    The test of a column's missing values follows the one of its values. The p-values are corrected over all of these
    by Benjamini and Yekutieli (2001), The control of the false discovery rate in multiple testing under dependency.
    """
    shared = [name for name in reference if name in batch]
    tests = [test(reference[name], batch[name], name) for name in shared for test in (column_drift, missing_drift)]
    compared = [drift for drift in tests if drift is not None]
    corrected = stats.false_discovery_control([drift.p for drift in compared], method="by") if compared else []
    return [judged(drift, float(p)) for drift, p in zip(compared, corrected, strict=True)]


def judged(drift: Drift, p: float) -> Drift:
    """The comparison with another p-value."""
    return replace(drift, p=p, flagged=p < SIGNIFICANT and drift.effect >= LEAST_EFFECT)


def column_drift(reference: Values, batch: Values, name: str) -> Drift | None:
    """The comparison of the values of one column; its p-value is not corrected. Missing values are left out.

    Numbers and timestamps are compared by Kolmogorov and Smirnov, strings and booleans by their categories. None where
    that can't be done: a side has fewer than ``LEAST_VALUES`` values; a number or timestamp counts the stream on both
    sides (:func:`counts_stream`); a string is an id, as on both sides more than ``DISTINCT`` of the values differ.

    Args:
        reference: the values in the order of the stream, and so those of ``batch``. A NaN or an infinite number counts
            as missing.
    """
    before, after = present(reference), present(batch)
    if min(len(before), len(after)) < LEAST_VALUES:
        return None
    drift = number_drift(before, after, name) if is_number(before.type) else category_drift(before, after, name)
    return drift and replace(judged(drift, drift.p), missing=(missing_share(reference), missing_share(batch)))


def missing_drift(reference: Values, batch: Values, name: str) -> Drift | None:
    """The comparison of the shares of missing values; its p-value is not corrected. None where neither side has any,
    or a side has no rows.

    Where fewer than ``LEAST_EXPECTED`` are expected in a cell, the p-value is that of Fisher's exact test.
    """
    if not len(reference) or not len(batch):
        return None
    table = np.array([[len(present(side)), len(side)] for side in (reference, batch)], np.int64)
    table[:, 1] -= table[:, 0]
    if not table[:, 1].any():
        return None
    p = homogeneity(table) if expected(table).min() >= LEAST_EXPECTED else float(stats.fisher_exact(table).pvalue)
    shares = (missing_share(reference), missing_share(batch))
    drift = Drift(f"{name}: missing", "chi-square", cramers_v(table), p, flagged=False, missing=shares)
    return judged(replace(drift, measure="share missing", before=shares[0], after=shares[1]), p)


def present(values: Values) -> Values:
    """The values that are not missing, in their order."""
    if pa.types.is_floating(values.type):
        return values.filter(pc.is_finite(values))  # of a missing value this is missing, which leaves it out too
    return values.drop_null()


def missing_share(values: Values) -> float:
    return 1 - len(present(values)) / len(values)


def is_number(kind: pa.DataType) -> bool:
    """Whether values of this Arrow type are compared as numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind))


def number_drift(before: Values, after: Values, name: str) -> Drift | None:
    """The comparison of numbers or timestamps of which none is missing; None where they count the stream."""
    if counts_stream(before) and counts_stream(after):
        return None
    sides = floats(before), floats(after)
    first, second = map(thinned, sides)
    result = stats.ks_2samp(first, second, method="asymp")
    p = min(float(result.pvalue), 1.0)
    drift = Drift(name, "ks", float(result.statistic), p, flagged=False, distance=distance(first, second))
    with np.errstate(over="ignore", invalid="ignore"):  # the sum of enormous numbers
        means = [float(side.mean()) for side in sides]
    if pa.types.is_timestamp(before.type) or not np.isfinite(means).all():
        return drift
    return replace(drift, measure="mean", before=means[0], after=means[1])


def floats(values: Values) -> Array:
    """Numbers, none of which is missing; of a timestamp its count of units."""
    numbers = values.cast(pa.int64()) if pa.types.is_timestamp(values.type) else values
    array: Array = np.asarray(numbers).astype(np.float64)
    return array


def thinned(numbers: Array) -> Array:
    """At most ``MOST_VALUES`` of these numbers, evenly spread over all of them."""
    return numbers[evenly(MOST_VALUES, numbers.size)]


def counts_stream(values: Values) -> bool:
    """Whether a column only says which place in the stream a row has, so that each batch has other values by nature.

    A timestamp does where it grows along the stream: the rank correlation of value and place exceeds ``ALONG``. A whole
    number does where more than ``DISTINCT`` of the values differ, and they grow so or fill more than ``DENSE`` of their
    range.
    """
    if pa.types.is_timestamp(values.type):
        return grows(thinned(floats(values)))
    if not pa.types.is_integer(values.type) or pc.count_distinct(values).as_py() <= DISTINCT * len(values):
        return False
    ends = pc.min_max(values).as_py()
    return len(values) > DENSE * (ends["max"] - ends["min"] + 1) or grows(thinned(floats(values)))


def grows(numbers: Array) -> bool:
    """Whether the numbers grow along their places; a constant does not."""
    if numbers.min() == numbers.max():
        return False
    return bool(np.corrcoef(stats.rankdata(numbers), np.arange(numbers.size))[0, 1] > ALONG)


def distance(reference: Array, batch: Array) -> float | None:
    """The Wasserstein-1 distance in standard deviations of the reference; None where that is constant."""
    greatest = max(np.abs(reference).max(), np.abs(batch).max())
    if reference.min() == reference.max():
        return None
    first, second = reference / greatest, batch / greatest  # so that nothing overflows
    deviation = first.std()
    return float(stats.wasserstein_distance(first, second) / deviation) if deviation > 0 else None


def category_drift(before: Values, after: Values, name: str) -> Drift | None:
    """The comparison of the categories of a column of which no value is missing; None where they are ids."""
    categories, counts = count_categories(before, after)
    if ((counts > 0).sum(axis=1) > DISTINCT * counts.sum(axis=1)).all():
        return None
    table = pool(counts)
    new = np.flatnonzero(counts[0] == 0)
    examples = new[np.argsort(-counts[1, new], kind="stable")][:MOST_EXAMPLES]
    texts = tuple(shorten_text(str(categories[place]), MOST_CHARACTERS) for place in examples)
    drift = Drift(name, "chi-square", cramers_v(table), homogeneity(table), flagged=False, new=texts)
    shares = counts / counts.sum(axis=1, keepdims=True)
    most = int(np.abs(shares[1] - shares[0]).argmax())
    measure = f"share of '{shorten_text(str(categories[most]), MOST_CHARACTERS)}'"
    return replace(drift, measure=measure, before=float(shares[0, most]), after=float(shares[1, most]))


def count_categories(before: Values, after: Values) -> tuple[pa.Array, Counts]:
    """The k categories of both sides in the order in which they occur, and (2, k) how often each side has them."""
    sides = [side.cast(pa.large_string()) for side in (before, after)]
    chunks = [chunk for side in sides for chunk in (side.chunks if isinstance(side, pa.ChunkedArray) else [side])]
    encoded = pa.concat_arrays(chunks).dictionary_encode()
    codes, kinds = np.asarray(encoded.indices), len(encoded.dictionary)
    counts = [np.bincount(part, minlength=kinds) for part in (codes[: len(before)], codes[len(before) :])]
    return encoded.dictionary, np.stack(counts).astype(np.int64)


def pool(counts: Counts) -> Counts:
    """The cells of a chi-square test of categories, (2, cells), in each of which ``LEAST_EXPECTED`` are expected.

    A category in which fewer are expected on either side is rare. The rare ones share a cell; where that is too small
    still, it joins the smallest other one. The categories that the reference lacks and that are not rare share a cell.
    Which ones are rare depends on both sides together: of categories that are seldom even unchanged data has some that
    the reference lacks, so that a cell of all new ones would differ by its making.
    """
    common, new = expected(counts).min(axis=0) >= LEAST_EXPECTED, counts[0] == 0
    pooled = [counts[:, group].sum(axis=1) for group in (common & new, ~common)]
    table = np.column_stack([counts[:, common & ~new], *pooled])
    table = table[:, table.any(axis=0)]
    if table.shape[1] > 1 and expected(table).min() < LEAST_EXPECTED:
        order = np.argsort(table.sum(axis=0))
        table = np.column_stack([table[:, order[:2]].sum(axis=1), table[:, order[2:]]])
    return table


def expected(table: Counts) -> Array:
    """(2, cells) the counts that are expected if both sides are alike. No side is empty."""
    alike: Array = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return alike


def homogeneity(table: Counts) -> float:
    """The p-value of Pearson's chi-square test of homogeneity: that both sides (rows) have the same shares of cells."""
    alike = expected(table)
    return float(stats.chi2.sf(((table - alike) ** 2 / alike).sum(), table.shape[1] - 1)) if table.shape[1] > 1 else 1.0


def cramers_v(table: Counts) -> float:
    """Cramer's V of (2, cells), as if both sides had the same number of rows, and without what chance adds to it.

    The plain V of the same shares falls towards 0 as the reference grows, and of unchanged data it rises with the
    number of cells. So each side weighs the same here, and the expected square of an unchanged column is subtracted, as
    by Bergsma (2013), A bias-correction for Cramer's V and Tschuprow's T.
    """
    filled = table[:, table.any(axis=0)]
    sizes = filled.sum(axis=1)
    first, second = filled / sizes[:, np.newaxis]
    square = ((first - second) ** 2 / (first + second)).sum() / 2
    by_chance = (filled.shape[1] - 1) * (1 / sizes).sum() / 4
    return float(np.sqrt(max(square - by_chance, 0.0)))
