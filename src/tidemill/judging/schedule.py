"""The cheapest schedule of retraining in hindsight: the few retrainings that would have given nearly all of the gain.

The optimum is the oracle of Mahadevan and Mathioudakis (2024), Cost-aware retraining for machine learning, found by
dynamic programming over the number of retrainings and the batch after which the last of them took place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidemill.scoring.storage import Array

WORTH = 0.95  # the share of the gain of retraining always that a schedule must reach
MOST_TRAINED = 32  # of a schedule, which bounds the work; a product whose drift needs more retrains always
NO_GAIN = 1e-12  # of the greatest sum of losses: a gain below this share is rounding

Places = NDArray[np.intp]


@dataclass(frozen=True)
class Schedule:
    """The cheapest schedule in hindsight.

    A schedule is a set of batches after each of which one trains. The generation in force on a batch is the newest one
    that was trained before it. A schedule's gain is the loss of never retraining, which leaves the first generation in
    force for ever, minus the schedule's own loss.

    Attributes:
        best: the batches after which to train, ascending. Of the schedules with the fewest retrainings that reach
            ``WORTH`` of the gain of retraining always, it is the one with the least loss. Where even ``MOST_TRAINED``
            generations don't reach that, it is the one with the least loss of up to so many.
        gain_share: its gain over that of retraining always; above 1 where retraining did harm in between. None where
            retraining always gains nothing: then ``best`` is the first generation alone.
        cost_share: the fit seconds of its generations over those of retraining always; None where those are 0.
        trained: how many generations retraining always has: all that didn't fail and that a judged batch follows.
        estimated: of how many pairs of a generation and a batch the loss is an estimate.
    """

    best: tuple[int, ...]
    gain_share: float | None
    cost_share: float | None
    trained: int
    estimated: int


class Completed(NamedTuple):
    """A matrix of losses without gaps.

    Attributes:
        losses: (judged batches, candidates); 0 where the batch doesn't follow the generation.
        candidates: (candidates,) the numbers of the generations that didn't fail and that a judged batch follows.
        batches: (judged batches,) their numbers.
        estimated: how many of the losses are estimates.
    """

    losses: Array
    candidates: NDArray[np.int64]
    batches: NDArray[np.int64]
    estimated: int


def best_schedule(
    losses: Array,
    fit_seconds: Sequence[float],
    rows: Sequence[float] | None = None,
    numbers: Sequence[int] | None = None,
) -> Schedule | None:
    """The cheapest schedule in hindsight; None where fewer than two batches were judged.

    A batch is judged where the loss of any generation before it is known. A loss that is not known is estimated: by
    linear interpolation over the generations' age, between the nearest known ones of the same batch; beyond the oldest
    and the newest known one it is theirs.

    Args:
        losses: (generations, batches) in ``losses[g - 1, b - 1]`` the mean loss of generation g on all rows of batch
            b; NaN where it is not known. Only batches after g count.
        fit_seconds: (generations,) what each generation cost; NaN of one that failed, which no schedule has.
        rows: (batches,) the batches' weights, such as their rows; by default all weigh the same.
        numbers: (batches,) those of the batches, ascending, and the first of them those of the generations; from 1 on
            by default. A run that keeps only some generations has gaps.

    Raises:
        ValueError: the shapes don't fit each other.
    """
    seconds, weights = np.asarray(fit_seconds, float), np.ones(losses.shape[1])
    if rows is not None:
        weights = np.asarray(rows, float)
    if (seconds.size, weights.size) != losses.shape:
        expected = f"one number for each of {losses.shape[0]} generations and {losses.shape[1]} batches"
        raise ValueError(f"{seconds.size} fit times and {weights.size} weights; pass {expected}")
    known = np.arange(1, weights.size + 1) if numbers is None else np.asarray(numbers)
    completed = complete(losses, ~np.isnan(seconds), known)
    if len(completed.batches) < 2:
        return None
    chosen, gain_share = cheapest(segment_costs(completed, weights[np.searchsorted(known, completed.batches)]))
    spent = seconds[np.searchsorted(known, completed.candidates)]
    return Schedule(
        best=tuple(completed.candidates[chosen].tolist()),
        gain_share=gain_share,
        cost_share=float(spent[chosen].sum() / spent.sum()) if spent.sum() > 0 else None,
        trained=len(completed.candidates),
        estimated=completed.estimated,
    )


def complete(losses: Array, trained: NDArray[np.bool_], numbers: NDArray[np.int64]) -> Completed:
    """The losses of the generations that can be chosen on the judged batches, with estimates in the gaps.

    Args:
        losses, numbers: as in :func:`best_schedule`.
        trained: (generations,) whether each generation didn't fail.
    """
    generations, batches = numbers[: len(losses)], numbers
    known = (~np.isnan(losses) & trained[:, np.newaxis] & (batches > generations[:, np.newaxis])).T
    judged = np.flatnonzero(known.any(axis=1))
    candidates = np.flatnonzero(trained[: judged[-1]]) if judged.size else judged
    before = np.searchsorted(candidates, judged, side="left")
    filled = np.zeros((judged.size, candidates.size))
    for row, (batch, count) in enumerate(zip(judged, before, strict=True)):
        given = np.flatnonzero(known[batch])
        filled[row, :count] = np.interp(generations[candidates[:count]], generations[given], losses[given, batch])
    estimated = int(before.sum()) - int(np.count_nonzero(known))
    return Completed(filled, generations[candidates], batches[judged], estimated)


def segment_costs(completed: Completed, weights: Array) -> Array:
    """(n + 1, n) in ``[j, i]`` the loss of candidate i on the batches until candidate j takes over; infinite where j
    isn't newer. In the last row no other one takes over.

    Args:
        weights: (judged batches,) what each batch weighs.
    """
    sums = np.zeros((len(completed.batches) + 1, len(completed.candidates)))  # of the first 0, 1, 2, ... batches
    np.cumsum(completed.losses * weights[:, np.newaxis], axis=0, out=sums[1:])
    before = np.searchsorted(completed.batches, completed.candidates, side="right")  # how many batches it comes after
    costs: Array = sums[[*before, -1]]
    costs[np.triu_indices_from(costs[:-1])] = np.inf
    return costs


def cheapest(costs: Array) -> tuple[Places, float | None]:
    """The best schedule's places among the candidates, and its share of the gain of retraining always.

    Args:
        costs: as :func:`segment_costs` gives them.
    """
    best, never = np.array([0]), costs[-1, 0]
    gain = never - loss_of(np.arange(costs.shape[1]), costs)
    if gain <= NO_GAIN * np.abs(costs[np.isfinite(costs)]).max():
        return best, None
    for places in optimal_schedules(costs):
        best = min(best, places, key=lambda schedule: loss_of(schedule, costs))
        if never - loss_of(best, costs) >= WORTH * gain:
            break
    return best, float((never - loss_of(best, costs)) / gain)


def optimal_schedules(costs: Array) -> Iterator[Places]:
    """Of 2, 3, ... up to ``MOST_TRAINED`` generations the schedule with the least loss, each with the first one.

    With ``least[r, j]`` the least loss of r + 1 generations until candidate j takes over, ``least[r + 1, j]`` is the
    minimum over i of ``least[r, i] + costs[j, i]``. All r are found at once, one j after the other.
    """
    count = costs.shape[1]
    most = min(count, MOST_TRAINED)
    least, choices = np.full((most, count + 1), np.inf), np.zeros((most, count + 1), np.intp)
    least[0] = costs[:, 0]
    for place in range(1, count + 1):
        totals = least[:-1, :place] + costs[place, :place]
        choices[1:, place] = totals.argmin(axis=1)
        least[1:, place] = totals.min(axis=1)
    for last in range(1, most):
        places = [count]
        for number in range(last, 0, -1):
            places.append(choices[number, places[-1]])
        yield np.array([0, *reversed(places[1:])])


def loss_of(places: Places, costs: Array) -> float:
    """The loss of the schedule of the candidates at these places."""
    return float(costs[[*places[1:], -1], places].sum())
