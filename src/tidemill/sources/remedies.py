"""Which settings of the pipeline file would read what was rejected.

Pure: a remedy follows from a reject, the declared columns and nothing else. It is offered, never applied: where several
settings would read a value, and differently, all are given.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import polars as pl

from tidemill.pipeline import Column, timestamp_pattern
from tidemill.sources.chunk import NOT_VALID, Reject
from tidemill.sources.text_values import typed_column

MISSING_WORDS = {"na", "n/a", "nan", "null", "none", "nil", "-", "--", "?", ".", "\\n", "missing", "unknown", "#n/a"}
TRUE_WORDS = ("j", "ja", "on", "oui", "o", "si", "sí", "s", "sim", "wahr", "w", "vrai", "tak", "да", "是", "x", "✓")
FALSE_WORDS = ("nee", "nein", "off", "non", "não", "falsch", "faux", "nie", "нет", "否")
NOTATIONS = ((",", None), (",", "."), (None, ","), (",", " "), (None, " "), (None, "'"), (",", "'"))
DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y%m%d", "%d %b %Y", "%d %B %Y",
         "%d-%b-%Y", "%b %d, %Y", "%B %d, %Y", "%d/%m/%y", "%m/%d/%y")  # fmt: skip
TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S", "%H%M%S", " %H:%M:%S %z")
EPOCH_OF_DIGITS = {9: "epoch", 10: "epoch", 12: "epoch_ms", 13: "epoch_ms", 15: "epoch_us", 16: "epoch_us"}
SIGNS_AROUND = re.compile(r"(?P<before>[^\d+\-.,]*)(?P<number>[+-]?[\d.,'\s]*\d)(?P<after>[^\d]*)")
DELIMITERS = {";": ";", "\t": r"\t", "|": "|", ",": ","}
MOST_REMEDIES = 3
MOST_SIGNS = 4  # characters of a unit or currency beside a number
VALUE = re.compile(r" is (?:'.*?['…]|\".*?[\"…]|[^'\"].*?), (?=not |which )")
FIELDS_EXPECTED = re.compile(r"\d+ fields? where (\d+) were expected")
POSITION = re.compile(r"\b(line|column|char|byte|position) \d+")


class Setting(NamedTuple):
    """A setting of a source, or of the table of ``column``, as it stands in the pipeline file.

    ``value`` is in TOML's notation. ``becomes`` is the value that it makes of the rejected text, where there is one.
    """

    name: str
    value: str
    column: str | None = None
    becomes: str = ""

    def __str__(self) -> str:
        return f"{self.name} = {self.value}"


def fault_pattern(columns: Sequence[Column]) -> re.Pattern[str]:
    """The pattern of a value, and of what stands between two faults of a reason (``end``)."""
    names = "|".join(re.escape(column.name) for column in columns)
    return re.compile(rf"{VALUE.pattern}|(?P<end>; (?=(?:{names}) is )|; and \d+ more$)")


def faults_in(reason: str, pattern: re.Pattern[str]) -> list[str]:
    """The faults of a reason, each one a reason itself. ``pattern``: that of the columns' :func:`fault_pattern`."""
    ends = [match.span() for match in pattern.finditer(reason) if match["end"]]
    starts = [0, *(end for _, end in ends)]
    stops = [*(start for start, _ in ends), len(reason)]
    return [reason[start:stop] for start, stop in zip(starts, stops, strict=True) if start < stop]


def reason_kind(reason: str) -> str:
    """A reason's first fault without its value: ``id is …, not a whole number``, whichever value it was."""
    without_value = VALUE.sub(" is …, ", reason, count=1)
    return POSITION.sub(r"\1 …", without_value.partition("; ")[0])


def remedies(reject: Reject, columns: Sequence[Column]) -> tuple[Setting, ...]:
    """The settings of which each would read the first fault of a record that was rejected; none where none is known."""
    named = [column for column in columns if reject.reason.startswith(f"{column.name} is ")]
    if not named:
        return tuple(layout_remedies(reject))
    column = max(named, key=lambda column: len(column.name))
    rest = reject.reason.removeprefix(f"{column.name} is ")
    if rest == "missing" or rest.startswith("missing ("):
        return (Setting("type", quoted(f"{column.kind}?"), column.name),)
    if "which occurs twice in" in rest:
        return (Setting("ambiguous", quoted("earliest"), column.name),)
    value = value_in(rest)
    return () if value is None else tuple(value_remedies(column, value))[:MOST_REMEDIES]


def remedies_beside_rows(reject: Reject, columns: Sequence[Column]) -> tuple[Setting, ...]:
    """The same for a reject beside rows that fit: by another delimiter these would not."""
    return tuple(setting for setting in remedies(reject, columns) if setting.name != "delimiter")


def value_in(reason: str) -> str | None:
    """The value at the beginning of a reason, as in ``'2,6', not a finite number``; None where it is cut short."""
    for match in re.finditer(r", (?:not |which )", reason):
        try:
            value = ast.literal_eval(reason[: match.start()])
        except (SyntaxError, ValueError):
            continue
        return value.strip() if isinstance(value, str) else None
    return None


def layout_remedies(reject: Reject) -> Iterator[Setting]:
    """The settings of the layout that would split a record otherwise, or decode it."""
    if NOT_VALID in reject.reason:
        yield Setting("encoding", quoted("windows-1252"))
    elif reject.text.startswith(("#", "//", "--")):
        yield Setting("comment", quoted(reject.text[: 1 if reject.text[0] == "#" else 2]))
    elif joins_records(reject):
        yield Setting("quote", '""')
    elif reject.reason.startswith("1 field "):
        counts = {sign: reject.text.count(sign) for sign in DELIMITERS}
        likely = max(counts, key=lambda sign: counts[sign])
        if counts[likely]:
            yield Setting("delimiter", quoted(DELIMITERS[likely]))
        elif len(reject.text.split()) > 1:
            yield Setting("delimiter", quoted("blanks"))
    elif '\\"' in reject.text:
        yield Setting("escape", r'"\\"')
    elif re.search(r'[,;|\t] +"', reject.text):
        yield Setting("trim", "true")
    elif '"' in reject.text and "quote" in reject.reason:
        yield Setting("quote", '""')


def joins_records(reject: Reject) -> bool:
    """Whether a record has several lines of which each has the expected number of fields if its quotes are text."""
    match, lines = FIELDS_EXPECTED.fullmatch(reject.reason), reject.text.splitlines()
    return (
        match is not None
        and len(lines) > 1
        and any(all(line.count(sign) == int(match[1]) - 1 for line in lines) for sign in DELIMITERS)
    )


def value_remedies(column: Column, value: str) -> Iterator[Setting]:
    """The settings with which the column would read ``value``."""
    if value.casefold() in MISSING_WORDS:
        yield Setting("missing", f"[{quoted(value)}]", column.name)
    elif column.kind in ("int", "float"):
        yield from number_remedies(column, value)
    elif column.kind == "bool":
        yield from word_remedies(column, value)
    elif column.kind == "timestamp":
        yield from format_remedies(column, value)


def number_remedies(column: Column, value: str) -> Iterator[Setting]:
    """Signs of numbers, signs around them, and the type that has a fraction. Each reading of a value is given once."""
    seen = set[str]()
    for decimal, thousands in NOTATIONS:
        cleaning = column.cleaning._replace(decimal=decimal, thousands=thousands)
        becomes = reading(column._replace(cleaning=cleaning), value)
        if becomes and becomes not in seen and (decimal is None or column.kind == "float"):
            seen.add(becomes)
            pairs = [("decimal", decimal), ("thousands", thousands)]
            (first, sign), *others = [(name, sign) for name, sign in pairs if sign is not None]
            more = "".join(f", {name} = {quoted(sign)}" for name, sign in others)
            yield Setting(first, quoted(sign) + more, column.name, becomes)
    if seen:
        return
    around = SIGNS_AROUND.fullmatch(value)
    signs = [sign.strip() for sign in (around["before"], around["after"]) if sign.strip()] if around else []
    if around and signs and max(map(len, signs)) <= MOST_SIGNS:
        becomes = reading(column, around["number"])
        if becomes:
            yield Setting("strip", f"[{', '.join(map(quoted, signs))}]", column.name, becomes)
    elif column.kind == "int" and reading(column._replace(kind="float"), value):
        yield Setting("type", quoted("float?" if column.optional else "float"), column.name)


def word_remedies(column: Column, value: str) -> Iterator[Setting]:
    for key, words in (("true", TRUE_WORDS), ("false", FALSE_WORDS)):
        if value.casefold() in words:
            yield Setting(key, f"[{quoted(value)}]", column.name)


def format_remedies(column: Column, value: str) -> Iterator[Setting]:
    """The formats of which a text may be."""
    epoch = EPOCH_OF_DIGITS.get(len(value)) if re.fullmatch("[0-9]+", value) else None
    forms = [date + time for time in TIMES for date in DATES]
    fitting = [form for form in forms if re.fullmatch(timestamp_pattern(form), value, re.IGNORECASE)]
    for form in [epoch] if epoch else fitting:
        becomes = reading(column._replace(cleaning=column.cleaning._replace(format=form)), value)
        if becomes:
            yield Setting("format", quoted(form), column.name, becomes)


def reading(column: Column, value: str) -> str:
    """The column's value of a text, as text; empty where it does not fit."""
    values, unfit = typed_column(pl.Series([value], dtype=pl.String), column)
    return "" if unfit or not values[0].is_valid else str(values[0].as_py())


def quoted(text: str) -> str:
    """A string of TOML; backslashes are escaped but for the one of a tab."""
    return f'"{text}"' if text == r"\t" else '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def hint_of(settings: Sequence[Setting], key: str) -> str:
    """The settings as a hint; ``key`` is the path of the data in the pipeline file. Empty where there is none."""
    if not settings:
        return ""
    where = f"{key}.columns.{settings[0].column}" if settings[0].column else f"[{key}]"
    several = len(settings) > 1
    shown = [f"{setting} ({setting.becomes})" if several and setting.becomes else str(setting) for setting in settings]
    return f"{' or '.join(shown)} in {where} would read it"
