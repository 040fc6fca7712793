"""Sentences for people: what a run and its stages are doing or waiting for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tidemill.run.catalog import (
    BrokerProgress,
    CollectorProgress,
    Freshness,
    Gap,
    GenerationRef,
    ProducerProgress,
    StageState,
    StageStatus,
    TrainerProgress,
    progress_in,
)
from tidemill.run.catalog.stages import P
from tidemill.run.progress.status import DISPENSABLE, Counts

STREAMING = ("broker", "producer", "collector", "trainer")
GONE = "its process is gone"
LONGEST_PARTS = 4  # that are named


@dataclass(frozen=True)
class Facts:
    """The facts that the sentences are made from.

    Attributes:
        stages: the last status that each stage reported.
        states: each stage's state now.
        counts: how far the rows have come.
        generations: how many generations are in each state.
        newest: the newest published generation; 0 where there is none.
    """

    stages: Mapping[str, StageStatus]
    states: Mapping[str, StageState]
    counts: Counts
    generations: Mapping[str, int]
    newest: int

    @property
    def settled(self) -> int:
        """How many generations are published or have failed."""
        return self.generations.get("published", 0) + self.generations.get("failed", 0)

    @property
    def trained(self) -> bool:
        """Whether the stream has ended and each of its generations is settled."""
        return self.counts.ended and self.settled == self.counts.batches

    def progress(self, record: type[P]) -> P:
        """The progress of the stage that ``record`` belongs to."""
        return progress_in(self.stages, record)


def describe_stage(name: str, facts: Facts) -> str:
    """A stage's present activity, its reason to wait or to fail, or its result."""
    state = facts.states[name]
    if state == "failed":
        error = facts.stages[name].error
        return str(error["message"]) if error else GONE
    return DESCRIPTIONS[name](state, facts) if name in DESCRIPTIONS else state


def describe_run(facts: Facts) -> str:
    """The present activity of the run as a whole, or what it waits for, in one sentence."""
    if facts.trained:
        return outcome(facts)
    needed = {name: state for name, state in facts.states.items() if name not in DISPENSABLE}
    failed = next((name for name, state in needed.items() if state == "failed"), None)
    if failed:
        return f"The {failed} failed: {describe_stage(failed, facts).rstrip('.')}."
    if not any(facts.states.get(name) in ("starting", "running") for name in STREAMING):
        return "The run is stopped; `tidemill up` resumes it." if needed else "Nothing has started yet."
    return f"{awaited(facts)}."


def awaited(facts: Facts) -> str:
    """The step that the run waits for now."""
    training = facts.progress(TrainerProgress).training
    if training and facts.states.get("trainer") == "running":
        return capital(describe_stage("trainer", facts))
    if facts.counts.batches > facts.settled:
        number = facts.settled + 1
        starting = " to start Spark" if facts.states.get("trainer") == "starting" else ""
        return f"Batch {number} is sealed and waits for the trainer{starting}"
    if facts.states.get("broker") == "starting":
        return capital(describe_stage("broker", facts))
    if facts.states.get("producer") == "starting":
        return f"The stream has not started: the producer {describe_stage('producer', facts)}"
    if facts.progress(CollectorProgress).open_batch is not None:
        return capital(open_batch(facts))
    return "The stream has not started"


def outcome(facts: Facts) -> str:
    """The result of a run that is done."""
    failed, count = facts.generations.get("failed", 0), facts.settled
    if failed:
        return f"{number(count)} generations were trained; {number(failed)} of them failed."
    return "The only generation is trained." if count == 1 else f"All {number(count)} generations are trained."


def describe_broker(state: StageState, facts: Facts) -> str:
    progress = facts.progress(BrokerProgress)
    if state == "starting" and progress.jars_steps is not None:
        return f"fetching Kafka: {progress.jars_done} of {progress.jars_steps} steps"
    return {"starting": "starting Kafka", "running": "Kafka is running"}.get(state, "Kafka is stopped")


def describe_producer(state: StageState, facts: Facts) -> str:
    seen, produced, total = facts.progress(ProducerProgress).rows, facts.counts.produced, facts.counts.source
    if state == "done":
        return f"sent all {rows(produced)}"
    if state == "stopped":
        return f"stopped after {rows(produced)}"
    if state == "starting":
        return "waits for Kafka" if total is not None or seen is None else f"counts the source: {rows(seen)} so far"
    return f"sending rows: {number(produced)}{' so far' if total is None else f' of {number(total)}'}"


def describe_collector(state: StageState, facts: Facts) -> str:
    sealed = f"{rows(facts.counts.sealed)} in {counted(facts.counts.batches, 'batch', 'batches')}"
    progress = facts.progress(CollectorProgress)
    if state == "starting" and progress.counted is not None:
        return f"counts the rows of the topic: {rows(progress.counted)} so far"
    if state == "starting":
        return "waits for Kafka" if facts.counts.of_others else "waits for Kafka and the producer"
    if state == "running":
        return progress.waiting or f"{open_batch(facts)}{behind(facts.counts.lag)}"
    return f"sealed all {sealed}" if state == "done" else f"stopped; {sealed} are sealed"


def open_batch(facts: Facts) -> str:
    progress = facts.progress(CollectorProgress)
    batch, count, target = progress.open_batch, progress.open_rows, progress.open_target
    if batch is None or not count:
        return f"batch {batch or facts.counts.batches + 1} waits for its first row"
    return f"batch {batch} has {number(count)} of {rows(target)}" if target else f"batch {batch} has {rows(count)}"


def behind(lag: Mapping[str, int] | None) -> str:
    """How much of a topic is still to be read, as the end of a sentence."""
    messages = sum((lag or {}).values())
    return f"; {counted(messages, 'message')} behind" if messages else ""


def describe_lag(lag: Mapping[str, int]) -> str:
    """How much of a topic is still to be read, by partition."""
    left = [f"partition {partition}: {number(messages)}" for partition, messages in lag.items() if messages]
    return f"{counted(sum(lag.values()), 'message')} ({', '.join(left)})" if left else "no message"


def describe_gap(gap: Gap) -> str:
    """What was lost, for a list of problems."""
    return f"{gap} were removed by the topic's retention before they were sealed, while batch {gap.batch} was open"


def describe_freshness(freshness: Freshness) -> str:
    """How soon the newest generation answered, with the parts that took longest."""
    longest = sorted(freshness.parts.items(), key=lambda part: -part[1])[:LONGEST_PARTS]
    parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in longest)
    return f"generation {freshness.generation} answered {freshness.seconds:.2f} s after its last row ({parts})"


def describe_trainer(state: StageState, facts: Facts) -> str:
    progress, trained = facts.progress(TrainerProgress), counted(facts.settled, "generation")
    if state == "starting":
        return "starting Spark"
    if state != "running":
        return f"{'done' if state == 'done' else 'stopped'} after {trained}"
    if progress.training:
        on = f" on {rows(progress.training_rows)}" if progress.training_rows is not None else ""
        return f"training generation {progress.training}{on}"
    if facts.trained:
        return f"done after {trained}"
    batch = facts.settled + 1
    return f"starting generation {batch}" if facts.counts.batches >= batch else f"waits for batch {batch}"


def describe_outputs(state: StageState, facts: Facts) -> str:
    outputs = facts.counts.outputs
    written = f"{rows(sum(output.rows for output in outputs))} to {counted(len(outputs), 'topic')}"
    if missed := sum(output.missed for output in outputs):
        written += f" ({counted(missed, 'offset')} removed by retention before that)"
    if state == "starting":
        return "waits for Kafka" if facts.newest else "waits for the first generation"
    if state != "running":
        return f"wrote all {written}" if state == "done" else f"stopped; wrote {written}"
    lag = max((output.lag or 0 for output in outputs), default=0)
    return f"wrote {written}; {counted(lag, 'message')} to go" if lag else f"wrote {written}"


def describe_api(state: StageState, facts: Facts) -> str:
    if state != "running":
        return "opening its port" if state == "starting" else "stopped"
    return f"answers; generation {facts.newest} is the newest" if facts.newest else "waits for the first generation"


def describe_console(state: StageState, facts: Facts) -> str:
    return {"starting": "opening its port", "running": "shows the run"}.get(state, "stopped")


def serving(champions: Mapping[str, GenerationRef]) -> str:
    """Which generation serves for which models: ``generation 3``, or ``generation 3 for a and b, generation 1 for c``;
    empty where none does. The newest generation comes first."""
    by_generation: dict[GenerationRef, list[str]] = {}
    for model, generation in champions.items():
        by_generation.setdefault(generation, []).append(model)
    if len(by_generation) == 1:
        return f"generation {next(iter(by_generation))}"
    return ", ".join(
        f"generation {generation} for {both(by_generation[generation])}"
        for generation in sorted(by_generation, reverse=True)
    )


def both(names: Sequence[str]) -> str:
    """Names as in ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), names[-1]])


DESCRIPTIONS: Mapping[str, Callable[[StageState, Facts], str]] = {
    "broker": describe_broker,
    "producer": describe_producer,
    "collector": describe_collector,
    "trainer": describe_trainer,
    "outputs": describe_outputs,
    "api": describe_api,
    "console": describe_console,
}


def number(count: int) -> str:
    return f"{count:,}"


def counted(count: int, one: str, many: str = "") -> str:
    return f"{number(count)} {one if count == 1 else many or f'{one}s'}"


def rows(count: int) -> str:
    return counted(count, "row")


def capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
