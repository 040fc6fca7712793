"""Starting over: removes an earlier run from its folder, and its topic from the user's own Kafka."""

from __future__ import annotations

import logging
from pathlib import Path

from tidemill.errors import CatalogError
from tidemill.kafka.client import (
    KafkaConnection,
    client_settings,
    connect_admin,
    delete_topic,
    describe_topic,
    requests_topic,
)
from tidemill.pipeline import Loaded
from tidemill.run.catalog import FILE_NAME, Catalog
from tidemill.run.folder import default_folder
from tidemill.run.folder_checks import for_removal, refuse_other_files

log = logging.getLogger(__name__)


def discard(loaded: Loaded, folder: Path | None, own_kafka: str | None) -> None:
    """Remove the run that is in the folder, if there is one.

    Raises:
        RunFolderError: the folder holds other files, alone or beside a run.
        RunBusy: that run is active; nothing was removed.
        BootstrapError: the user's Kafka does not answer.
    """
    folder = (folder or default_folder(loaded.pipeline.name)).absolute()
    refuse_other_files(folder)
    with for_removal(folder):
        if own_kafka and (folder / FILE_NAME).exists():
            client = client_settings(loaded.pipeline.stream, loaded.folder)
            delete_run_topics(folder / FILE_NAME, KafkaConnection(own_kafka, client))


def delete_run_topics(path: Path, cluster: KafkaConnection) -> None:
    """Delete the topics that the run of this catalog created: its own, that of answered requests, and those of its
    outputs. A topic that existed before the run is kept."""
    try:
        catalog = Catalog(path)
        run, source, outputs, posting = catalog.run(), catalog.source(), catalog.outputs(), catalog.posting()
        catalog.close()
    except CatalogError:
        log.warning("the catalog can't be read, so the run's topics are not deleted")
        return
    names: dict[str, str | None] = {state.topic: state.topic_id for state in outputs.values() if state.topic_created}
    own = run.document["stream"]["topic"] if run else None  # none in a run that reads a topic of others
    if own and source and source.topic_created and source.topic_id:
        names[own] = source.topic_id
    if run and own and posting.topic_created:  # a crash may have left it without its id, but the run's is in its name
        names[requests_topic(own, run.id)] = posting.topic_id
    if not names:
        return
    admin = connect_admin(cluster)
    for name, id in names.items():
        topic = describe_topic(admin, name)
        if topic and id in (None, topic.id):
            delete_topic(admin, topic)
