"""How far the run is, over HTTP."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from tests.support import wait_for
from tests.support.serving_run import api_of, new_run, publish, seal
from tidemill.api import documents
from tidemill.api.models.registry import ModelRegistry
from tidemill.run.catalog import SourceState, StageStatus
from tidemill.run.catalog.stages import progress_of
from tidemill.run.folder import Run
from tidemill.run.locks import locked


@pytest.fixture
def run(run: Run) -> Run:
    """Two sealed batches of two and one row, one published generation, one in training."""
    seal(run, 1, [{"id": 1}, {"id": 2}])
    publish(run, 1, [1])
    seal(run, 2, [{"id": 3}])
    run.catalog.begin_generation(2, [1, 2], 3)
    return run


def say(run: Run, name: str, state: str, **counters: object) -> None:
    run.catalog.save_stage(StageStatus(name, state, os.getpid(), progress=progress_of(name, counters)))  # type: ignore[arg-type]  # one of them


def status(client: httpx.Client) -> dict[str, object]:
    answer = client.get("/status")
    assert answer.status_code == 200
    found: dict[str, object] = answer.json()
    return found


def test_a_run_at_work_says_how_far_it_is(run: Run) -> None:
    """One answer has the rows on their way, the open batch, what is trained, and each stage's own words."""
    run.catalog.save_source(SourceState("print", rows=10))
    opened = {"open_batch": 3, "open_rows": 2, "open_target": 3, "open_since": "2026-01-01T00:00:00.000Z"}
    say(run, "trainer", "running", training=2, training_rows=3)
    say(run, "collector", "running", collected=5, **opened)
    say(run, "producer", "running", produced=8, rejected=1)
    registry = ModelRegistry(run)
    with locked(run.stage_lock("trainer")), locked(run.stage_lock("collector")), locked(run.stage_lock("producer")):
        registry.refresh()
        body = documents.status_body(run, registry.snapshot).document()
    assert list(body["stages"]) == ["producer", "collector", "trainer"]
    assert {name: stage["word"] for name, stage in body["stages"].items()} == {
        "producer": "sending rows: 8 of 10",
        "collector": "batch 3 has 2 of 3 rows",
        "trainer": "training generation 2 on 3 rows",
    }
    began = body["training"].pop("began_at")
    shown = ("rows", "lag", "open_batch", "batches", "generations", "newest", "training", "waiting", "stream_ended")
    assert {name: body[name] for name in shown} == {
        "rows": {"source": 10, "produced": 8, "collected": 5, "sealed": 3, "rejected": 1},
        "lag": 3,
        "open_batch": {
            "batch": 3,
            "rows": 2,
            "target": 3,
            "since": "2026-01-01T00:00:00.000Z",
            "until": None,
        },
        "batches": 2,
        "generations": {"published": 1, "training": 1, "failed": 0},
        "newest": 1,
        "training": {"generation": 2, "rows": 3},
        "waiting": "Training generation 2 on 3 rows.",
        "stream_ended": False,
    }
    assert began <= run.catalog.stages()["trainer"].updated_at
    assert body["bytes"] == sum(batch.bytes for batch in run.catalog.batches())


def test_rates_become_known(run: Run) -> None:
    """The API's own looks at the counters make the rates: unknown at first, and 0.0 where nothing moves."""
    with api_of(run) as client:
        rates = wait_for(lambda: known(client), "the rates to be known")
    assert rates == {"produced": 0.0, "collected": 0.0, "sealed": 0.0}


def known(client: httpx.Client) -> object:
    rates = status(client)["rates"]
    assert isinstance(rates, dict)
    return None if None in rates.values() else rates


def test_a_run_that_is_done_says_so(tmp_path: Path) -> None:
    """Once the stream has ended and its generations are published the run waits for nothing."""
    run = new_run(tmp_path)
    seal(run, 1, [{"id": 1}])
    publish(run, 1, [1])
    run.catalog.end_stream({0: 9}, {})
    say(run, "trainer", "done")
    with api_of(run) as client:
        body = status(client)
    run.close()
    assert (body["stream_ended"], body["trained"]) == (True, True)
    assert body["waiting"] == "The only generation is trained."
    assert (body["open_batch"], body["training"]) == (None, None)


def test_a_stage_that_is_gone_has_failed(run: Run) -> None:
    """A stage whose process is gone has failed, and a generation that it left behind is not in training."""
    say(run, "trainer", "running", training=2, training_rows=3)
    with api_of(run) as client:
        body = status(client)
    assert body["waiting"] == "The trainer failed: its process is gone."
    assert body["problems"] == ["the trainer failed: its process is gone"]
    assert body["training"] is None


def test_no_answer_names_the_run_folder(run: Run) -> None:
    """What failed is told without the run folder's place on this machine."""
    error = {"code": "disk", "message": f"{run.folder}/batches is full", "hint": f"see {run.logs}/collector.log"}
    run.catalog.save_stage(StageStatus("collector", "failed", 1, error=error))
    with api_of(run) as client:
        for path in ("/status", "/health"):
            text = client.get(path).text
            assert "batches is full" in text
            assert str(run.folder) not in text


def test_an_answer_reads_no_catalog(run: Run) -> None:
    """However often it is asked, how far the run is comes from memory."""
    registry = ModelRegistry(run)
    registry.refresh()
    statements: list[str] = []
    sa.event.listen(run.catalog.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    documents.status_body(run, registry.snapshot)
    assert statements == []
    registry.refresh()
    assert 0 < len(statements) < 10


def test_a_stage_that_has_just_ended_has_not_failed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that ends well between its word being read and its process being looked for is not taken for dead."""
    say(run, "trainer", "running")
    registry = ModelRegistry(run)
    whole = Run.at_work

    def ended(one: Run, word: StageStatus) -> bool:
        monkeypatch.setattr(Run, "at_work", whole)
        say(run, "trainer", "done")
        return False

    monkeypatch.setattr(Run, "at_work", ended)
    registry.refresh()
    assert registry.snapshot.states == {"trainer": "done"}
    assert documents.status_body(run, registry.snapshot).problems == []
