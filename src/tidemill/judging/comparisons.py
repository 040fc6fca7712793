"""Paired comparisons: whether one model is better than another on the same rows, beyond noise and by enough to matter.

The gain is the mean of d = loss of the reference - loss of the candidate. Rows that are neighbours, or have the same
key, depend on each other, so blocks of rows are resampled, never rows: at a correlation of 0.6 between neighbours a
test of single rows finds a difference in a third of the cases where there is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats  # type: ignore[import-untyped]  # scipy has no types

from tidemill.judging.losses import Indices, Losses
from tidemill.scoring.storage import Array

Word = Literal["no difference", "paid", "cost", "can't tell"]

MIN_UNITS = 20  # fewer say nothing
MIN_BLOCKS, MAX_BLOCKS, ROWS_PER_BLOCK = 20, 64, 50
MAX_BINS = 200  # of groups: bounds what a resample costs
MAX_CORRELATION = 0.9  # beyond, the rows of a batch are too few to know the variance of their mean
RESAMPLES, SEED = 5_000, 20_190_701
MAX_RANKED = 20_000  # units whose differences Wilcoxon's check ranks
Z_SIGNIFICANCE, Z_POWER = 1.96, 0.8416  # normal quantiles: 5 % two-sided, 80 % power


@dataclass(frozen=True)
class BlockSums:
    """Sums of losses over blocks of units that are independent of each other, or nearly so.

    Attributes:
        sums: (b,) of the losses.
        counts: (b,) units in the block, at least 1.
    """

    sums: Array
    counts: Array

    @property
    def n(self) -> int:
        """The number of units."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """The mean loss of a unit."""
        return float(self.sums.sum() / self.counts.sum())


@dataclass(frozen=True)
class Margin:
    """The smallest gain that matters: a share of the reference's loss, or a number in the loss's own unit."""

    relative: float | None
    absolute: float | None

    @classmethod
    def parse(cls, value: object) -> Margin:
        """The margin that a pipeline file says: ``"1%"`` or ``0.05``.

        Raises:
            ValueError: it is neither, it is negative or not finite, or it is a share of 100 % or more.
        """
        if isinstance(value, str) and (share := re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*", value)):
            percent = float(share.group(1))
            if percent >= 100:
                raise ValueError(f"the margin {value!r} is the whole loss or more; write a share below 100%")
            return cls(relative=percent / 100, absolute=None)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
            return cls(relative=None, absolute=float(value))
        raise ValueError(f'{value!r} is no margin; write a share of the loss such as "1%", or a number such as 0.05')

    def of(self, reference_loss: float) -> float:
        """The margin in the loss's unit; a share is one of the absolute value, as a log density may be negative."""
        if self.relative is not None:
            return self.relative * abs(reference_loss)
        return self.absolute or 0.0


@dataclass(frozen=True)
class Comparison:
    """A candidate against a reference, on the units that both were scored on.

    Attributes:
        rows: the number of shared units.
        loss: the candidate's mean loss on them.
        reference_loss: the reference's.
        gain: reference_loss - loss; above 0 the candidate is better.
        low: lower end of the gain's 95 % interval.
        high: its upper end.
        margin: the smallest gain that matters, in the loss's unit.
        word: what the interval says.
        rows_needed: for "can't tell" the number of rows that would be needed, if any number is enough; else None.
        standard_error: of the gain, with the dependence between units.
        blocks: the number of blocks that the interval rests on.
        checks: p-values of other tests, none of which decides.
    """

    rows: int
    loss: float
    reference_loss: float
    gain: float
    low: float
    high: float
    margin: float
    word: Word
    rows_needed: int | None
    standard_error: float
    blocks: int
    checks: Mapping[str, float]


def blocks(n: int) -> int:
    """The number of contiguous blocks for n rows: one for each 50, within 20 to 64, and never more than rows."""
    return min(n, max(MIN_BLOCKS, min(MAX_BLOCKS, n // ROWS_PER_BLOCK)))


def block_sums(losses: Losses) -> BlockSums:
    """The losses summed over blocks: of groups where they repeat and are at least 20, else of contiguous units.

    Fewer groups are no sample to resample, and where each unit has a group of its own, groups say nothing.
    The blocks depend on the units and groups alone, so those of two models on the same units can be subtracted.

    Raises:
        ValueError: there is no unit.
    """
    if not losses.values.size:
        raise ValueError("no unit has a loss, so there is nothing to sum up")
    labels = group_labels(losses.groups)
    return row_blocks(losses.values) if labels is None else labelled_blocks(losses.values, labels)


def row_blocks(values: Array) -> BlockSums:
    """(..., n) values summed over contiguous blocks of their last axis, whose lengths differ by at most 1."""
    n = values.shape[-1]
    edges = np.linspace(0, n, blocks(n) + 1).astype(np.int64)
    sums = np.add.reduceat(values, edges[:-1], axis=-1, dtype=np.float64)
    return BlockSums(sums, np.diff(edges).astype(np.float64))


def labelled_blocks(values: Array, labels: Indices) -> BlockSums:
    """(n,) values summed over the units of each label, which are 0 to b - 1."""
    return BlockSums(np.bincount(labels, values).astype(np.float64), np.bincount(labels).astype(np.float64))


def group_labels(groups: Indices | None) -> Indices | None:
    """The block of each unit, 0 to b - 1, if blocks are to be made of groups.

    Up to 200 groups are a block each. More are merged by their numbers alone: merged groups stay independent of others.
    """
    if groups is None:
        return None
    distinct, labels = np.unique(groups, return_inverse=True)
    if distinct.size < MIN_BLOCKS or distinct.size == groups.size:
        return None
    if distinct.size > MAX_BINS:
        labels = np.unique(mixed(groups) % np.uint64(MAX_BINS), return_inverse=True)[1]
    return np.asarray(labels, dtype=np.int64)


def mixed(numbers: Indices) -> NDArray[np.uint64]:
    """Numbers with all bits mixed, so that regular ones fall into bins evenly.

    SplitMix64 (Steele, Lea and Flood 2014, Fast Splittable Pseudorandom Number Generators).
    """
    bits = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def compare(reference: Losses, candidate: Losses, margin: Margin) -> Comparison | None:
    """Compare two models on the units that both have; None where they share none.

    Raises:
        ValueError: their losses are not the same one.
    """
    if reference.name != candidate.name:
        raise ValueError(f"{reference.name} and {candidate.name} are different losses; compare models by the same one")
    units, here, there = np.intersect1d(reference.units, candidate.units, assume_unique=True, return_indices=True)
    return _compared(_at(reference, here), _at(candidate, there), margin) if units.size else None


def _at(losses: Losses, places: Indices) -> Losses:
    return replace(
        losses,
        units=losses.units[places],
        values=losses.values[places],
        groups=None if losses.groups is None else losses.groups[places],
        wrong=None if losses.wrong is None else losses.wrong[places],
    )


def _compared(reference: Losses, candidate: Losses, margin: Margin) -> Comparison:
    differences = reference.values - candidate.values
    n, gain, reference_loss = differences.size, float(differences.mean()), float(reference.values.mean())
    residuals, counts = resampled(differences, reference.groups)
    below, above = bootstrap_interval(residuals, counts)
    error, matters = float(standard_error(residuals, n)), margin.of(reference_loss)
    said = word(gain + below, gain + above, gain, matters) if n >= MIN_UNITS else "can't tell"
    return Comparison(
        rows=n,
        loss=float(candidate.values.mean()),
        reference_loss=reference_loss,
        gain=gain,
        low=gain + below,
        high=gain + above,
        margin=matters,
        word=said,
        rows_needed=rows_needed(n, gain, error, matters) if said == "can't tell" else None,
        standard_error=error,
        blocks=residuals.size,
        checks=_checks(reference, candidate),
    )


def resampled(differences: Array, groups: Indices | None) -> tuple[Array, Array]:
    """What is resampled: (b,) residuals of blocks, and (b,) their numbers of units.

    Units may depend on others of their group, and on their neighbours too. Of blocks of groups and contiguous blocks,
    those with the larger standard error are taken.
    """
    by_row = row_residuals(differences)
    labels = group_labels(groups)
    if labels is None:
        return by_row
    by_group = labelled_blocks(differences, labels)
    residuals = block_residuals(by_group)
    n = differences.size
    return (residuals, by_group.counts) if standard_error(residuals, n) >= standard_error(by_row[0], n) else by_row


def row_residuals(values: Array) -> tuple[Array, Array]:
    """(..., b) residuals of contiguous blocks of (..., n) values, and (b,) the numbers of units in the blocks.

    Neighbouring blocks of dependent rows depend on each other. The residuals are widened by what blocks of their length
    miss of the mean's variance, if the rows are a first-order autoregression of the correlation measured. (The idea
    of Andrews and Monahan 1992, An Improved Heteroskedasticity and Autocorrelation Consistent Covariance Matrix
    Estimator.) For 20 blocks of 18 rows at 0.6 that is 5 % of the width, and next to nothing for independent rows.
    """
    sums = row_blocks(values)
    correlation = neighbour_correlation(values)
    n, length = values.shape[-1], values.shape[-1] / sums.counts.size
    missed = variance_ratio(n, correlation) / variance_ratio(length, correlation)
    return block_residuals(sums) * np.sqrt(missed)[..., None], sums.counts


def block_residuals(sums: BlockSums) -> Array:
    """(..., b) what each block's sum is above that of as many average units; a difference by rounding alone is 0."""
    means = sums.sums.sum(axis=-1, keepdims=True) / sums.counts.sum()
    residuals = sums.sums - means * sums.counts
    rounding = 1e-12 * np.abs(sums.sums).max(axis=-1, keepdims=True)
    return np.where(np.abs(residuals) > rounding, residuals, 0.0)


def neighbour_correlation(values: Array) -> Array:
    """(...) correlation of neighbours among (..., n) values, within 0 to 0.9; 0 where all are equal."""
    centred = _scaled(values - values.mean(axis=-1, keepdims=True))[0]
    products = np.einsum("...i,...i->...", centred[..., 1:], centred[..., :-1])
    squares = np.einsum("...i,...i->...", centred, centred)
    correlation: Array = np.divide(products, squares, out=np.zeros(np.shape(squares)), where=squares > 0)
    return correlation.clip(0.0, MAX_CORRELATION)


def _scaled(values: Array) -> tuple[Array, Array]:
    """Values within -1 to 1, whose squares neither overflow nor underflow, and (..., 1) their scale; 1 if all are 0."""
    scale = np.abs(values).max(axis=-1, keepdims=True)
    scale = np.where(scale > 0, scale, 1.0)
    return values / scale, scale


def variance_ratio(length: float, correlation: Array) -> Array:
    """The variance of a mean of ``length`` rows over that of independent rows, for a first-order autoregression.

    It is 1 + 2 * sum over k < length of (1 - k / length) * correlation^k, in closed form.
    """
    rest = 1 - correlation
    ratio: Array = (1 + correlation) / rest - 2 * correlation * (1 - correlation**length) / (length * rest**2)
    return ratio


def standard_error(residuals: Array, n: int) -> Array:
    """(...) standard error of the mean of n units from (..., b) residuals of their blocks; 0 for a single block.

    The ratio estimator of cluster sampling (Cochran 1977, Sampling Techniques, section 9A).
    """
    b = residuals.shape[-1]
    scaled, scale = _scaled(residuals)
    error: Array = np.sqrt(b / max(b - 1, 1) * np.einsum("...i,...i->...", scaled, scaled)) * scale[..., 0] / n
    return error


def bootstrap_interval(residuals: Array, counts: Array) -> tuple[float, float]:
    """The 95 % interval of the mean, as distances from it: below, which is at most 0 as a rule, and above.

    BCa bootstrap of the ratio of sums to counts over blocks (Efron 1987, Better Bootstrap Confidence Intervals).
    Residuals are widened by sqrt(b / (b - 1)), as resamples of b blocks vary by that much too little (Hesterberg 2015,
    What Teachers Should Know About the Bootstrap).
    """
    b, (scaled, scale) = residuals.size, _scaled(residuals)
    if b < 2 or not np.any(residuals):
        return 0.0, 0.0
    interval = stats.bootstrap(
        (scaled, counts),
        lambda sums, sizes, axis: sums.sum(axis=axis) / sizes.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    width = float(scale[0]) * math.sqrt(b / (b - 1))
    return float(interval.low) * width, float(interval.high) * width


def word(low: float, high: float, gain: float, margin: float) -> Word:
    """What an interval of the gain says, for the smallest gain that matters; the first that holds.

    Two models without any difference, as of two that make no mistake, differ by nothing even at a margin of 0.
    """
    if (-margin < low and high < margin) or low == high == 0:
        return "no difference"
    if low > 0 and gain >= margin:
        return "paid"
    if high < 0 and gain <= -margin:
        return "cost"
    return "can't tell"


def rows_needed(rows: int, gain: float, error: float, margin: float) -> int | None:
    """Rows with which the word is found in 80 % of cases, if the measured gain is the true one; more than ``rows``.

    A gain that matters has to be told from 0, a smaller one from the margin. None where a trillion are not enough.
    Sample size of a two-sided test at 5 % (Cohen 1988, Statistical Power Analysis for the Behavioral Sciences).
    """
    distance = abs(gain) if abs(gain) >= margin else margin - abs(gain)
    deviation = error * math.sqrt(rows)  # of d in a row, with what dependence adds
    wanted = (Z_SIGNIFICANCE + Z_POWER) * deviation
    if distance <= 1e-6 * wanted:
        return None
    return max(math.ceil((wanted / distance) ** 2), rows + 1, MIN_UNITS)


def interval_at(comparison: Comparison, alpha: float) -> tuple[float, float]:
    """The gain's interval at level 1 - alpha, by Student's t with b - 1 degrees of freedom (Student 1908).

    For the levels of many looks, such as 1e-5: 5,000 resamples resolve none below 4e-4. Unbounded below 20 units.
    """
    if comparison.rows < MIN_UNITS:
        return -math.inf, math.inf
    half = -float(special.stdtrit(comparison.blocks - 1, alpha / 2)) * comparison.standard_error
    return comparison.gain - half, comparison.gain + half


def p_value(comparison: Comparison, bound: float = 0.0, direction: Literal["above", "below"] = "above") -> float:
    """The one-sided p-value that the gain is above the bound (hypothesis: at most the bound), or below it.

    By Student's t with b - 1 degrees of freedom. It is below alpha / 2 exactly where ``interval_at(comparison, alpha)``
    lies on that side of the bound; 1 for fewer than 20 units.
    """
    if comparison.rows < MIN_UNITS:
        return 1.0
    distance = comparison.gain - bound if direction == "above" else bound - comparison.gain
    if comparison.standard_error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(special.stdtr(comparison.blocks - 1, -distance / comparison.standard_error))


def _checks(reference: Losses, candidate: Losses) -> dict[str, float]:
    if reference.wrong is not None and candidate.wrong is not None:
        return {"mcnemar_p": mcnemar_p(reference.wrong, candidate.wrong)}
    return {"wilcoxon_p": wilcoxon_p(reference.values - candidate.values)}


def mcnemar_p(reference_wrong: NDArray[np.bool_], candidate_wrong: NDArray[np.bool_]) -> float:
    """Exact two-sided p-value that both are wrong equally often, from rows where only one is; 1 without such rows.

    McNemar 1947, Note on the sampling error of the difference between correlated proportions. It takes rows as
    independent.
    """
    fixed = int((reference_wrong & ~candidate_wrong).sum())
    broken = int((candidate_wrong & ~reference_wrong).sum())
    return float(stats.binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0


def wilcoxon_p(differences: Array) -> float:
    """Two-sided p-value of the signed ranks of (n,) differences, of 20,000 evenly spread at most; 1 where all are 0.

    Wilcoxon 1945, Individual comparisons by ranking methods. It takes units as independent.
    """
    spread = np.linspace(0, differences.size - 1, min(differences.size, MAX_RANKED)).astype(np.int64)
    ranked = differences[spread]
    return float(stats.wilcoxon(ranked).pvalue) if np.any(ranked) else 1.0
