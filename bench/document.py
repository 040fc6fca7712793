"""The document of the benchmark, written from its results alone."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.lines import LINES
from bench.promises import Promise, held, unreached
from bench.results import Results
from bench.support.lines import Figure, Line, Measured, Unit

OTHERS = "\n## What judging costs"  # from here on the figures of other scripts, which are kept
WIDTH = 128
HEAD = """# Benchmarks

Made by `make bench` from {first} to {last} on a machine that did nothing else: {cores} cores ({processor}), {memory} of
memory, {system}. Files are in memory, so that no disk is measured.

{versions}

The programs of a line take turns, so that each round measures all of them on the same machine at about the same time.
A ratio is that of the medians; behind it stands the range of the ratios of single rounds, where there were several. A
*peer* does the same work as people do it without Tidemill. A *limit* is a part of the work alone, or the same by the
plainest program. *From ready to done* leaves out the start of a process. *Promised* is the bound at which `make bench`
fails; one without a ratio holds on two cores. What `make bench` does not measure is at the end, with its own dates.
"""
KINDS = {"ours": "Tidemill", "peer": "peer", "limit": "limit", "part": ""}


def write(path: Path, results: Results) -> None:
    """Write the document, and keep what other scripts wrote into it."""
    former = path.read_text() if path.exists() else ""
    _, heading, others = former.partition(OTHERS)
    path.write_text(text(results) + heading + others)


def text(results: Results) -> str:
    lines = [line for line in LINES if line.key in results.lines]
    dates = sorted(results.dates[line.key] for line in lines)
    names = ", ".join(f"{name} {number}" for name, number in results.versions.items() if number != "none")
    head = HEAD.format(first=dates[0], last=dates[-1], versions=wrapped(f"{names}.").strip(), **results.machine)
    if dates[0] == dates[-1]:
        head = head.replace(f"from {dates[0]} to {dates[-1]}", f"on {dates[0]}")
    sections = (section(line, results.lines[line.key]) for line in lines)
    return "\n".join([head, promises_table(results.lines), *goals_table(results.lines), *sections])


def promises_table(measured: Mapping[str, Measured], quick: bool = False) -> str:
    """Each promise, beside what was reached."""
    rows = [promise_row(promise, measured[promise.line]) for promise in held(measured, quick)]
    heading = ("what", "median", "beside", "ratio", "promised", "")
    return "## What is promised\n\n" + table(heading, rows)


def goals_table(measured: Mapping[str, Measured]) -> Iterable[str]:
    """The goals that are not reached, beside what was; nothing where there is none."""
    goals = unreached(measured)
    if goals:
        rows = [(*promise_row(goal, measured[goal.line])[:-1], why) for goal, why in goals.items()]
        yield "## What is not reached\n\n" + table(("what", "median", "beside", "ratio", "wanted", "why not"), rows)


def promise_row(promise: Promise, measured: Measured) -> Sequence[str]:
    line = next(line for line in LINES if line.key == promise.line)
    figure = figure_of(line, promise.figure)
    median = measured.median(promise.figure)
    reached = "not measured" if median is None else with_unit(median, figure.unit)
    kept = {True: "kept", False: "**missed**", None: ""}[promise.kept(measured)]
    if promise.of is None:
        return (f"{line.title}: {figure.title}", reached, "", "", bound(promise, figure.unit), kept)
    other = figure_of(line, promise.of)
    beside = measured.median(promise.of)
    against = "" if beside is None else f"{other.title}: {with_unit(beside, other.unit)}"
    ratio = measured.ratio(promise.figure, promise.of)
    return (
        f"{line.title}: {figure.title}",
        reached,
        against,
        "" if ratio is None else f"{times(ratio)}{spread(measured.pairs(promise.figure, promise.of))}",
        bound(promise, None),
        kept,
    )


def bound(promise: Promise, unit: Unit | None) -> str:
    """The words of a promise's bound: in a unit, or as a ratio."""
    word, value = ("at least", promise.least) if promise.least is not None else ("at most", promise.most)
    assert value is not None
    return f"{word} {value:,g}" + (f" {unit}" if unit else "")


def figure_of(line: Line, key: str) -> Figure:
    return next(figure for figure in line.figures if figure.key == key)


def section(line: Line, measured: Measured) -> str:
    """How a line is measured, and all of its figures."""
    sizes = {name: f"{size:,}" for name, size in measured.sizes.items()}
    how = wrapped(line.how.format(**sizes))
    figures = [figure for figure in line.figures if figure.key in measured.values]
    ours = next((figure for figure in figures if figure.kind == "ours"), None)
    rows = [figure_row(figure, ours, measured) for figure in figures]
    rounds = max(len(values) for values in measured.values.values())
    heading = ("", "", "minimum", "median", "maximum", f"ratio to it of {first_words(ours)}" if ours else "")
    count = "once" if rounds == 1 else f"{rounds} times"
    return f"## {line.title}\n\n{how}\nMeasured {count}.\n\n{table(heading, rows)}"


def first_words(figure: Figure) -> str:
    return figure.title.split(", start")[0]


def figure_row(figure: Figure, ours: Figure | None, measured: Measured) -> Sequence[str]:
    values = measured.values[figure.key]
    low, high, median = min(values), max(values), measured.median(figure.key)
    assert median is not None
    comparable = ours and figure is not ours and figure.kind in ("peer", "limit") and figure.unit == ours.unit
    ratio = measured.ratio(ours.key, figure.key) if ours and comparable else None
    shown = "" if ratio is None or ours is None else times(ratio) + spread(measured.pairs(ours.key, figure.key))
    numbers = (with_unit(low, figure.unit), with_unit(median, figure.unit), with_unit(high, figure.unit))
    return (figure.title, KINDS[figure.kind], *numbers, shown)


def spread(pairs: Sequence[float]) -> str:
    """The range of the ratios of single rounds; nothing for one."""
    return f" ({times(min(pairs))} to {times(max(pairs))})" if len(pairs) > 1 else ""


def times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 20 else f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"


def with_unit(value: float, unit: Unit) -> str:
    """A figure to three digits."""
    if unit == "MiB":
        return f"{value:,.0f} {unit}"
    digits = max(0, 2 - len(str(int(value))) + 1) if value < 1000 else 0
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.{digits}f} {unit}"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [row_of(heading), f"|{'---|' * len(heading)}", *map(row_of, rows)]
    return "".join(f"{line}\n" for line in lines)


def row_of(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def wrapped(text: str) -> str:
    """The text in lines of at most ``WIDTH`` characters, with an end of line."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"
