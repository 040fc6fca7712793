"""Messages between two processes of one program over a pair of UNIX sockets, some with an open file beside them."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

HEADER = struct.Struct("<BBI")  # of a message: its kind, whether a file comes with it, bytes of its content
READ_BYTES = 256 * 2**10
MOST_FILES = 64  # that one read takes
CLOSED_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # macOS has no such flag


class Packet(NamedTuple):
    """A message. ``file``: the descriptor that came with it, which is the receiver's to close."""

    kind: int
    content: bytes = b""
    file: int | None = None


class Channel:
    """One end of the pair, on the running event loop. Only the loop's thread may use it."""

    def __init__(self, end: socket.socket, received: Callable[[Packet], None], ended: Callable[[], None]) -> None:
        """
        Args:
            received: called with each message, in order.
            ended: called once, when the other process has closed its end or is gone, or a message can't be sent. Not
                after :meth:`close`.
        """
        end.setblocking(False)
        self._end = end
        self._received = received
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._incoming = bytearray()
        self._files: deque[int] = deque()
        self._outgoing: deque[Packet] = deque()  # what the socket had no room for; the kinds of these don't count
        self._loop.add_reader(end, self._read)

    def send(self, kind: int, content: bytes = b"", file: int | None = None) -> None:
        """Send a message soon; nothing happens where the channel has ended.

        ``file``: the descriptor of an open file, which the other process gets a copy of. The sender keeps its own open
        until the other process has said that it has the message.
        """
        if not self._open:
            return
        self._outgoing.append(Packet(kind, HEADER.pack(kind, file is not None, len(content)) + content, file))
        if len(self._outgoing) == 1:
            self._write()

    def close(self) -> None:
        """Close this end, and the files of messages that were not received."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._end)
            self._loop.remove_writer(self._end)
            self._end.close()
            while self._files:
                os.close(self._files.popleft())

    def _write(self) -> None:
        while self._outgoing:
            kind, content, file = self._outgoing[0]
            try:
                sent = self._end.send(content) if file is None else socket.send_fds(self._end, [content], [file])
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._end, self._write)
                return
            except OSError as error:
                self._outgoing.clear()
                self._loop.remove_writer(self._end)
                if not isinstance(error, ConnectionError):  # such as too many files on their way
                    self._loop.call_soon(self._break_off)
                return  # otherwise the other process is gone: the reader sees its last messages, then that
            if sent == len(content):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = Packet(kind, content[sent:])
        self._loop.remove_writer(self._end)

    def _read(self) -> None:
        try:
            content, files, flags, _ = socket.recv_fds(self._end, READ_BYTES, MOST_FILES, CLOSED_ON_EXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            content, files, flags = b"", [], 0
        self._files.extend(files)
        if not content or flags & socket.MSG_CTRUNC:  # the latter: this process has too many files open
            self._break_off()
            return
        self._incoming += content
        for packet in self._complete():
            self._received(packet)

    def _break_off(self) -> None:
        if self._open:
            self.close()
            self._ended()

    def _complete(self) -> list[Packet]:
        """The messages that have arrived whole. The files come in the order of theirs, and not after them."""
        packets, start = [], 0
        while len(self._incoming) - start >= HEADER.size:
            kind, has_file, size = HEADER.unpack_from(self._incoming, start)
            end = start + HEADER.size + size
            if end > len(self._incoming):
                break
            content = bytes(self._incoming[start + HEADER.size : end])
            packets.append(Packet(kind, content, self._files.popleft() if has_file else None))
            start = end
        del self._incoming[:start]
        return packets
