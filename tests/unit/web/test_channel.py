"""Messages between two processes arrive whole and in order, each with its file, whatever their sizes."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tidemill.web.channel import Channel, Packet

SIZES = st.one_of(st.integers(0, 100), st.sampled_from([65_536, 300_000, 1_500_000]))


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not done():
            await asyncio.sleep(0)


@given(st.lists(st.tuples(st.integers(1, 255), SIZES, st.booleans()), min_size=1, max_size=12))
def test_messages_arrive_whole_in_order_and_with_their_files(sent: list[tuple[int, int, bool]]) -> None:
    """Also those that the socket has no room for at first; then the end of the other side is told, once."""

    async def exchange() -> None:
        received: list[tuple[int, bytes, bytes | None]] = []
        ends: list[str] = []

        def take(packet: Packet) -> None:
            text = None
            if packet.file is not None:
                with os.fdopen(packet.file, "rb") as file:
                    text = os.pread(file.fileno(), 100, 0)
            received.append((packet.kind, packet.content, text))

        one, other = socket.socketpair()
        here = Channel(one, take, lambda: ends.append("here"))
        there = Channel(other, take, lambda: ends.append("there"))
        expected = []
        with tempfile.TemporaryFile() as shared:
            shared.write(b"a file's text")
            shared.flush()
            for place, (kind, size, has_file) in enumerate(sent):
                content = bytes([place]) * size
                here.send(kind, content, shared.fileno() if has_file else None)
                expected.append((kind, content, b"a file's text" if has_file else None))
            await until(lambda: len(received) == len(sent))
        assert received == expected
        here.close()
        await until(lambda: bool(ends))
        there.send(1, b"nobody reads this")
        assert ends == ["there"]

    asyncio.run(exchange())
