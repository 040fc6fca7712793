"""Text of a source in its encoding. Bytes that do not fit the encoding become lone surrogates, never an error."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TextIO

from tidemill.errors import SourceError
from tidemill.pipeline import is_encoding
from tidemill.sources.readers.encodings import guess_encoding
from tidemill.sources.readers.opening import BUFFER, SourceFile, open_bytes
from tidemill.sources.readers.pages import ESCAPES, Pages
from tidemill.texts import shorten

BYTE_ORDER_MARK = "\ufeff"
WIDE_MARKS = {  # the longer ones first: the shorter ones are their beginnings
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SAMPLED = 2**21  # bytes in which lines that are not ASCII are looked for


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
            pages = Pages(content.read1)
            pages.put_back(content.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8))
            yield pages
        else:
            text = io.TextIOWrapper(content, codec, errors=ESCAPES, newline="")
            yield Pages(lambda size: text.read(size).encode("utf-8", "surrogatepass"), "surrogatepass", "surrogatepass")


@contextmanager
def open_utf_8(file: SourceFile) -> Iterator[io.BufferedReader]:
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
