"""A :class:`tidemill.kafka.intake.RowIntake` in memory: the endpoint for rows can be tested without Kafka."""

from __future__ import annotations

from concurrent.futures import Future

import orjson

from tidemill.errors import RowsRefused, TidemillError
from tidemill.kafka.intake import IntakeCounts, MessageLimit, Outcome, RowMessage, RowRequest


class MemoryIntake:
    """``messages`` are all that were written; ``refusal`` is raised for each request if it is set; while it is
    ``silent``, requests stay open."""

    def __init__(self) -> None:
        self.messages: list[RowMessage] = []
        self.refusal: TidemillError | None = None
        self.silent = False
        self.begun = False  # whether the writing of silent requests has begun
        self.rejected = 0
        self.largest = 1 << 20  # bytes of a message's value
        self.limit: MessageLimit | None = None  # what other processes are told in its place

    @property
    def counts(self) -> IntakeCounts:
        return IntakeCounts(len(self.messages), rejected=self.rejected)

    @property
    def rows(self) -> list[dict[str, object]]:
        return [orjson.loads(message.value) for message in self.messages]

    def objection(self, message: RowMessage) -> str | None:
        return "it is too large" if len(message.value) > self.largest else None

    def count_rejected(self, rows: int) -> None:
        self.rejected += rows

    def accept(self, request: RowRequest) -> Future[Outcome]:
        new = list(request.messages)
        request.messages.close()
        self.rejected += request.rejected
        if self.refusal is not None:
            raise self.refusal
        future: Future[Outcome] = Future()
        if not self.silent:
            first = len(self.messages)
            self.messages += new
            offsets = {0: (first, len(self.messages) - 1)}
            future.set_result(Outcome(len(new), request.rejected, request.examples, offsets, request.key == "again"))
        return future

    def withdraw(self, future: Future[Outcome]) -> bool:
        if not self.begun:
            assert self.refusal is None
            future.set_exception(RowsRefused("Kafka did not answer in time"))
        return not self.begun
