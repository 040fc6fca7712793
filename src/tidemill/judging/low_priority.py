"""Judging in a thread of its own. It gives way to whatever else the machine does, as no request may wait for a verdict;
not so while Spark trains, which a verdict has to be there in time for."""

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


class BackgroundWork:
    """Work in a thread of its own, which ends at once where the stage is to stop, wherever it is, as it would in the
    main thread. Whoever starts it calls :meth:`wait`, or :meth:`end` in place of it."""

    def __init__(self, stage: Stage, work: Callable[[], None], *, nice: bool) -> None:
        """Begin.

        Args:
            nice: whether it gives way to whatever else the machine does. A thread that is nice for once stays so, as
                the nice value of a thread can't be lowered again.
        """
        self._stage = stage
        self._ended: Ended = SimpleQueue()
        self._thread = threading.Thread(target=_do, args=(work, self._ended, nice), name="background", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the work is done.

        Raises:
            Stopped: the stage was asked to stop, and the work has ended.
            BaseException: what the work raised.
        """
        try:
            with self._stage.interruptible():
                error = wait_for(self._ended)
        except Stopped:
            self.end()
            raise
        self._thread.join()
        if error:
            raise error

    def end(self) -> None:
        """End the work wherever it is. Nothing happens where it is done."""
        while self._thread.is_alive():
            raise_in(self._thread, Stopped)
            self._thread.join(AGAIN_SECONDS)  # a library may swallow it, as in a callback
        let_go(self._ended)


def with_low_priority(stage: Stage, work: Callable[[], None]) -> None:
    """Do the work in a thread of low priority, and wait for it. Raises what :meth:`BackgroundWork.wait` does."""
    BackgroundWork(stage, work, nice=True).wait()


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


def _do(work: Callable[[], None], ended: Ended, nice: bool) -> None:
    with suppress(Stopped):  # that comes as the work ends
        try:
            if nice:
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
