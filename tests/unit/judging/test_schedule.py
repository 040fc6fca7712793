"""The cheapest schedule in hindsight, against all schedules that there are."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from tidemill.judging.schedule import MOST_TRAINED, WORTH, best_schedule

Matrix = NDArray[np.float64]


def loss_by_hand(losses: Matrix, schedule: tuple[int, ...], rows: list[float]) -> float:
    """The loss of all batches after the first generation, each of the newest generation trained before it."""
    batches = range(schedule[0] + 1, losses.shape[1] + 1)
    return sum(rows[b - 1] * float(losses[max(g for g in schedule if g < b) - 1, b - 1]) for b in batches)


def best_by_hand(losses: Matrix, generations: list[int], rows: list[float]) -> tuple[tuple[int, ...], float | None]:
    """The best of all subsets of the generations that have the first one."""
    first, *others = generations
    subsets = chain.from_iterable(combinations(others, size) for size in range(len(others) + 1))
    never = loss_by_hand(losses, (first,), rows)
    gains = {(first, *subset): never - loss_by_hand(losses, (first, *subset), rows) for subset in subsets}
    always = gains[tuple(generations)]
    if always <= 0:
        return (first,), None
    worth = [schedule for schedule, gain in gains.items() if gain >= WORTH * always]
    best = min(worth, key=lambda schedule: (len(schedule), -gains[schedule]))
    return best, gains[best] / always


def changed_at(change: int, batches: int) -> Matrix:
    """Losses of 0.1 where a generation knows the batch's world, else 1; the world is another from ``change`` on."""
    numbers = np.arange(1, batches + 1)
    return np.where((numbers >= change)[:, np.newaxis] == (numbers >= change), 0.1, 1.0)


def kept_cells(batches: int) -> NDArray[np.bool_]:
    """The cells that a run keeps: of generations of the ages 1, 2, 4, 8, ..., and of the first one."""
    generations, numbers = np.arange(1, batches + 1)[:, np.newaxis], np.arange(1, batches + 1)
    ages = numbers - generations
    kept: NDArray[np.bool_] = (ages > 0) & ((generations == 1) | (ages & ages - 1 == 0))
    return kept


def test_what_is_not_kept_is_no_candidate() -> None:
    """Of a run that keeps some generations the schedule is that of all numbers, in which the others failed: the age of
    a generation is its own, and no other cost counts."""
    numbers = [1, 7, 20, 21, 22, 23]
    dice = np.random.default_rng(3)
    part = np.where(
        np.arange(5)[:, np.newaxis] + dice.integers(1, 3, (5, 1)) > np.arange(6), dice.random((5, 6)), np.nan
    )
    part[0] = np.linspace(1, 2, 6)
    whole, seconds = np.full((22, 23), np.nan), np.full(22, np.nan)
    places = np.array(numbers) - 1
    whole[np.ix_(places[:-1], places)] = part
    seconds[places[:-1]] = [1.0, 2.0, 3.0, 4.0, 5.0]
    schedule = best_schedule(part, [1.0, 2.0, 3.0, 4.0, 5.0], numbers=numbers)
    assert schedule == best_schedule(whole, seconds.tolist())
    assert schedule is not None
    assert set(schedule.best) <= set(numbers)


@pytest.mark.parametrize("seed", range(120))
def test_it_is_the_best_of_all_schedules(seed: int) -> None:
    """On random matrices, with weights, failed generations and batches not judged, no schedule is better or shorter."""
    dice = np.random.default_rng(seed)
    count = int(dice.integers(3, 9))
    losses, rows = dice.random((count, count)) * dice.random(), dice.integers(1, 9, count).astype(float)
    losses += np.where(dice.random() < 0.5, 0, np.linspace(1, 0, count)[:, np.newaxis])  # older ones are worse
    seconds = np.where(dice.random(count) < 0.8, dice.random(count), np.nan)
    seconds[0] = 1.0
    generations = [g for g in range(1, count) if not np.isnan(seconds[g - 1])]
    best, share = best_by_hand(losses, generations, rows.tolist())
    schedule = best_schedule(
        np.where(np.isnan(seconds)[:, np.newaxis], np.nan, losses), seconds.tolist(), rows.tolist()
    )
    assert schedule is not None
    assert schedule.best == best
    assert schedule.gain_share == pytest.approx(share)
    assert schedule.trained == len(generations)
    spent = [seconds[g - 1] for g in generations]
    assert schedule.cost_share == pytest.approx(sum(seconds[g - 1] for g in best) / sum(spent))
    assert schedule.estimated == 0


@pytest.mark.parametrize("change", [2, 5, 19])
def test_a_planted_change_picks_its_batch(change: int) -> None:
    """One change of the world needs one retraining: after the first batch of the new one."""
    schedule = best_schedule(changed_at(change, 20), [1.0] * 20)
    assert schedule is not None
    assert schedule.best == (1, change)
    assert schedule.gain_share == pytest.approx(1)
    assert schedule.cost_share == pytest.approx(2 / 19)  # the newest generation has not been judged yet
    assert schedule.estimated == 0


def test_a_change_is_found_where_few_cells_are_known() -> None:
    """Where only the kept generations are judged, a schedule found by estimates has nearly all of the true gain."""
    truth, rows = changed_at(60, 128), [1.0] * 128
    schedule = best_schedule(np.where(kept_cells(128), truth, np.nan), rows)
    assert schedule is not None
    assert schedule.estimated == 128 * 127 / 2 - kept_cells(128).sum()
    assert schedule.best[0] == 1
    assert 60 <= schedule.best[1] <= 62
    assert len(schedule.best) <= 5
    never, always, best = (loss_by_hand(truth, chosen, rows) for chosen in ((1,), tuple(range(1, 128)), schedule.best))
    assert never - best >= WORTH * (never - always)


def test_a_gap_is_interpolated_over_the_age() -> None:
    """An unknown loss lies on the line between the nearest known ones; here an estimate makes generation 2 the best."""
    nan = np.nan
    losses = np.array([[nan, 0.9, 0.9, 0.9], [nan, nan, 0.1, nan], [nan, nan, nan, 0.1], [nan] * 4])
    schedule = best_schedule(losses, [1.0, 1.0, 1.0, 1.0])
    assert schedule is not None
    assert (schedule.best, schedule.estimated) == ((1, 2, 3), 1)  # 0.5 on batch 4: half of the way from 0.9 to 0.1
    assert schedule.gain_share == pytest.approx(1)
    losses[2, 3] = 0.85
    schedule = best_schedule(losses, [1.0, 1.0, 1.0, 1.0])
    assert schedule is not None
    assert schedule.best == (1, 2)
    assert schedule.gain_share == pytest.approx((0.8 + 0.025) / 0.85)


def test_retraining_that_gains_nothing_is_left_out() -> None:
    """Where older generations are as good or better, the first one alone is the best, without a share of a gain."""
    worse = np.tile(np.linspace(0.1, 0.2, 6)[:, np.newaxis], 6)
    for losses in (np.full((6, 6), 0.1), np.full((20, 20), 0.1), worse, np.zeros((6, 6))):
        schedule = best_schedule(losses, [2.0] * len(losses))
        assert schedule is not None
        assert (schedule.best, schedule.gain_share) == ((1,), None)
        assert schedule.cost_share == pytest.approx(1 / (len(losses) - 1))


def test_its_gain_may_exceed_that_of_retraining_always() -> None:
    """A generation that did harm is left out, so that the schedule gains more than retraining always."""
    losses = np.array([[0.9, 0.9, 0.9, 0.9], [0, 0, 0.1, 0.1], [0, 0, 0, 0.8], [0, 0, 0, 0]])
    schedule = best_schedule(losses, [1.0] * 4)
    assert schedule is not None
    assert schedule.best == (1, 2)
    assert schedule.gain_share == pytest.approx(1.6 / 0.9)


def test_a_failed_first_generation_is_followed_by_the_next() -> None:
    """The first generation that didn't fail is in every schedule; batches before it are nobody's."""
    losses = changed_at(5, 8)
    losses[0] = np.nan
    schedule = best_schedule(losses, [np.nan, *[1.0] * 7])
    assert schedule is not None
    assert (schedule.best, schedule.trained, schedule.estimated) == ((2, 5), 6, 0)


def test_weights_move_the_choice() -> None:
    """A batch with many rows weighs more than the others."""
    losses = np.array([[0, 1.0, 1.0, 1.0], [0, 0, 0, 1.0], [0, 0, 0, 0.0], [0, 0, 0, 0]])
    seconds = [1.0] * 4
    for rows, best in (([1, 1, 1, 99], (1, 3)), ([1, 1, 99, 1], (1, 2)), (None, (1, 2, 3))):
        schedule = best_schedule(losses, seconds, rows)
        assert schedule is not None
        assert schedule.best == best


def test_too_little_to_judge_gives_none() -> None:
    """Without two judged batches there is no schedule: one batch, nothing known, or every generation failed."""
    assert best_schedule(np.zeros((0, 0)), []) is None
    assert best_schedule(np.zeros((2, 2)), [1.0, 1.0]) is None
    assert best_schedule(np.full((4, 4), np.nan), [1.0] * 4) is None
    assert best_schedule(np.zeros((4, 4)), [np.nan] * 4) is None


def test_a_thousand_batches_that_drift_keep_to_the_bound() -> None:
    """Where each batch differs from all others, the best of the longest schedules is given with its lower share."""
    count = 1_000
    numbers = np.arange(count)
    losses = np.minimum(np.abs(numbers[:, np.newaxis] - numbers) - 1.0, 50)
    schedule = best_schedule(losses, [1.0] * count)
    assert schedule is not None
    assert len(schedule.best) == MOST_TRAINED
    assert schedule.gain_share is not None
    assert 0 < schedule.gain_share < WORTH
    assert schedule.cost_share == pytest.approx(MOST_TRAINED / (count - 1))


def test_a_bound_schedule_has_no_retraining_that_harms() -> None:
    """Where only more retrainings than the bound allows would gain anything, the best schedule is not to retrain."""
    ages = np.arange(200) - np.arange(200)[:, np.newaxis]
    losses = np.where(ages == 1, 0.0, np.where(ages == 2, 101.0, 1.0))  # each does well for one batch, then badly
    losses[0], losses[198, 199] = 1.0, 101.0
    schedule = best_schedule(losses, [1.0] * 200)
    assert schedule is not None
    assert (schedule.best, schedule.gain_share) == ((1,), 0)


def test_shapes_that_differ_are_refused() -> None:
    """The message says how many numbers there are and how many there should be."""
    with pytest.raises(ValueError, match="3 fit times and 4 weights; pass one number for each of 4 generations and 4"):
        best_schedule(np.zeros((4, 4)), [1.0] * 3)
