"""A query in a thread of its own, which can be left behind: a step of DuckDB's that takes long does not look up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing, suppress

from anyio import CapacityLimiter

from tidemill.api.custom.sql import Cursor, Database

AGAIN_SECONDS = 0.05


class Query:
    """One query, once. Its thread closes its cursor and gives its slot back when it ends, however long that takes; one
    that nobody waits for any more is interrupted until then."""

    def __init__(self, limiter: CapacityLimiter) -> None:
        self._limiter = limiter
        self.waits = False
        """Whether it stands in line for a slot."""
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[bytes] = self._loop.create_future()
        self._cursor: Cursor | None = None
        self._ended = False

    async def run(self, database: Database, work: Callable[[Cursor], bytes]) -> bytes:
        """What the work gives, once there is a slot for it. When cancelled, it does not wait for the thread."""
        self.waits = True
        await self._limiter.acquire_on_behalf_of(self)
        self.waits = False
        try:
            # A daemon: the process may end without it.
            threading.Thread(target=self._in_thread, args=(database, work), name="query", daemon=True).start()
        except RuntimeError:
            self._limiter.release_on_behalf_of(self)
            raise
        try:
            return await self._answer
        except asyncio.CancelledError:
            self._give_up()
            raise

    def _in_thread(self, database: Database, work: Callable[[Cursor], bytes]) -> None:
        found: bytes | Exception
        try:
            with closing(database.cursor()) as self._cursor:
                found = work(self._cursor)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is told to whoever waits
            found = error
        with suppress(RuntimeError):  # the API has stopped meanwhile, and its loop is closed
            self._loop.call_soon_threadsafe(self._end, found)

    def _end(self, found: bytes | Exception) -> None:
        self._ended = True
        self._limiter.release_on_behalf_of(self)
        if self._answer.done():
            return  # nobody waits for it
        if isinstance(found, Exception):
            self._answer.set_exception(found)
        else:
            self._answer.set_result(found)

    def _give_up(self) -> None:
        """Interrupt the query until its thread has ended: it may not have begun yet."""
        if self._ended:
            return
        if self._cursor is not None:
            self._cursor.give_up()
        self._loop.call_later(AGAIN_SECONDS, self._give_up)
