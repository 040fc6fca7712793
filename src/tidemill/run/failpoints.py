"""Moments at which a process can be made to die, so that a test sees what the next one makes of what it left.

They are off but in tests, and then cost the look at a module global. Only the environment of the process switches them
on, read once when this module is imported: no request, no pipeline file and no option can::

    TIDEMILL_FAILPOINTS="batch.renamed=kill:2,batch.sealed=stop"

At its failpoint, once, and with ``:N`` at the Nth passing, the process

======== ==========================================================================
`kill`   is gone at once (SIGKILL)
`stop`   stands still (SIGSTOP) until somebody sends it SIGCONT
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
    # whoever opens a catalog of an older schema first
    "catalog.migrating",  # in the transaction that brings it to this one
    # the collector seals a batch, in this order
    "batch.cut",  # where it is cut is known, to nobody else
    "batch.written",  # its temporary file is whole
    "batch.deciding",  # in the transaction that records the cut
    "batch.decided",
    "batch.synced",  # the temporary file is on the disk
    "batch.renamed",  # it has its name, which a power cut might still take away
    "batch.placed",  # its folder is on the disk too
    "rejects.synced",
    "rejects.renamed",
    "rejects.placed",
    "batch.sealing",  # in the transaction that seals it
    "batch.sealed",
    "batch.shown",  # the group's offsets are shown
    "stream.ending",  # in the transaction that records the end of the stream
    "stream.ended",
    # the producer takes its topic, sends, and ends it
    "source.saving",  # in the transaction that records what is known of the source
    "source.saved",
    "topic.created",
    "topic.claiming",  # the claim is in the log, not committed
    "topic.claimed",
    "rows.sent",  # rows are with Kafka's client
    "rows.committing",  # rows are in the log, not committed
    "rows.committed",
    "end.committing",  # the end markers are in the log, not committed
    "end.committed",
    # the trainer publishes a generation
    "generation.beginning",  # in the transaction that records its beginning
    "generation.begun",
    "generation.written",  # its temporary folder is whole
    "generation.synced",
    "generation.renamed",
    "generation.placed",
    "generation.publishing",  # in the transaction that publishes it
    "generation.published",
    # a backup is made, and a run of it
    "backup.catalog",  # the copy of the catalog is whole
    "backup.copied",  # a file of the run is copied
    "backup.frozen",  # the embedded Kafka stands still, so that its log is copied
    "backup.manifest",  # all is on the disk but the manifest's name
    "restore.copied",  # a file is in its place
    "restore.placed",  # the catalog is in its place
]
FAILPOINTS: tuple[Failpoint, ...] = get_args(Failpoint)


class Crash(BaseException):
    """Stands for the death of the process: nothing that handles errors catches it."""


class Steps(NamedTuple):
    """The failpoints, if any, of publishing a file or folder; see :func:`tidemill.run.files.publish`."""

    synced: Failpoint | None = None
    renamed: Failpoint | None = None
    placed: Failpoint | None = None


def failpoint(name: Failpoint | None) -> None:
    """Nothing, unless this process was started to fail here."""
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
    """What is to happen, and at which passing from now."""

    kind: str
    left: int


def parse(text: str) -> dict[str, Trigger]:
    """The faults of a text such as ``batch.renamed=kill:2,batch.sealed=stop``.

    Raises:
        ValueError: there is no such failpoint or kind, or the number is none.
    """
    return dict(_parse_one(one.strip()) for one in text.split(",") if one.strip())


def _parse_one(text: str) -> tuple[str, Trigger]:
    name, _, fault = text.partition("=")
    kind, _, number = fault.partition(":")
    if name not in FAILPOINTS or kind not in KINDS:
        raise ValueError(f'{VARIABLE}: "{text}" is not FAILPOINT={"|".join(KINDS)}[:N]; see {__name__}')
    if not (number or "1").isdecimal() or number == "0":
        raise ValueError(f'{VARIABLE}: in "{text}", "{number}" is not which passing is meant: 1, 2, ...')
    return name, Trigger(kind, int(number or 1))


_armed = parse(os.environ.get(VARIABLE, ""))
