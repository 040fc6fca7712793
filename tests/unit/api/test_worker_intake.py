"""Rows of a worker's requests and the one writer in the stage's process: what one says the other has, by messages."""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.memory_intake import MemoryIntake
from tidemill.api.workers.intake import IntakeDesk, RemoteIntake
from tidemill.api.workers.messages import Kind
from tidemill.errors import KeyReused, RowsRefused, RowsUnknown
from tidemill.kafka.intake import IN_MEMORY_BYTES, MessageSpool, Rejected, RowMessage, RowRequest
from tidemill.web.channel import Channel, Packet


@contextmanager
def connected(intake: MemoryIntake) -> Iterator[tuple[RemoteIntake, Channel]]:
    """A worker's intake, connected with the stage's; and the stage's end of their channel."""
    one, other = socket.socketpair()
    remote = RemoteIntake()

    def call(packet: Packet) -> None:
        desk.take(pickle.loads(packet.content), packet.file)

    stage = Channel(one, call, lambda: None)
    desk = IntakeDesk(intake, lambda reply: stage.send(Kind.REPLY, pickle.dumps(reply)))
    worker = Channel(other, lambda packet: remote.reply(pickle.loads(packet.content)), remote.end)
    remote.connect(worker)
    yield remote, stage
    stage.close()
    worker.close()


def request(*sizes: int, folder: Path | None = None) -> RowRequest:
    spool = MessageSpool(folder)
    for size in sizes:
        spool.add(RowMessage(0, None, b'"%s"' % (b"x" * size)))
    return RowRequest(spool, 1, (Rejected(2, "no"),), "key", "digest")


@pytest.mark.parametrize("sizes", [(1, 2), (IN_MEMORY_BYTES, 3, IN_MEMORY_BYTES)], ids=["in memory", "in a file"])
def test_rows_arrive_as_they_were_sent(sizes: tuple[int, ...], tmp_path: Path) -> None:
    """The writer gets the same messages, and its outcome is the worker's; also where they are in a file."""

    async def write() -> None:
        intake = MemoryIntake()
        with connected(intake) as (remote, _):
            outcome = await asyncio.wrap_future(remote.accept(request(*sizes, folder=tmp_path)))
            assert (outcome.accepted, outcome.rejected, outcome.examples) == (len(sizes), 1, (Rejected(2, "no"),))
            again = request(*sizes).messages
            assert intake.messages == list(again)
            again.close()
            assert await asyncio.to_thread(lambda: remote.counts) == intake.counts
            remote.count_rejected(4)
            assert (await asyncio.to_thread(lambda: remote.counts)).rejected == 5

    asyncio.run(write())


def test_errors_and_withdrawals_are_the_writers(tmp_path: Path) -> None:
    """A refusal is raised by the future; a request is withdrawn only where its writing has not begun; where the stage's
    process is gone, nobody knows whether the rows were written."""

    async def refuse() -> None:
        intake = MemoryIntake()
        with connected(intake) as (remote, stage):
            intake.refusal = KeyReused("another body", "another key")
            with pytest.raises(KeyReused, match="another body"):
                await asyncio.wrap_future(remote.accept(request(1)))
            intake.refusal, intake.silent = None, True
            future = remote.accept(request(1))
            assert await asyncio.to_thread(remote.withdraw, future)
            with pytest.raises(RowsRefused):
                await asyncio.wrap_future(future)
            assert not await asyncio.to_thread(remote.withdraw, future)
            intake.begun = True
            future = remote.accept(request(1))
            assert not await asyncio.to_thread(remote.withdraw, future)
            stage.close()
            with pytest.raises(RowsUnknown):
                await asyncio.wrap_future(future)
            with pytest.raises(RowsRefused):
                remote.accept(request(1))
            assert not await asyncio.to_thread(remote.withdraw, future)

    asyncio.run(refuse())
