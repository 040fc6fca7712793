"""Text of a source in its encoding. Bytes that do not fit the encoding become lone surrogates, never an error."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TextIO

from tidemill.errors import SourceError
from tidemill.pipeline import is_encoding
from tidemill.sources.readers.encodings import guess_encoding
from tidemill.sources.readers.opening import BUFFER, SourceFile, open_bytes
from tidemill.texts import shorten

ESCAPES = "tidemill.escapes"  # the name of the handler of bytes that do not fit
BYTE_ORDER_MARK = "\ufeff"
WIDE_MARKS = {  # the longer ones first: the shorter ones are their beginnings
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SAMPLED = 2**21  # bytes in which lines that are not ASCII are looked for


def escape_bytes(error: UnicodeError) -> tuple[str, int]:
    """Bytes that do not fit, as lone surrogates; as Python's ``surrogateescape``, but for any byte of any encoding."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(chr(0xDC00 + (byte | 0x80)) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(ESCAPES, escape_bytes)


@contextmanager
def open_pages(file: SourceFile) -> Iterator[Pages]:
    """The file's text, without a byte order mark in UTF-8 and UTF-16; line ends are kept.

    Raises:
        SourceError: it is UTF-16 or UTF-32, but declared as UTF-8; or it can't be read.
    """
    with open_bytes(file) as raw:
        head, content = peeked(raw)
        codec = codec_of(file, head)
        if is_encoding(codec, "utf-8-sig"):
            pages = Pages(content.read, ESCAPES, "surrogateescape")
            pages.put_back(content.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8))
            yield pages
        else:
            text = io.TextIOWrapper(content, codec, errors=ESCAPES, newline="")
            yield Pages(lambda size: text.read(size).encode("utf-8", "surrogatepass"), "surrogatepass", "surrogatepass")


class Pages:
    """A file's text in blocks of UTF-8 that end with a line.

    Bytes that don't fit the file's encoding make a block invalid as UTF-8; its text has lone surrogates for them.
    """

    def __init__(self, read: Callable[[int], bytes], decode_errors: str, encode_errors: str) -> None:
        """``read`` gives at least one of the next bytes, about as many as asked for; none at the end. It splits a
        character only where ``decode_errors`` allows it."""
        self._read = read
        self._decode_errors = decode_errors
        self._encode_errors = encode_errors
        self._decoder = codecs.getincrementaldecoder("utf-8")(decode_errors)
        self._data = b""  # what was read and not yet taken
        self._ended = False

    def take(self, size: int) -> bytes:
        """The next lines, about ``size`` bytes; part of a line where it is longer than that; nothing at the end."""
        while len(self._data) < size and not self._ended:
            more = self._read(size - len(self._data))
            self._ended = not more
            self._data += more
        if self._ended and len(self._data) <= size:
            block, self._data = self._data, b""
            return block
        end = self._data.rfind(b"\n", 0, size) + 1 or self._data.find(b"\n") + 1 or len(self._data)
        block, self._data = self._data[:end], self._data[end:]
        return block

    def put_back(self, block: bytes) -> None:
        """Have ``block``, the last bytes taken, taken again."""
        self._data = block + self._data

    def unread(self, text: str) -> None:
        """Have ``text``, the end of what was read, taken again."""
        cut_off, _ = self._decoder.getstate()
        self._decoder.reset()
        self._data = text.encode("utf-8", self._encode_errors) + cut_off + self._data

    def text_of(self, lines: bytes) -> str:
        """Some lines as text."""
        return lines.decode("utf-8", self._decode_errors)

    def read(self, size: int) -> str:
        """As :meth:`take`, as text."""
        text = ""
        while not text and (block := self.take(size)):
            text = self._decoder.decode(block)
        return text or self._decoder.decode(b"", final=True)

    def decode(self, block: bytes) -> str:
        """The text of the last bytes taken; characters that are cut at its end are in the next text."""
        return self._decoder.decode(block)


@contextmanager
def open_utf_8(file: SourceFile) -> Iterator[IO[bytes]]:
    """The file's bytes, as UTF-8 whatever its encoding is.

    Raises:
        SourceError: as for :func:`open_text`.
    """
    with open_bytes(file) as raw:
        head, content = peeked(raw)
        codec = codec_of(file, head)
        if is_encoding(codec, "utf-8-sig"):
            yield content
        else:
            text = io.TextIOWrapper(content, codec, errors=ESCAPES, newline="")
            yield io.BufferedReader(Transcoded(text), BUFFER)


def peeked(raw: IO[bytes]) -> tuple[bytes, io.BufferedReader]:
    """The first bytes of a file, and the file, still at its beginning."""
    buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(io.BytesIO(raw.read()))
    return buffered.peek(4)[:4], buffered


def codec_of(file: SourceFile, head: bytes) -> str:
    """The codec that reads a file which begins with ``head``.

    Raises:
        SourceError: the file is UTF-16 or UTF-32, but declared as UTF-8.
    """
    marked = next((name for mark, name in WIDE_MARKS.items() if head.startswith(mark)), None)
    if is_encoding(file.encoding, "utf-8"):
        if marked:
            raise SourceError(f"{file.label} is {marked.upper()}", f'set {file.key}.encoding = "{marked}"')
        return "utf-8-sig"
    if is_encoding(file.encoding, "utf-16") and marked != "utf-16":
        return "utf-16-be" if head[:1] == b"\0" else "utf-16-le"  # the high byte of an ASCII character is zero
    return file.encoding


class Transcoded(io.RawIOBase):
    """A text as a file of UTF-8; lone surrogates as bytes that are not valid UTF-8."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has the protocol's type
        if not self._ready:
            self._ready = self._text.read(len(buffer)).removeprefix(BYTE_ORDER_MARK).encode("utf-8", "surrogateescape")
        part, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def is_text(field: str) -> bool:
    """Whether all bytes of a field fitted its encoding: others were read as lone surrogates."""
    try:
        field.encode()
    except UnicodeEncodeError:
        return False
    return True


def guessed_encoding(file: SourceFile) -> str:
    """Which encoding the beginning of a file may be in rather than the declared one, with the first of its words as it
    reads in it, so that a person can judge: ``"cp1252" (reads 'Köln')``; empty where nothing tells it."""
    with open_bytes(file) as raw:
        guess = guess_encoding([raw.read(SAMPLED)])
    if guess is None or is_encoding(file.encoding, guess.name):
        return ""
    return f'"{guess.name}"' + (f" (reads {shorten(guess.word, 40)})" if guess.word else "")
