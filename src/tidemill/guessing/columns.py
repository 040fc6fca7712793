"""The type of a column, and how its values are to be cleaned, from their texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import polars as pl

from tidemill.guessing.dates import epoch_of, format_of
from tidemill.guessing.numbers import FileNumbers, NumberGuess, ends, number_of
from tidemill.guessing.words import CODE_WORDS, MISSING_WORDS, NEVER_TEXT, TRUE_AND_FALSE, is_named
from tidemill.pipeline import Column
from tidemill.pipeline.model import DeclaredColumn, TextSettings, column_of
from tidemill.sources.text_values import typed_column
from tidemill.texts import listed, shorten, times
from tidemill.types import ColumnKind

EVIDENT = 0.99  # the share of values that must fit a type where a few others are no known word for a missing value,
FEWEST = 200  # of so many values at the least,
MOST_STRANGE = 2  # and none of the others more often than this: then it would be a value too
MOST_WORDS = 4  # how many different words may stand for a missing value in one column
LEADING_ZERO = r"^0[0-9]+$"
DIGITS = r"^[0-9]+$"
LONG = r"^[+-]?[0-9]{19,}$"
MYSQL = "\\N"
MOST_SHOWN = 30  # characters of an example

Missing = str | int | float


@dataclass(frozen=True)
class ColumnGuess:
    """A column as it will be declared, why, and its values.

    Attributes:
        name: its name in the pipeline.
        kind, optional: its declared type.
        reason: what in the values the type and the settings rest on.
        values: those that were looked at, typed; null where one is missing or does not fit.
        settings: the keys of its table beside ``type``.
        unclear: what was not decided, and the setting that decides it; empty where all is clear.
    """

    name: str
    kind: ColumnKind
    optional: bool
    reason: str
    values: pl.Series
    settings: Mapping[str, Any] = field(default_factory=dict)
    unclear: str = ""

    @property
    def type(self) -> str:
        return f"{self.kind}?" if self.optional else self.kind

    @property
    def note(self) -> str:
        return f"{self.reason}; {self.unclear}" if self.unclear else self.reason

    @cached_property
    def present(self) -> pl.Series:
        """The values that are there."""
        return self.values.drop_nulls()

    @cached_property
    def distinct(self) -> int:
        return self.present.n_unique()

    @property
    def missing_share(self) -> float:
        return self.values.null_count() / len(self.values) if len(self.values) else 1.0


class Texts:
    """The texts of one column: ``bare`` without blanks around them; the ``distinct`` ones that are not empty, the
    commonest first, with their ``counts``."""

    def __init__(self, name: str, texts: pl.Series) -> None:
        self.name = name
        self.texts = texts
        self.bare = texts.str.strip_chars().fill_null("")
        filled = self.bare.filter(self.bare != "")
        table = filled.alias("text").value_counts(sort=True, name="count")  # the column's own name may be "count"
        self.distinct = table["text"]
        self.counts = table["count"]
        self.filled = len(filled)

    @property
    def empty(self) -> int:
        return len(self.bare) - self.filled

    def but(self, words: Sequence[str]) -> pl.Series:
        """The distinct texts except these."""
        return self.distinct.filter(~self.distinct.is_in(words)) if words else self.distinct

    def count(self, words: Sequence[str]) -> int:
        """How many values are one of these."""
        return int(self.counts.filter(self.distinct.is_in(words)).sum()) if words else 0

    @cached_property
    def missing_words(self) -> list[str]:
        """The known words for a missing value among the texts."""
        return list(self.distinct.filter(self.distinct.is_in(MISSING_WORDS)).to_list())


def guess_column(texts: Texts, numbers: FileNumbers, words: Sequence[str]) -> ColumnGuess:
    """A column's type and cleaning.

    Args:
        numbers: what the other columns of the file say about how numbers are written.
        words: that stand for a missing value in other columns of the file.
    """
    if not texts.filled:
        return guessed(texts, "string", "no value is there")
    for recognise in (as_bool, as_code, as_number, as_date):
        guess = recognise(texts, numbers)
        if guess is not None:
            return guess
    return as_text(texts, words)


class Read(NamedTuple):
    """A column's values as the source will read them, and the positions of those that do not fit."""

    values: pl.Series
    misfits: Sequence[int]


def read(texts: Texts, kind: ColumnKind, settings: Mapping[str, Any], missing: Sequence[Missing]) -> Read:
    array, misfits = typed_column(texts.texts, declared(texts.name, f"{kind}?", with_missing(settings, missing)))
    return Read(pl.Series(texts.name, pl.from_arrow(array)), list(misfits))


def with_missing(settings: Mapping[str, Any] | None, missing: Sequence[Missing]) -> dict[str, Any]:
    return dict(settings or {}) | ({"missing": list(missing)} if missing else {})


def declared(name: str, kind: str, settings: Mapping[str, Any]) -> Column:
    """The column as the source reads it by these settings."""
    return column_of(name, DeclaredColumn.model_validate({"type": kind, **settings}), TextSettings())


def guessed(
    texts: Texts,
    kind: ColumnKind,
    reason: str,
    settings: Mapping[str, Any] | None = None,
    missing: Sequence[Missing] = (),
    unclear: str = "",
    known: Read | None = None,
) -> ColumnGuess:
    """The guess, with its values. ``known``: these, where they were read before."""
    values, misfits = known or read(texts, kind, settings or {}, missing)
    rows = len(texts.bare)
    told = [reason]
    if texts.empty and texts.filled:
        told.append(f"blank in {texts.empty:,} of {rows:,}")
    words = [word for word in missing if isinstance(word, str)]
    if words:
        shown = listed([shorten(word, 20) for word in words])
        told.append(f"{shown}, {times(texts.count(words))}, stands for a missing value")
    if misfits:
        example, count = shorten(texts.bare[misfits[0]], MOST_SHOWN), f"{len(misfits):,} of {rows:,}"
        if len(misfits) == 1:
            told.append(f"{count} does not fit, {example}, and makes its row a reject")
        else:
            told.append(f"{count} do not fit, such as {example}, and make their rows rejects")
    optional, keys = bool(texts.empty or missing), with_missing(settings, missing)
    return ColumnGuess(texts.name, kind, optional, "; ".join(told), values, keys, unclear)


class Fitting:
    """Whether a column's texts fit a type: all but ``words`` for a missing value, or nearly all."""

    def __init__(self, texts: Texts, fits: pl.Series) -> None:
        """``fits``: which of the distinct texts do."""
        others = texts.distinct.filter(~fits).to_list()
        self.words = [text for text in others if text in MISSING_WORDS]
        strange = [text for text in others if text not in MISSING_WORDS]
        there, count = texts.filled - texts.count(self.words), texts.count(strange)
        rare = all(texts.count([text]) <= MOST_STRANGE for text in strange[:1])  # the commonest comes first
        nearly = there >= FEWEST and there - count >= EVIDENT * there and rare
        self.ok = there > 0 and len(self.words) <= MOST_WORDS and (not strange or nearly)


def as_bool(texts: Texts, numbers: FileNumbers) -> ColumnGuess | None:
    """Two words for true and false, both of which occur."""
    words = texts.missing_words
    there = sorted(texts.but(words).to_list())
    lower = {text.lower() for text in there}
    for true, false, is_known in TRUE_AND_FALSE:
        if lower == {true, false}:
            lists = {
                side: [text for text in there if text.lower() == word]
                for side, word in (("true", true), ("false", false))
            }
            return guessed(texts, "bool", f"only {listed(there)} occur", {} if is_known else lists, words)
    return None


def as_code(texts: Texts, numbers: FileNumbers) -> ColumnGuess | None:
    """Digits that are no quantity: with leading zeros, too many for a number, or named as a code."""
    there = texts.but(texts.missing_words)
    if not len(there) or not there.str.contains(DIGITS).all():
        return None
    zeros = there.filter(there.str.contains(LEADING_ZERO)).to_list()
    if zeros:
        count = f"{texts.count(zeros):,} of {len(texts.bare):,}"
        return code(texts, f"{count} begin with a zero that a number would lose, such as {zeros[0]}")
    if there.str.contains(LONG).any():
        return code(texts, "the digits are too many for a number of 64 bits")
    if is_named(texts.name, CODE_WORDS):
        return code(texts, "by its name the digits are a code, not a quantity")
    return None


def code(texts: Texts, why: str) -> ColumnGuess:
    return guessed(texts, "string", f"a text, as {why}", missing=missing_texts(texts, ()))


def as_number(texts: Texts, numbers: FileNumbers) -> ColumnGuess | None:
    guess = number_of(texts.distinct, texts.name, numbers)
    if guess is None:
        return None
    fitting = Fitting(texts, guess.fits(texts.distinct))
    if not fitting.ok:
        return None
    if guess.unclear:
        return guessed(texts, "string", guess.reason, unclear=guess.unclear)
    epoch = epoch_of(texts.name, texts.but(fitting.words)) if guess.kind == "int" and not guess.settings else None
    if epoch is not None:
        return guessed(texts, "timestamp", epoch.reason, epoch.settings, fitting.words)
    plain = read(texts, guess.kind, guess.settings, fitting.words)
    present = plain.values.drop_nulls()
    sentinels = numbers.sentinels_in(present)
    reason, missing = number_reason(guess, present, sentinels), [*fitting.words, *sentinels]
    return guessed(texts, guess.kind, reason, guess.settings, missing, known=None if sentinels else plain)


def number_reason(guess: NumberGuess, values: pl.Series, sentinels: Sequence[int | float]) -> str:
    others = values.filter(~values.is_in(pl.Series(sentinels, dtype=values.dtype).implode()))
    reason = f"{guess.reason} {range_of(others)}"
    if sentinels:
        shown = listed([f"{value:g}" for value in sentinels])
        count = times(len(values) - len(others))
        reason += f"; {shown}, {count}, is far from all others and stands for a missing value"
    return reason


def range_of(values: pl.Series) -> str:
    """The least and the greatest number, in words."""
    least, most = ends(values)
    if least == most:
        return f"that are always {least:g}"
    return f"from {least:,} to {most:,}" if values.dtype == pl.Int64 else f"from {least:g} to {most:g}"


def as_date(texts: Texts, numbers: FileNumbers) -> ColumnGuess | None:
    def nearly(dates: pl.Series) -> bool:
        return Fitting(texts, texts.distinct.is_in(dates.implode())).ok

    guess = format_of(texts.but(texts.missing_words), texts.bare, nearly)
    if guess is None:
        return None
    kind: ColumnKind = "string" if guess.unclear else "timestamp"
    return guessed(texts, kind, guess.reason, guess.settings, texts.missing_words, guess.unclear)


def as_text(texts: Texts, words: Sequence[str]) -> ColumnGuess:
    """Any text."""
    missing = missing_texts(texts, words)
    there = texts.but(missing)
    if not len(there):
        return guessed(texts, "string", "no value is there", missing=missing)
    example = shorten(there[0], MOST_SHOWN)
    reason = f"{len(there):,} different texts, such as {example}" if len(there) > 1 else f"always {example}"
    unclear = "; ".join(filter(None, (unclear_truth(texts), unclear_words(texts, missing))))
    return guessed(texts, "string", reason, missing=missing, unclear=unclear)


def unclear_truth(texts: Texts) -> str:
    """The words for true and false that nearly all texts are, and the declaration that reads them; empty for none."""
    lower = texts.distinct.str.to_lowercase()
    for true, false, is_known in TRUE_AND_FALSE:
        fits = lower.is_in([true, false])
        words = sorted(texts.distinct.filter(fits).to_list())
        if not fits.all() and lower.filter(fits).n_unique() == 2 and Fitting(texts, fits).ok:
            count = f"all but {texts.filled - texts.count(words):,} of {texts.filled:,} are {listed(words)}"
            how = "" if is_known else " with the keys true and false"
            return f'{count}: declare it "bool"{how} to make the others rejects'
    return ""


def unclear_words(texts: Texts, missing: Sequence[str]) -> str:
    """The known words for a missing value that are read as texts, and the setting that changes it; empty for none."""
    kept = [word for word in texts.missing_words if word not in missing]
    if not kept:
        return ""
    words = ", ".join(f'"{word}"' for word in kept)
    count = f"{listed(kept)}, {times(texts.count(kept))}, is read as a text"
    return f"{count}: missing = [{words}] reads it as a missing value"


def missing_texts(texts: Texts, words: Sequence[str]) -> list[str]:
    """The words among texts that stand for a missing value: MySQL's own; those that are hardly a value and occur twice,
    or in other columns of the file; and those of no letters that are missing in other columns."""

    def is_missing(word: str) -> bool:
        if word in NEVER_TEXT:
            return word == MYSQL or word in words or texts.count([word]) > 1
        return word in words and not word.isalpha()

    return [word for word in texts.missing_words if is_missing(word)]
