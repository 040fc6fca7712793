"""A replayed scheme against the run's own, where the two answer different rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.judged_run import JudgedRun
from tests.support.serving_run import SETTINGS
from tidemill.judging.schemes import scheme_bodies, unpaired
from tidemill.process.replay import Line, Replay
from tidemill.run.catalog import TrainedModel
from tidemill.run.files import sha256
from tidemill.scoring.als import packed
from tidemill.scoring.storage import write
from tidemill.training.generation import GenerationTrainer

ROWS = 400
DOCUMENT: dict[str, Any] = {
    "name": "planted",
    "source": {"path": "r.csv", "columns": {"id": "int", "who": "string", "what": "string", "stars": "float"}},
    "stream": {"topic": "planted"},
    "batches": {"rows": ROWS},
    "models": {
        "taste": {"estimator": "ALS", "user": "who", "item": "what", "rating": "stars"},
        "near": {"estimator": "BucketedRandomProjectionLSH", "features": ["stars"], "params": {"bucketLength": 1.0}},
    },
}
FEATURE = {"name": "stars", "kind": "float", "categories": None, "minimum": 0.0, "maximum": 9.0, "example": 1.0}


def ratings(batch: int) -> pa.Table:
    """Each user is active in two batches of three; each item always. A rating is the user's level plus the item's."""
    dice = np.random.default_rng(batch)
    users = dice.choice([user for user in range(90) if user % 3 != batch % 3], ROWS)
    items = dice.integers(0, 20, ROWS)
    stars = users % 5 + items % 3 + dice.normal(0, 0.3, ROWS)
    names = {"who": [f"u{user:02}" for user in users], "what": [f"i{item:02}" for item in items]}
    return pa.table({"id": np.arange(ROWS), **names, "stars": stars})


def write_factors(path: Path, rows: pa.Table, error: float) -> None:
    """A recommender that knows the users and items of these rows, and predicts their ratings with this error."""
    users, items = (sorted(set(rows[name].to_pylist())) for name in ("who", "what"))
    arrays: dict[str, Any] = {
        "user_factors": np.array([[int(name[1:]) % 5 + error, 1.0] for name in users], np.float32),
        "item_factors": np.array([[1.0, int(name[1:]) % 3] for name in items], np.float32),
        "users": packed(pa.table({"user": users})),
        "items": packed(pa.table({"item": items})),
        "rated_offsets": np.zeros(len(users) + 1, np.int64),
        "rated_items": np.zeros(0, np.int32),
    }
    text = {"estimator": "ALS", "features": [], "rating": "stars", "settings": SETTINGS, "scale": (0.0, 9.0)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, text | {"model": "taste", "labels": {}, "classes": None}, arrays)


class RatedRun(JudgedRun):
    """A windowed run of a recommender, whose predictions are 0.5 too high, and of a search for similar rows."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "generations.scheme=windowed", document=DOCUMENT)

    def trained(self, model: str, folder: Path, rows: pa.Table, spoil: float) -> TrainedModel:
        path = folder / "scorers" / f"{model}.npz"
        if model == "taste":
            write_factors(path, rows, 0.5 + spoil)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            text: dict[str, Any] = {
                "model": model,
                "estimator": "BucketedRandomProjectionLSH",
                "labels": {},
                "classes": None,
            }
            write(path, text | {"features": [FEATURE], "bucket_length": 1.0}, {"vectors": np.array([[1.0]])})
        counts = {"train": len(rows), "holdout": 0, "skipped": 0}
        where = self.run.relative(path)
        estimator = DOCUMENT["models"][model]["estimator"]
        return TrainedModel(model, estimator, {}, 0.5, {"rows": 3, "worst": 0.0}, counts, where, sha256(path), "none")

    def replayed(self, generations: int, error: float = 0.0) -> Replay:
        """A replay of so many cumulative generations, whose predictions have this error; not judged yet."""
        for number in range(1, generations + 1):
            self.replay("cumulative", number, range(1, number + 1), spoil=error - 0.5)
        return self.new_replay()

    def new_replay(self) -> Replay:
        nothing_to_train = cast(GenerationTrainer, None)
        return Replay(self.run, Line("cumulative"), nothing_to_train, lambda _: None)


def fed(folder: Path, batches: int = 4) -> RatedRun:
    run = RatedRun(folder)
    for batch in range(1, batches + 1):
        run.step(ratings(batch))
    return run


def test_schemes_are_paired_row_by_row(tmp_path: Path) -> None:
    """Where the schemes know different users, they are compared on the rows that both can answer, and the sentence says
    how many of how many; the gain is that of a plain computation on the files of the rows' losses."""
    run = fed(tmp_path)
    run.replayed(3).work(run.run.catalog.batches())
    taste, near = scheme_bodies(run.run)
    plain_own, plain_other, answerable = [], [], 0
    for batch in (2, 3, 4):
        sides = []
        for line in ("", "cumulative"):
            look = next(
                one for one in run.run.catalog.judgings(line) if (one.batch, one.evidence) == (batch, "settled")
            )
            assert look.path is not None
            losses = pq.read_table(run.run.folder / look.path).to_pandas()
            chosen = losses[(losses.generation == batch - 1) & ~losses.trivial & (losses.loss_name == "absolute error")]
            sides.append(chosen.set_index("unit").loss)
        joined = sides[0].to_frame("own").join(sides[1].rename("other"), how="outer")
        answerable += len(joined)
        both = joined.dropna()
        plain_own += both.own.tolist()
        plain_other += both.other.tolist()
    assert 0 < len(plain_own) < answerable
    assert (taste.rows, taste.answerable, taste.batches) == (len(plain_own), answerable, [2, 3, 4])
    assert taste.own_loss == pytest.approx(np.mean(plain_own), rel=1e-6)
    assert taste.loss == pytest.approx(np.mean(plain_other), rel=1e-6)
    assert taste.word == "paid"
    assert taste.sentence.startswith("cumulative beats windowed by ")
    assert taste.sentence.endswith(
        f"on the next batch ({taste.rows:,} of {taste.answerable:,} rows, those that both can answer)"
    )
    assert near.word is None
    assert near.sentence == "cumulative and windowed can't be compared: there is no truth to judge them by"


def test_equal_schemes_are_no_different_on_some_rows(tmp_path: Path) -> None:
    """A sentence without a winner has the rows, too."""
    run = fed(tmp_path)
    run.replayed(3, error=0.5).work(run.run.catalog.batches())
    taste = scheme_bodies(run.run)[0]
    assert taste.sentence == (
        f"cumulative and windowed: no difference, on {taste.rows:,} of {taste.answerable:,} rows, those that both can "
        "answer"
    )


def test_without_a_row_that_both_can_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the schemes share no user, the body says so; before the replay was judged it says that."""
    run = fed(tmp_path, batches=2)
    strangers = ratings(1).set_column(1, "who", pa.array(["u99"] * ROWS))
    monkeypatch.setattr(run, "training", lambda batches: strangers)
    replay = run.replayed(1)
    taste = scheme_bodies(run.run)[0]
    assert (taste.word, taste.rows, taste.interval) == (None, 0, None)
    assert taste.sentence == "cumulative and windowed can't be compared: no batch was judged under both yet"
    replay.work(run.run.catalog.batches())
    told = scheme_bodies(run.run)[0].sentence
    assert told == "cumulative and windowed can't be compared: there is no row of 1 batch that both can answer"


def test_the_same_replay_again_pairs_what_was_not(tmp_path: Path) -> None:
    """A replay of an older version was not paired: until it is repeated the sentence says so, and then it judges these
    batches again without training."""
    run = fed(tmp_path)
    run.replayed(3).work(run.run.catalog.batches())
    paired = scheme_bodies(run.run)
    with run.run.catalog.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM paired_blocks")
    assert unpaired(run.run, "cumulative") == {3, 4}  # generation 1 is the same under both
    told = scheme_bodies(run.run)[0].sentence
    assert told.endswith(" (1 of 3 batches so far; the same replay again pairs the rows of the others)")
    with run.run.catalog.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM cells WHERE line = 'cumulative' AND batch = 2")
    told = scheme_bodies(run.run)[0].sentence
    assert told == (
        "cumulative and windowed can't be compared: they answer different rows; the same replay again pairs the rows"
    )
    with run.run.catalog.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM judgings WHERE line = 'cumulative' AND batch = 2")
    again = run.new_replay()
    assert again.judged == set()
    again.work(run.run.catalog.batches())
    assert scheme_bodies(run.run) == paired
    assert run.new_replay().judged == {2, 3, 4}


def test_a_replay_s_files_are_named_by_its_records(tmp_path: Path) -> None:
    """Each look of a replay has its file of losses; one that no record names is removed by the next replay."""
    run = fed(tmp_path, batches=2)
    replay = run.replayed(1)
    folder = run.run.judgings / "cumulative"
    (folder / "00009-settled-ab12.parquet").write_text("x")
    replay.work(run.run.catalog.batches())
    (look,) = run.run.catalog.judgings("cumulative")
    assert look.path is not None
    assert sha256(run.run.folder / look.path) == look.sha256
    assert {path.name for path in folder.iterdir()} == {"00001", Path(look.path).name}
