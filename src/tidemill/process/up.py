"""START HERE. The main job: which stages a run needs, and how long it stays up.

The data flow: source -> producer -> Kafka -> collector -> batches -> trainer -> generations -> API -> console. Each
stage is a process. Stages share only Kafka, the catalog and the files that the catalog names; the console reads only
the API. So any stage may die and be restarted at any time without the others noticing.

============  =================================  ================================================
stage         entry point                        result
============  =================================  ================================================
broker        ``kafka/embedded/broker.py``       an embedded Apache Kafka, unless the user has one
producer      ``producer/producer.py``           the rows in the topic, then the end marker; not where others write it
collector     ``collector/collector.py``         sealed batches
trainer       ``training/trainer.py``            published generations
outputs       ``outputs/stage.py``               predictions of all rows in topics, if the pipeline has outputs
api           ``api/server.py``                  answers over HTTP
console       ``console/server.py``              pages made from the API's answers
============  =================================  ================================================
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from pathlib import Path

from tidemill.errors import DiskError, TrainingFailed
from tidemill.process.supervisor import Supervisor
from tidemill.run.folder import Run, stage_lock
from tidemill.run.inventory import take_inventory
from tidemill.run.locks import lock_holder, locked
from tidemill.run.progress.status import judged, open_outputs, stream_ended, trained
from tidemill.run.stage import Stop

LOOK_SECONDS = 0.1
LATE_SECONDS = 10.0


def up(
    run: Run,
    arguments: Sequence[str],
    unwanted: Set[str],
    exit_when_trained: bool,
    stop: Stop,
    show: Callable[[Supervisor], None],
) -> None:
    """Run the pipeline until ``stop`` is set, or until its last generation is published.

    Args:
        arguments: the arguments of every stage's command.
        unwanted: stages that are not started: the broker if the user has a Kafka, the producer if others write the
            topic, the console if none is wanted, the outputs if the pipeline has none.
        show: called ten times a second.

    Raises:
        RunBusy: this run is up already.
        CatalogError: the run folder and its catalog disagree; nothing was started.
        TidemillError: a stage failed for good; the error says which one and why.
    """
    with locked(up_lock(run.folder), busy=up_already(run.folder)):
        take_inventory(run.folder, run.catalog)
        with Supervisor(run, arguments) as supervisor:
            forget_unwanted(run, unwanted)
            needed = stages_needed(run, unwanted)
            late = [name for name in needed if name in late_stages(run)]
            supervisor.start(name for name in needed if name not in late)
            end = time.monotonic() + LATE_SECONDS
            while not stop.wait(LOOK_SECONDS):
                if late and (not supervisor.is_starting("trainer") or time.monotonic() > end):
                    supervisor.start(late)
                    late = []
                supervisor.watch()
                show(supervisor)
                if exit_when_trained and trained(run) and supervisor.over("trainer") and supervisor.over("outputs"):
                    break
            show(supervisor)
        show(supervisor)
        lost = supervisor.given_up("outputs")
    if exit_when_trained:
        refuse_failed(run)
        if lost:
            raise lost


def refuse_second_up(folder: Path) -> None:
    """Raise if the run in ``folder`` is up already. Other faults of the folder are found when it is opened.

    Raises:
        RunBusy: it is.
    """
    with suppress(DiskError):
        if lock_holder(up_lock(folder)) is not None:
            with locked(up_lock(folder), busy=up_already(folder)):
                pass


def stage_at_work(folder: Path, stage: str) -> bool:
    """Whether a process of this run does the stage. After a kill of `up` its stages need a moment to end, in which they
    still have their ports."""
    with suppress(DiskError):
        return lock_holder(stage_lock(folder, stage)) is not None
    return False


def up_lock(folder: Path) -> Path:
    return stage_lock(folder, "up")


def up_already(folder: Path) -> str:
    return f"the run in {folder} is up already"


def stages_needed(run: Run, unwanted: Set[str]) -> list[str]:
    """The stages that still have work to do. Those that take longest to start come first."""
    done = trained(run) and judged(run) and not run.catalog.generations_by_state().get("failed")
    names = [] if done else ["trainer"]
    if not stream_ended(run):
        names = ["broker", *names, "producer", "collector"]
    elif run.pipeline.outputs:
        names = ["broker", *names]  # others read its topics of predictions
    if open_outputs(run):
        names.append("outputs")
    return [name for name in (*names, "api", "console") if name not in unwanted]


def late_stages(run: Run) -> Set[str]:
    """The stages that start once the trainer has, or after :data:`LATE_SECONDS`: on few cores their start would delay
    all others', and so the first answer. The API is among them while it has nothing to answer and no rows to take."""
    published = run.catalog.newest_generation() > 0
    return {"console"} if published or run.pipeline.source.open else {"api", "console"}


def forget_unwanted(run: Run, unwanted: Set[str]) -> None:
    """Delete the status of stages that are no longer wanted, unless they were started by hand."""
    for name, status in run.catalog.stages().items():
        if name in unwanted and not run.at_work(status):
            run.catalog.forget_stage(name)


def refuse_failed(run: Run) -> None:
    """Raise if a generation could not be trained."""
    failed = run.catalog.first_failure()
    if failed:
        number, reason = failed
        raise TrainingFailed(
            f"generation {number} failed: {reason}",
            "the generations before and after it are served; start the run again to retrain it",
        )
