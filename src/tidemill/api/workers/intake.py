"""Rows by HTTP where several processes take requests: one of them writes, the workers reach it by messages."""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Literal

from tidemill.api.workers.messages import Call, Kind, Reply, Rows
from tidemill.errors import RowsRefused, RowsUnknown, TidemillError
from tidemill.kafka.intake import (
    IntakeCounts,
    MessageLimit,
    MessageSpool,
    Outcome,
    RowIntake,
    RowMessage,
    RowRequest,
)
from tidemill.web.channel import Channel

ASK_SECONDS = 5.0
KEY_HINT = "repeat the request with its Idempotency-Key: then it is written once"
Answer = Callable[[Reply], None]
Method = Literal["accept", "withdraw", "counts", "count_rejected"]


class RemoteIntake:
    """A worker's :class:`tidemill.kafka.intake.RowIntake`: it passes each request on to the stage's process."""

    def __init__(self) -> None:
        self.limit: MessageLimit | None = None
        self._channel: Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._numbers = itertools.count(1)
        self._calls: dict[int, tuple[Future[Any], RowRequest | None]] = {}  # changed by the event loop alone
        self._counts = IntakeCounts()
        self._over = False

    def connect(self, channel: Channel) -> None:
        """Use this channel, on the running event loop."""
        self._channel, self._loop = channel, asyncio.get_running_loop()

    def reply(self, reply: Reply) -> None:
        """Take the result of a call."""
        future, request = self._calls.pop(reply.number)
        if request is not None:
            request.messages.close()
        if reply.error is None:
            future.set_result(reply.result)
        else:
            future.set_exception(reply.error)

    def end(self) -> None:
        """End all calls, and take no more: the stage's process is gone, or no longer listens."""
        self._over = True
        for number in list(self._calls):
            self.reply(Reply(number, error=RowsUnknown("the API stops: the rows may be written or not", KEY_HINT)))

    @property
    def counts(self) -> IntakeCounts:
        with suppress(TimeoutError, TidemillError):
            self._counts = self._ask("counts")
        return self._counts

    def objection(self, message: RowMessage) -> str | None:
        return None if self.limit is None else self.limit.objection(message)

    def count_rejected(self, rows: int) -> None:
        self._call(Future(), "count_rejected", rows)

    def accept(self, request: RowRequest) -> Future[Outcome]:
        """Have the request written. Only the event loop's thread may call this.

        Raises:
            RowsRefused: the stage's process is gone.
        """
        messages = request.messages
        if self._over:
            messages.close()
            raise RowsRefused("rows can't be written now: the API stops", "nothing of this request was written")
        content = messages.content()
        inline, file = (content, None) if isinstance(content, bytes) else (None, content)
        rows = Rows(
            inline, messages.count, messages.bytes, request.rejected, request.examples, request.key, request.digest
        )
        future: Future[Outcome] = Future()
        self._call(future, "accept", rows, file, request)
        return future

    def withdraw(self, future: Future[Outcome]) -> bool:
        number = next((number for number, call in list(self._calls.items()) if call[0] is future), None)
        try:
            return number is not None and bool(self._ask("withdraw", number))
        except (TimeoutError, TidemillError):
            return False  # it may be written yet

    def _ask(self, method: Method, argument: Any = None) -> Any:
        """The result of a call, waited for in a thread that is not the event loop's.

        Raises:
            TimeoutError: there was none in time.
        """
        assert self._loop is not None
        future: Future[Any] = Future()
        self._loop.call_soon_threadsafe(self._call, future, method, argument)
        return future.result(ASK_SECONDS)

    def _call(
        self,
        future: Future[Any],
        method: Method,
        argument: Any = None,
        file: int | None = None,
        request: RowRequest | None = None,
    ) -> None:
        assert self._channel is not None
        if self._over:
            future.set_exception(RowsUnknown("the API stops", KEY_HINT))
            return
        number = next(self._numbers)
        self._calls[number] = future, request
        self._channel.send(Kind.CALL, pickle.dumps(Call(number, method, argument)), file)


class IntakeDesk:
    """Answers the calls of one worker with the stage's own intake."""

    def __init__(self, intake: RowIntake, answer: Answer) -> None:
        """``answer``: sends a reply to the worker, from the event loop's thread."""
        self._intake = intake
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[int, Future[Outcome]] = {}

    def take(self, call: Call, file: int | None) -> None:
        """Answer a call, now or once its rows are written."""
        match call.method:
            case "accept":
                self._accept(call.number, request_of(call.argument, file))
            case "withdraw":
                future = self._under_way.get(call.argument)
                self._answer(Reply(call.number, future is not None and self._intake.withdraw(future)))
            case "counts":
                self._answer(Reply(call.number, self._intake.counts))
            case "count_rejected":
                self._intake.count_rejected(call.argument)
                self._answer(Reply(call.number))

    def _accept(self, number: int, request: RowRequest) -> None:
        try:
            future = self._intake.accept(request)
        except TidemillError as error:
            self._answer(Reply(number, error=error))
            return
        self._under_way[number] = future
        future.add_done_callback(partial(self._written, number))

    def _written(self, number: int, future: Future[Outcome]) -> None:
        """Pass an outcome on; the writer's thread calls this."""
        with suppress(RuntimeError):  # the loop is closed: the stage has ended, and its workers have too
            self._loop.call_soon_threadsafe(self._pass_on, number, future)

    def _pass_on(self, number: int, future: Future[Outcome]) -> None:
        del self._under_way[number]
        error = future.exception()
        if error is None:
            self._answer(Reply(number, future.result()))
        else:
            assert isinstance(error, TidemillError), error
            self._answer(Reply(number, error=error))


def request_of(rows: Rows, file: int | None) -> RowRequest:
    """A worker's request; ``file`` is the descriptor of its rows where they are not in it."""
    content = rows.content if file is None else file
    assert content is not None
    if file is not None:
        os.lseek(file, 0, os.SEEK_SET)
    messages = MessageSpool.received(content, rows.rows, rows.size)
    return RowRequest(messages, rows.rejected, rows.examples, rows.key, rows.digest)
