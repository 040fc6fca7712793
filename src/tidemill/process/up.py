"""START HERE. The main job on one page: which stages a run needs, and how long it stays up.

The data's way: source -> producer -> Kafka -> collector -> batches -> trainer -> generations -> API -> console. Each
stage is a process of its own; they meet only in Kafka, in the catalog and in the files that the catalog names, and the
console reads only the API. So a stage may die and start again at any time without the others knowing.

============  =================================  ================================================
stage         its work begins in                 what it leaves behind
============  =================================  ================================================
broker        ``kafka/embedded/broker.py``       an embedded Apache Kafka, unless one is given
producer      ``producer/producer.py``           the rows in the topic, then the end marker
collector     ``collector/collector.py``         sealed batches
trainer       ``training/trainer.py``            published generations
api           ``api/server.py``                  answers
console       ``console/server.py``              pages, made of the API's answers
============  =================================  ================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from tidemill.errors import TrainingFailed
from tidemill.process.supervisor import Supervisor
from tidemill.run.folder import Run
from tidemill.run.inventory import take_inventory
from tidemill.run.locks import locked
from tidemill.run.progress.status import stream_ended, trained
from tidemill.run.stage import Stop

LOOK_SECONDS = 0.1


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
        arguments: what each stage's command is given.
        unwanted: stages that are not started: the broker where the user has a Kafka, the console where none is wanted.
        show: called ten times a second.

    Raises:
        RunBusy: this run is up already.
        CatalogError: the run folder and its catalog do not belong together; nothing was started.
        TidemillError: a stage failed for good; the error says which and why.
    """
    with locked(run.folder / "locks" / "up.lock", busy=f"the run in {run.folder} is up already"):
        take_inventory(run.folder, run.catalog)
        with Supervisor(run, arguments) as supervisor:
            forget(run, unwanted)
            supervisor.start(stages_needed(run, unwanted))
            while not stop.wait(LOOK_SECONDS):
                supervisor.watch()
                show(supervisor)
                if exit_when_trained and trained(run) and supervisor.done("trainer"):
                    break
            show(supervisor)
        show(supervisor)
    if exit_when_trained:
        refuse_failed(run)


def stages_needed(run: Run, unwanted: Set[str]) -> list[str]:
    """The stages that still have something to do; those that take longest to start come first."""
    names = [] if trained(run) and not run.catalog.generations_by_state().get("failed") else ["trainer"]
    if not stream_ended(run):
        names = ["broker", *names, "producer", "collector"]
    return [name for name in (*names, "api", "console") if name not in unwanted]


def forget(run: Run, unwanted: Set[str]) -> None:
    """A stage that is not wanted any more has nothing to say, unless somebody started it by hand."""
    for name, word in run.catalog.stages().items():
        if name in unwanted and not run.at_work(word):
            run.catalog.forget_stage(name)


def refuse_failed(run: Run) -> None:
    """Raise where a generation could not be trained."""
    failed = run.catalog.first_failure()
    if failed:
        number, reason = failed
        raise TrainingFailed(
            f"generation {number} failed: {reason}",
            "the generations before and after it are served; start the run again to train it anew",
        )
