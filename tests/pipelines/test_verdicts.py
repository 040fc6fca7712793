"""What the verdicts say of real data, and which scheme a replay prefers where a relation turns round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from tests.pipelines.test_pipelines import AMAZON, DENVER, ELECTRICITY, NIGHTLY, PRICE_PAID, RATINGS
from tests.support import SMART_HOME
from tests.support.failpoint_run import arm
from tests.support.judged_run import DOCUMENT, MODEL, planted
from tests.support.training_run import quiet_stage, run_of, seal_tables
from tidemill import schemas
from tidemill.api.models.registry import ModelRegistry
from tidemill.errors import InputError
from tidemill.judging.promotion import promote
from tidemill.judging.schemes import scheme_bodies
from tidemill.judging.verdict import VerdictReader
from tidemill.process.replay import Line, Replay, refuse
from tidemill.run.catalog import GenerationRef
from tidemill.run.failpoints import Crash
from tidemill.run.folder import Run
from tidemill.schemas.verdicts import Against
from tidemill.training.generation import GenerationTrainer
from tidemill.training.trainer import work

TrainedRun = Callable[[str, str | None], Run]
NOTHING = {"no difference", "can't tell"}


def verdict_on(trained_run: TrainedRun, name: str, data: Path) -> schemas.VerdictBody:
    """The verdict on a ready pipeline's run on a real file, each of whose batches could be judged."""
    run = trained_run(name, str(data))
    assert [judging.error for judging in run.catalog.judgings() if judging.error] == []
    return VerdictReader(run).whole()


def words(verdict: schemas.VerdictBody, model: str, against: Against) -> dict[int, str | None]:
    """The word of each generation of a model."""
    judged = verdict.models[model].generations
    return {each.generation: each.against[against].word for each in judged if against in each.against}


def test_smart_home(trained_run: TrainedRun) -> None:
    """No retraining is shown to have paid; efficiency can be predicted and malfunctions can't; no column drifts."""
    verdict = verdict_on(trained_run, "smart-home", SMART_HOME)
    told = words(verdict, "efficiency", "previous")
    assert set(told) == {2, 3}
    assert set(told.values()) <= NOTHING
    for each in verdict.models["efficiency"].generations[1:]:
        needed = each.against["previous"]
        assert needed.word == "no difference" or (needed.rows_needed or 0) > needed.rows
    first = verdict.models["efficiency"].generations[0].against["trivial"]
    assert first.word == "paid"
    assert first.gain is not None
    assert first.gain > 0.3 * (first.reference_loss or 0)
    assert set(words(verdict, "malfunction", "trivial").values()) <= NOTHING
    assert "nothing to learn" in verdict.models["malfunction"].sentence
    assert [drift.column for drift in verdict.drift if drift.flagged] == []


def test_the_smart_home_file_changes_at_its_end(trained_run: TrainedRun) -> None:
    """From device 4,870 on the public file's labels follow another rule, which no column shows and the loss does."""
    run = trained_run("smart-home", str(SMART_HOME))
    judging = next(look for look in run.catalog.judgings() if (look.batch, look.evidence) == (3, "settled"))
    assert judging.path is not None
    losses = pa.parquet.read_table(run.folder / judging.path).to_pandas()
    own = losses[(losses.model == "efficiency") & (losses.generation == 2) & ~losses.trivial]
    before, after = own[own.unit < 1250].loss.mean(), own[own.unit > 1300].loss.mean()
    assert before < 0.3
    assert after > 1.0


def test_dutch_electricity(trained_run: TrainedRun) -> None:
    """Smart meters came in 2020: that column is flagged then and not before, and the clusters have their word."""
    verdict = verdict_on(trained_run, "dutch-electricity", ELECTRICITY)
    flagged = {drift.batch for drift in verdict.drift if drift.flagged and drift.column == "smartmeter_perc"}
    assert flagged == {3}
    for each in verdict.models["consumption"].generations[1:]:
        clusters = each.against["previous"].checks["clusters"]
        assert clusters["word"] in ("stable", "moved")
        assert 0 <= clusters["rand"] <= 1
        assert clusters["shift"] is not None


def test_amazon_sales(trained_run: TrainedRun) -> None:
    """Price bands are better than a single cluster; of similar texts there is no truth, and it says so."""
    verdict = verdict_on(trained_run, "amazon-sales", AMAZON)
    assert words(verdict, "price_band", "trivial")[3] == "paid"
    lookalike = verdict.models["lookalike"]
    assert "no truth" in lookalike.sentence
    assert all(body.word is None for each in lookalike.generations for body in each.against.values())
    assert 0 < lookalike.generations[-1].against["previous"].checks["overlap_at_10"] < 1


@NIGHTLY
def test_price_paid(trained_run: TrainedRun) -> None:
    """Prices are predicted better than by their mean."""
    verdict = verdict_on(trained_run, "price-paid", PRICE_PAID)
    assert set(words(verdict, "price", "trivial").values()) == {"paid"}
    assert "no truth" in verdict.models["comparable"].sentence


@NIGHTLY
def test_denver_crime(trained_run: TrainedRun) -> None:
    """Hot spots change from generation to generation about as much as a second seed alone changes them."""
    verdict = verdict_on(trained_run, "denver-crime", DENVER)
    for each in verdict.models["hotspot"].generations[1:]:
        clusters = each.against["previous"].checks["clusters"]
        noise = each.against["trivial"].checks.get("noise")
        assert clusters["word"] in ("stable", "moved", "reshuffled")
        if noise:
            assert clusters["rand"] > noise["rand"] - 0.25
    assert set(words(verdict, "hotspot", "previous").values()) <= NOTHING


@NIGHTLY
def test_movie_ratings(trained_run: TrainedRun) -> None:
    """Users who were never trained are folded in, and compared with popularity by NDCG@10, with an interval."""
    verdict = verdict_on(trained_run, "movie-ratings", RATINGS)
    compared = [each.beside["trivial"] for each in verdict.models["taste"].generations if "trivial" in each.beside]
    assert compared
    for body in compared:
        assert body.loss_name == "1 - NDCG@10"
        assert body.interval is not None
        assert body.word is not None


# --- replay -------------------------------------------------------------------------------------------------------


def turned_run(folder: Path, scheme: str) -> Run:
    """A run trained on Spark, whose relation turns round after half of the stream."""
    run = run_of(
        folder,
        **{key: DOCUMENT[key] for key in ("source", "models")},
        generations={"scheme": scheme, "holdout": {"share": 0.2}},
    )
    tables = [planted(400, batch, weight_b=-1.0 if batch <= 3 else 1.0, noise=0.3) for batch in range(1, 7)]
    seal_tables(run, tables)
    return run


@NIGHTLY  # by day, the tests of replay itself
def test_replay_prefers_the_scheme_that_forgets(spark: SparkSession, tmp_path: Path) -> None:
    """Where a relation turns round, a windowed replay of a cumulative run beats it, with the interval; a second replay
    has nothing left to do."""
    run = turned_run(tmp_path, "cumulative")
    with pytest.raises(InputError, match="0 generations"):
        refuse(run, [Line("windowed")], run.catalog.batches())
    work(quiet_stage(run), spark)
    said: list[str] = []

    def replay() -> None:
        Replay(run, Line("windowed"), GenerationTrainer(run, spark), said.append).work(run.catalog.batches())

    for faults in ("replay.recording=error:2", "replay.recorded=error:2", ""):
        arm(faults)
        if faults:
            with pytest.raises(Crash):
                replay()
    replay()
    trained = len(said)
    replay()
    assert len(said) == trained + 1
    assert sorted(run.catalog.line_models("windowed")) == [1, 2, 3, 4, 5]
    names = {path.name for path in (run.judgings / "windowed").iterdir()}
    losses = {str(judging.path).rpartition("/")[2] for judging in run.catalog.judgings("windowed")}
    assert len(losses) == 5
    assert names == losses | {f"{number:05d}" for number in range(1, 6)}
    body = scheme_bodies(run)[0]
    assert (body.scheme, body.model, body.word) == ("windowed", MODEL, "paid")
    assert body.batches == [2, 3, 4, 5, 6]
    assert body.sentence.startswith("windowed beats cumulative by ")
    assert body.interval is not None
    assert body.gain is not None
    assert body.interval[0] < body.gain < body.interval[1]
    assert run.catalog.champions() == {MODEL: GenerationRef(6)}
    promote(run, MODEL, GenerationRef(5, "windowed"), "it forgets", "ada")
    registry = ModelRegistry(run)
    registry.refresh()
    champion = registry.snapshot.champion(MODEL)
    assert champion is not None
    assert (champion.ref, champion.record.batches, champion.record.rows) == (GenerationRef(5, "windowed"), (5,), 400)
    assert champion.record.models[MODEL].metrics["r2"] is not None
    with pytest.raises(InputError, match="own scheme"):
        refuse(run, [Line("cumulative")], run.catalog.batches())
    assert np.isfinite(body.interval).all()
