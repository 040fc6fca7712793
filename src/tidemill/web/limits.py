"""Limits the bytes, time and connections that a client may use before its key is checked.

uvicorn has no such limits for httptools, which accepts headers of any length. Each connection's bytes are therefore fed
to the parser in small pieces and counted between them.
"""

from __future__ import annotations

import asyncio
import json
from asyncio import TimerHandle
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from tidemill.errors import (
    RequestError,
    RequestHeadTooLarge,
    RequestTimeout,
    TidemillError,
    TooManyConnections,
    UrlTooLong,
)

PIECE = 16 * 2**10  # bytes fed to the parser at a time
MOST_PIPELINED = 64  # requests on one connection that wait for the one before them
LEAST_TAKEN = 64 * 2**10  # bytes of an answer that a client takes in ``answer_seconds``
LINGER_SECONDS = 2.0  # how long a refused client's bytes are still read: an earlier close would lose the answer


@dataclass(frozen=True)
class Limits:
    """The limits of a server's connections.

    Attributes:
        head_bytes: of a request's first line and headers together, or of a body's chunk sizes and trailers.
        head_seconds: for a request's head to arrive.
        body_seconds: for its body to arrive.
        answer_seconds: for a client to take ``LEAST_TAKEN`` bytes of an answer.
        connections: how many may be open.
    """

    head_bytes: int = 64 * 2**10
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    answer_seconds: float = 30.0
    connections: int = 512


class Receiving(Enum):
    """The part of a request that is being received."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


def count_nothing(status: int) -> None:
    """Ignore a refusal."""


def do_nothing() -> None:
    """Ignore the end of a connection."""


def limited(
    limits: Limits, refused: Callable[[int], None] = count_nothing, closed: Callable[[], None] = do_nothing
) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol with these limits; ``refused`` is called with the status of each refused request,
    ``closed`` at the end of each connection."""
    own = {"limits": limits, "refused": staticmethod(refused), "closed": staticmethod(closed)}
    return cast("type[asyncio.Protocol]", type("Limited", (LimitedProtocol,), own))


class LimitedProtocol(HttpToolsProtocol):
    """A connection that refuses or drops a client that exceeds the ``limits``."""

    limits = Limits()
    refused: Callable[[int], None] = staticmethod(count_nothing)
    closed: Callable[[], None] = staticmethod(do_nothing)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._receiving = Receiving.NOTHING
        self._timed: Receiving | None = None  # the part that the deadline is for
        self._deadline: TimerHandle | None = None
        self._closing: TimerHandle | None = None
        self._since_progress = 0  # bytes since the head began, or since the last byte of the body
        self._progressed = False
        self._discarding = False
        self._began = 0.0
        self._answering: RequestResponseCycle | None = None

    # --- the connection -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._began = self.loop.time()
        if len(self.connections) > self.limits.connections and not self._make_room():
            self._refuse_connection()
            return
        self._start_deadline(Receiving.NOTHING, self.limits.head_seconds)

    def _make_room(self) -> bool:
        """Close the connections that have waited longest without a complete request head; whether there were any.

        It closes a sixteenth of all at a time, since the search takes longer than accepting a connection.
        """
        others = (other for other in self.connections if isinstance(other, LimitedProtocol) and other is not self)
        waiting = [other for other in others if other.idle]
        if not waiting:
            return False
        oldest = sorted(waiting, key=lambda other: (not other._discarding, other._began))
        for other in oldest[: max(1, self.limits.connections // 16)]:
            other._give_way()
        return True

    def _give_way(self) -> None:
        """End the connection in favour of another. One that is being refused already has its answer."""
        if self._discarding:
            self.transport.abort()
            self.connections.discard(self)
        else:
            self._refuse_connection()

    @property
    def idle(self) -> bool:
        """Whether no request is being answered and no body received."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self._receiving is not Receiving.BODY and not self.transport.is_closing()

    def _refuse_connection(self) -> None:
        error = TooManyConnections(
            f"{self.limits.connections} connections are open, which is the limit",
            "close some, or try again in a moment",
        )
        self.refused(error.status)
        self._discarding = True
        self.transport.write(answer(error))
        self._close()
        self.connections.discard(self)  # at once, to free its place

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        self._stop_closing()
        if self._answering:  # uvicorn notifies only the last request that was read, which may wait behind this one
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)
        self.closed()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    # --- receiving ------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._discarding:
            return
        self._unset_keepalive_if_required()
        if self._receiving is Receiving.NOTHING:
            self._began = self.loop.time()
        start = 0
        while start < len(data) and not self._discarding:
            end = start + min(PIECE, self.limits.head_bytes - self._since_progress)
            if not self._feed(data[start:end]):
                return
            start = end
        if not self._discarding:
            self._keep_time()

    def _feed(self, piece: bytes) -> bool:
        """Feed the parser a piece; false if it takes no more."""
        self._progressed = False
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._stop_deadline()
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            return False
        except httptools.HttpParserError:
            self._refuse(RequestError("that is not an HTTP request", "see GET /docs"))
            return False
        self._since_progress = 0 if self._progressed else self._since_progress + len(piece)
        if self._since_progress >= self.limits.head_bytes:
            self._refuse(self._too_large())
        elif len(self.pipeline) > MOST_PIPELINED:
            self._refuse(TooManyConnections("too many requests wait on one connection", "wait for answers"))
        return True

    def _too_large(self) -> TidemillError:
        limit = f"{self.limits.head_bytes} bytes"
        if self._receiving is Receiving.HEAD and len(self.url) > self.limits.head_bytes // 2:
            return UrlTooLong(f"the address is too long: it and the headers have at most {limit}", "send a shorter one")
        return RequestHeadTooLarge(
            f"the address and the headers have more than {limit}", "send fewer or shorter headers"
        )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._receiving = Receiving.HEAD

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._receiving is Receiving.HEAD:  # after the body they are trailers, which nothing reads
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._receiving = Receiving.BODY
        self._progressed = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._receiving = Receiving.NOTHING
        self._progressed = True
        self._stop_deadline()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(RequestError(msg, "see GET /docs"))

    # --- deadlines ------------------------------------------------------------------------------------------------

    def _keep_time(self) -> None:
        """Start a deadline for the part that is being received, if it has none yet."""
        if self._receiving is Receiving.HEAD and self._deadline is None:
            self._start_deadline(Receiving.HEAD, self.limits.head_seconds)
        elif self._receiving is Receiving.BODY and self._timed is not Receiving.BODY:
            self._start_deadline(Receiving.BODY, self.limits.body_seconds)

    def _start_deadline(self, of: Receiving, seconds: float) -> None:
        self._stop_deadline()
        self._timed = of
        self._deadline = self.loop.call_later(seconds, self._expire, seconds)

    def _stop_deadline(self) -> None:
        self._timed = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self, seconds: float) -> None:
        """End the connection whose deadline has passed. Time in which the server itself did not read doesn't count."""
        if self.transport.is_closing():
            return
        if self.flow.read_paused and self._timed:
            self._start_deadline(self._timed, seconds)
        elif self._receiving is Receiving.NOTHING:
            self._close()
        else:
            part = "body" if self._receiving is Receiving.BODY else "head"
            message = f"the request's {part} did not arrive within {seconds:g} seconds"
            self._refuse(RequestTimeout(message, "send it complete, and faster"))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_answer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_closing()

    def _watch_answer(self) -> None:
        """Drop the client if it does not read its answer."""
        self._stop_closing()
        size = self.transport.get_write_buffer_size()
        self._closing = self.loop.call_later(self.limits.answer_seconds, self._look_at_answer, size)

    def _look_at_answer(self, before: int) -> None:
        if before - self.transport.get_write_buffer_size() < LEAST_TAKEN:
            self.refused(RequestTimeout.status)
            self.transport.abort()
        else:
            self._watch_answer()

    def _stop_closing(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    # --- the end --------------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_answer()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def _close(self) -> None:
        """Close once the client has read everything, or doesn't."""
        self._stop_deadline()
        self.transport.close()
        self._watch_answer()

    def _refuse(self, error: TidemillError) -> None:
        """End the connection, after an answer with the error where none was given or is under way."""
        self.refused(error.status)
        self._discarding = True
        self._stop_deadline()
        cycle, of_this = self.cycle, self._receiving is Receiving.BODY
        under_way = cycle is not None and not cycle.response_complete
        if self.pipeline or (under_way and (cycle.response_started or not of_this)):
            self.transport.abort()
            return
        if under_way:  # notifies the application that the client is gone
            cycle.disconnected = True
            cycle.message_event.set()
        if under_way or not of_this:
            self.transport.write(answer(error))
        self.flow.resume_reading()
        self.transport.write_eof()
        self._stop_closing()
        self._closing = self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def answer(error: TidemillError) -> bytes:
    """The complete HTTP answer for an error, after which the connection ends."""
    body = json.dumps(error.document()).encode()
    headers = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return STATUS_LINE[error.status] + headers.encode() + body
