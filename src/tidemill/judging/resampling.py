"""Blocks of rows, keys or users that are independent of each other, or nearly so: what an interval of a mean rests on.

Rows that are neighbours, or have the same key, depend on each other. So blocks of rows are resampled, never rows: at a
correlation of 0.6 between neighbours a test of single rows finds a difference in a third of the cases where there is
none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats  # type: ignore[import-untyped]  # scipy has no types

from tidemill.judging.losses import Indices, Losses
from tidemill.scoring.storage import Array

MIN_BLOCKS, MAX_BLOCKS, ROWS_PER_BLOCK = 20, 64, 50
MAX_BINS = 200  # of groups: bounds what a resample costs
MAX_CORRELATION = 0.9  # beyond, the rows of a batch are too few to know the variance of their mean
Z_SIGNIFICANT = 2.576  # of a correlation between blocks: 1 % two-sided, as every comparison is looked at
RESAMPLES, SEED = 5_000, 20_190_701


@dataclass(frozen=True)
class BlockSums:
    """Sums of losses over blocks of units that are independent of each other, or nearly so.

    Attributes:
        sums: (b,) of the losses; (..., b) where several rows of losses are summed at once.
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

    Where the blocks themselves still depend on their neighbours, as in a batch whose last third follows another rule,
    they are widened in the same way by the correlation of the blocks: such a batch saw one change, not many.
    """
    sums = row_blocks(values)
    correlation = neighbour_correlation(values)
    n, length = values.shape[-1], values.shape[-1] / sums.counts.size
    missed = variance_ratio(n, correlation) / variance_ratio(length, correlation)
    residuals = block_residuals(sums)
    missed = np.maximum(missed, variance_ratio(sums.counts.size, block_correlation(residuals)))
    return residuals * np.sqrt(missed)[..., None], sums.counts


def block_correlation(residuals: Array) -> Array:
    """(...) correlation of neighbours among (..., b) blocks; 0 unless it is significant.

    The correlation of independent blocks is about normal with deviation 1 / sqrt(b) (Bartlett 1946, On the Theoretical
    Specification and Sampling Properties of Autocorrelated Time-Series).
    """
    correlation = neighbour_correlation(residuals)
    significant: Array = np.where(correlation * math.sqrt(residuals.shape[-1]) > Z_SIGNIFICANT, correlation, 0.0)
    return significant


def block_residuals(sums: BlockSums) -> Array:
    """(..., b) what each block's sum is above that of as many average units; a difference by rounding alone is 0.

    Each is widened by what its block pulls the mean towards itself, as in the jackknife estimate CV3 of a variance
    (MacKinnon, Nielsen and Webb 2023, Cluster-robust inference: A guide to empirical practice): by sqrt(b / (b - 1))
    for blocks of one size, by more for a block that holds much of all units.
    """
    n, b = sums.counts.sum(), sums.counts.size
    residuals = sums.sums - sums.sums.sum(axis=-1, keepdims=True) / n * sums.counts
    rounding = 1e-12 * np.abs(sums.sums).max(axis=-1, keepdims=True)
    others = np.maximum(1 - sums.counts / n, 1 / n)  # of a single block, whose residual is 0, there are none
    widened: Array = np.where(np.abs(residuals) > rounding, residuals, 0.0) / others * math.sqrt((b - 1) / b)
    return widened


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
    """(...) standard error of the mean of n units from (..., b) residuals of their blocks; 0 for a single block."""
    scaled, scale = _scaled(residuals)
    error: Array = np.sqrt(np.einsum("...i,...i->...", scaled, scaled)) * scale[..., 0] / n
    return error


def effective_blocks(counts: Array) -> int:
    """How many blocks of one size say as much as blocks of (b,) units (Kish 1965, Survey Sampling); b if even."""
    return round(float(counts.sum() ** 2 / (counts**2).sum()))


def half_width(error: float, effective: int, alpha: float) -> float:
    """Half an interval at level 1 - alpha by Student's t (1908), from a standard error that rests on so many blocks."""
    return -float(special.stdtrit(max(effective - 1, 1), alpha / 2)) * error


def interval(residuals: Array, counts: Array) -> tuple[float, float]:
    """The 95 % interval of the mean, as distances from it: below, which is at most 0 as a rule, and above.

    BCa bootstrap of the ratio of sums to counts over blocks (Efron 1987, Better Bootstrap Confidence Intervals).
    Student's t where less than half of the blocks are effective: there BCa takes the largest block for skewness, and
    its interval leaves out the true mean in 13 % of cases and more (measured on keys whose shares fall as 1 / rank).
    """
    b, effective, (scaled, scale) = residuals.size, effective_blocks(counts), _scaled(residuals)
    if b < 2 or not np.any(residuals):
        return 0.0, 0.0
    if effective < b / 2:
        half = half_width(float(standard_error(residuals, int(counts.sum()))), effective, 0.05)
        return -half, half
    ends = stats.bootstrap(
        (scaled - scaled.mean(), counts),
        lambda sums, sizes, axis: sums.sum(axis=axis) / sizes.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(ends.low * scale[0]), float(ends.high * scale[0])
