"""The settings of how text is written: its encoding, its layout, numbers, words for true and false, and zones."""

from __future__ import annotations

import codecs
import encodings.aliases
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from tidemill.errors import Fault
from tidemill.pipeline.part import table
from tidemill.texts import did_you_mean, shorten

BLANKS = "blanks"  # the delimiter that stands for one or more blanks or tabs
DEFAULT_DELIMITER = ","
DEFAULT_QUOTE = '"'
DEFAULT_ENCODING = "utf-8"
TRUE = ("true", "t", "yes", "y", "1")
FALSE = ("false", "f", "no", "n", "0")
KINDS_OF_SETTING = {  # the column types that a setting of a column's table is for
    "decimal": ("int", "float"),
    "thousands": ("int", "float"),
    "true": ("bool",),
    "false": ("bool",),
    "timezone": ("timestamp",),
    "ambiguous": ("timestamp",),
}
EPOCHS: Mapping[str, int] = {"epoch": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}  # the microseconds of one unit

# Codecs that decode text but are no encoding of files, or that cannot read one from its beginning.
UNSUITABLE = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "utf_7", "mbcs", "oem"}
WITHOUT_ALIAS = ("cp720", "cp737", "cp856", "cp874", "cp875", "cp1006", "koi8_r", "koi8_t", "koi8_u", "utf_8_sig")

Format = Literal["csv", "jsonl", "json", "parquet"]
Decimal = Literal[".", ","]
Thousands = Literal[",", ".", " ", "'", "\u2019", "_"]
Ambiguous = Literal["earliest", "latest"]


class NotKnown(ValueError):
    """A name that does not exist. ``hint``: the one that may be meant."""

    def __init__(self, expected: str, hint: str) -> None:
        super().__init__(expected)
        self.hint = hint


def encoding(name: str) -> str:
    """``name`` if it is an encoding of text files, by any of Python's names for it.

    Raises:
        NotKnown: it is none.
    """
    if not is_suitable(name):
        known = {alias.replace("_", "-") for pair in encodings.aliases.aliases.items() for alias in pair}
        hint = nearest(name.lower().replace("_", "-"), sorted(filter(is_suitable, known.union(WITHOUT_ALIAS))))
        raise NotKnown('an encoding, such as "utf-8", "utf-16" or "windows-1252"', hint)
    return name


def is_suitable(name: str) -> bool:
    try:
        codec = codecs.lookup(name)
        b"A".decode(name, "replace")  # refused by codecs that do not decode to text
    except (LookupError, ValueError):
        return False
    return codec.name.replace("-", "_") not in UNSUITABLE


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint with the name that is meant; empty where none is close, as there are hundreds."""
    hint = did_you_mean(name, known)
    return hint if hint.startswith("did you mean") else ""


def is_encoding(name: str, canonical: str) -> bool:
    """Whether ``name`` is one of Python's names of the encoding ``canonical``."""
    return codecs.lookup(name).name == codecs.lookup(canonical).name


def delimiter(text: str) -> str:
    """Raises ValueError: it is neither one character nor "blanks"."""
    if text != BLANKS and (len(text) != 1 or text in '"\r\n'):
        raise ValueError('one character that is neither a quote nor a line end, such as ";", or "blanks"')
    return text


def escape(text: str) -> str:
    """Raises ValueError: it is not one sign."""
    if len(text) != 1 or text.isalnum() or text.isspace() or text == '"':
        raise ValueError("one sign, such as '\\\\'")
    return text


def quote(text: str) -> str:
    """Raises ValueError: it is neither one sign nor empty."""
    if text and (len(text) != 1 or text.isalnum() or text.isspace()):
        raise ValueError('one sign, such as "\'", or "" where quotes are part of the values')
    return text


def zone(name: str) -> str:
    """Raises NotKnown: there is no such IANA time zone."""
    known = zoneinfo.available_timezones() - {"Factory", "localtime"}
    if name not in known:
        raise NotKnown('an IANA time zone, such as "Europe/Amsterdam"', nearest(name, sorted(known)))
    return name


def word(value: object) -> str:
    """A word for true or false, as text. A whole number stands for its digits."""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise ValueError('a word, such as "yes"')
    return str(value).strip()


Encoding = Annotated[str, AfterValidator(encoding)]
Delimiter = Annotated[str, AfterValidator(delimiter)]
Escape = Annotated[str, AfterValidator(escape)]
Quote = Annotated[str, AfterValidator(quote)]
Zone = Annotated[str, AfterValidator(zone)]
Word = Annotated[Any, AfterValidator(word)]


def same_words(true: Sequence[str], false: Sequence[str]) -> list[str]:
    """The words that stand for both true and false; upper and lower case are the same."""
    lower = {text.casefold() for text in true}
    return [text for text in false if text.casefold() in lower]


def layout_faults(path: str, data: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults between the settings of how the text of a source or table is laid out."""
    blanks = data.get("delimiter") == BLANKS
    if blanks and data.get("escape"):
        yield Fault(f"{path}.escape", shorten(data["escape"]), f'none with delimiter = "{BLANKS}"')
    if data.get("delimiter") == " " and data.get("trim"):
        yield Fault(f"{path}.delimiter", "a blank, which trim takes away", f'delimiter = "{BLANKS}"')
    if data.get("escape") and data.get("escape") == data.get("delimiter"):
        yield Fault(f"{path}.escape", "the delimiter", "another character")
    for key, other in (("delimiter", data.get("delimiter", DEFAULT_DELIMITER)), ("escape", data.get("escape"))):
        if data.get("quote") and data.get("quote") == other:
            yield Fault(f"{path}.quote", f"the {key}", "another character")
    faults = list(text_faults(path, data))
    yield from faults
    for name, column in table(data, "columns").items():
        if isinstance(column, Mapping) and not faults:
            own = {key: column[key] for key in KINDS_OF_SETTING if key in column}
            yield from text_faults(f"{path}.columns.{name}", {**data, **own}) if own else ()


def text_faults(path: str, settings: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults between the settings of how values are written, of a source or a column."""
    decimal, thousands = settings.get("decimal", "."), settings.get("thousands")
    if thousands is not None and thousands == decimal:
        other = "," if decimal == "." else "."
        found = f'"{thousands}", which is the decimal sign'
        yield Fault(f"{path}.thousands", found, "another sign", f'or decimal = "{other}"')
    lists = [settings.get("true", list(TRUE)), settings.get("false", list(FALSE))]
    if all(isinstance(words, list) for words in lists):
        both = same_words(*([str(text) for text in words] for words in lists))
        if both:
            key = "false" if "false" in settings else "true"
            yield Fault(f"{path}.{key}", f"{shorten(both[0])}, which stands for true and for false", "one of them")
    if "ambiguous" in settings and "timezone" not in settings:
        yield Fault(f"{path}.ambiguous", shorten(settings["ambiguous"]), "none without timezone")


def column_setting_faults(path: str, column: Mapping[str, Any], kind: str) -> Iterator[Fault]:
    """The settings of a column's table that are for columns of another type."""
    for key, kinds in KINDS_OF_SETTING.items():
        if key in column and kind not in kinds:
            yield Fault(f"{path}.{key}", shorten(column[key]), f"none: the column is {kind}, not {' or '.join(kinds)}")
