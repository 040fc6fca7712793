"""The layout of a CSV text: lines above the header, delimiter, quotes, header."""

from __future__ import annotations

import io
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tidemill.errors import SourceError
from tidemill.guessing.words import MISSING_WORDS
from tidemill.pipeline import BLANKS, DEFAULT_QUOTE
from tidemill.sources.readers.csv_records import Dialect, RecordBlock, Records, TextLines
from tidemill.texts import shorten

LOOKED_AT = 400  # records that the layout is judged by
SNIFFED = 2**18  # characters
MOST_RECORDS = 200_000  # of a piece of the file
COMMENT = "#"
NO_QUOTES = "quotes are part of the values: taken as quotes, they leave fewer records with all fields"
DELIMITERS = (",", ";", "\t", "|", BLANKS)
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", BLANKS: "blanks"}
EXCELS_OWN = re.compile(r'\ufeff?"?sep=(.)"?\s*', re.IGNORECASE)
LOOKS_LIKE_VALUE = re.compile(
    r"[-+(]?[$€£¥₹]?[\d.,:/TZ+\- ]*\d[\d.,:/TZ+\- ]*([eE][+-]?\d+)?\s?([%$€£]|[ap]m)?\)?", re.IGNORECASE
)
YEAR = re.compile("(19|20)[0-9]{2}")
MOST_NAME = 64  # characters of a column's name; a longer first field is a value
REPEATED = 3  # how often the texts of a column occur, on average, where a text that none of them is names them
FITTING = 0.9  # the share of records that must have the same number of fields


class CsvLayout(NamedTuple):
    """The layout.

    Attributes:
        delimiter: one character, or ``"blanks"``.
        quote: the sign around values that have a delimiter in them; empty where quotes are part of the values.
        escape: the character before a quote that belongs to a value; empty where such quotes are doubled.
        skip: how many lines stand above the header or the first row.
        comment: what a line that is no record begins with; empty for none.
        trim: whether blanks stand around the values.
        header: whether the first record names the columns.
        names: those of the columns where two records name them; they are among the lines that are skipped.
        width: how many fields a record has.
        trailing: 1 where each row of a file without a header ends with a delimiter, else 0.
        reasons: by setting, why.
    """

    delimiter: str
    quote: str = DEFAULT_QUOTE
    escape: str = ""
    skip: int = 0
    comment: str = ""
    trim: bool = False
    header: bool = True
    names: tuple[str, ...] = ()
    width: int = 1
    trailing: int = 0
    reasons: dict[str, str] = {}  # noqa: RUF012  # a default that is never changed


class CsvRecords(NamedTuple):
    """The records of a text that have the expected number of fields, and how many have not."""

    rows: list[list[str]]
    ragged: int


def layout_of(label: str, text: str) -> CsvLayout:
    """The layout of a text, from its first records.

    Raises:
        SourceError: no delimiter makes records of one length of it.
    """
    named = EXCELS_OWN.fullmatch(text.partition("\n")[0])
    candidates = [named[1]] if named else [*sniffed(text), *DELIMITERS]
    tried = [fit for delimiter in dict.fromkeys(candidates) for fit in fits(text, delimiter, int(bool(named)))]
    good = [fit for fit in tried if fit.share >= FITTING and fit.layout.width > 1]
    good = without_decimal_commas(good)
    if not good and "," not in text[:SNIFFED]:
        good = [fit for fit in tried if fit.layout.delimiter == "," and fit.records]  # a single column
    if not good:
        found = max(tried, key=lambda fit: (fit.layout.width > 1, fit.share)).layout.delimiter
        by = NAMES.get(found, found)
        raise SourceError(
            f"can't tell how {label} is laid out: between {by} its records have different numbers of fields",
            "give a file whose records all have the same fields, or write the pipeline file yourself: delimiter, "
            "quote, skip, comment and escape in [source] say how it is laid out",
        )
    chosen = good[0]
    if chosen.layout.delimiter == "\t" and is_aligned(text):
        chosen = max((fit for fit in good if fit.layout.delimiter in ("\t", BLANKS)), key=lambda fit: fit.layout.width)
    return with_header(chosen)


def without_decimal_commas(good: Sequence[Fit]) -> list[Fit]:
    """The layouts without those that take decimal commas for delimiters; or that by commas alone, where only by it each
    line is a record, the header too."""
    decimal = [fit for fit in good if has_decimal_commas(fit)]
    if not decimal:
        return list(good)
    skipped = min(fit.layout.skip for fit in decimal)
    whole = [fit for fit in good if fit.layout.delimiter == "," and fit.layout.skip < skipped and fit.share == 1]
    return whole or [fit for fit in good if fit.layout.delimiter != ","]


def has_decimal_commas(fit: Fit) -> bool:
    """Whether another sign than the comma stands between the fields, and commas within numbers alone: records of
    numbers such as ``1;2,5`` have the same number of fields between commas too."""
    with_comma = [field for record in fit.records[1:] for field in record if "," in field]
    alone = fit.layout.delimiter not in (",", BLANKS)  # a blank stands between a date and the next field too
    return alone and bool(with_comma) and all(map(looks_like_value, with_comma))


def is_aligned(text: str) -> bool:
    """Whether nearly every line has several blanks in a row, as where columns are aligned by them."""
    lines = [line for line in text[:SNIFFED].split("\n") if line.strip()]
    return sum("  " in line.strip() for line in lines) >= FITTING * len(lines)


class Fit(NamedTuple):
    """A layout that was tried, the first records by it with their lines, and the share of them that have its width."""

    layout: CsvLayout
    records: list[list[str]]
    starts: list[int]
    share: float


def sniffed(text: str) -> list[str]:
    """The delimiter that DuckDB finds; none where it finds none."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
        path = Path(folder, "head.csv")
        path.write_text(text[:SNIFFED], encoding="utf-8", errors="replace", newline="")
        try:
            row = duckdb.execute("select delimiter from sniff_csv(?)", [str(path)]).fetchone()
        except duckdb.Error:
            return []
    return [row[0]] if row and row[0] in DELIMITERS else []


def fits(text: str, delimiter: str, begins: int) -> Iterator[Fit]:
    """The layouts with this delimiter, that with the greatest share first: quotes doubled, or with a backslash before
    them, or no quotes, or other ones, each where there are such. Other quotes that are rare must gain records."""
    head = text[:SNIFFED]
    layouts = [CsvLayout(delimiter, skip=begins)]
    if delimiter != BLANKS and '\\"' in head:
        layouts.append(CsvLayout(delimiter, escape="\\", skip=begins))
    if '"' in head and not is_quoted(head, delimiter, '"'):
        layouts.append(CsvLayout(delimiter, quote="", skip=begins))
    if is_quoted(head, delimiter, "'") and not is_quoted(head, delimiter, '"'):
        common = 2 * len(quoted_fields(head, delimiter, "'")) > head.count("\n")
        layouts.insert(0 if common else len(layouts), CsvLayout(delimiter, quote="'", skip=begins))
    yield from sorted((fit_of(text, layout) for layout in layouts), key=lambda fit: -fit.share)  # stable


def is_quoted(text: str, delimiter: str, quote: str) -> bool:
    """Whether most of these quotes stand around whole fields."""
    fields = quoted_fields(text, delimiter, quote)
    return bool(fields) and 2 * sum(field.count(quote) for field in fields) > text.count(quote)


def quoted_fields(text: str, delimiter: str, quote: str) -> list[str]:
    """The fields of one line that have a quote on either side."""
    between = r"[ \t]" if delimiter == BLANKS else re.escape(delimiter)
    whole = rf"(?:(?<={between})|^) *{quote}(?:[^{quote}\n]|{quote}{quote})*{quote} *(?={between}|\r?$)"
    return re.findall(whole, text, re.MULTILINE)


def fit_of(text: str, layout: CsvLayout) -> Fit:
    """The layout with its width, and what stands above and between the records."""
    layout = layout._replace(trim=is_spaced(text, layout.delimiter))
    block = block_of(text, layout, LOOKED_AT)
    widths = Counter(map(len, block.fields))
    width = max(widths, key=lambda width: (widths[width], width), default=1)
    first = next((index for index, record in enumerate(block.fields) if len(record) == width), 0)
    above, below = block.fields[:first], block.fields[first:]
    comment = COMMENT if has_comments([*above, *(record for record in below if len(record) != width)], below) else ""
    skip = block.starts[first] - 1 if block.starts and not (comment and are_comments(above)) else layout.skip
    skip = 0 if skip == 1 and EXCELS_OWN.fullmatch(text.partition("\n")[0]) else skip  # the reader knows that line
    starts = block.starts[first:]
    kept = [each for each in zip(starts, below, strict=True) if not (comment and are_comments([each[1]]))]
    fitting = [each for each in kept if len(each[1]) == width]
    layout = layout._replace(skip=skip, comment=comment, width=width)
    layout = layout._replace(reasons=reasons_of(layout, text, len(fitting)))
    share = len(fitting) / (len(kept) + len(block.broken)) if fitting else 0.0
    return Fit(layout, [record for _, record in fitting], [start for start, _ in fitting], share)


def reasons_of(layout: CsvLayout, text: str, fitting: int) -> dict[str, str]:
    between = NAMES.get(layout.delimiter, repr(layout.delimiter))
    reasons = {"delimiter": f"{between} stand between the fields of {fitting:,} records"}
    if layout.skip:
        lines = "the first line is" if layout.skip == 1 else f"the first {layout.skip} lines are"
        reasons["skip"] = f"{lines} no record: {shorten(text.partition(chr(10))[0].strip(), 40)}"
    if layout.comment:
        reasons["comment"] = f"lines that begin with {layout.comment} are no records"
    if layout.quote != DEFAULT_QUOTE:
        reasons["quote"] = f"{layout.quote} stands around values" if layout.quote else NO_QUOTES
    if layout.escape:
        reasons["escape"] = "a quote inside a value has a backslash before it"
    if layout.trim:
        reasons["trim"] = "a blank stands after each delimiter"
    return reasons


def is_spaced(text: str, delimiter: str) -> bool:
    """Whether a blank follows nearly every delimiter."""
    head = text[:SNIFFED]
    count = 0 if delimiter == BLANKS else head.count(delimiter)
    return count > 0 and head.count(f"{delimiter} ") >= FITTING * count


def has_comments(others: Sequence[Sequence[str]], records: Sequence[Sequence[str]]) -> bool:
    """Whether some of the lines that are no records are comments, and no record begins as those do."""
    marked = [record for record in others if are_comments([record])]
    return bool(marked) and not are_comments(records[:1])


def are_comments(records: Sequence[Sequence[str]]) -> bool:
    return all(record[0].startswith(COMMENT) for record in records)


def block_of(text: str, layout: CsvLayout, most: int) -> RecordBlock:
    """The first records, as the source will read them."""
    lines = TextLines(io.StringIO(text, newline=""))
    lines.skip(layout.skip)
    dialect = Dialect(layout.delimiter, layout.quote, layout.escape or None, layout.trim, layout.comment or None)
    block = Records(lines, dialect).take(most)
    if layout.trim:
        block.fields = [[field.strip() for field in record] for record in block.fields]
    return block


def records_of(text: str, layout: CsvLayout, is_head: bool, is_end: bool = True) -> CsvRecords:
    """The records of a piece of the file, without its header. Where the piece was cut out within a record of several
    lines, the parts of that one are no records."""
    begins = int(is_head and not layout.skip and bool(EXCELS_OWN.fullmatch(text.partition("\n")[0])))
    block = block_of(text, layout._replace(skip=layout.skip + begins if is_head else 0), MOST_RECORDS)
    named = int(is_head and layout.header)
    by_start = dict(zip(block.starts[named:], block.fields[named:], strict=True))
    rows = {start: record for start, record in by_start.items() if len(record) == layout.width}
    unfit = [start for start in (*by_start, *block.broken) if start not in rows]
    first = 0 if is_head else min(rows, default=0)
    last = max(unfit, default=0) if is_end else max(rows, default=0)
    return CsvRecords(list(rows.values()), sum(first <= start <= last for start in unfit))


# --- the header ---------------------------------------------------------------------------------------------------


def with_header(fit: Fit) -> CsvLayout:
    layout, records = fit.layout, fit.records
    if are_names_below_names(records):
        return with_two_headers(fit)
    header, reason = has_header(records)
    trailing = int(not header and layout.width > 1 and not any(record[-1].strip() for record in records))
    return layout._replace(header=header, trailing=trailing, reasons=layout.reasons | {"header": reason})


def are_names_below_names(records: Sequence[list[str]]) -> bool:
    """Whether the second record has names too, or units, as the first one has: above at least two columns of numbers or
    dates, different ones, and no value."""
    columns = list(zip(*records[2:], strict=True))
    places = [index for index, column in enumerate(columns) if are_values([field.strip() for field in column])]
    for record in records[:2]:
        above = {record[index].strip() for index in places} - {""}
        if len(above) < 2 or not all(map(is_name, above)):
            return False
    return bool(places)


def with_two_headers(fit: Fit) -> CsvLayout:
    """The layout with the names of two records, joined. Where the upper one has none, that before it holds on."""
    upper, lower = ([field.strip().removeprefix("\ufeff") for field in record] for record in fit.records[:2])
    names: list[str] = []
    group = ""
    for index, (above, below) in enumerate(zip(upper, lower, strict=True), start=1):
        group = above or group
        name = " ".join(filter(None, [group if below else above, below])) or f"column_{index}"
        while name in names:
            name = f"{name} {index}"
        names.append(name)
    trailing = int(not any(record[-1].strip() for record in fit.records))
    reasons = {
        "skip": "the lines above the first row are skipped",
        "header": f"two records name the columns, {shorten(names[0], 30)} first: the columns go by their position",
    }
    return fit.layout._replace(
        header=False,
        names=tuple(names[:-1] if trailing else names),
        skip=fit.starts[2] - 1,
        trailing=trailing,
        reasons=fit.layout.reasons | reasons,
    )


def has_header(records: Sequence[list[str]]) -> tuple[bool, str]:
    """Whether the first record names the columns, and why."""
    first, below = records[0], records[1:]
    if not below:
        named = not any(looks_like_value(field) for field in first)
        return named, "it is the only record" + (", and has no number" if named else ", and has a number")
    columns = [[record[index].strip() for record in below] for index in range(len(first))]
    values = [index for index, column in enumerate(columns) if are_values(column)]
    above = [index for index in values if is_name(first[index])]
    if above:
        index = above[0]
        return True, f"the first record has {shorten(first[index], 30)} where the records below have numbers or dates"
    years = [int(first[index]) for index in values if YEAR.fullmatch(first[index].strip())]
    if len(years) == len(values) > 1 and years == list(range(years[0], years[0] + len(years))):
        return True, f"the first record has the years {years[0]} to {years[-1]} above the numbers"
    if values:
        index = values[0]
        return False, f"the first record has {shorten(first[index].strip(), 30)}, a value as in the records below it"
    return has_header_of_texts(first, columns)


def has_header_of_texts(first: Sequence[str], columns: Sequence[Sequence[str]]) -> tuple[bool, str]:
    """The same for records of texts alone."""
    for field, column in zip(first, columns, strict=True):
        if field.strip() and field.strip() in column:
            return False, f"{shorten(field.strip(), 30)} of the first record occurs in later ones too"
    for index, column in enumerate(columns):
        categories = set(column) - {""}
        if 1 < len(categories) <= len(column) / REPEATED:
            name = shorten(first[index].strip(), 30)
            return True, f"the records below {name} of the first record repeat {len(categories)} other texts"
    for field in first:
        if len(field) > MOST_NAME:
            return False, f"the first record has a value of {len(field)} characters, too long for a name"
    filled = [field.strip() for field in first if field.strip()]
    if len(set(filled)) < len(filled):
        return False, "the first record has a value twice"
    return True, "no value of the first record occurs again below it"


def is_name(field: str) -> bool:
    return bool(field.strip()) and not looks_like_value(field) and field.strip() not in MISSING_WORDS


def looks_like_value(field: str) -> bool:
    return bool(LOOKS_LIKE_VALUE.fullmatch(field.strip()))


def are_values(column: Sequence[str]) -> bool:
    """Whether all that is there are numbers or dates."""
    there = [field for field in column if field and field not in MISSING_WORDS]
    return bool(there) and all(map(looks_like_value, there))
