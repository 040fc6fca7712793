"""Beginning anew: all that an earlier run in the folder made goes, its topic in the user's own Kafka included."""

from __future__ import annotations

from pathlib import Path

from tidemill import kafka
from tidemill.catalog import FILE_NAME
from tidemill.kafka import Topic
from tidemill.run import default_folder, existing_run, remove_run
from tidemill.spec import Loaded


def discard(loaded: Loaded, folder: Path | None, own_kafka: str | None) -> None:
    """Remove the run that is in the folder, if there is one.

    Raises:
        RunFolderError: the folder holds something else.
        RunBusy: that run is at work.
        BootstrapError: the user's Kafka does not answer.
    """
    folder = (folder or default_folder(loaded.pipeline)).absolute()
    if own_kafka and (folder / FILE_NAME).exists():
        delete_topic(loaded, folder, own_kafka)
    remove_run(folder)


def delete_topic(loaded: Loaded, folder: Path, bootstrap: str) -> None:
    """Delete the topic that the run in ``folder`` made; one that it found there is left alone."""
    run = existing_run(loaded, folder)
    source = run.catalog.source()
    run.close()
    if source and source.topic_created and source.topic_id:
        admin = kafka.reach(bootstrap)
        name = loaded.pipeline.stream.topic
        found = kafka.describe(admin, name)
        if found and found.id == source.topic_id:
            kafka.delete(admin, Topic(name, found.id, found.partitions))
