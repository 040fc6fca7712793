"""How much a clustering changed: planted changes get their words."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.judged_run import DOCUMENT, FEATURE, JudgedRun, planted
from tests.support.row_scorers import k_means, mixture
from tidemill.judging.clusters import ClusterChange, adjusted_rand, cluster_change, word_for
from tidemill.judging.losses import Indices
from tidemill.run.catalog import TrainedModel
from tidemill.run.files import sha256
from tidemill.scoring.clusters import ClusterScorer
from tidemill.scoring.storage import write

DICE = np.random.default_rng(3)
CENTRES = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
VALUES = np.repeat(CENTRES, 100, axis=0) + DICE.normal(0.0, 1.0, (400, 2))
TABLE = pa.table({"x": VALUES[:, 0], "y": VALUES[:, 1]})
HALVES = np.array([[[0.0, 5.0], [10.0, 5.0]], [[5.0, 0.0], [5.0, 10.0]]])  # left and right, down and up


def rand_by_pairs(first: Indices, second: Indices) -> float:
    """The index by counting the pairs of rows one by one."""
    alike = [(first[i] == first[j], second[i] == second[j]) for i, j in combinations(range(len(first)), 2)]
    both, ours, theirs = (sum(map(count, alike)) for count in (all, lambda pair: pair[0], lambda pair: pair[1]))
    expected = ours * theirs / len(alike)
    return float((both - expected) / ((ours + theirs) / 2 - expected))


def test_the_adjusted_rand_index_counts_pairs() -> None:
    """On random assignments it is that of all pairs of rows, and about 0; the clusters' numbers do not matter."""
    for clusters in (2, 3, 7):
        first, second = DICE.integers(0, clusters, 200), DICE.integers(0, 4, 200)
        assert adjusted_rand(first, second) == pytest.approx(rand_by_pairs(first, second))
        assert adjusted_rand(first, clusters - 1 - first) == 1.0
    assert adjusted_rand(DICE.integers(0, 5, 100_000), DICE.integers(0, 5, 100_000)) == pytest.approx(0.0, abs=1e-3)
    assert adjusted_rand(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2])) == pytest.approx(4 / 7)


@pytest.mark.parametrize("count", [1, 2, 99_991])
def test_assignments_without_alternatives_are_equal(count: int) -> None:
    """All rows in one cluster, or each in its own, twice; and one against the other has nothing in common."""
    one, many = np.zeros(count, np.int64), np.arange(count)
    assert adjusted_rand(one, one) == 1.0
    if count < 3:
        assert adjusted_rand(many, many) == 1.0
    if count == 2:
        assert adjusted_rand(one, many) == 0.0


def moved_by(shift: float, numbers: list[int] | None = None) -> ClusterChange:
    now = k_means(CENTRES + np.array([shift, 0.0]), numbers=numbers)
    return cluster_change(now, k_means(CENTRES), TABLE)


def test_a_small_shift_is_stable_and_a_larger_one_moved() -> None:
    """The shift is the centres' distance over the root mean squared distance of the rows to their centre."""
    deviation = np.sqrt(((VALUES - np.repeat(CENTRES, 100, axis=0)) ** 2).sum(axis=1).mean())
    small, large = moved_by(0.2), moved_by(1.0)
    assert (small.rows, small.rand, small.kept, small.word) == (400, 1.0, 1.0, "stable")
    assert small.shift == pytest.approx(0.2 / deviation)
    assert large.shift == pytest.approx(1.0 / deviation)
    assert large.word == "moved"


def test_other_clusters_of_the_same_rows_are_reshuffled() -> None:
    """Left and right against down and up: the index is about 0."""
    change = cluster_change(k_means(HALVES[0]), k_means(HALVES[1]), TABLE)
    assert change.rand == pytest.approx(0.0, abs=0.02)
    assert change.word == "reshuffled"
    assert change.kept == pytest.approx(0.5, abs=0.02)


def test_lasting_numbers_are_told_apart_from_the_assignment() -> None:
    """The same clusters under other numbers share rows but no number, and the centres of a number are far apart."""
    change = moved_by(0.0, numbers=[1, 0, 3, 2])
    assert (change.rand, change.kept, change.word) == (1.0, 0.0, "moved")
    assert moved_by(0.0, numbers=[4, 5, 6, 7]) == ClusterChange(400, 1.0, 0.0, None, "moved")


def test_centres_are_compared_in_the_space_of_the_one_before() -> None:
    """A generation with another scaling and the same clusters in original units has not changed."""
    scaling = np.array([[5.0, -2.0], [0.2, 0.01], [0.0, 0.0]])
    before = k_means(CENTRES)
    # the second feature hardly counts in the new space, so the rows there are told apart mostly by the first
    now = k_means((CENTRES - scaling[0]) * scaling[1], scaling=scaling)
    assert cluster_change(now, before, TABLE).shift == pytest.approx(0.0, abs=1e-9)


def test_angles_change_by_their_directions_alone() -> None:
    """Where models measure by the cosine, a longer centre has not moved, and a turned one has."""
    before = k_means([[1.0, 0.0], [0.0, 1.0]], distance="cosine")
    table = pa.table({"x": [3.0, 1.0, 0.5, 0.0], "y": [1.0, 0.0, 9.0, 0.0]})
    longer = k_means([[5.0, 0.0], [0.0, 2.0]], distance="cosine")
    assert cluster_change(longer, before, table) == ClusterChange(3, 1.0, 1.0, 0.0, "stable")
    turned = k_means([[1.0, 0.1], [0.1, 1.0]], distance="cosine")
    shift = np.linalg.norm(np.array([1.0, 0.1]) / np.sqrt(1.01) - [1.0, 0.0])
    rows = np.array([[3.0, 1.0], [1.0, 0.0], [0.5, 9.0]])
    directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    gaps = directions - np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    expected = shift / np.sqrt((gaps**2).sum(axis=1).mean())
    assert cluster_change(turned, before, table).shift == pytest.approx(expected)


def test_mixtures_change_like_clusters() -> None:
    """Their clusters are the most likely distributions, their centres the means."""
    spreads = [np.eye(2)] * 4
    before = mixture([0.25] * 4, CENTRES, spreads)
    assert cluster_change(mixture([0.25] * 4, CENTRES + 0.1, spreads), before, TABLE).word == "stable"
    assert cluster_change(mixture([0.25] * 4, CENTRES + 1.0, spreads), before, TABLE).word == "moved"
    halves = [mixture([0.5] * 2, half, [np.eye(2) * 9] * 2) for half in HALVES]
    assert cluster_change(halves[0], halves[1], TABLE).word == "reshuffled"


@pytest.mark.parametrize("table", [TABLE.slice(0, 0), pa.table({"x": [1.0, None], "y": [None, 1.0]})])
def test_without_rows_there_is_no_word(table: pa.Table) -> None:
    """No rows, or none with all features, tell nothing."""
    assert cluster_change(k_means(CENTRES), k_means(CENTRES), table) == ClusterChange(0, None, None, None, None)


@pytest.mark.parametrize(("centre", "shift"), [(5.0, 0.0), (5.1, None)])
def test_clusters_without_deviation_have_no_shift_in_deviations(centre: float, shift: float | None) -> None:
    """Rows that all lie on their centres: it stays, or it has moved by no number of deviations."""
    before = k_means([[5.0, 5.0], [9.0, 9.0]])
    now: ClusterScorer = k_means([[centre, 5.0], [9.0, 9.0]])
    change = cluster_change(now, before, pa.table({"x": [5.0, 9.0], "y": [5.0, 9.0]}))
    assert change.shift == shift
    assert change.word == ("stable" if shift == 0 else "moved")


@pytest.mark.parametrize(
    ("rand", "shift", "word"),
    [
        (0.49, 0.0, "reshuffled"),
        (0.5, 0.0, "moved"),
        (0.79, 0.0, "moved"),
        (0.8, 0.24, "stable"),
        (1.0, 0.25, "moved"),
        (1.0, None, "moved"),
    ],
)
def test_the_words_have_their_bounds(rand: float, shift: float | None, word: str) -> None:
    """Reshuffled below 0.5; stable from 0.8 on, with a shift below a quarter; moved between."""
    assert word_for(rand, shift) == word


# --- the feature space of a run's looks -----------------------------------------------------------------------------


class ClusteredRun(JudgedRun):
    """A judged run of one clustering, of which each generation scales its features by another factor."""

    def __init__(self, folder: Path) -> None:
        models = {"group": {"estimator": "KMeans", "features": ["a", "b"], "params": {"k": 2}}}
        super().__init__(folder, document={**DOCUMENT, "models": models})

    def trained(self, model: str, folder: Path, rows: pa.Table, spoil: float) -> TrainedModel:
        number, path = int(folder.name), folder / "scorers" / f"{model}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        text: dict[str, Any] = {"model": model, "estimator": "KMeans", "labels": {}, "classes": None}
        scaling = np.array([[0.0, 0.0], [float(number)] * 2, [0.0, 0.0]])
        centres = number * np.array([[-1.0, 0.0], [1.0, 0.1 * number]])
        features = [FEATURE | {"name": "a"}, FEATURE | {"name": "b"}]
        write(path, text | {"features": features, "distance": "euclidean"}, {"centres": centres, "scaling": scaling})
        counts = {"train": len(rows), "holdout": 0, "skipped": 0}
        where = self.run.relative(path)
        return TrainedModel(model, "KMeans", {}, 0.5, {"rows": 3, "worst": 0.0}, counts, where, sha256(path), "none")

    def losses(self) -> dict[tuple[int, int, str], float | None]:
        """The mean loss of each generation on each batch."""
        cells = self.run.catalog.cells("group")
        return {(one.generation, one.batch, one.evidence): one.mean for one in cells if not one.trivial}

    def fail(self, batch: int) -> None:
        """Seal a batch whose generation can't be trained."""
        number = self.seal(planted(400, batch))
        self.judge.settle(number)
        self.run.catalog.begin_generation(number, [number], 10)
        self.run.catalog.fail_generation(number, "no rows")


def test_all_looks_measure_in_one_feature_space(tmp_path: Path) -> None:
    """Where the first generation failed and is trained later, distances go on being measured in the feature space that
    the first look had: the same scorer has the same loss before and after."""
    run = ClusteredRun(tmp_path)
    run.fail(1)
    for batch in (2, 3):
        run.step(planted(400, batch))
    before = run.losses()
    assert run.run.catalog.cluster_space("group", 1) == 2
    run.publish(1)
    with run.run.catalog.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE judgings SET error = 'to be repeated'")
    run.new_judge().catch_up([1, 2, 3])
    after = run.losses()
    assert {key: after[key] for key in before} == before
    assert (1, 1, "provisional") in after
    assert (1, 3, "settled") in after


def test_the_space_of_a_run_of_an_older_version(tmp_path: Path) -> None:
    """Where none is recorded it is that of the oldest generation that was measured."""
    run = ClusteredRun(tmp_path)
    run.fail(1)
    run.step(planted(400, 2))
    before = run.losses()
    with run.run.catalog.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM meta WHERE key LIKE 'cluster space%'")
        connection.exec_driver_sql("UPDATE judgings SET error = 'to be repeated'")
    run.publish(1)
    run.new_judge().catch_up([1, 2])
    assert {key: run.losses()[key] for key in before} == before


def test_without_their_space_clusters_are_not_measured(tmp_path: Path) -> None:
    """Where the file of that generation is gone, the look says so instead of measuring in another space."""
    run = ClusteredRun(tmp_path)
    for batch in (1, 2):
        run.step(planted(400, batch))
    (run.run.generations / "00001" / "scorers" / "group.npz").unlink()
    run.new_judge()
    run.step(planted(400, 3))
    look = run.run.catalog.judgings()[-1]
    assert "generation 1, by whose features the clusters of group are measured, can't be read" in str(look.error)
    assert not [key for key in run.losses() if key[1] == 3]


def test_clusters_drift_as_categories(tmp_path: Path) -> None:
    """The number of a cluster is a name: batches are compared by the share of each cluster, not by a mean number."""
    run = ClusteredRun(tmp_path)
    for batch in (1, 2):
        run.step(planted(400, batch))
    (drift,) = [drift for drift in run.run.catalog.drifts() if drift.column == "group: prediction"]
    assert drift.test == "chi-square"
    assert str(drift.details["measure"]).startswith("share of '")
