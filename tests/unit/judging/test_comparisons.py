"""Paired comparisons against planted truth: gains, ties, noise, dependent rows, repeated keys and degenerate losses."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]  # scipy has no types

from tidemill.judging.comparisons import (
    Comparison,
    Margin,
    block_sums,
    blocks,
    compare,
    interval_at,
    mcnemar_p,
    p_value,
    rows_needed,
    wilcoxon_p,
    word,
)
from tidemill.judging.losses import Losses
from tidemill.scoring.storage import Array

ONE_PERCENT = Margin.parse("1%")
Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]


def losses(values: Array, groups: Numbers | None = None, wrong: Flags | None = None, first: int = 0) -> Losses:
    """Losses of the units from ``first`` on."""
    return Losses("absolute error", np.arange(first, first + values.size), values, groups, wrong)


def compared(differences: Array, groups: Numbers | None = None, margin: Margin = ONE_PERCENT) -> Comparison:
    """A reference whose loss is 0.5 everywhere against a candidate that is better by the differences."""
    candidate = losses(0.5 - differences, groups)
    comparison = compare(losses(np.full(differences.size, 0.5), groups), candidate, margin)
    assert comparison is not None
    return comparison


def noise(seed: int, n: int, scale: float = 0.1) -> Array:
    """Independent differences of mean 0."""
    return np.random.default_rng(seed).normal(0, scale, n)


@pytest.mark.parametrize(
    ("text", "relative", "absolute"), [("1%", 0.01, None), (" 0.5 % ", 0.005, None), (0.05, None, 0.05), (2, None, 2.0)]
)
def test_a_margin_is_a_share_or_a_number(text: object, relative: float | None, absolute: float | None) -> None:
    """A text with a percent sign is a share, a number is in the loss's unit."""
    assert Margin.parse(text) == Margin(relative, absolute)


@pytest.mark.parametrize(
    "text", ["abc", "", "1", "-1%", "100%", "nan%", "1%%", -0.1, math.nan, math.inf, True, None, []]
)
def test_anything_else_is_no_margin(text: object) -> None:
    """What is neither a share below 100 % nor a finite number is refused, with what to write."""
    with pytest.raises(ValueError, match="write a share"):
        Margin.parse(text)


def test_a_share_is_one_of_the_losss_absolute_value() -> None:
    """A negative loss, as of a log density, has a positive margin; an absolute margin is the same for every loss."""
    assert Margin.parse("1%").of(-3.0) == pytest.approx(0.03)
    assert Margin.parse(0.2).of(-3.0) == Margin.parse(0.2).of(100.0) == 0.2


@pytest.mark.parametrize(
    ("low", "high", "gain", "said"),
    [
        (-0.5, 0.5, 0.0, "no difference"),
        (0.1, 0.9, 0.5, "no difference"),
        (-0.9, -0.1, -0.5, "no difference"),
        (0.1, 1.0, 0.5, "can't tell"),
        (0.1, 1.9, 0.99, "can't tell"),
        (0.1, 1.9, 1.0, "paid"),
        (0.0, 2.0, 1.0, "can't tell"),
        (-1.9, -0.1, -1.0, "cost"),
        (-2.0, 0.0, -1.0, "can't tell"),
        (-1.0, 0.5, -0.2, "can't tell"),
        (-math.inf, math.inf, 5.0, "can't tell"),
    ],
)
def test_words_are_looked_at_in_their_order(low: float, high: float, gain: float, said: str) -> None:
    """With a margin of 1, "no difference" comes first, even without 0 in the interval, and the ends belong to none."""
    assert word(low, high, gain, 1.0) == said


def test_many_rows_show_a_tiny_difference_and_call_it_none() -> None:
    """A gain of a tenth of the margin that 20,000 rows tell from 0 is "no difference"."""
    comparison = compared(0.0005 + noise(1, 20_000, 0.01))
    assert comparison.low > 0
    assert comparison.word == "no difference"
    assert comparison.rows_needed is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("gain", "said"), [(0.02, "paid"), (-0.02, "cost"), (0.0, "no difference")])
def test_a_planted_gain_is_found(seed: int, gain: float, said: str) -> None:
    """4,000 rows tell a gain or a loss of 4 % of the reference's loss, and that there is none, from noise."""
    comparison = compared(gain + noise(seed, 4000, 0.05))
    assert comparison.word == said
    assert comparison.low < comparison.gain < comparison.high
    assert comparison.gain == pytest.approx(comparison.reference_loss - comparison.loss)
    assert comparison.rows == 4000
    assert comparison.blocks == 64


def test_the_figures_are_of_the_shared_units() -> None:
    """Units that one of both lacks count for nothing; without a shared one there is no comparison."""
    reference, candidate = losses(np.arange(100.0)), losses(np.arange(100.0)[50:] - 1, first=50)
    comparison = compare(reference, candidate, ONE_PERCENT)
    assert comparison is not None
    assert (comparison.rows, comparison.gain, comparison.reference_loss) == (50, 1.0, 74.5)
    assert compare(reference, losses(np.ones(5), first=100), ONE_PERCENT) is None


def test_different_losses_are_not_compared() -> None:
    """The difference of a log loss and an absolute error means nothing, and is refused by both names."""
    other = replace(losses(np.ones(5)), name="log loss")
    with pytest.raises(ValueError, match="absolute error and log loss"):
        compare(losses(np.ones(5)), other, ONE_PERCENT)


def test_with_5_percent_discordant_rows_a_small_gain_needs_9600_rows() -> None:
    """A gain of 0.0064 in accuracy needs about 9,600 rows for 80 % power, by the formula and as measured on rows."""
    deviation = math.sqrt(0.05 - 0.0064**2)
    assert rows_needed(1801, 0.0064, deviation / math.sqrt(1801), 0.001) == pytest.approx(9600, rel=0.01)
    planted = np.repeat([1.0, -1.0, 0.0], [564, 436, 19_000])
    needed = []
    for seed in range(9):
        rows = np.random.default_rng(seed).permutation(planted)[:1800]
        rows += 0.0064 - rows.mean()
        comparison = compared(rows)
        assert comparison.word == "can't tell"
        assert comparison.rows_needed is not None
        needed.append(comparison.rows_needed)
    assert np.median(needed) == pytest.approx(9600, rel=0.2)


@pytest.mark.parametrize("seed", range(20))
def test_more_rows_are_needed_than_there_are(seed: int) -> None:
    """Whoever can't tell is never told that fewer rows than there are would be enough."""
    comparison = compared(0.004 + noise(seed, 400, 0.1) ** 3)
    if comparison.word == "can't tell":
        assert comparison.rows_needed is not None
        assert comparison.rows_needed > comparison.rows


def test_rows_needed_are_more_than_there_are_and_enough_for_any_word() -> None:
    """A skewed interval that can't tell what the formula says it can asks for a row more; 20 are the least of all."""
    assert rows_needed(100, 0.5, 1e-4, 0.1) == 101
    assert rows_needed(5, 0.5, 0.0, 0.1) == 20
    assert rows_needed(100, 0.02, 0.1, 0.1) == rows_needed(100, -0.02, 0.1, 0.1) == math.ceil(100 * (2.8016 / 0.8) ** 2)


def test_where_no_number_of_rows_is_enough_none_is_named() -> None:
    """A gain as large as the margin, and none at a margin of 0, can't be told by any number of rows."""
    assert rows_needed(100, 0.0, 0.1, 0.0) is None
    assert rows_needed(100, 1.0 - 1e-12, 0.1, 1.0) is None


@pytest.mark.parametrize("n", [1, 2, 3, 19, 20, 21, 500])
@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
@pytest.mark.parametrize("kind", ["none", "equal", "one row", "two values", "half"])
def test_degenerate_losses_give_figures(n: int, scale: float, kind: str) -> None:
    """Whatever the differences are, ends are numbers in their order, nothing warns, and few units tell nothing."""
    differences = np.zeros(n)
    differences[{"none": slice(0), "equal": slice(n), "one row": slice(1)}.get(kind, slice(0, n, 2))] = scale
    if kind == "two values":
        differences[1::2] = -scale
    candidate = losses(differences, wrong=differences > 0)
    for wrong in (None, differences < 0):
        comparison = compare(losses(np.zeros(n), wrong=wrong), candidate, ONE_PERCENT)
        assert comparison is not None
        assert comparison.low <= comparison.gain <= comparison.high
        assert all(0 <= p <= 1 for p in comparison.checks.values())
        assert math.isfinite(comparison.standard_error)
        if n < 20:
            assert comparison.word == "can't tell"
            assert interval_at(comparison, 0.05) == (-math.inf, math.inf)
            assert p_value(comparison) == p_value(comparison, direction="below") == 1.0


def test_equal_differences_leave_no_doubt() -> None:
    """Where all differences are the same, the interval is the gain, by the bootstrap and by Student's t."""
    comparison = compared(np.full(100, 0.1))
    assert comparison.low == comparison.gain == comparison.high == pytest.approx(0.1)
    assert interval_at(comparison, 1e-6) == (comparison.gain, comparison.gain)
    assert comparison.word == "paid"
    assert (p_value(comparison), p_value(comparison, direction="below")) == (0.0, 1.0)


def test_two_models_without_a_mistake_do_not_differ() -> None:
    """Losses of 0 have a margin of 0, and no difference all the same."""
    comparison = compare(losses(np.zeros(50)), losses(np.zeros(50)), ONE_PERCENT)
    assert comparison is not None
    assert (comparison.word, comparison.margin) == ("no difference", 0.0)


@pytest.mark.parametrize(("n", "number"), [(1, 1), (19, 19), (360, 20), (1800, 36), (100_000, 64)])
def test_blocks_are_contiguous_and_even(n: int, number: int) -> None:
    """There is a block for each 50 rows within 20 to 64, their lengths differ by 1 at most, and nothing is lost."""
    sums = block_sums(losses(np.arange(float(n))))
    assert blocks(n) == sums.sums.size == number
    assert np.ptp(sums.counts) <= 1
    assert np.all(np.diff(sums.sums / sums.counts) > 0)
    assert sums.n == n
    assert sums.mean == pytest.approx((n - 1) / 2)


def test_there_are_no_sums_of_nothing() -> None:
    """A model without any loss has no blocks, and says so."""
    with pytest.raises(ValueError, match="nothing to sum up"):
        block_sums(losses(np.zeros(0)))


def test_groups_are_never_split() -> None:
    """Up to 200 groups are a block each; more are merged whole, into even blocks, whatever their numbers are."""
    few = block_sums(losses(np.ones(900), np.arange(900) % 150 * 7))
    assert few.counts.tolist() == [6.0] * 150
    many = block_sums(losses(np.ones(90_000), np.arange(90_000) % 30_000 * 200))
    assert many.sums.size == 200
    assert np.all(many.counts % 3 == 0)
    assert many.counts.max() < 1.5 * many.counts.mean()


def test_groups_that_say_nothing_leave_contiguous_blocks() -> None:
    """Three keys are no sample of keys, and keys that never repeat join no rows."""
    for groups in (np.arange(1800) % 3, np.arange(1800)):
        assert block_sums(losses(np.ones(1800), groups)).counts.tolist() == [50.0] * 36


def test_a_key_with_nearly_all_rows_leaves_nothing_to_tell() -> None:
    """With 1,960 of 2,000 rows under one key there is hardly a second block: the interval is wide, and a number."""
    keys = np.maximum(np.arange(-1960, 40), 0)
    comparison = compared(0.02 + noise(1, 2000), keys)
    assert (comparison.blocks, comparison.word) == (1, "can't tell")
    assert comparison.low < -0.02 < 0.06 < comparison.high
    assert 0.1 < p_value(comparison) < 0.5


def test_repeated_rows_of_a_key_are_no_further_evidence() -> None:
    """Each row four times narrows the interval to a half where rows have no key, and not at all where they have one."""
    with_keys, without_keys = [], []
    for seed in range(6):
        rows = noise(seed, 2000)
        keys = np.arange(2000)
        width = np.subtract(*interval_at(compared(rows, keys), 0.05))
        with_keys.append(np.subtract(*interval_at(compared(np.tile(rows, 4), np.tile(keys, 4)), 0.05)) / width)
        without_keys.append(np.subtract(*interval_at(compared(np.tile(rows, 4)), 0.05)) / width)
    assert np.mean(with_keys) == pytest.approx(1.0, abs=0.25)
    assert np.mean(without_keys) < 0.7


def test_swapped_models_mirror_the_comparison() -> None:
    """A candidate that paid against a reference is one that the reference costs against, by the same figures."""
    reference, candidate = losses(0.5 + noise(1, 3000, 0.05)), losses(0.48 + noise(2, 3000, 0.05))
    there, back = compare(reference, candidate, ONE_PERCENT), compare(candidate, reference, ONE_PERCENT)
    assert there is not None
    assert back is not None
    assert (there.word, back.word) == ("paid", "cost")
    assert there.gain == -back.gain
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), rel=0.02)


SCRIPT = """
import numpy as np
from tidemill.judging.comparisons import Margin, compare
from tidemill.judging.losses import Losses
values = np.random.default_rng(5).normal(0.5, 0.1, (2, 700))
print(compare(*(Losses("loss", np.arange(700), row, np.arange(700) % 300) for row in values), Margin.parse("1%")))
"""


def test_two_processes_say_the_same() -> None:
    """A comparison has the same figures, to the last digit, in two processes with different hashes."""
    first, second = (
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    )
    assert first == second
    assert first.startswith("Comparison(rows=700")


@pytest.mark.parametrize(("fixed", "broken"), [(0, 0), (1, 0), (30, 12), (12, 30), (400, 400)])
def test_mcnemars_p_is_the_binomial_one(fixed: int, broken: int) -> None:
    """The p-value is that of a fair coin thrown once for each discordant row, however many rows agree."""
    reference = np.repeat([True, False, True, False], [fixed, broken, 70, 900])
    candidate = np.repeat([False, True, True, False], [fixed, broken, 70, 900])
    n, few = fixed + broken, min(fixed, broken)
    tail = sum(math.comb(n, k) for k in range(few + 1)) / 2**n
    assert mcnemar_p(reference, candidate) == pytest.approx(min(1.0, 2 * tail))
    if n:
        assert mcnemar_p(reference, candidate) == stats.binomtest(fixed, n).pvalue


def test_the_checks_are_those_of_the_loss() -> None:
    """A classifier's comparison has McNemar's p-value, any other has Wilcoxon's."""
    rows = noise(3, 100)
    wrong = rows > 0
    classifier = compare(losses(rows, wrong=wrong), losses(rows, wrong=wrong), ONE_PERCENT)
    assert classifier is not None
    assert classifier.checks == {"mcnemar_p": 1.0}
    assert compared(np.zeros(100)).checks == {"wilcoxon_p": 1.0}
    assert compared(rows + 0.1).checks["wilcoxon_p"] < 1e-6
    assert wilcoxon_p(noise(4, 100_000)) > 0.001


@pytest.mark.parametrize("alpha", [0.05, 1e-5, 1e-9])
def test_the_p_value_and_the_interval_say_the_same(alpha: float) -> None:
    """An end of the interval at a level is the bound at which the one-sided p-value is half of that level."""
    comparison = compared(0.01 + noise(5, 1800))
    low, high = interval_at(comparison, alpha)
    assert p_value(comparison, low) == pytest.approx(alpha / 2)
    assert p_value(comparison, high, "below") == pytest.approx(alpha / 2)
    assert p_value(comparison, high + 1) > 1 - alpha
