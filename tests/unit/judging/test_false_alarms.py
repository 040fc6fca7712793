"""How often there is an alarm where nothing changed: over whole runs with many looks, and for one interval.

Rows are independent, or a first-order autoregression in which neighbours correlate by 0.6.
The measured rates are logged: ``pytest -o log_cli=true --log-cli-level=INFO -m "nightly or not nightly"``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import signal, stats  # type: ignore[import-untyped]  # scipy has no types

from tests.unit.judging.test_comparisons import compared
from tidemill.judging.comparisons import Comparison, interval_at, p_value, word
from tidemill.judging.looks import alpha_at, holm_levels
from tidemill.judging.resampling import row_residuals, standard_error
from tidemill.scoring.storage import Array

LOG = logging.getLogger(__name__)
GENERATIONS, MODELS = 40, 3
REFERENCE_LOSS, MARGIN = 0.5, 0.005
Levels = Callable[[int, Sequence[float]], list[float]]


def unchanged(seed: int, shape: tuple[int, ...], rho: float) -> Array:
    """Differences of mean 0 along the last axis, such that their mean's standard error is twice the margin and more."""
    scale = 2 * MARGIN * np.sqrt(shape[-1])
    shocks = np.random.default_rng((seed, shape[-1])).normal(0, scale, shape)
    shocks[..., 1:] *= np.sqrt(1 - rho**2)
    rows: Array = signal.lfilter([1.0], [1.0, -rho], shocks, axis=-1)
    return rows


def gate(look: int, p_values: Sequence[float]) -> list[float]:
    """The levels of the gate: Holm's over the models, at the look's share of 0.05."""
    return holm_levels(p_values, alpha_at(look))


def uncorrected(look: int, p_values: Sequence[float]) -> list[float]:
    """Each model at each look at 0.05."""
    return [0.05] * len(p_values)


def run(seed: int, n: int, rho: float) -> list[list[Comparison]]:
    """The comparisons of each generation with the one before it, of each model, on n rows of its own."""
    rows = unchanged(seed, (GENERATIONS, MODELS, n), rho)
    residuals, counts = row_residuals(rows)
    gains, errors = rows.mean(axis=-1).tolist(), standard_error(residuals, n).tolist()
    return [
        [
            Comparison(n, 0.5 - gain, 0.5, gain, 0.0, 0.0, MARGIN, "can't tell", None, error, counts.size, {})
            for gain, error in zip(*look, strict=True)
        ]
        for look in zip(gains, errors, strict=True)
    ]


def alarmed(comparisons: list[list[Comparison]], levels: Levels) -> bool:
    """Whether any generation of the run is said to have paid, or cost, at these levels."""
    for look, models in enumerate(comparisons, start=1):
        p_values = [2 * min(p_value(model), p_value(model, direction="below")) for model in models]
        for model, level in zip(models, levels(look, p_values), strict=True):
            if word(*interval_at(model, level), model.gain, model.margin) in ("paid", "cost"):
                return True
    return False


def alarm_rates(n: int, rho: float, seeds: range) -> tuple[float, float]:
    """The shares of runs with any false alarm, with the gate's levels and with 0.05 each time."""
    runs = [run(seed, n, rho) for seed in seeds]
    return float(np.mean([alarmed(each, gate) for each in runs])), float(
        np.mean([alarmed(each, uncorrected) for each in runs])
    )


@pytest.mark.parametrize(("n", "rho"), [(360, 0.0), (360, 0.6), (1800, 0.0), (1800, 0.6)])
def test_a_run_without_any_change_raises_an_alarm_in_5_percent(n: int, rho: float) -> None:
    """Of 200 runs of 40 generations and 3 models at most 5 % have a false alarm; without correction nearly all do."""
    corrected, plain = alarm_rates(n, rho, range(200))
    LOG.info("%s rows, correlation %s: alarms in %s of the runs", n, rho, corrected)
    assert corrected <= 0.05
    assert plain > 0.95


@pytest.mark.nightly
@pytest.mark.parametrize(("n", "rho"), [(360, 0.0), (360, 0.6), (1800, 0.0), (1800, 0.6)])
def test_thousands_of_runs_have_no_more_alarms(n: int, rho: float) -> None:
    """Over 2,000 other runs the share is within 5 %, give or take two and a half standard errors."""
    corrected, _ = alarm_rates(n, rho, range(1000, 3000))
    LOG.info("%s rows, correlation %s: alarms in %s of the runs", n, rho, corrected)
    assert corrected <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 2000)


def interval_rates(n: int, rho: float, seeds: range) -> tuple[float, float]:
    """The shares of cases whose 95 % interval leaves out 0, and whose t-test of single rows is below 5 %."""
    cases = [unchanged(seed, (n,), rho) for seed in seeds]
    intervals = [compared(rows) for rows in cases]
    by_rows = stats.ttest_1samp(np.array(cases), 0.0, axis=1).pvalue < 0.05
    return float(np.mean([case.low > 0 or case.high < 0 for case in intervals])), float(by_rows.mean())


SEEDS = [pytest.param(range(200), id="200"), pytest.param(range(5000, 8000), id="3000", marks=pytest.mark.nightly)]


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("n", [360, 1800])
def test_an_interval_of_independent_rows_leaves_out_0_rarely(n: int, seeds: range) -> None:
    """Where there is no difference, at most 8 % of the 95 % intervals leave out 0."""
    by_blocks, _ = interval_rates(n, 0.0, seeds)
    LOG.info("%s rows, correlation 0: alarms in %s", n, by_blocks)
    assert by_blocks <= 0.08


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("n", [360, 1800])
def test_an_interval_of_dependent_rows_does_too_and_a_test_of_rows_does_not(n: int, seeds: range) -> None:
    """With neighbours that correlate by 0.6 it is at most 10 %, where a test of single rows has a third."""
    by_blocks, by_rows = interval_rates(n, 0.6, seeds)
    LOG.info("%s rows, correlation 0.6: alarms in %s, of single rows in %s", n, by_blocks, by_rows)
    assert by_blocks <= 0.1
    assert by_rows > 0.2


def test_keys_do_not_hide_that_neighbours_depend() -> None:
    """Keys that repeat at random in dependent rows leave the false alarms where contiguous blocks have them."""
    alarms = []
    for seed in range(200):
        comparison = compared(unchanged(seed, (1800,), 0.6), np.random.default_rng(seed).integers(0, 900, 1800))
        alarms.append(comparison.low > 0 or comparison.high < 0)
    assert np.mean(alarms) <= 0.1


def test_a_few_keys_with_most_rows_do_not_narrow_the_interval() -> None:
    """Keys of which the k-th has 1 / k of the first one's rows, and a difference of its own, alarm in 10 % at most."""
    shares = 1 / np.arange(1, 101)
    alarms = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        keys = random.choice(100, 1800, p=shares / shares.sum())
        comparison = compared(random.normal(0, 0.1, 100)[keys] + random.normal(0, 0.1, 1800), keys)
        assert comparison.blocks < 25
        alarms.append(comparison.low > 0 or comparison.high < 0)
    LOG.info("uneven keys: alarms in %s", np.mean(alarms))
    assert np.mean(alarms) <= 0.1
