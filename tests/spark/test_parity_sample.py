"""What a scorer is compared with Spark on: rows chosen by their content from all batches, and probes of the edges."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tests.support.fitting import Fitted, Row, fit_one, frame
from tidemill import scoring
from tidemill.errors import FeatureError, ParityFailed
from tidemill.pipeline import Column, ColumnKind
from tidemill.scoring import RowScorer, storage
from tidemill.scoring.base import RowScores
from tidemill.scoring.features import Encoded
from tidemill.scoring.trees import LEAF, TreeValueScorer
from tidemill.training.features import spark_name
from tidemill.training.probes import probes
from tidemill.training.sampling import SAMPLE, sample

COLUMNS: dict[str, ColumnKind] = {"x": "float", "steps": "int", "on": "bool", "sort": "string", "y": "float"}
FEATURES = ["x", "steps", "on", "sort"]
COUNT = 3_000
LINE: dict[str, Any] = {"estimator": "LinearRegression", "label": "y", "features": FEATURES, "scale": "minmax"}
TREE: dict[str, Any] = {
    "estimator": "DecisionTreeRegressor",
    "label": "y",
    "features": FEATURES,
    "params": {"maxDepth": 5},
}


def row_of(place: int) -> Row:
    """Rows as a stream has them: ``x`` grows with time, and one category comes once, at the very end."""
    dice = random.Random(place)
    sort = "rare" if place == COUNT - 1 else dice.choice(["oak", "elm", "fir"])
    x, steps, on = place + dice.random(), dice.randrange(50), dice.random() < 0.5
    return {"x": x, "steps": steps, "on": on, "sort": sort, "y": (x % 700) * (1 + on) + steps + len(sort)}


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    return frame(spark, COLUMNS, [row_of(place) for place in range(COUNT)]).coalesce(1).cache()


@pytest.fixture(scope="module")
def fitted(rows: DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fitted]:
    models = {"line": LINE, "tree": TREE, "scaled": TREE | {"scale": "standard"}}
    return {name: fit_one(tmp_path_factory.mktemp(name), COLUMNS, rows, model) for name, model in models.items()}


# --- faults -------------------------------------------------------------------------------------------------------

Fault = Callable[[Encoded], np.ndarray[Any, Any]]  # (n,): the rows that are scored wrongly


def of_later_batches(encoded: Encoded) -> np.ndarray[Any, Any]:
    return np.asarray((encoded.numbers[:, 0] > 0.4) & (encoded.numbers[:, 0] < 0.9))


def of_the_rare_category(encoded: Encoded) -> np.ndarray[Any, Any]:
    return np.asarray(encoded.codes[0] == 3)


def of_the_unseen_category(encoded: Encoded) -> np.ndarray[Any, Any]:
    return np.asarray(encoded.codes[0] == 4)


def at_the_greatest(encoded: Encoded) -> np.ndarray[Any, Any]:
    return np.asarray(np.abs(encoded.numbers[:, 0] - 1.0) < 1e-12)


def beyond_the_range(encoded: Encoded) -> np.ndarray[Any, Any]:
    return np.asarray(((encoded.numbers < 0) | (encoded.numbers > 1)).any(axis=1))


@pytest.mark.parametrize(
    "fault", [of_later_batches, of_the_rare_category, of_the_unseen_category, at_the_greatest, beyond_the_range]
)
def test_a_fault_that_the_first_rows_do_not_show_is_found(
    fitted: dict[str, Fitted], rows: DataFrame, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """A scorer that is wrong only on later rows, a rare or unseen category, or at an end of a range is refused."""
    one = fitted["line"]
    assert one.whole_parity(rows)["equal"] == SAMPLE
    scorer = scoring.row_scorer(scoring.load(one.path))
    honest = scorer.scores
    monkeypatch.setattr(scorer, "scores", lambda encoded: RowScores(honest(encoded).prediction + fault(encoded)))
    assert one.parity(rows.limit(SAMPLE), scorer)["equal"] == SAMPLE
    with pytest.raises(ParityFailed, match="differs from Spark on"):
        one.whole_parity(rows, scorer)


def test_a_scorer_that_refuses_what_spark_answers_is_found(
    fitted: dict[str, Fitted], rows: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scorer that has no answer for a category never seen, where Spark has one, is refused by parity's own error."""
    one = fitted["line"]
    scorer = scoring.row_scorer(scoring.load(one.path))
    honest = scorer.scores

    def strict(encoded: Encoded) -> RowScores:
        if of_the_unseen_category(encoded).any():
            raise FeatureError("never seen", "give another")
        return honest(encoded)

    monkeypatch.setattr(scorer, "scores", strict)
    assert one.parity(rows.limit(SAMPLE), scorer)["equal"] == SAMPLE
    with pytest.raises(ParityFailed, match="refuses"):
        one.whole_parity(rows, scorer)


@pytest.mark.parametrize("name", ["tree", "scaled"])
def test_a_fault_at_a_threshold_is_found(fitted: dict[str, Fitted], rows: DataFrame, tmp_path: Path, name: str) -> None:
    """With < in the place of <= no row of the generation is scored otherwise, and still the scorer is refused."""
    one = fitted[name]
    stored = storage.read(one.path)
    strict = stored.arrays | {"threshold": np.nextafter(stored.arrays["threshold"], -np.inf)}
    storage.write(tmp_path / "strict.npz", stored.text, strict)
    scorer = scoring.row_scorer(scoring.load(tmp_path / "strict.npz"))
    assert one.whole_parity(rows)["probes_equal"] > 50
    assert one.parity(rows, scorer)["equal"] == COUNT
    with pytest.raises(ParityFailed, match="differs from Spark on"):
        one.whole_parity(rows, scorer)


# --- the sample ---------------------------------------------------------------------------------------------------


NAMES = [spark_name(name) for name in FEATURES]


def declared(rows: DataFrame) -> pa.Table:
    return rows.select(*NAMES).toArrow().rename_columns(FEATURES)


def test_the_sample_is_that_of_sparks_own_hash(rows: DataFrame) -> None:
    """The rows of the lowest ``xxhash64``, in its order, whatever parts and order the rows come in; each third of the
    rows has its share."""
    columns = [Column(name, COLUMNS[name], False) for name in FEATURES]
    table = declared(rows)
    found = sample([table], columns)
    lowest = rows.select(*NAMES).distinct().orderBy(F.xxhash64(*NAMES)).limit(SAMPLE)
    assert found.equals(declared(lowest).combine_chunks())
    assert len(found) == SAMPLE
    shuffled = table.take(np.random.default_rng(1).permutation(len(table)))
    parts = [shuffled.slice(start, 777) for start in range(0, len(shuffled), 777)]
    assert found.equals(sample(parts, columns))
    thirds = np.bincount((np.array(found["x"]) // (COUNT / 3)).astype(int))
    assert (thirds > SAMPLE / 3 * 0.8).all()


@pytest.mark.parametrize("different", [3, 2_500])
def test_rows_that_are_equal_are_compared_once(different: int) -> None:
    """Of many equal rows one is in the sample: a few rows repeated a thousand times leave room for all others."""
    table = pa.table({"x": np.arange(200_000) % different})
    found = sample([table.slice(0, 70_000), table.slice(70_000)], [Column("x", "int", False)])["x"].to_pylist()
    assert len(found) == len(set(found)) == min(SAMPLE, different)


# --- probes -------------------------------------------------------------------------------------------------------


def made(one: Fitted, real: list[Row]) -> list[dict[str, Any]]:
    return probes(one.scorer.encoder, storage.read(one.path).arrays, real, any_number=True).rows


@pytest.mark.parametrize("name", ["tree", "scaled"])
def test_probes_come_to_both_sides_of_every_threshold(fitted: dict[str, Fitted], name: str) -> None:
    """From one row alone probes are made that come to every leaf of a tree."""
    one = fitted[name]
    assert isinstance(one.scorer, TreeValueScorer)
    forest, found = one.scorer.forest, made(one, [row_of(5)])
    reached = forest.reached(np.column_stack([*matrix(one.scorer, found)]))
    assert set(reached[:, 0].tolist()) == set(range(len(forest.leaves)))
    places = storage.read(one.path).arrays["place"]
    assert (places != LEAF).sum() > 20


def matrix(scorer: RowScorer, found: list[dict[str, Any]]) -> list[Any]:
    encoded = scorer.encoder.encode(found)
    return [encoded.numbers, *encoded.codes]


def test_probes_have_each_category_and_each_end(fitted: dict[str, Fitted]) -> None:
    """Every category, one never seen, the empty text, each number's ends and beyond, in the feature's own type."""
    one = fitted["line"]
    found = made(one, [row_of(5)])
    assert {row["sort"] for row in found} == {"oak", "elm", "fir", "rare", "", "never seen"}
    steps = [row["steps"] for row in found]
    assert {0, 49, -49, 98} <= set(steps)
    assert all(type(step) is int for step in steps)
    assert {row["on"] for row in found} == {True, False}
    table = pa.table({"x": [row["x"] for row in found]})
    low, high = (row_of(place)["x"] for place in (0, COUNT - 1))
    assert {low, high, low - (high - low), high + (high - low)} <= set(table["x"].to_pylist())


def test_a_category_that_is_called_unseen_is_told_from_one(fitted: dict[str, Fitted]) -> None:
    """The made-up category is none of training's, whatever those are called, and many categories are tried in part."""
    encoder = scoring.row_scorer(scoring.load(fitted["line"].path)).encoder
    names = ("never seen", *(f"c{place}" for place in range(5_000)))
    encoder.strings = [replace(encoder.strings[0], categories=names)]
    found = probes(encoder, {}, [row_of(5)], any_number=True)
    assert found.probed["categories"] == [601, 5_004]
    assert "never seen!" in {row["sort"] for row in found.rows}
