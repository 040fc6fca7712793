"""How numbers are written in the texts of a column: decimal comma, signs between thousands, money and percent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import polars as pl

from tidemill.sources.conversions import BLANK
from tidemill.texts import listed

WHOLE = r"^[+-]?[0-9]{1,18}$"
PLAIN = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
DECIMAL_COMMA = r"^[+-]?([0-9]+,?[0-9]*|,[0-9]+)([eE][+-]?[0-9]{1,3})?$"
GROUPS_BY_COMMAS = r"^[+-]?([0-9]+|[1-9][0-9]{0,2}(,[0-9]{3})+)(\.[0-9]+)?$"
GROUPS_BY_POINTS = r"^[+-]?([0-9]+|[1-9][0-9]{0,2}(\.[0-9]{3})+)(,[0-9]+)?$"
GROUPS_BY_BLANKS = rf"^[+-]?([0-9]+|[1-9][0-9]{{0,2}}([{BLANK}][0-9]{{3}})+)(\.[0-9]+)?$"
GROUPS_BY_BLANKS_WITH_COMMA = GROUPS_BY_BLANKS.replace(r"\.", ",")
GROUPS_BY_APOSTROPHES = r"^[+-]?([0-9]+|[1-9][0-9]{0,2}('[0-9]{3})+)(\.[0-9]+)?$"
# The sign between thousands, what it is called, and the decimal sign beside it.
GROUPS = {
    GROUPS_BY_COMMAS: (",", "commas", "."),
    GROUPS_BY_POINTS: (".", "points", ","),
    GROUPS_BY_BLANKS: (" ", "blanks", "."),
    GROUPS_BY_BLANKS_WITH_COMMA: (" ", "blanks", ","),
    GROUPS_BY_APOSTROPHES: ("'", "apostrophes", "."),
}
NOTATIONS = (WHOLE, PLAIN, DECIMAL_COMMA, *GROUPS)
ONE_GROUP_BY_COMMA = r"^[+-]?[1-9][0-9]{0,2},[0-9]{3}$"
ONE_GROUP_BY_POINT = r"^[+-]?[1-9][0-9]{0,2}\.[0-9]{3}$"
FOUR_DIGITS = r"^[+-]?[0-9]{4,}"
SIGNS = re.compile(
    rf"^\s*(?P<before>[$€£¥₹]|USD|EUR|GBP|Rs\.?)?\s*[+-]?[\d.,'{BLANK}]*\d\s*"
    r"(?P<after>[$€£¥₹%]|USD|EUR|GBP|kr\.?|zł)?\s*$"
)
FAR = 3  # a number that stands for a missing value is this many times the range of all others away from them,
FEWEST = 3  # occurs so often,
MOSTLY = 0.9  # the share of texts that tell the notation; what the others are is judged afterwards
VARIED = 10  # and so many others differ

NumberKind = Literal["int", "float"]


class NumberGuess(NamedTuple):
    """How a column's numbers are written. ``pattern`` fits each of them, after the signs in ``strip`` are removed.
    ``unclear``: two readings fit, and the setting that decides."""

    kind: NumberKind
    reason: str
    settings: Mapping[str, Any]
    pattern: str
    unclear: str = ""

    def fits(self, texts: pl.Series) -> pl.Series:
        return without(texts, self.settings.get("strip", ())).str.contains(self.pattern)


class FileNumbers(NamedTuple):
    """What the columns of a file say together. ``commas``, ``points``: the names of those whose numbers say beyond
    doubt that the decimal sign is the comma or the point. ``sentinels``: numbers that stand for a missing value in some
    column."""

    commas: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    sentinels: tuple[int | float, ...] = ()

    def sentinels_in(self, values: pl.Series) -> list[int | float]:
        """The numbers that stand for a missing value in this column: evident by itself, or in another column of the
        file, and outside the range of all others here."""
        own = sentinel_of(values)
        if own is not None:
            return [own]
        for value in self.sentinels:
            others = values.filter(values != value)
            if 0 < len(others) < len(values) and not ends(others)[0] <= value <= ends(others)[1]:
                return [value]
        return []


def ends(values: pl.Series) -> tuple[Any, Any]:
    """The least and the greatest number."""
    return values.min(), values.max()


def sentinel_of(values: pl.Series) -> int | None:
    """The least or the greatest number if it is whole, occurs several times and is far from all others."""
    if values.n_unique() <= VARIED:
        return None
    for end in ends(values):
        others = values.filter(values != end)
        least, most = ends(others)
        gap = min(abs(end - most), abs(end - least))
        if len(values) - len(others) >= FEWEST and float(end).is_integer() and gap > FAR * (most - least) > 0:
            return int(end)
    return None


def file_numbers(columns: Iterable[tuple[str, pl.Series]]) -> FileNumbers:
    """What the distinct texts of each column say about how the file writes numbers."""
    commas, points = [], []
    for name, texts in columns:
        numbers = texts.filter(texts.str.contains(r"^[+-]?[0-9.,]*[0-9][0-9.,]*$"))
        if len(numbers) < max(2, len(texts) // 2):
            continue
        by_comma, by_commas, by_point, by_points = (
            bool(numbers.str.contains(pattern).all())
            for pattern in (DECIMAL_COMMA, GROUPS_BY_COMMAS, PLAIN, GROUPS_BY_POINTS)
        )
        if (by_comma and not by_commas) or (by_points and not by_point):
            commas.append(name)
        elif (by_point and not by_points) or (by_commas and not by_comma):
            points.append(name)
    return FileNumbers(tuple(commas), tuple(points))


def number_of(distinct: pl.Series, name: str, numbers: FileNumbers) -> NumberGuess | None:
    """How the numbers among these texts are written; None where they are no numbers."""
    strip = signs_in(distinct)
    texts = without(distinct, strip)
    texts = texts.filter(texts.str.contains(r"^[+-]?[0-9.,]*[0-9]")) if len(texts) else texts
    if not len(texts):
        return None
    guess = notation_of(texts, name, numbers)
    if guess is None or not strip:
        return guess
    reason = f"{guess.reason} with {listed([*strip])}, which is removed,"
    return guess._replace(reason=reason, settings={"strip": list(strip), **guess.settings})


def notation_of(texts: pl.Series, name: str, numbers: FileNumbers) -> NumberGuess | None:
    """The notation that reads the most texts; of several that read as many, the plainest, or what the columns say."""
    counts = {pattern: int(texts.str.contains(pattern).sum()) for pattern in NOTATIONS}
    best = max(counts, key=lambda pattern: counts[pattern])  # the first of those that read as many
    if counts[best] < MOSTLY * len(texts):
        return None
    if best == WHOLE:
        return NumberGuess("int", "whole numbers", {}, WHOLE)
    if best == PLAIN:
        return points_of(texts, name, numbers)
    if best == DECIMAL_COMMA:
        return commas_of(texts, name, numbers)
    return groups_of(texts, best)


def groups_of(texts: pl.Series, pattern: str) -> NumberGuess:
    """Numbers with signs between thousands, which are the only ones that read all of them."""
    sign, called, decimal = GROUPS[pattern]
    with_fraction = bool(texts.str.contains(decimal, literal=True).any())
    comma = " and a decimal comma" if with_fraction and decimal == "," else ""
    settings = {"thousands": sign} | ({"decimal": ","} if sign == "." or comma else {})
    kind: NumberKind = "float" if with_fraction else "int"
    return NumberGuess(kind, f"numbers with {called} between thousands{comma}", settings, pattern)


def plain_number() -> NumberGuess:
    return NumberGuess("float", "numbers", {}, PLAIN)


def points_of(texts: pl.Series, name: str, numbers: FileNumbers) -> NumberGuess:
    """Numbers with points, which may stand between thousands."""
    pointed = texts.filter(texts.str.contains(".", literal=True))
    alike = (
        pointed.str.contains(ONE_GROUP_BY_POINT).all()
        and not texts.filter(~texts.is_in(pointed.implode())).str.contains(FOUR_DIGITS).any()
    )
    others = [other for other in numbers.commas if other != name]
    if alike and others:
        reason = f"numbers with points between thousands, as the file's decimal sign is the comma ({others[0]}),"
        return NumberGuess("int", reason, {"thousands": ".", "decimal": ","}, GROUPS_BY_POINTS)
    return plain_number()


def commas_of(texts: pl.Series, name: str, numbers: FileNumbers) -> NumberGuess:
    """Numbers with commas, which are decimal ones or stand between thousands."""
    with_comma = texts.filter(texts.str.contains(",", literal=True))
    plain = texts.filter(~texts.is_in(with_comma.implode()))
    decimal = NumberGuess("float", "numbers with a decimal comma", {"decimal": ","}, DECIMAL_COMMA)
    if not with_comma.str.contains(ONE_GROUP_BY_COMMA).all() or plain.str.contains(FOUR_DIGITS).any():
        return decimal
    others = [other for other in numbers.commas if other != name]
    if others:
        return decimal._replace(reason=f"numbers with a decimal comma, as in {others[0]},")
    if numbers.points:
        reason = (
            f"numbers with commas between thousands, as the file's decimal sign is the point ({numbers.points[0]}),"
        )
        return NumberGuess("int", reason, {"thousands": ","}, GROUPS_BY_COMMAS)
    example = with_comma[0]
    unclear = (
        f"{example} may be {example.replace(',', '')} or {example.replace(',', '.')}: "
        'declare it "int" with thousands = ",", or "float" with decimal = ","'
    )
    return NumberGuess("float", "a text until you decide", {}, DECIMAL_COMMA, unclear)


def signs_in(texts: pl.Series) -> tuple[str, ...]:
    """The signs of money or percent that stand before or after the numbers, where nearly all have the same ones."""
    found: dict[str, int] = {}
    for text in texts.head(200).to_list():
        match = SIGNS.match(text)
        for sign in match.groups() if match else ():
            if sign:
                found[sign] = found.get(sign, 0) + 1
    return tuple(sign for sign, count in found.items() if 2 * count > len(texts.head(200)))


def without(texts: pl.Series, strip: Sequence[str]) -> pl.Series:
    for sign in strip:
        texts = texts.str.replace_all(sign, "", literal=True)
    return texts.str.strip_chars()
