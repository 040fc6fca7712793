"""Paired comparisons: whether one model is better than another on the same rows, beyond noise and by enough to matter.

The gain is the mean of d = loss of the reference - loss of the candidate, on the units that both were scored on.
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
from tidemill.judging.resampling import (
    BlockSums,
    block_sums,
    blocks,
    effective_blocks,
    half_width,
    interval,
    resampled,
    standard_error,
)
from tidemill.run.batch_tables import evenly
from tidemill.scoring.storage import Array

__all__ = [
    "BlockSums",
    "Comparison",
    "Margin",
    "Word",
    "block_sums",
    "blocks",
    "compare",
    "interval_at",
    "mcnemar_p",
    "p_value",
    "rows_needed",
    "wilcoxon_p",
    "word",
]

Word = Literal["no difference", "paid", "cost", "can't tell"]

MIN_UNITS = 20  # fewer say nothing
MAX_RANKED = 20_000  # units whose differences Wilcoxon's check ranks
Z_SIGNIFICANCE, Z_POWER = 1.96, 0.8416  # normal quantiles: 5 % two-sided, 80 % power


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
        blocks: the number of blocks that the interval rests on; of uneven ones, how many even ones say as much.
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


def compare(reference: Losses, candidate: Losses, margin: Margin) -> Comparison | None:
    """Compare two models on the units that both have; None where they share none.

    Raises:
        ValueError: their losses are not the same one.
    """
    shared = on_shared_units(reference, candidate)
    return _compared(*shared, margin) if shared[0].units.size else None


def on_shared_units(reference: Losses, candidate: Losses) -> tuple[Losses, Losses]:
    """The losses of both on the units that both have.

    Raises:
        ValueError: their losses are not the same one.
    """
    if reference.name != candidate.name:
        raise ValueError(f"{reference.name} and {candidate.name} are different losses; compare models by the same one")
    _, here, there = np.intersect1d(reference.units, candidate.units, assume_unique=True, return_indices=True)
    return _at(reference, here), _at(candidate, there)


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
    below, above = interval(residuals, counts)
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
        blocks=effective_blocks(counts),
        checks=_checks(reference, candidate),
    )


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
    """The gain's interval at level 1 - alpha, by Student's t with b - 1 degrees of freedom.

    For the levels of many looks, such as 1e-5: 5,000 resamples resolve none below 4e-4. Unbounded below 20 units.
    """
    if comparison.rows < MIN_UNITS:
        return -math.inf, math.inf
    half = half_width(comparison.standard_error, comparison.blocks, alpha)
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
    return float(special.stdtr(max(comparison.blocks - 1, 1), -distance / comparison.standard_error))


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
    ranked = differences[evenly(MAX_RANKED, differences.size)]
    return float(stats.wilcoxon(ranked).pvalue) if np.any(ranked) else 1.0
