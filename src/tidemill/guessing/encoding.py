"""The encoding of a text file, from its bytes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import NamedTuple

from tidemill.errors import SourceError
from tidemill.sources.readers.encodings import guess_encoding

BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


LINE_END = re.compile(r"\r?\n|\r")


class Encoding(NamedTuple):
    """An encoding, and why it is taken to be the file's. ``pieces``: the texts of the file's pieces, in whole lines.
    ``notes``: that some bytes do not fit it, if so."""

    name: str
    reason: str
    pieces: tuple[str, ...]
    notes: tuple[str, ...] = ()


def decoded(label: str, pieces: Sequence[bytes], whole: bool) -> Encoding:
    """The texts of a file's pieces.

    Raises:
        SourceError: the bytes are no text.
    """
    for bom, name in BOMS:
        if pieces[0].startswith(bom):
            known = name if name == "utf-8" else f"{name}-{'le' if bom in LITTLE else 'be'}"
            texts = [piece.removeprefix(bom).decode(known, "replace") for piece in pieces]
            return Encoding(name, "its first bytes say so (a byte order mark)", lines_of(texts, whole))
    data = b"".join(pieces)
    zeros = data.count(0)
    if zeros:
        return without_bom(label, pieces, whole, zeros)
    try:
        texts = [text_of(piece, "utf-8") for piece in pieces]
    except UnicodeDecodeError:
        return guessed(label, pieces, whole)
    reason = "all bytes that were looked at are valid UTF-8" if not data.isascii() else "all letters are ASCII"
    return Encoding("utf-8", reason, lines_of(texts, whole))


LITTLE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF32_LE)


def without_bom(label: str, pieces: Sequence[bytes], whole: bool, zeros: int) -> Encoding:
    """UTF-16 without a byte order mark: in text of Latin letters every second byte is zero."""
    head = pieces[0]
    for name, first in (("utf-16-le", 1), ("utf-16-be", 0)):
        if head[first::2].count(0) > 0.4 * len(head[first::2]) and not head[1 - first :: 2].count(0):
            texts = [text_of(piece, name) for piece in pieces]
            return Encoding(name, "every second byte is zero", lines_of(texts, whole))
    raise SourceError(
        f"{label} is no text: {zeros:,} of the bytes that were looked at are zero",
        "give a table: CSV, JSON Lines or Parquet; an Excel sheet saved as CSV",
    )


def guessed(label: str, pieces: Sequence[bytes], whole: bool) -> Encoding:
    """The texts of pieces that are not UTF-8, in the encoding in which they look most like a language.

    Raises:
        SourceError: they look like none.
    """
    guess = guess_encoding(pieces)
    if guess is None:
        raise SourceError(f"{label} is no text in a known encoding", "save it as UTF-8")
    reason = f"it is not UTF-8; in this encoding its words read like {guess.word!r}"
    count = f"{guess.misfits:,} of the bytes that were looked at"
    notes = (f"{count} do not fit {guess.name.upper()}, and make their rows rejects",) if guess.misfits else ()
    return Encoding(
        guess.name, reason, lines_of([piece.decode(guess.name, "replace") for piece in pieces], whole), notes
    )


def text_of(piece: bytes, name: str) -> str:
    """The text of a piece, which may begin and end inside a character.

    Raises:
        UnicodeDecodeError: it is not in this encoding.
    """
    decoder = codecs.getincrementaldecoder(name)()
    for start in range(4):
        try:
            return decoder.decode(piece[start:])
        except UnicodeDecodeError as error:
            if error.start or start == 3:
                raise
            decoder.reset()
    raise AssertionError("the loop returns or raises")


def lines_of(texts: Sequence[str], whole: bool) -> tuple[str, ...]:
    """The whole lines of each piece: the head's from its start, the end's to its end."""
    if whole:
        return (texts[0],)
    pieces = [from_line_start(text) if index else text for index, text in enumerate(texts)]
    last = len(pieces) - 1
    return tuple(piece if index == last and index else until_line_end(piece) for index, piece in enumerate(pieces))


def from_line_start(text: str) -> str:
    """The text without what stands before its first line end."""
    first = LINE_END.search(text)
    return text[first.end() :] if first else ""


def until_line_end(text: str) -> str:
    """The text without a last line that is cut off; all of it where it is one line, as a JSON array may be."""
    return text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
