"""Points at which tests make a process die, to check how the next process recovers.

Outside of tests they are off and cost one read of a module global. Only an environment variable switches them on. It is
read once, when this module is imported; no request, pipeline file or option can::

    TIDEMILL_FAILPOINTS="batch.renamed=kill:2,batch.sealed=stop"

At its failpoint, once, the process (with ``:N`` when it passes there for the Nth time)

======== ==========================================================================
`kill`   is killed (SIGKILL)
`stop`   is suspended (SIGSTOP) until it gets SIGCONT
`error`  raises :class:`Crash`, for tests within one process
======== ==========================================================================
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

VARIABLE = "TIDEMILL_FAILPOINTS"

Failpoint = Literal[
    # the first process that opens a catalog of an older schema
    "catalog.migrating",  # in the transaction that migrates it
    # the collector seals a batch, in this order
    "batch.cut",  # the cut is known, but recorded nowhere
    "batch.written",  # its temporary file is complete
    "batch.deciding",  # in the transaction that records the cut
    "batch.decided",
    "batch.synced",  # the temporary file is on the disk
    "batch.renamed",  # it has its final name, which a power cut may still undo
    "batch.placed",  # its folder is on the disk too
    "rejects.synced",
    "rejects.renamed",
    "rejects.placed",
    "batch.sealing",  # in the transaction that seals it
    "batch.sealed",
    "batch.shown",  # the consumer group's offsets are written
    # the collector takes up a topic that others write
    "bounds.recording",  # in the transaction that records where the run begins and ends in it
    "bounds.recorded",
    "gap.recording",  # in the transaction that records what retention removed
    "stream.ending",  # in the transaction that records the end of the stream
    "stream.ended",
    # the producer takes its topic, sends, and ends it
    "source.saving",  # in the transaction that records the state of the source
    "source.saved",
    "topic.created",
    "topic.claiming",  # the claim is in the log, not committed
    "topic.claimed",
    "rows.sent",  # rows are in the client's queue
    "rows.committing",  # rows are in the log, not committed
    "rows.committed",
    "end.committing",  # the end markers are in the log, not committed
    "end.committed",
    # the API writes rows by HTTP
    "posts.sent",  # the rows of a transaction are in the client's queue
    "posts.committing",  # they are in the log with their answers, not committed
    "posts.committed",  # they are committed, and nobody was answered
    # predictions are written to a topic
    "output.scored",  # nothing of the rows is sent yet
    "output.sent",  # their predictions are in the topic, not committed
    "output.committing",  # the offsets are in the transaction too, which is not committed
    "output.committed",
    # the trainer publishes a generation
    "generation.beginning",  # in the transaction that records its start
    "generation.begun",
    "generation.written",  # its temporary folder is complete
    "generation.synced",
    "generation.renamed",
    "generation.placed",
    "generation.publishing",  # in the transaction that publishes it
    "generation.published",
    # the trainer judges generations on a batch
    "judging.computed",  # nothing is written yet
    "judging.synced",  # the temporary file of the rows' losses is on the disk
    "judging.renamed",
    "judging.placed",
    "judging.recording",  # in the transaction that records the judging and its decisions
    "judging.recorded",
    # files that are not kept are removed
    "keep.removing",  # in the transaction that records it
    "keep.removed",  # the files are still there
    "keep.unlinked",  # some of the files are gone
    # a person chooses the champion
    "champion.choosing",  # in the transaction that records it
    "champion.chosen",
    # a replay records a generation of its own
    "replay.recording",
    "replay.recorded",
    # lines of replays are removed
    "replay.removing",  # in the transaction that forgets them
    "replay.forgotten",  # their files are still there
    # a backup is made and restored
    "backup.catalog",  # the copy of the catalog is complete
    "backup.copied",  # a file of the run is copied
    "backup.frozen",  # the embedded Kafka is suspended while its log is copied
    "backup.manifest",  # everything is on the disk except the manifest's final name
    "restore.copied",  # a file is in its place
    "restore.placed",  # the catalog is in its place
]
FAILPOINTS: tuple[Failpoint, ...] = get_args(Failpoint)


class Crash(BaseException):
    """Simulates the death of the process: no error handler catches it."""


class Steps(NamedTuple):
    """The failpoints, if any, of publishing a file or folder; see :func:`tidemill.run.files.publish`."""

    synced: Failpoint | None = None
    renamed: Failpoint | None = None
    placed: Failpoint | None = None


def failpoint(name: Failpoint | None) -> None:
    """Fail here if this process was started to do so; otherwise do nothing."""
    if _armed:
        _pass(name)


def _pass(name: Failpoint | None) -> None:
    if name is None or name not in _armed:
        return
    kind, left = _armed[name]
    if left > 1:
        _armed[name] = Trigger(kind, left - 1)
    else:
        del _armed[name]
        KINDS[kind](name)


def _kill(name: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop(name: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _error(name: str) -> None:
    raise Crash(name)


KINDS: dict[str, Callable[[str], None]] = {"kill": _kill, "stop": _stop, "error": _error}


class Trigger(NamedTuple):
    """The action at a failpoint, and the number of passes until then."""

    kind: str
    left: int


def parse(text: str) -> dict[str, Trigger]:
    """The triggers of a text such as ``batch.renamed=kill:2,batch.sealed=stop``.

    Raises:
        ValueError: there is no such failpoint or kind, or the number is invalid.
    """
    return dict(_parse_one(part.strip()) for part in text.split(",") if part.strip())


def _parse_one(text: str) -> tuple[str, Trigger]:
    name, _, fault = text.partition("=")
    kind, _, number = fault.partition(":")
    if name not in FAILPOINTS or kind not in KINDS:
        raise ValueError(f'{VARIABLE}: "{text}" is not FAILPOINT={"|".join(KINDS)}[:N]; see {__name__}')
    if not (number or "1").isdecimal() or number == "0":
        raise ValueError(f'{VARIABLE}: in "{text}", "{number}" is not the number of a pass: 1, 2, ...')
    return name, Trigger(kind, int(number or 1))


_armed = parse(os.environ.get(VARIABLE, ""))
