"""The type of a column, and how its values are to be cleaned, from their texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl

from tidemill.guessing.dates import DateGuess, epoch_of, format_of
from tidemill.guessing.numbers import FileNumbers, NumberGuess, number_of
from tidemill.guessing.words import CODE_WORDS, MISSING_WORDS, NEVER_TEXT, TRUE_AND_FALSE, is_named
from tidemill.pipeline import Column
from tidemill.pipeline.model import DeclaredColumn, column_of
from tidemill.sources.text_values import typed_column
from tidemill.texts import listed, shorten
from tidemill.types import ColumnKind

EVIDENT = 0.99  # the share of values that must fit a type where a few others are no known word for a missing value
FEWEST = 200  # of so many values at the least
MOST_WORDS = 4  # how many different words may stand for a missing value in one column
LEADING_ZERO = r"^0[0-9]+$"
DIGITS = r"^[0-9]+$"
LONG = r"^[+-]?[0-9]{19,}$"


@dataclass(frozen=True)
class ColumnGuess:
    """A column as it will be declared, why, and its values.

    Attributes:
        name: its name in the pipeline.
        kind, optional: its declared type.
        reason: what in the values the type and the settings rest on.
        settings: the keys of its table beside ``type``.
        values: those that were looked at, typed; null where one is missing or does not fit.
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
    """The texts of one column: ``bare`` without blanks around them, ``distinct`` of those that are not empty, the
    commonest first, with ``counts``."""

    def __init__(self, name: str, texts: pl.Series) -> None:
        self.name = name
        self.texts = texts
        self.bare = texts.str.strip_chars().fill_null("")
        filled = self.bare.filter(self.bare != "")
        table = filled.value_counts(sort=True, name="count")
        self.distinct = table[table.columns[0]]
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
        return [text for text in self.distinct.filter(self.distinct.is_in(MISSING_WORDS)).to_list()]


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


def guessed(
    texts: Texts,
    kind: ColumnKind,
    reason: str,
    settings: Mapping[str, Any] | None = None,
    missing: Sequence[str | int | float] = (),
    unclear: str = "",
) -> ColumnGuess:
    """The guess, with its values read as the source will read them."""
    settings = dict(settings or {}) | ({"missing": list(missing)} if missing else {})
    optional = bool(texts.empty or missing)
    column = declared(texts.name, f"{kind}?", settings)
    array, misfits = typed_column(texts.texts, column)
    values = pl.Series(texts.name, pl.from_arrow(array))
    told = [reason]
    if texts.empty and texts.filled:
        told.append(f"{texts.empty:,} of {len(texts.bare):,} are blank")
    if missing:
        told.append(missing_told(texts, missing))
    if misfits:
        unfit = next(iter(misfits))
        told.append(
            f"{len(misfits):,} of {len(texts.bare):,} do not fit, such as {shorten(texts.bare[unfit], 30)}, and are rejects"
        )
    return ColumnGuess(texts.name, kind, optional, "; ".join(told), values, settings, unclear)


def declared(name: str, kind: str, settings: Mapping[str, Any]) -> Column:
    """The column as the source reads it by these settings."""
    return column_of(name, DeclaredColumn.model_validate({"type": kind, **settings}))


def missing_told(texts: Texts, missing: Sequence[str | int | float]) -> str:
    words = [str(word) for word in missing]
    count = texts.count(words)
    return f"{listed([shorten(word, 20) if isinstance(word, str) else f'{word:g}' for word in missing])} in {count:,} of {len(texts.bare):,} stands for a missing value"


class Fitting:
    """Which of a column's texts a pattern fits: all but words for a missing value, or nearly all."""

    def __init__(self, texts: Texts, fits: Callable[[pl.Series], pl.Series]) -> None:
        others = texts.distinct.filter(~fits(texts.distinct)).to_list()
        self.words = [text for text in others if text in MISSING_WORDS]
        strange = texts.count([text for text in others if text not in MISSING_WORDS])
        there = texts.filled - texts.count(self.words)
        nearly = there >= FEWEST and there - strange >= EVIDENT * there
        self.ok = there > 0 and len(self.words) <= MOST_WORDS and (not strange or nearly)
        self.strange = strange


def as_bool(texts: Texts, numbers: FileNumbers) -> ColumnGuess | None:
    """Two words for true and false, both of which occur."""
    words = texts.missing_words
    there = texts.but(words)
    lower = set(there.str.to_lowercase().to_list())
    for true, false, known in TRUE_AND_FALSE:
        if lower == {true, false}:
            shown = sorted(there.to_list())
            settings = (
                {}
                if known
                else {
                    side: [text for text in shown if text.lower() == word]
                    for side, word in (("true", true), ("false", false))
                }
            )
            return guessed(texts, "bool", f"only the words {' and '.join(shown)} occur", settings, words)
    return None


def as_code(texts: Texts, numbers: FileNumbers) -> ColumnGuess | None:
    """Digits that are no quantity: with leading zeros, too many for a number, or named as a code."""
    there = texts.but(texts.missing_words)
    if not len(there) or not there.str.contains(DIGITS).all():
        return None
    zeros = texts.count(there.filter(there.str.contains(LEADING_ZERO)).to_list())
    if zeros:
        example = there.filter(there.str.contains(LEADING_ZERO))[0]
        return text_guess(
            texts,
            f"a text, as {zeros:,} of {len(texts.bare):,} begin with a zero that a number would lose, such as {example}",
        )
    if there.str.contains(LONG).any():
        return text_guess(texts, "a text, as its digits are too many for a number of 64 bits")
    if is_named(texts.name, CODE_WORDS):
        return text_guess(texts, "a text, as its name says that the digits are a code, not a quantity")
    return None


def text_guess(texts: Texts, reason: str) -> ColumnGuess:
    return guessed(texts, "string", reason, missing=[word for word in texts.missing_words if word in NEVER_TEXT])


def as_number(texts: Texts, numbers: FileNumbers) -> ColumnGuess | None:
    guess = number_of(texts.distinct, texts.name, numbers)
    if guess is None:
        return None
    fitting = Fitting(texts, guess.fits)
    if not fitting.ok:
        return None
    if guess.unclear:
        return guessed(texts, "string", guess.reason, unclear=guess.unclear)
    epoch = epoch_of(texts.name, texts.distinct) if guess.kind == "int" and not guess.settings else None
    if epoch is not None:
        return guessed(texts, "timestamp", epoch.reason, epoch.settings, fitting.words)
    settings = guess.settings
    plain = guessed(texts, guess.kind, "", settings, fitting.words)
    sentinels = numbers.sentinels_in(plain.present)
    return guessed(texts, guess.kind, number_reason(guess, plain, sentinels), settings, [*fitting.words, *sentinels])


def number_reason(guess: NumberGuess, plain: ColumnGuess, sentinels: Sequence[int | float]) -> str:
    values = plain.present.filter(~plain.present.is_in(sentinels)) if sentinels else plain.present
    ends = (
        f"{guess.reason} from {values.min():,} to {values.max():,}"
        if guess.kind == "int"
        else f"{guess.reason} from {values.min():g} to {values.max():g}"
    )
    if sentinels:
        count = int(plain.present.is_in(sentinels).sum())
        ends += f"; {listed([f'{value:g}' for value in sentinels])} ({count:,} times) is far from all others"
    return ends


def as_date(texts: Texts, numbers: FileNumbers) -> ColumnGuess | None:
    guess: DateGuess | None = format_of(texts.name, texts.but(texts.missing_words), texts.bare)
    if guess is None:
        return None
    if guess.unclear:
        return guessed(texts, "string", guess.reason, missing=texts.missing_words, unclear=guess.unclear)
    return guessed(texts, "timestamp", guess.reason, guess.settings, texts.missing_words)


def as_text(texts: Texts, words: Sequence[str]) -> ColumnGuess:
    """Any text. A word counts as missing where it is never a value, or is missing in other columns of the file and of
    no letters."""
    missing = [word for word in texts.missing_words if word in NEVER_TEXT or (word in words and not word.isalpha())]
    count = len(texts.distinct)
    example = shorten(texts.distinct[0], 30)
    reason = f"{count:,} different texts, such as {example}" if count > 1 else f"always {example}"
    return guessed(texts, "string", reason, missing=missing)


def each_text(columns: Mapping[str, pl.Series]) -> Iterator[Texts]:
    for name, values in columns.items():
        yield Texts(name, values)
