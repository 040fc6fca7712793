"""What is made of a generation beside its scorers: built once, off the event loop, and no reason to go unserved."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from tests.support.serving_run import new_run, publish, scorer_path, seal
from tidemill.api import health
from tidemill.api.models import registry as live_module
from tidemill.api.models.registry import Live, Served, unpublished
from tidemill.api.rows.generation_rows import GenerationRows
from tidemill.errors import CatalogError, NotReady
from tidemill.run.folder import Run


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Three generations, each of one batch more than the one before."""
    run = new_run(tmp_path)
    for number in range(1, 4):
        seal(run, number, [{"id": number}])
        publish(run, number, list(range(1, number + 1)))
    yield run
    run.close()


def looking(run: Run, make: Callable[[Served], Any]) -> Live:
    live = Live(run)
    live.prepare("extra", make)
    live.look()
    return live


def problems(live: Live) -> str:
    return " ".join(health.problems(live.now))


def refused(live: Live, number: int) -> NotReady:
    with pytest.raises(NotReady) as caught:
        anyio.run(live.extra, live.now, number, "extra")
    assert str(live.run.folder) not in caught.value.message
    return caught.value


# --- older generations --------------------------------------------------------------------------------------------


def test_one_build_for_all_that_ask(run: Run) -> None:
    """Forty requests for an older generation, more than the default pool has threads, share one build; meanwhile the
    pool is free and the newest generation's extra is there."""
    go, built = threading.Event(), list[int]()

    def make(served: Served) -> str:
        built.append(served.number)
        assert served.number == 3 or go.wait(30)
        return f"of {served.number}"

    live = looking(run, make)

    async def ask_all() -> list[str]:
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await live.extra(live.now, 1, "extra"))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(40):
                    tasks.start_soon(ask)
                while 1 not in built:
                    await anyio.sleep(0.001)
                assert await live.extra(live.now, 3, "extra") == "of 3"
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

    def make(served: Served) -> int:
        built.append(served.number)
        assert served.number == 3 or go.wait(30)
        return served.number

    live = looking(run, make)

    async def give_up_then_ask() -> int:
        with anyio.move_on_after(0.05):
            await live.extra(live.now, 1, "extra")
        go.set()
        found: int = await live.extra(live.now, 1, "extra")
        return found

    assert anyio.run(give_up_then_ask) == 1
    assert built == [3, 1]


def test_a_replaced_generation_stays_in_memory(run: Run) -> None:
    """When a newer one is swapped in, nothing of the one before is read or made again."""
    built: list[int] = []
    live = looking(run, lambda served: built.append(served.number))
    publish(run, 4, [1, 2, 3])
    live.look()
    scorer_path(run, 3, "size").unlink()
    assert anyio.run(live.scorer, live.now, 3, "size").estimator == "LinearRegression"
    anyio.run(live.extra, live.now, 3, "extra")
    assert built == [3, 4]


def test_any_failure_of_an_older_one_is_not_ready(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unforeseen error is 503 without the folder's place; it is tried again, but not with every request."""
    tries: list[int] = []

    def make(served: Served) -> str:
        tries.append(served.number)
        if tries.count(1) == 1 and served.number == 1:
            raise ValueError(f"{'x' * 280} {run.folder}/batches and {run.folder}")
        return "made"

    live = looking(run, make)
    assert refused(live, 1).message.startswith("generation 1 can't be served: ")
    refused(live, 1)
    assert tries == [3, 1]
    monkeypatch.setattr(live_module, "time", Later())
    assert anyio.run(live.extra, live.now, 1, "extra") == "made"


class Later:
    """The clock, ten seconds on."""

    @staticmethod
    def monotonic() -> float:
        return time.monotonic() + 10


# --- the newest ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [CatalogError, ValueError])
def test_a_maker_that_fails_keeps_no_scorer_back(
    run: Run, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """The generation is served without the extra, /health names it, and it is made once that is possible."""
    monkeypatch.setattr(live_module, "RETRY_SECONDS", 0.0)
    broken = threading.Event()
    broken.set()

    def make(served: Served) -> str:
        if broken.is_set():
            raise kind(f"{run.folder}/batches/batch-00001.parquet is gone")
        return "made"

    live = looking(run, make)
    assert live.now.newest is not None
    assert (live.now.newest.number, set(live.now.newest.scorers)) == (3, {"size", "good", "group"})
    assert "generation 3 is served without extra: " in problems(live)
    assert "batches/batch-00001.parquet is gone" in refused(live, 3).message
    broken.clear()
    live.look()
    assert problems(live) == ""
    assert anyio.run(live.extra, live.now, 3, "extra") == "made"


def test_a_failed_generation_tells_no_place(run: Run) -> None:
    """Why a generation failed is told everywhere without the run folder's place."""
    run.catalog.begin_generation(4, [1], rows=1)
    run.catalog.fail_generation(4, f"no space left on {run.folder}/generations/00004")
    live = looking(run, lambda served: None)
    assert live.now.generations[4].document()["error"] == "no space left on generations/00004"
    assert unpublished(live.now, 4) == "generation 4 failed: no space left on generations/00004"
    assert problems(live) == "generation 4 failed: no space left on generations/00004"


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
