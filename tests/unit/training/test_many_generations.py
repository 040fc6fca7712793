"""A run of ten thousand generations: what a trainer and a command look at before they begin stays quick."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.many_run import AT, insert
from tests.support.training_run import quiet_stage, run_of
from tidemill.errors import TrainingFailed
from tidemill.process.up import refuse_failed, stages_needed
from tidemill.run.catalog import TrainedModel, schema
from tidemill.run.folder import Run
from tidemill.run.progress.status import status
from tidemill.training.trainer import Trainer

MANY = 10_000
BOUND_SECONDS = 0.3
MODELS = ("efficiency", "malfunction", "segment")


def fill(run: Run, failed: set[int]) -> None:
    """Batches and generations as a collector and a trainer record them, with a file or folder for each."""
    numbers = range(1, MANY + 1)
    batches = [
        {"batch": n, "cut": "rows", "decided_at": AT, "path": f"batches/batch-{n:05d}.parquet", "rows": 9, "bytes": 9}
        | {"sha256": "0" * 64, "rejected": 0, "sealed_at": AT}
        for n in numbers
    ]
    spans = [{"batch": n, "partition": 0, "first_offset": 9 * n - 9, "last_offset": 9 * n - 1} for n in numbers]
    generations = [
        {"generation": n, "state": "failed" if n in failed else "published", "batches": [n], "rows": 9}
        | {"began_at": AT, "published_at": None if n in failed else AT, "error": "no row" if n in failed else None}
        for n in numbers
    ]
    report = {"rows": 1000, "equal": 1000, "max_difference": 2e-16}
    shown = {"clusters": [{"cluster": place, "size": 9, "centre": {"x": 1.0}} for place in range(8)]}
    newest = max(set(numbers) - failed)
    models = [
        asdict(TrainedModel(name, "KMeans", {"cost": 1.0}, 1.0, report, {"train": 9}, "s", "0" * 64, "s", shown))
        | {"generation": newest}
        for name in MODELS
    ]
    insert(run, batches=batches, batch_partitions=spans, generations=generations, models=models)
    with run.catalog.engine.begin() as connection:
        names = [column.name for column in schema.models.c]
        generations_of, models_of = schema.generations, schema.models
        each = [generations_of.c.generation, *(models_of.c[name] for name in names if name != "generation")]
        pairs = generations_of.join(models_of, generations_of.c.generation < models_of.c.generation)
        others = sa.select(*each).select_from(pairs).where(generations_of.c.state == "published")
        connection.execute(sa.insert(models_of).from_select(names, others))
    for n in numbers:
        (run.batches / f"batch-{n:05d}.parquet").touch()
        if n not in failed:
            (run.generations / f"{n:05d}").mkdir()


@pytest.fixture(scope="module", params=[{1}, set(range(1, MANY))], ids=["first failed", "all but the last failed"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The first generation failed, or all but the last."""
    models = {"line": {"estimator": "LinearRegression", "features": ["x"], "label": "y"}}
    columns = {"x": "float", "y": "float"}
    run = run_of(tmp_path_factory.mktemp("many"), source={"path": "x.csv", "columns": columns}, models=models)
    fill(run, request.param)
    run.catalog.end_stream({0: 9 * MANY}, {})
    yield run
    run.close()


def seconds(act: Callable[[], Any]) -> float:
    """How long it takes on a machine with nothing else to do: the processor's time, the least of five."""
    taken = []
    for _ in range(5):
        began = time.process_time()
        act()
        taken.append(time.process_time() - began)
    return min(taken)


def trainer_of(run: Run) -> Trainer:
    return Trainer(quiet_stage(run), None)  # what is asked here needs no Spark


def test_a_trainer_takes_up_many_generations_quickly(run: Run) -> None:
    """Taking up a run of 10,000 generations of three models takes less than 0.3 s, and so does each look after it."""
    trainer = trainer_of(run)
    assert seconds(trainer.take_up) < BOUND_SECONDS
    assert trainer.published == len(trainer.done) == len(list(run.generations.iterdir()))
    trainer.look()
    assert seconds(trainer.is_done) < BOUND_SECONDS
    assert not trainer.is_done()


def test_the_generation_before_is_found_at_once(run: Run) -> None:
    """However many failed in between, one question finds what a model's clusters are matched to."""
    trainer = trainer_of(run)
    assert seconds(lambda: trainer.earlier(MANY + 1)) < BOUND_SECONDS
    assert set(trainer.earlier(MANY + 1)) == set(MODELS)
    newest = run.catalog.newest_generation(before=MANY)
    assert {one.generation for one in trainer.earlier(MANY).values()} <= {newest}
    assert trainer.earlier(1) == {}


def test_what_up_and_status_look_at_is_counted_and_not_read(run: Run) -> None:
    """The stages that are needed, the state of the run and its first failure are quick to tell."""
    assert seconds(lambda: status(run)) < BOUND_SECONDS
    assert seconds(lambda: stages_needed(run, set())) < BOUND_SECONDS
    failure = run.catalog.first_failure()
    assert failure == (1, "no row")
    assert "trainer" in stages_needed(run, set())
    with pytest.raises(TrainingFailed, match="generation 1 failed: no row"):
        refuse_failed(run)
