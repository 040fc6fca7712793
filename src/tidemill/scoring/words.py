"""The words of a text, and their stems: one rule for training, for requests and for features made of texts.

A word is a run of letters, digits and underscores with their combining marks; a zero-width joiner or non-joiner inside
a word belongs to it. Han, Hiragana and Katakana are written without blanks: each run of them gives its overlapping
pairs of characters. Case doesn't count (Unicode's full case folding), nor whether letters are composed (NFC).
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

ASCII_WORD = re.compile(r"[a-z0-9_]+")
JOINERS = "\u200c\u200d"
# Han, Hiragana and Katakana, with the signs that only they are written with.
CJK = (
    "\u2e80-\u2fd5\u3005\u3007\u3021-\u3029\u3038-\u303b\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
CHARACTER = re.compile(rf"[{CJK}][^{CJK}]*")  # of a run: a character with its marks
LEAST_STEMMED = 3  # characters of a word whose ending is looked at

COMPILED: list[
    re.Pattern[str]
] = []  # the pattern of a word, once made; functools.cache can't be sent to Spark's workers


def words(text: str) -> list[str]:
    """The words of a text in their order, case-folded and in NFC, with their endings."""
    if text.isascii():
        return ASCII_WORD.findall(text.lower())
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
    return [word for match in word_pattern().finditer(folded) for word in words_in(match)]


def terms(text: str) -> list[str]:
    """The words of a text in their order without plural endings, as models count them."""
    return [stem(word) for word in words(text)]


def stem(word: str) -> str:
    """A word without its English plural ending: laptop for laptops, battery for batteries; glass and bus stay.

    Harman's S stemmer, for ASCII words of three characters and more. (D. Harman: How effective is suffixing? JASIS
    42(1), 1991.)
    """
    if not word.endswith("s") or len(word) < LEAST_STEMMED or not word.isascii():
        return word
    if word.endswith("ies") and len(word) > LEAST_STEMMED and word[-4] not in "ae":
        return f"{word[:-3]}y"
    return word if word[-2] in "us" else word[:-1]


def word_pattern() -> re.Pattern[str]:
    """Matches a word, or a run of CJK characters as the group ``run``. Python's patterns have no class for marks, so it
    is made from the Unicode database: on first use, as that takes a fifth of a second."""
    if not COMPILED:
        cjk = re.compile(f"[{CJK}]")
        every = [chr(code) for code in range(sys.maxunicode + 1)]
        marks = {sign for sign in every if unicodedata.category(sign).startswith("M")}
        letters = {sign for sign in every if sign.isalnum() and not cjk.match(sign)} | {"_"}
        letter, mark, inside = (ranges(signs) for signs in (letters, marks, letters | marks))
        word = rf"[{letter}][{inside}]*(?:[{JOINERS}]+[{inside}]+)*"
        COMPILED.append(re.compile(rf"(?P<run>(?:[{CJK}][{mark}]*)+)|{word}"))
    return COMPILED[0]


def ranges(signs: set[str]) -> str:
    """The characters as the inside of a pattern's class: the first and the last of each row of neighbours."""
    codes = sorted(map(ord, signs))
    firsts = [codes[0], *(code for before, code in pairwise(codes) if code > before + 1)]
    lasts = [*(before for before, code in pairwise(codes) if code > before + 1), codes[-1]]
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in zip(firsts, lasts, strict=True))


def words_in(match: re.Match[str]) -> Iterator[str]:
    """The word that was matched; of a run of CJK characters each pair, or its only character."""
    run = match["run"]
    if run is None:
        yield match[0]
        return
    characters = CHARACTER.findall(run)
    if len(characters) == 1:
        yield run
    for first, second in pairwise(characters):
        yield first + second
