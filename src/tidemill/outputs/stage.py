"""The stage that writes predictions: each new row, scored by the champion of the moment, into the outputs' topics.

Each output reads the stream by itself. A transaction has the predictions of some rows and, as the offsets of a consumer
group, how far the stream is read then: so each row is written once, whatever dies on the way. The stage needs the
catalog, the scorers' files and Kafka; no other stage waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from tidemill.errors import RegistryAway, StageFailed, StreamFailed
from tidemill.kafka.client import broker_moved, connect_cluster
from tidemill.outputs.champions import Champions
from tidemill.outputs.topics import source_topic
from tidemill.outputs.writer import OutputWriter
from tidemill.run.progress.status import open_outputs, trained
from tidemill.run.stage import Stage, Stopped

WAIT_SECONDS = 0.1
MOVED_SECONDS = 1.0


def run_outputs(stage: Stage, bootstrap: str | None) -> None:
    """Run the stage: wait for the first generation, then write every row until the stream ends.

    Raises:
        StageFailed: there is no generation to score with, and none is being trained.
    """
    run = stage.run
    outputs = open_outputs(run)
    if not outputs:
        return
    champions = Champions(run, [output.model for output in outputs], stage.log)
    if not await_champions(stage, champions):
        return
    connection, admin = connect_cluster(run, bootstrap, stage.stop)
    source = source_topic(stage, admin)
    if source is None:
        return
    embedded = None if bootstrap or run.pipeline.stream.bootstrap_servers else connection.address
    with ExitStack() as opened:
        writers = [
            opened.enter_context(OutputWriter(run, output, connection, admin, source, partial(await_registry, stage)))
            for output in outputs
        ]
        stage.ready()
        write(stage, champions, writers, embedded)


def await_registry(stage: Stage, error: RegistryAway) -> None:
    """Wait a moment for the schema registry of a topic of others.

    Raises:
        Stopped: the stage was asked to stop meanwhile.
    """
    stage.log.warning("waiting for the schema registry", reason=error.message)
    if stage.stop.wait(MOVED_SECONDS):
        raise Stopped


def await_champions(stage: Stage, champions: Champions) -> bool:
    """Wait until each model has a champion; False when asked to stop first.

    Raises:
        StageFailed: no generation is left to be trained.
    """
    while not champions.look():
        trainer = stage.run.catalog.stages().get("trainer")
        if trained(stage.run) and not (trainer and stage.run.at_work(trainer)):
            raise StageFailed("there is no generation to score rows with", "see why its training failed")
        if stage.stop.wait(WAIT_SECONDS):
            return False
    return True


def write(stage: Stage, champions: Champions, writers: Sequence[OutputWriter], embedded: str | None) -> None:
    """Write until every output has all rows, or the stage is to stop.

    Args:
        embedded: the address of the embedded Kafka, if that is the one in use.

    Raises:
        StreamFailed: the embedded Kafka is now at another address.
    """
    asked_at = time.monotonic()
    while not stage.stop.is_set() and any(not writer.ended for writer in writers):
        champions.look()
        for writer in writers:
            if not writer.ended:
                writer.step(champions[writer.model])
        if embedded and time.monotonic() - asked_at > MOVED_SECONDS:
            asked_at = time.monotonic()
            if broker_moved(stage.run, embedded):
                raise StreamFailed("Kafka is at another address now")
