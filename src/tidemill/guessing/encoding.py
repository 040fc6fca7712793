"""The encoding of a text file, from its bytes."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import NamedTuple

from tidemill.errors import SourceError

BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The encodings that charset-normalizer chooses from: those that public files have been found in.
CANDIDATES = [
    "cp1252",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "shift_jis",
    "gb18030",
    "big5",
    "euc_kr",
    "koi8_r",
    "mac_roman",
]
COMMON = "cp1252"  # Windows' own in western Europe, which files are in where nothing speaks against it
NOISE = (0.2, 0.5)  # how much of a text may look like no language; more where nothing looks like one
MOST_BYTES = 20_000  # of lines with other than ASCII letters, which say what the encoding is


class Encoding(NamedTuple):
    """An encoding, and why it is taken to be the file's. ``pieces``: the texts of the file's pieces, in whole lines."""

    name: str
    reason: str
    pieces: tuple[str, ...]


def decoded(label: str, pieces: Sequence[bytes], whole: bool) -> Encoding:
    """The texts of a file's pieces.

    Raises:
        SourceError: the bytes are no text.
    """
    for bom, name in BOMS:
        if pieces[0].startswith(bom):
            known = name if name == "utf-8" else f"{name}-{'le' if bom in LITTLE else 'be'}"
            texts = [text_of(piece, known) for piece in pieces]
            return Encoding(name, "its first bytes say so (a byte order mark)", lines_of(texts, whole))
    data = b"".join(pieces)
    zeros = data.count(0)
    if zeros:
        return without_bom(label, pieces, whole, zeros)
    try:
        texts = [text_of(piece, "utf-8") for piece in pieces]
    except UnicodeDecodeError:
        name, reason = guessed(label, data)
        return Encoding(name, reason, lines_of([text_of(piece, name) for piece in pieces], whole))
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


def guessed(label: str, data: bytes) -> tuple[str, str]:
    """The encoding of bytes that are not UTF-8, by how much their text looks like a language."""
    from charset_normalizer import from_bytes

    lines = [line for line in data.splitlines() if not line.isascii()]
    odd = b"\n".join(lines)[:MOST_BYTES]
    tries = (from_bytes(odd, cp_isolation=CANDIDATES, threshold=noise, preemptive_behaviour=False) for noise in NOISE)
    best = next((matches.best() for matches in tries if matches), None)
    if best is None:
        raise SourceError(f"{label} is no text in a known encoding", "save it as UTF-8")
    name = codecs.lookup(str(best.encoding)).name
    if decodes_alike(odd, name, COMMON):
        name = COMMON  # they differ in bytes that do not occur
    words = odd.decode(name, "replace").replace(",", " ").replace(";", " ").split()
    example = next((word for word in words if not word.isascii()), "")
    return name, f"it is not UTF-8; in this encoding its words read like {example!r}"


def decodes_alike(data: bytes, name: str, other: str) -> bool:
    """Whether two encodings give the same text."""
    try:
        return data.decode(name) == data.decode(other)
    except UnicodeDecodeError:
        return False


def text_of(piece: bytes, name: str) -> str:
    """The text of a piece, which may begin and end inside a character.

    Raises:
        UnicodeDecodeError: it is not in this encoding.
    """
    bom = next((bom for bom, _ in BOMS if piece.startswith(bom)), b"")
    piece = piece.removeprefix(bom)
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
    pieces = [text if index == 0 else text[text.find("\n") + 1 :] for index, text in enumerate(texts)]
    last = len(pieces) - 1
    return tuple(
        piece if index == last and index else piece[: piece.rfind("\n") + 1] for index, piece in enumerate(pieces)
    )
