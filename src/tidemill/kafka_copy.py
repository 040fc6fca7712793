"""A copy of the embedded Kafka's data, taken while no Kafka is at work on them.

What Kafka can build anew from its logs is left out: indexes, snapshots of its producers, and the marks of a clean stop
or of what need not be recovered. The next Kafka recovers as from a kill.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tidemill.locks import locked
from tidemill.run import PRIVATE, Run
from tidemill.stream.broker import await_free

DATA = "broker/data"
LEFT_OUT = (".index", ".timeindex", ".txnindex", ".snapshot", ".lock", ".tmp", ".deleted", ".cleaned")
NOT_TOLD = (".kafka_cleanshutdown", "recovery-point-offset-checkpoint", "cleaner-offset-checkpoint")


def copy_kafka(run: Run, folder: Path) -> list[str]:
    """Copy the data of the run's Kafka to below ``folder``, not synced yet; the files' names relative to it.

    Raises:
        RunBusy: a Kafka is at work on them.
    """
    data, target = run.folder / DATA, folder / DATA
    busy = "the stream of this run has not ended, and its Kafka is at work: its log can't be copied"
    with locked(run.stage_lock("broker"), busy=busy):
        await_free(data)
        copied = sorted(names(data))
        for name in copied:
            (target / name).parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            shutil.copyfile(data / name, target / name)
    return [f"{DATA}/{name}" for name in copied]


def names(data: Path) -> Iterator[str]:
    """The files that are copied, relative to the data folder."""
    for base, folders, files in os.walk(data):
        folders[:] = [name for name in folders if not name.endswith("-delete")]
        for name in files:
            if not name.endswith(LEFT_OUT) and name not in NOT_TOLD:
                yield Path(base, name).relative_to(data).as_posix()
