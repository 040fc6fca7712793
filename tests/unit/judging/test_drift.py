"""Drift of columns: unchanged data is let alone, planted changes are flagged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]  # scipy has no types

from tests.support import DATA, SMART_HOME
from tidemill.judging.drift import Drift, column_drift, drifts, floats, missing_drift, thinned

Columns = dict[str, pa.Array]
DUTCH = DATA / "dutch-electricity"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def unchanging(dice: np.random.Generator, count: int) -> Columns:
    """Ten columns of one distribution: numbers with and without ties, categories with a long tail, missing values."""
    return {
        "normal": pa.array(dice.normal(size=count)),
        "skewed": pa.array(dice.lognormal(8, 1, count)),
        "counts": pa.array(dice.poisson(1.5, count)),
        "label": pa.array(dice.integers(0, 2, count)),
        "when": pa.array([EPOCH + timedelta(hours=float(hours)) for hours in dice.random(count) * 1_000]),
        "lacking": pa.array(dice.normal(size=count), mask=dice.random(count) < 0.1),
        "on": pa.array(dice.random(count) < 0.3),
        "sort": pa.array(dice.choice(["a", "b", "c", "d"], count, p=[0.5, 0.3, 0.15, 0.05])),
        "town": pa.array([f"town {number}" for number in dice.zipf(1.6, count)]),
        "same": pa.array(["x"] * count),
    }


def by_column(compared: list[Drift]) -> dict[str, Drift]:
    return {drift.column: drift for drift in compared}


@pytest.mark.parametrize("count", [100, pytest.param(1_800, marks=pytest.mark.nightly)])
def test_unchanged_data_is_hardly_ever_flagged(count: int) -> None:
    """Of 200 unchanged batches of ten columns at most one in twenty has any flag."""
    flagged = 0
    for seed in range(200):
        dice = np.random.default_rng([count, seed])
        compared = drifts(unchanging(dice, count), unchanging(dice, count))
        assert len(compared) == 11  # the missing values of one column are a test of their own
        flagged += any(drift.flagged for drift in compared)
    assert flagged <= 10


def population_stability(reference: NDArray[np.float64], batch: NDArray[np.float64]) -> float:
    """The index over ten bins with the same number of the reference's values."""
    edges = np.quantile(reference, np.arange(1, 10) / 10)
    shares = [np.bincount(np.searchsorted(edges, side), minlength=10) / len(side) for side in (reference, batch)]
    first, second = (np.maximum(share, 1e-4) for share in shares)
    return float(((second - first) * np.log(second / first)).sum())


def test_the_population_stability_index_fires_on_unchanged_data() -> None:
    """Why the usual rule, an index above 0.1, isn't the one here: at 100 rows most unchanged columns exceed it."""
    dice = np.random.default_rng(1)
    indices = [population_stability(dice.normal(size=100), dice.normal(size=100)) for _ in range(200)]
    assert np.mean(np.array(indices) > 0.1) > 0.5


def test_a_shift_of_half_a_deviation_is_flagged_alone() -> None:
    """A shift among ten columns is flagged, with its size in standard deviations, and nothing else is."""
    dice = np.random.default_rng(5)
    reference, batch = unchanging(dice, 1_800), unchanging(dice, 1_800)
    batch["normal"] = pa.array(dice.normal(0.5, 1, 1_800))
    compared = by_column(drifts(reference, batch))
    assert [name for name, drift in compared.items() if drift.flagged] == ["normal"]
    shifted = compared["normal"]
    assert shifted.test == "ks"
    assert shifted.effect == pytest.approx(0.197, abs=0.05)  # of two normal distributions so far apart
    assert shifted.distance == pytest.approx(0.5, abs=0.1)
    assert shifted.p < 1e-20


def test_a_small_difference_is_not_flagged_however_sure() -> None:
    """Of many rows a small shift is beyond chance, but no drift: the effect's floor."""
    dice = np.random.default_rng(2)
    drift = column_drift(pa.array(dice.normal(size=10_000)), pa.array(dice.normal(0.15, 1, 10_000)), "x")
    assert drift is not None
    assert drift.p < 1e-6
    assert drift.effect < 0.1
    assert not drift.flagged


def test_a_new_category_is_flagged_and_named() -> None:
    """A tenth of the rows in categories that the reference lacks is drift; the most frequent ones are the examples."""
    dice = np.random.default_rng(3)
    reference = dice.choice(["a", "b"], 1_000)
    batch = np.where(dice.random(1_000) < 0.1, dice.choice(["new", "newer", *"pqrstu"], 1_000), reference)
    batch[:60], batch[60:90] = "new", "newer"
    drift = column_drift(pa.array(reference), pa.array(batch), "sort")
    assert drift is not None
    assert (drift.test, drift.flagged) == ("chi-square", True)
    assert drift.new[:2] == ("new", "newer")
    assert len(drift.new) == 5


def test_rare_categories_that_appear_are_listed_but_are_no_drift() -> None:
    """Of a long tail a batch always has categories that the reference lacks; they are examples and raise no flag."""
    dice = np.random.default_rng(4)
    reference, batch = (pa.array([f"town {number}" for number in dice.zipf(1.4, 3_000)]) for _ in range(2))
    drift = column_drift(reference, batch, "town")
    assert drift is not None
    assert len(drift.new) == 5
    assert drift.p > 0.01
    assert not drift.flagged


def test_ids_that_appear_in_place_of_categories_are_flagged() -> None:
    """A batch whose strings are all distinct, where the reference has few categories, is drift."""
    drift = column_drift(pa.array(list("abc") * 100), pa.array([f"id {number}" for number in range(300)]), "sort")
    assert drift is not None
    assert drift.flagged
    assert drift.effect == pytest.approx(1, abs=0.01)


def test_the_effect_does_not_fall_with_the_size_of_the_reference() -> None:
    """The same shares against ten times the rows have the same effect, whatever share of all rows the batch is."""
    batch = pa.array([True] * 600 + [False] * 400)
    for size in (1_000, 10_000, 100_000):
        drift = column_drift(pa.array([True, False] * (size // 2)), batch, "on")
        assert drift is not None
        assert drift.effect == pytest.approx(0.1, abs=0.005)


def test_the_tests_are_those_of_scipy() -> None:
    """Of sides of the same size the chi-square test is scipy's, and the effect is scipy's V, less that of chance."""
    dice = np.random.default_rng(6)
    sides = [dice.choice(["a", "b", "c"], 500, p=p) for p in ([0.5, 0.3, 0.2], [0.3, 0.3, 0.4])]
    table = np.array([[(side == kind).sum() for kind in "abc"] for side in sides])
    drift = column_drift(pa.array(sides[0]), pa.array(sides[1]), "sort")
    assert drift is not None
    assert drift.p == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)
    assert drift.effect**2 == pytest.approx(stats.contingency.association(table) ** 2 - 2 / 1_000)


def test_p_values_are_corrected_over_all_columns() -> None:
    """With the correction of ten columns each p-value is at least the one that the column has alone."""
    dice = np.random.default_rng(7)
    reference, batch = unchanging(dice, 300), unchanging(dice, 300)
    batch["normal"] = pa.array(dice.normal(0.4, 1, 300))
    alone = column_drift(reference["normal"], batch["normal"], "normal")
    corrected = by_column(drifts(reference, batch))["normal"]
    assert alone is not None
    assert corrected.p == pytest.approx(alone.p * 11 * sum(1 / rank for rank in range(1, 12)))
    assert corrected.effect == alone.effect


def test_missing_values_are_a_test_of_their_own() -> None:
    """A share of missing values that rises is flagged under its own name; the values beside them are not."""
    dice = np.random.default_rng(8)
    sides = [pa.array(dice.normal(size=1_000), mask=dice.random(1_000) < share) for share in (0.02, 0.2)]
    compared = by_column(drifts({"x": sides[0]}, {"x": sides[1]}))
    assert list(compared) == ["x", "x: missing"]
    assert not compared["x"].flagged
    assert compared["x: missing"].flagged
    assert compared["x"].missing == compared["x: missing"].missing == pytest.approx((0.02, 0.2), abs=0.03)
    assert missing_drift(sides[0].drop_null(), sides[1].drop_null(), "x") is None


def test_few_missing_values_are_tested_exactly() -> None:
    """Where chi-square's counts are too small the p-value is that of Fisher: two of 100 against none of 1,800."""
    drift = missing_drift(pa.array(range(1_800)), pa.array([None, None, *range(98)]), "x")
    assert drift is not None
    assert drift.p == pytest.approx(100 * 99 / (1_900 * 1_899))


@pytest.mark.parametrize(
    "make",
    [
        lambda place: pa.array([f"id {number}" for number in range(place, place + 500)]),
        lambda place: pa.array(range(place, place + 500)),
        lambda place: pa.array(np.random.default_rng(place).permutation(500) + place),
        lambda place: pa.array([number * 1_000 + number % 7 for number in range(place, place + 500)]),
        lambda place: pa.array(
            [EPOCH + timedelta(minutes=number + number % 9) for number in range(place, place + 500)]
        ),
    ],
    ids=["string ids", "counter", "counter in any order", "growing ids", "clock"],
)
def test_what_counts_the_stream_is_left_out(make: Callable[[int], pa.Array]) -> None:
    """Ids, counters and the stream's own clock differ in each batch by their nature, and can't be compared."""
    assert column_drift(make(0), make(5_000), "x") is None


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.timestamp("us", "UTC")])
def test_nothing_to_compare_gives_none(kind: pa.DataType) -> None:
    """A side without values, or with too few, can't be compared, whatever the type; nothing warns."""
    few = pa.array([1] * 9, pa.int64()).cast(pa.string()).cast(kind) if kind != pa.timestamp("us", "UTC") else None
    full = pa.array([0, 1] * 50).cast(kind) if few is not None else pa.array([EPOCH] * 100, kind)
    for empty in (pa.array([], kind), pa.nulls(100, kind), full[:9]):
        assert column_drift(full, empty, "x") is None
        assert column_drift(empty, full, "x") is None
    assert missing_drift(full, pa.array([], kind), "x") is None
    everything = drifts({"x": full}, {"x": pa.nulls(100, kind)})
    assert [(drift.column, drift.flagged) for drift in everything] == [("x: missing", True)]
    nothing = drifts({"x": pa.nulls(100, kind)}, {"x": pa.nulls(100, kind)})
    assert [(drift.effect, drift.p) for drift in nothing] == [(0, 1)]
    assert drifts({}, {"x": full}) == []


@pytest.mark.parametrize(
    ("before", "after", "flagged"),
    [
        (pa.array([0.1] * 50), pa.array([0.1] * 50), False),
        (pa.array([0.1] * 50), pa.array([0.3] * 50), True),
        (pa.array(["x"] * 50), pa.array(["x"] * 50), False),
        (pa.array(["x"] * 50), pa.array(["y"] * 50), True),
        (pa.array([1e308, -1e308] * 25), pa.array([1e308] * 50), True),
        (pa.array([0.0, 5e-324] * 25), pa.array([1.0] * 50), True),
        (pa.array([2**63 - 1, -(2**63)] * 25), pa.array([2**63 - 1, -(2**63)] * 25), False),
    ],
)
def test_constants_and_extremes_give_finite_figures(before: pa.Array, after: pa.Array, flagged: bool) -> None:
    """Constant and extreme columns are compared without a warning, and no figure is infinite or no number."""
    drift = column_drift(before, after, "x")
    assert drift is not None
    assert drift.flagged == flagged
    assert np.isfinite([drift.effect, drift.p, drift.distance or 0]).all()


def test_no_number_counts_as_missing() -> None:
    """NaN and infinite values, of a model's answers, are left out as missing ones."""
    odd = pa.chunked_array([[float("nan"), float("inf"), None], np.arange(97) * 1.0])
    compared = by_column(drifts({"x": pa.array(np.arange(100) * 1.0)}, {"x": odd}))
    assert compared["x"].missing == pytest.approx((0, 0.03))
    assert compared["x"].distance == pytest.approx(0, abs=0.1)


def test_large_sides_are_thinned_out_evenly() -> None:
    """Of 200,000 values 10,000 from all over are compared, so that a change in their second half is seen."""
    assert thinned(floats(pa.array(range(200_000)))).tolist() == list(range(10, 200_000, 20))
    drift = column_drift(pa.array(np.repeat([0.0, 1.0], 100_000)), pa.array(np.zeros(200_000)), "x")
    assert drift is not None
    assert drift.effect == pytest.approx(0.5)


def test_what_a_column_was_and_is() -> None:
    """Of numbers the mean of all values; of categories the one whose share changed most; of missing values the share.
    None where there is no mean that a float holds."""
    reference = {
        "hours": pa.array([1.0, 2.0, None, 3.0] * 10),
        "kind": pa.array(["lamp", "fan", "fan", "fan"] * 10),
        "on": pa.array([True, False] * 20),
        "far": pa.array([1e308] * 40),
    }
    batch = {
        "hours": pa.array([4.0, 6.0, 5.0, 5.0] * 10),
        "kind": pa.array(["lamp", "lamp", "lamp", "oven"] * 10),
        "on": pa.array([True, True, False, True] * 10),
        "far": pa.array([1.0, 2.0] * 20),
    }
    compared = by_column(drifts(reference, batch))
    told = {name: (drift.measure, drift.before, drift.after) for name, drift in compared.items()}
    assert told == {
        "hours": ("mean", 2.0, 5.0),
        "hours: missing": ("share missing", 0.25, 0.0),
        "kind": ("share of 'fan'", 0.75, 0.0),
        "on": ("share of 'true'", 0.5, 0.75),
        "far": (None, None, None),
    }
    times = pa.array(np.tile(np.arange(20), 2), pa.timestamp("us"))
    drift = column_drift(times, times, "at")
    assert drift is not None
    assert drift.measure is None


def read_columns(path: str) -> Columns:
    table = pyarrow.csv.read_csv(path)
    return {name: table.column(name) for name in table.column_names}


@pytest.mark.parametrize("year", [2018, 2019])
def test_the_jump_of_smart_meters_is_flagged(year: int) -> None:
    """On the public Dutch files the share of smart meters, about 0 until 2019, is drift in 2020."""
    before, after = (read_columns(str(DUTCH / f"coteq_electricity_{number}.csv")) for number in (year, 2020))
    compared = by_column(drifts(before, after))
    assert compared["smartmeter_perc"].flagged
    assert compared["smartmeter_perc"].effect > 0.99
    assert not compared["city"].flagged
    assert "zipcode_from" not in compared


def test_nothing_of_the_smart_home_file_is_flagged() -> None:
    """Between the thirds of the public smart-home file nothing has drifted, and its user number is left out."""
    columns = read_columns(str(SMART_HOME))
    thirds = [{name: values[start : start + 1_801] for name, values in columns.items()} for start in (0, 1_801, 3_602)]
    for before, after in ((0, 1), (1, 2), (0, 2)):
        compared = drifts(thirds[before], thirds[after])
        assert [drift.column for drift in compared] == [name for name in columns if name != "UserID"]
        assert not any(drift.flagged for drift in compared)
