"""Judging in a thread that gives way to whatever else the machine does, as no request may wait for a verdict."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from tidemill.run.stage import Stage, Stopped

NICE = 10  # about a tenth of the processor time of a thread that wants it too
LOOK_SECONDS = 0.2
AGAIN_SECONDS = 5.0

Ended = SimpleQueue[BaseException | None]  # gets the error that the work ended with, or None


def with_low_priority(stage: Stage, work: Callable[[], None]) -> None:
    """Do the work in a thread of low priority, and wait for it.

    The thread is its own, as the nice value of a thread can't be lowered again. A request to stop the stage ends the
    work at once, wherever it is, as it would in this thread.

    Raises:
        Stopped: the stage was asked to stop, and the work has ended.
    """
    ended: Ended = SimpleQueue()
    thread = threading.Thread(target=_do, args=(work, ended), name="low priority", daemon=True)
    thread.start()
    try:
        with stage.interruptible():
            error = wait_for(ended)
    except Stopped:
        while thread.is_alive():
            raise_in(thread, Stopped)
            thread.join(AGAIN_SECONDS)  # a library may swallow it, as in a callback
        let_go(ended)
        raise
    thread.join()
    if error:
        raise error


def wait_for(ended: Ended) -> BaseException | None:
    """What the work ended with. Not by ``Thread.join`` or ``is_alive``: where a signal handler raises in them, Python
    before 3.13 takes the thread as ended while it goes on."""
    while True:
        with suppress(Empty):
            return ended.get(timeout=LOOK_SECONDS)  # in steps, as the signal may be delivered to another thread


def let_go(ended: Ended) -> None:
    """Drop what the stopped work held: the frames of its error keep its connection to the catalog alive, and with that
    the lock of a transaction that was under way."""
    with suppress(Empty):
        error = ended.get_nowait()
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error = error.__context__


def _do(work: Callable[[], None], ended: Ended) -> None:
    with suppress(Stopped):  # that comes as the work ends
        try:
            lower_priority()
            work()
        except BaseException as error:  # noqa: BLE001  # the caller raises it
            ended.put(error)
        else:
            ended.put(None)


def lower_priority() -> None:
    """Let this thread give way to others. Only Linux has nice values of single threads; elsewhere nothing changes."""
    if sys.platform == "linux":
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, max(NICE, os.getpriority(os.PRIO_PROCESS, own)))


def raise_in(thread: threading.Thread, error: type[BaseException]) -> None:
    """Raise the error in a running thread, at the next instruction of its Python code."""
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error))
