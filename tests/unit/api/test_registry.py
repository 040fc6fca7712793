"""What is made of a generation beside its scorers: built once, off the event loop, and no reason to go unserved."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from tests.support.serving_run import Clock, new_run, publish, routes_document, scorer_path, seal
from tidemill.api.app import create_app
from tidemill.api.models import catalog_reader, health
from tidemill.api.models import registry as registry_module
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.models.snapshot import LoadedGeneration, unpublished_reason
from tidemill.api.rows.generation_rows import GenerationRows
from tidemill.errors import CatalogError, NotReady
from tidemill.run.catalog import GenerationRef
from tidemill.run.folder import Run


@pytest.fixture
def run(run: Run) -> Run:
    """Three generations, each of one batch more than the one before."""
    for number in range(1, 4):
        seal(run, number, [{"id": number}])
        publish(run, number, list(range(1, number + 1)))
    return run


def refreshed(run: Run, build: Callable[[LoadedGeneration], Any]) -> ModelRegistry:
    registry = ModelRegistry(run)
    registry.register_index("rows", build)
    registry.refresh()
    return registry


def problems(registry: ModelRegistry) -> str:
    return " ".join(health.problems(registry.snapshot))


def refused(registry: ModelRegistry, number: int) -> NotReady:
    with pytest.raises(NotReady) as caught:
        anyio.run(registry.index, registry.snapshot, GenerationRef(number), "rows")
    assert str(registry.run.folder) not in caught.value.message
    return caught.value


# --- older generations --------------------------------------------------------------------------------------------


def test_one_build_for_all_that_ask(run: Run) -> None:
    """Forty requests for an older generation, more than the default pool has threads, share one build; meanwhile the
    pool is free and the newest generation's index is there."""
    go, built = threading.Event(), list[int]()

    def build(loaded: LoadedGeneration) -> str:
        built.append(loaded.number)
        assert loaded.number == 3 or go.wait(30)
        return f"of {loaded.number}"

    registry = refreshed(run, build)

    async def ask_all() -> list[str]:
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await registry.index(registry.snapshot, GenerationRef(1), "rows"))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(40):
                    tasks.start_soon(ask)
                while 1 not in built:
                    await anyio.sleep(0.001)
                assert await registry.index(registry.snapshot, GenerationRef(3), "rows") == "of 3"
                assert await to_thread.run_sync(lambda: "free") == "free"
                assert to_thread.current_default_thread_limiter().borrowed_tokens == 0
                assert answers == []
                go.set()
        return answers

    assert anyio.run(ask_all) == ["of 1"] * 40
    assert built == [3, 1]


def test_who_hangs_up_takes_nothing_from_the_others(run: Run) -> None:
    """The build goes on when the request that began it is given up."""
    go, built = threading.Event(), list[int]()

    def build(loaded: LoadedGeneration) -> int:
        built.append(loaded.number)
        assert loaded.number == 3 or go.wait(30)
        return loaded.number

    registry = refreshed(run, build)

    async def give_up_then_ask() -> int:
        with anyio.move_on_after(0.05):
            await registry.index(registry.snapshot, GenerationRef(1), "rows")
        go.set()
        found: int = await registry.index(registry.snapshot, GenerationRef(1), "rows")
        return found

    assert anyio.run(give_up_then_ask) == 1
    assert built == [3, 1]


def test_a_replaced_generation_stays_in_memory(run: Run) -> None:
    """When a newer one is swapped in, nothing of the one before is read or made again."""
    built: list[int] = []
    registry = refreshed(run, lambda loaded: built.append(loaded.number))
    publish(run, 4, [1, 2, 3])
    registry.refresh()
    scorer_path(run, 3, "size").unlink()
    assert anyio.run(registry.scorer, registry.snapshot, GenerationRef(3), "size").estimator == "LinearRegression"
    anyio.run(registry.index, registry.snapshot, GenerationRef(3), "rows")
    assert built == [3, 4]


def test_any_failure_of_an_older_one_is_not_ready(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unforeseen error is 503 without the folder's place; it is tried again, but not with every request."""
    tries: list[int] = []

    def build(loaded: LoadedGeneration) -> str:
        tries.append(loaded.number)
        if tries.count(1) == 1 and loaded.number == 1:
            raise ValueError(f"{'x' * 280} {run.folder}/batches and {run.folder}")
        return "made"

    clock = Clock()
    monkeypatch.setattr(registry_module, "time", clock)
    registry = refreshed(run, build)
    assert refused(registry, 1).message.startswith("generation 1 can't be served: ")
    refused(registry, 1)
    assert tries == [3, 1]
    clock.now += 10
    assert anyio.run(registry.index, registry.snapshot, GenerationRef(1), "rows") == "made"


# --- the newest ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [CatalogError, ValueError])
def test_a_builder_that_fails_keeps_no_scorer_back(
    run: Run, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """The generation is served without the index, /health names it, and it is made once that is possible."""
    monkeypatch.setattr(catalog_reader, "RETRY_SECONDS", 0.0)
    broken = threading.Event()
    broken.set()

    def build(loaded: LoadedGeneration) -> str:
        if broken.is_set():
            raise kind(f"{run.folder}/batches/batch-00001.parquet is gone")
        return "made"

    registry = refreshed(run, build)
    assert registry.snapshot.newest is not None
    assert (registry.snapshot.newest.number, set(registry.snapshot.newest.scorers)) == (3, {"size", "good", "group"})
    assert "generation 3 is served without rows: " in problems(registry)
    assert "batches/batch-00001.parquet is gone" in refused(registry, 3).message
    broken.clear()
    registry.refresh()
    assert problems(registry) == ""
    assert anyio.run(registry.index, registry.snapshot, GenerationRef(3), "rows") == "made"


def test_a_failed_generation_tells_no_place(run: Run) -> None:
    """Why a generation failed is told everywhere without the run folder's place."""
    run.catalog.begin_generation(4, [1], rows=1)
    run.catalog.fail_generation(4, f"no space left on {run.folder}/generations/00004")
    registry = refreshed(run, lambda loaded: None)
    assert registry.snapshot.generations[4].error == "no space left on generations/00004"
    assert unpublished_reason(registry.snapshot, 4) == "generation 4 failed: no space left on generations/00004"
    assert problems(registry) == "generation 4 failed: no space left on generations/00004"


# --- the order of construction ------------------------------------------------------------------------------------


def test_an_index_is_registered_before_the_first_snapshot(run: Run) -> None:
    """A registration that comes too late is an error, not a generation that lacks its index."""
    registry = refreshed(run, lambda loaded: "built")
    with pytest.raises(RuntimeError, match="'late' is registered after the first snapshot"):
        registry.register_index("late", lambda loaded: None)


def test_an_index_is_registered_once(run: Run) -> None:
    """A name can't stand for two indexes."""
    registry = ModelRegistry(run)
    registry.register_index("rows", lambda loaded: None)
    with pytest.raises(RuntimeError, match="'rows' is registered twice"):
        registry.register_index("rows", lambda loaded: None)


def test_an_app_is_created_before_its_registry_starts(tmp_path: Path) -> None:
    """An app whose routes search rows refuses a registry that has served already, whose generation lacks the index."""
    document = routes_document({"path": "/all", "sql": "select id from rows", "answer": "list"})
    run = new_run(tmp_path, document=document)
    registry = ModelRegistry(run)
    registry.refresh()
    with pytest.raises(RuntimeError, match="after the first snapshot"):
        create_app(run, registry)
    run.close()


# --- rows ---------------------------------------------------------------------------------------------------------


def test_cumulative_generations_share_their_rows(run: Run) -> None:
    """A later generation's table has the earlier one's very buffers, and reads only the batch that is new to it."""
    rows = GenerationRows(run)
    records = run.catalog.generations()
    first = rows.of(records[1])
    for number in (1, 2):
        (run.batches / f"batch-{number:05}.parquet").unlink()
    second = rows.of(records[2])
    assert second["id"].to_pylist() == [1, 2, 3]
    places = [[chunk.buffers()[1].address for chunk in table["id"].chunks if len(chunk)] for table in (first, second)]
    assert places[1][:2] == places[0]


def test_a_slow_batch_holds_up_only_who_needs_it(run: Run) -> None:
    """While one thread is kept at a batch file, another gets a generation that is in memory, and one of other files."""
    rows = GenerationRows(run)
    records = run.catalog.generations()
    rows.of(records[0])
    at_it, done = threading.Event(), threading.Event()

    def read_last() -> None:
        at_it.set()
        rows.of(records[2])
        done.set()

    lock = rows._reading.setdefault(3, threading.Lock())  # as the thread that reads batch 3 has it
    with lock:
        waiting = threading.Thread(target=read_last)
        waiting.start()
        assert at_it.wait(10)
        assert len(rows.of(records[1])) == 2
        assert not done.is_set()
    assert done.wait(10)
    waiting.join(10)
