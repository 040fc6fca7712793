"""The stage's process where the API has workers: it accepts connections, and gives each to the worker with the fewest.

It reads nothing of them. A worker that dies takes its connections with it; those that it did not have yet go to others.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from dataclasses import replace

import uvloop

from tidemill.api.workers.counts import counts_folder
from tidemill.api.workers.messages import Setup, WorkerRefused
from tidemill.api.workers.process import WorkerProcess
from tidemill.errors import StageFailed
from tidemill.kafka.intake import RowIntake
from tidemill.pipeline import Loaded
from tidemill.run.stage import Stage
from tidemill.web.api_key import ApiKey
from tidemill.web.limits import Limits
from tidemill.web.server import GRACE_SECONDS, endpoint_of, is_loopback

MOST_RESTARTS = 5
WITHIN_SECONDS = 60.0
FIRST_RESTART_SECONDS = 0.1
LOOK_SECONDS = 0.1
STOP_SECONDS = GRACE_SECONDS + 0.7
MOST_UNTAKEN = 128  # connections that a worker is given and does not have yet; others then wait in the listener's queue
MOST_ACCEPTED = 64  # connections at once, between which the workers' messages are read
FULL_SECONDS = 0.5  # how long no connection is accepted after the system refused one


def serve_with_workers(
    stage: Stage, listener: socket.socket, workers: int, key: ApiKey | None, limits: Limits, intake: RowIntake | None
) -> None:
    """Serve the API on a bound socket with so many worker processes until the stage is asked to stop.

    Raises:
        WorkerRefused: a worker can't start, for a reason that another one would have too.
        StageFailed: workers died too often.
    """
    with counts_folder(stage.run.logs / f"{stage.name}-counts", range(1, workers + 1)) as counts:
        setup = Setup(
            loaded=Loaded(stage.run.pipeline, stage.run.base),
            folder=stage.run.folder,
            stage=stage.name,
            number=0,
            family=listener.family,
            key=key,
            own_names=key is None and is_loopback(listener),
            limits=replace(limits, connections=-(-limits.connections // workers)),
            counts=counts,
            takes_rows=intake is not None,
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(WorkerPool(stage, listener, workers, setup, intake).serve())


class WorkerPool:
    """The workers and the connections that wait for one. Its event loop's thread alone uses it."""

    def __init__(
        self, stage: Stage, listener: socket.socket, workers: int, setup: Setup, intake: RowIntake | None
    ) -> None:
        self._stage = stage
        self._listener = listener
        self._setup = setup
        self._intake = intake
        self._numbers = range(1, workers + 1)
        self._workers: dict[int, WorkerProcess] = {}
        self._ended: set[WorkerProcess] = set()
        self._due: dict[int, float] = dict.fromkeys(self._numbers, 0.0)  # when to start a worker, by its number
        self._deaths: deque[float] = deque(maxlen=MOST_RESTARTS + 1)
        self._waiting: deque[socket.socket] = deque()  # connections without a worker
        self._was_ready = False
        self._accepting = False
        self._full_until = 0.0

    async def serve(self) -> None:
        self._listener.setblocking(False)
        try:
            while not self._stage.stop.is_set():
                self._look_after()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._accept_while(False)
            self._listener.close()
            await self._stop()

    # --- the workers ----------------------------------------------------------------------------------------------

    def _look_after(self) -> None:
        """Bury workers that died, start those that are due, and tell the others what has changed."""
        for worker in list(self._ended):
            self._bury(worker)
        for number, due in list(self._due.items()):
            if time.monotonic() >= due:
                del self._due[number]
                setup = replace(self._setup, number=number)
                self._workers[number] = WorkerProcess(setup, self._intake, self._ready, self._ended.add)
        for worker in self._workers.values():
            if self._intake is not None:
                worker.tell_limit(self._intake.limit)
        self._accept_while(self._was_ready and self._has_room() and time.monotonic() >= self._full_until)

    def _has_room(self) -> bool:
        return any(len(worker.untaken) < MOST_UNTAKEN for worker in self._answering())

    def _answering(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers.values() if worker.ready]

    def _ready(self, worker: WorkerProcess) -> None:
        """A worker answers. Once all do for the first time, the stage is ready."""
        self._stage.log.info("a worker is ready", worker=worker.number, worker_pid=worker.pid)
        if not self._was_ready and len(self._answering()) == len(self._numbers):
            self._was_ready = True
            self._stage.ready(endpoint_of(self._listener))
        if self._was_ready:
            self._hand_out()
            self._accept_while(True)

    def _bury(self, worker: WorkerProcess) -> None:
        """End what is left of a worker, give the connections that it did not take to others, and plan the next one.

        Raises:
            WorkerRefused, StageFailed: as :func:`serve_with_workers`.
        """
        reason = worker.kill()
        self._ended.discard(worker)
        del self._workers[worker.number]
        self._waiting.extend(worker.untaken)
        if worker.failure and not self._was_ready:
            raise WorkerRefused(worker.failure)
        now = time.monotonic()
        self._deaths.append(now)
        recent = sum(now - death < WITHIN_SECONDS for death in self._deaths)
        if recent > MOST_RESTARTS:
            raise StageFailed(
                f"the API's workers died {recent} times within {WITHIN_SECONDS:g} s: {reason}",
                f"see {self._stage.run.logs / self._stage.name}.log",
            )
        self._stage.log.warning("a worker ended, and is started again", worker=worker.number, reason=reason)
        self._due[worker.number] = now + FIRST_RESTART_SECONDS * 2.0 ** (recent - 1)
        self._hand_out()

    async def _stop(self) -> None:
        """Ask all workers to stop, and kill those that don't in time."""
        workers, end = list(self._workers.values()), time.monotonic() + STOP_SECONDS
        for worker in workers:
            worker.ask_to_stop()
        while any(worker.alive for worker in workers) and time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS / 5)  # rows that they wait for are still answered
        for worker in workers:
            worker.kill()
            self._waiting.extend(worker.untaken)
        for connection in self._waiting:
            connection.close()

    # --- the connections ------------------------------------------------------------------------------------------

    def _accept_while(self, wanted: bool) -> None:
        """Accept connections from now on, or leave them in the listener's queue."""
        loop = asyncio.get_running_loop()
        if wanted and not self._accepting:
            loop.add_reader(self._listener, self._accept)
        elif self._accepting and not wanted:
            loop.remove_reader(self._listener)
        self._accepting = wanted

    def _accept(self) -> None:
        for _ in range(MOST_ACCEPTED):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:  # no more files, or no more memory
                self._stage.log.warning("a connection can't be accepted now", reason=error.strerror)
                self._full_until = time.monotonic() + FULL_SECONDS
                self._accept_while(False)
                break
            self._waiting.append(connection)
        self._hand_out()
        if not self._has_room():
            self._accept_while(False)

    def _hand_out(self) -> None:
        """Give each waiting connection to the worker with the fewest. One that takes its connections late is busy, and
        gets none while another has taken all of its own."""
        workers = self._answering()
        if not workers:
            self._accept_while(False)
            return
        while self._waiting:
            worker = min(workers, key=lambda each: (len(each.untaken), each.open))
            worker.give(self._waiting.popleft())
