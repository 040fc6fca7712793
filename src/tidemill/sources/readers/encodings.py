"""Which encoding the bytes of a text are in, where nothing says it."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

# The encodings that a guess chooses from: those of public files.
CANDIDATES = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp932", "cp949", "gb18030", "big5", "koi8_r",
              "mac_roman"]  # fmt: skip
COMMON = "cp1252"  # Windows' own in western Europe, which files are in where nothing speaks against it
NOISE = (0.2, 0.5)  # how much of a text may look like no language; more where nothing looks like one
MOST_BYTES = 20_000  # of lines with other than ASCII letters, which are looked at for a language
DAMAGED = 10  # characters of UTF-8 for each byte that is not, in a text that counts as damaged UTF-8
OTHER_SCRIPTS = (
    "\u0370-\u052f\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af\uff61-\uff9f"  # Greek, Cyrillic, Japanese, Chinese, Korean
)
MIXED = re.compile(f"[A-Za-z][{OTHER_SCRIPTS}]|[{OTHER_SCRIPTS}][A-Za-z]")


class EncodingGuess(NamedTuple):
    """An encoding, the first word of the text that is not ASCII as it reads in it, and how many bytes do not fit it."""

    name: str
    word: str
    misfits: int


def guess_encoding(pieces: Sequence[bytes]) -> EncodingGuess | None:
    """The encoding of a text of which ``pieces`` are parts; None where all is ASCII, or nothing looks like a language.

    It is UTF-8 where nearly all that is not ASCII is, as in a text with a few damaged bytes. Else it is one that all
    bytes fit, in whose text words do not mix letters of two scripts.
    """
    lines = odd_lines(pieces)
    data = b"\n".join(lines)
    if not lines:
        return None
    if is_damaged_utf_8(data):
        return guess_of("utf-8", data)
    best = best_match(b"\n".join(lines_up_to(lines, MOST_BYTES)), data)
    if best is None:
        return None
    name = codecs.lookup(best).name
    return guess_of(COMMON if decodes_alike(data, name, COMMON) else name, data)


def guess_of(name: str, data: bytes) -> EncodingGuess:
    text = data.decode(name, "replace")
    words = (word for word in re.split(r"[ ,;|\t\r\n]+", text) if not word.isascii() and "\ufffd" not in word)
    return EncodingGuess(name, next(words, ""), text.count("\ufffd"))


def odd_lines(pieces: Sequence[bytes]) -> list[bytes]:
    """The lines that are not ASCII: without those that the end of a piece cuts, in a character perhaps, if there are
    others."""
    lines = [piece.splitlines(keepends=True)[bool(index) :] for index, piece in enumerate(pieces)]
    odd = [line for piece in lines for line in piece if not line.isascii()]
    return [line.rstrip() for line in odd if line.endswith((b"\n", b"\r"))] or odd


def lines_up_to(lines: Sequence[bytes], most: int) -> list[bytes]:
    """The first lines of at most so many bytes; the first one at least."""
    size, chosen = 0, list[bytes]()
    for line in lines:
        size += len(line) + 1
        if chosen and size > most:
            break
        chosen.append(line)
    return chosen


def is_damaged_utf_8(data: bytes) -> bool:
    """Whether nearly all characters that are not ASCII are valid UTF-8."""
    text = data.decode("utf-8", "surrogateescape")
    misfits = sum("\udc80" <= sign <= "\udcff" for sign in text)
    return sum(not sign.isascii() for sign in text) - misfits >= DAMAGED * misfits


def best_match(sample: bytes, data: bytes) -> str | None:
    """The candidate in which the sample looks most like a language: one that fits all data, if there is such."""
    from charset_normalizer import from_bytes  # imported here, as it takes long and is rarely needed

    fallback = None
    for noise in NOISE:
        matches = from_bytes(sample, cp_isolation=CANDIDATES, threshold=noise, preemptive_behaviour=False)
        sound = [match for match in matches if not mixes_scripts(str(match))]
        fitting = [match for match in sound if fits(data, match.encoding)]
        if fitting:
            return common_of(fitting)
        fallback = fallback or (common_of(sound) if sound else None)
    return fallback


def common_of(matches: Sequence[CharsetMatch]) -> str:
    """The first of the matches, or the commonest encoding where as much speaks for it."""
    first = matches[0]
    alike = [match.encoding for match in matches if (match.chaos, match.coherence) == (first.chaos, first.coherence)]
    return COMMON if COMMON in alike else first.encoding


def mixes_scripts(text: str) -> bool:
    """Whether most words with letters beyond ASCII have Latin letters beside those of another script."""
    words = [word for word in text.split() if not word.isascii()]
    return 2 * sum(bool(MIXED.search(word)) for word in words) > len(words)


def fits(data: bytes, name: str) -> bool:
    try:
        data.decode(name)
    except UnicodeDecodeError:
        return False
    return True


def decodes_alike(data: bytes, name: str, other: str) -> bool:
    """Whether two encodings give the same text: they differ in bytes that do not occur, or that are lone accents in the
    first, which texts do not have: byte B2 is an ogonek in cp1250, and ² in cp1252."""
    if not fits(data, name) or not fits(data, other):
        return False
    text, same = data.decode(name), data.decode(other)
    if len(text) != len(same):
        return False
    return all(one == two or unicodedata.category(one) == "Sk" for one, two in set(zip(text, same, strict=True)))
