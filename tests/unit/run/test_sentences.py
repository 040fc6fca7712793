"""What a run and its stages are doing, in plain words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tidemill.pipeline import Output
from tidemill.run.catalog import OutputState, StageState, StageStatus
from tidemill.run.catalog.stages import progress_of
from tidemill.run.progress.sentences import Facts, describe_run, describe_stage
from tidemill.run.progress.status import Counts, OutputCounts, output_count

OPEN = {"open_batch": 2, "open_rows": 812, "open_target": 1801}
OUTPUTS = (OutputCounts("m", "one", 800, 9), OutputCounts("m", "two", 12))
SOME = {
    "source": 5403,
    "produced": 812,
    "collected": 812,
    "sealed": 0,
    "rejected": 0,
    "source_rejected": 0,
    "batches": 0,
    "bytes": 0,
}


def facts(
    stages: dict[str, tuple[StageState, dict[str, Any]]],
    generations: dict[str, int] | None = None,
    newest: int = 0,
    ended: bool = False,
    **counts: Any,
) -> Facts:
    words = {
        name: StageStatus(name, state, 1, progress=progress_of(name, counters))
        for name, (state, counters) in stages.items()
    }
    states = {name: state for name, (state, _) in stages.items()}
    return Facts(words, states, Counts(**(SOME | counts), ended=ended), generations or {}, newest)


@pytest.mark.parametrize(
    ("stage", "state", "counters", "counts", "words"),
    [
        ("broker", "starting", {"jars_done": 3, "jars_steps": 46}, {}, "fetching Kafka: 3 of 46 steps"),
        ("broker", "starting", {}, {}, "starting Kafka"),
        ("broker", "running", {}, {}, "Kafka is running"),
        ("broker", "stopped", {}, {}, "Kafka is stopped"),
        ("producer", "starting", {}, {}, "waits for Kafka"),
        ("producer", "starting", {"rows": 5403}, {}, "waits for Kafka"),
        ("producer", "starting", {"rows": 1200}, {"source": None}, "counts the source: 1,200 rows so far"),
        ("producer", "running", {}, {}, "sending rows: 812 of 5,403"),
        ("producer", "running", {}, {"source": None}, "sending rows: 812 so far"),
        ("producer", "done", {}, {"produced": 5403}, "sent all 5,403 rows"),
        ("producer", "stopped", {}, {"produced": 1}, "stopped after 1 row"),
        ("outputs", "starting", {}, {}, "waits for the first generation"),
        ("outputs", "running", {}, {"outputs": OUTPUTS}, "wrote 812 rows to 2 topics; 9 messages to go"),
        ("outputs", "done", {}, {"outputs": OUTPUTS[:1]}, "wrote all 800 rows to 1 topic"),
        ("outputs", "stopped", {}, {"outputs": OUTPUTS[:1]}, "stopped; wrote 800 rows to 1 topic"),
        ("collector", "starting", {}, {}, "waits for Kafka and the producer"),
        ("collector", "running", OPEN, {}, "batch 2 has 812 of 1,801 rows"),
        ("collector", "running", {"open_batch": 2, "open_rows": 1, "open_target": None}, {}, "batch 2 has 1 row"),
        ("collector", "running", {"open_batch": 2, "open_rows": 0}, {}, "batch 2 waits for its first row"),
        ("collector", "running", {}, {"batches": 4}, "batch 5 waits for its first row"),
        ("collector", "done", {}, {"batches": 3, "sealed": 5403}, "sealed all 5,403 rows in 3 batches"),
        ("collector", "stopped", {}, {"batches": 1, "sealed": 9}, "stopped; 9 rows in 1 batch are sealed"),
        ("trainer", "starting", {}, {}, "starting Spark"),
        ("trainer", "running", {"training": 2, "training_rows": 3602}, {}, "training generation 2 on 3,602 rows"),
        ("trainer", "running", {"training": None}, {}, "waits for batch 1"),
        ("trainer", "running", {}, {"batches": 1}, "starting generation 1"),
        ("trainer", "done", {}, {}, "done after 0 generations"),
        ("api", "starting", {}, {}, "opening its port"),
        ("api", "running", {}, {}, "waits for the first generation"),
        ("api", "stopped", {}, {}, "stopped"),
        ("console", "running", {}, {}, "shows the run"),
        ("helper", "running", {}, {}, "running"),
    ],
)  # fmt: skip
def test_a_stage_says_what_it_does(
    stage: str, state: StageState, counters: dict[str, Any], counts: dict[str, Any], words: str
) -> None:
    """Each stage has its own words for each of its states."""
    assert describe_stage(stage, facts({stage: (state, counters)}, **counts)) == words


def test_the_api_says_what_it_serves() -> None:
    """The API names the generation that it answers from."""
    told = describe_stage("api", facts({"api": ("running", {})}, {"published": 3}, newest=3))
    assert told == "answers; generation 3 is the newest"


def test_a_failed_console_is_not_a_failed_run() -> None:
    """What the run goes on without is not what it waits for."""
    stages: dict[str, tuple[StageState, dict[str, Any]]] = {"collector": ("running", OPEN), "console": ("failed", {})}
    assert describe_run(facts(stages)) == "Batch 2 has 812 of 1,801 rows."
    assert describe_run(facts({"console": ("failed", {})})) == "Nothing has started yet."


def test_a_failed_stage_says_why() -> None:
    """Of a stage that failed the words are its error's; one that is gone without a word is said to be gone."""
    seen = facts({"trainer": ("failed", {})})
    assert describe_stage("trainer", seen) == "its process is gone"
    told = StageStatus("trainer", "failed", 1, error={"code": "disk", "message": "the disk is full.", "hint": ""})
    seen = Facts({"trainer": told}, seen.states, seen.counts, {}, 0)
    assert describe_run(seen) == "The trainer failed: the disk is full."


STARTING: dict[str, tuple[StageState, dict[str, Any]]] = {
    "broker": ("starting", {"jars_done": 3, "jars_steps": 46}),
    "producer": ("starting", {}),
    "collector": ("starting", {}),
    "trainer": ("starting", {}),
}
RUNNING: dict[str, tuple[StageState, dict[str, Any]]] = {
    "broker": ("running", {}),
    "producer": ("running", {}),
    "collector": ("running", {"open_batch": 2, "open_rows": 0, "open_target": 9}),
    "trainer": ("running", {}),
}
ENDED: dict[str, tuple[StageState, dict[str, Any]]] = {"producer": ("done", {}), "trainer": ("done", {})}


def test_a_run_says_what_it_waits_for() -> None:
    """From its beginning to its end a run has one sentence for what goes on."""
    story = [
        (facts({}), "Nothing has started yet."),
        (facts(STARTING), "Fetching Kafka: 3 of 46 steps."),
        (facts(STARTING | {"broker": ("running", {})}), "The stream has not started: the producer waits for Kafka."),
        (facts({"trainer": ("running", {})}), "The stream has not started."),
        (facts(RUNNING), "Batch 2 waits for its first row."),
        (facts(RUNNING, batches=1), "Batch 1 is sealed and waits for the trainer."),
        (
            facts(RUNNING | {"trainer": ("starting", {})}, batches=1),
            "Batch 1 is sealed and waits for the trainer to start Spark.",
        ),
        (
            facts(RUNNING | {"trainer": ("running", {"training": 1, "training_rows": 9})}, batches=1),
            "Training generation 1 on 9 rows.",
        ),
        (
            facts(RUNNING | {"producer": ("stopped", {}), "collector": ("failed", {})}),
            "The collector failed: its process is gone.",
        ),
        (
            facts({"producer": ("stopped", {}), "api": ("running", {})}),
            "The run is stopped; `tidemill up` resumes it.",
        ),
        (facts(ENDED, {"published": 3}, 3, True, batches=3), "All 3 generations are trained."),
        (facts(ENDED, {"published": 1}, 1, True, batches=1), "The only generation is trained."),
        (
            facts(ENDED, {"failed": 1, "published": 1}, 2, True, batches=2),
            "2 generations were trained; 1 of them failed.",
        ),
    ]  # fmt: skip
    assert [describe_run(seen) for seen, _ in story] == [words for _, words in story]


def test_the_lag_of_an_output_is_known_once_something_was_read_for_it() -> None:
    """Before the first transaction the number of messages that are to come is not said to be 0."""
    output, state = Output(model="m", topic="scored"), OutputState("scored", "m", "id", True, 1)
    assert [output_count(output, found).lag for found in (None, state)] == [None, None]
    assert output_count(output, replace(state, offsets={0: 5}, lag=3)).lag == 3
    assert output_count(output, replace(state, ended=True)).lag == 0
