"""Probes: synthetic rows on which a scorer is compared with Spark, beside real rows of the generation. Pure.

Faults of an exporter hide at rare categories, at the ends of numeric ranges and on the thresholds of trees, where real
rows seldom are. A probe is a real row with some of its features changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tidemill.scoring.features import Encoder, Feature
from tidemill.scoring.storage import Array
from tidemill.scoring.trees import LEAF

T = TypeVar("T")
Row = Mapping[str, Any]
Change = dict[str, Any]  # the features of a row that a probe changes

MOST_CATEGORIES = 600
MOST_NUMBERS = 400
MOST_THRESHOLDS = 500
LEAST_INT, MOST_INT = -(2**63), 2**63 - 1
MOST_TERMS = 300
UNSEEN = "never seen"
FIRST_HOURS = datetime(2024, 2, 29, tzinfo=UTC)
EDGES = [
    *(FIRST_HOURS + timedelta(hours=hour) for hour in range(24)),
    *(datetime(2025, month, 1, tzinfo=UTC) for month in range(1, 13)),  # and, a microsecond before, a month's end
    *(datetime(2023, month, day, 1, tzinfo=UTC) for month, day in ((3, 26), (10, 29), (3, 12), (11, 5))),
    *(datetime(year, 1, 1, tzinfo=UTC) for year in (1582, 1800, 1900, 1969, 1970, 2000, 2038, 2101)),
    *(datetime(2026, 11, day, 12, tzinfo=UTC) for day in range(23, 30)),
]
MOMENTS = [moment - step for moment in EDGES for step in (timedelta(), timedelta(microseconds=1))]


class Probes(NamedTuple):
    """``rows`` to score; ``probed``: for each kind of probe, how many are in ``rows`` and how many there are."""

    rows: list[dict[str, Any]]
    probed: dict[str, list[int]]


def probes(encoder: Encoder, arrays: Mapping[str, Any], sample: Sequence[Row], any_number: bool) -> Probes:
    """The probes of one model.

    Args:
        arrays: those of the scorer. If it has trees, they include the arrays of a ``Forest``.
        sample: real rows. The probes are made from them in turn; without rows there are no probes.
        any_number: whether the model takes numbers outside of their range in training.
    """
    if not sample:
        return Probes([], {})
    categories = [category_changes(feature) for feature in encoder.strings if not feature.is_calendar]
    most = MOST_CATEGORIES // max(1, len(categories))
    numbers = list(number_changes(encoder, any_number))
    kinds: dict[str, tuple[list[Change], int]] = {}
    if categories:
        changes = [change for of_feature in categories for change in spread(of_feature, most)]
        kinds["categories"] = ([*changes, *unseen_changes(encoder)], sum(map(len, categories)) + 1)
    if numbers:
        kinds["numbers"] = (spread(numbers, MOST_NUMBERS), len(numbers))
    if moments := moment_changes(encoder):
        kinds["moments"] = (moments, len(moments))
    if encoder.texts:
        kinds["terms"] = (list(term_changes(encoder)), encoder.term_count)
    made = [dict(base(sample, index)) | change for index, change in enumerate(flat(kinds))]
    probed = {kind: [len(changes), total] for kind, (changes, total) in kinds.items()}
    if "leaves" in arrays:  # those of a ``Forest``; ``roots`` would not do, as a mixture has them too
        trees = Trees(arrays, encoder)
        nodes = spread(trees.inner, MOST_THRESHOLDS)
        made += [row for index, node in enumerate(nodes) for row in trees.beside(node, base(sample, index))]
        probed["thresholds"] = [len(nodes), len(trees.inner)]
    return Probes(made, probed)


def flat(kinds: Mapping[str, tuple[list[Change], int]]) -> Iterator[Change]:
    return (change for changes, _ in kinds.values() for change in changes)


def base(sample: Sequence[Row], index: int) -> Row:
    """The real row that a probe is made from."""
    return sample[index % len(sample)]


def spread(values: Sequence[T], most: int) -> list[T]:
    """Up to ``most`` of the values, evenly spaced, with the first and the last."""
    indices = np.unique(np.linspace(0, len(values) - 1, min(len(values), most)).astype(np.intp))
    return [values[index] for index in indices.tolist()]


def unseen(feature: Feature) -> str:
    """A category that training has not seen."""
    name = UNSEEN
    while name in (feature.categories or ()):
        name += "!"
    return name


def category_changes(feature: Feature) -> list[Change]:
    """Each category, an unseen one and the empty string."""
    return [{feature.name: category} for category in dict.fromkeys(["", unseen(feature), *(feature.categories or ())])]


def unseen_changes(encoder: Encoder) -> list[Change]:
    """All string features with an unseen category at once."""
    return [{feature.name: unseen(feature) for feature in encoder.strings if not feature.is_calendar}]


def moment_changes(encoder: Encoder) -> list[Change]:
    """Each timestamp at midnights, ends of months and years, changes to and from summer time, and before 1970.

    In a named zone none before 1970 and after 2037: Java and Python may have other rules for it then.
    """
    zones = {feature.column: feature.zone for feature in encoder.features if feature.is_calendar}
    return [
        {name: moment}
        for name, zone in zones.items()
        for moment in MOMENTS
        if zone == "UTC" or 1970 < moment.year < 2037
    ]


def term_changes(encoder: Encoder) -> Iterator[Change]:
    """Texts of a single term, of several, of an unseen one, and of none."""
    for feature, known in zip(encoder.texts, encoder.vocabularies, strict=True):
        terms = spread(list(known.places), MOST_TERMS)
        texts = [*terms, " ".join(terms), f"{terms[0]} {UNSEEN} {terms[-1]} {terms[0]}", UNSEEN, ""]
        yield from ({feature.column: text} for text in texts)


def number_changes(encoder: Encoder, any_number: bool) -> Iterator[Change]:
    """The ends of each numeric feature; then all features at their minimum, and all at their maximum."""
    numeric = [feature for feature in encoder.numeric if feature.minimum is not None and not feature.is_calendar]
    for feature in numeric:
        yield from ({feature.name: value} for value in ends(feature, any_number))
    if len(numeric) > 1:
        yield {feature.name: ends(feature, False)[0] for feature in numeric}
        yield {feature.name: ends(feature, False)[-1] for feature in numeric}


def ends(feature: Feature, any_number: bool) -> list[Any]:
    """Minimum and maximum in training; with ``any_number`` also a value below and one above, at the same distance."""
    low, high = float(feature.minimum or 0.0), float(feature.maximum or 0.0)
    width = (high - low) or 1.0
    numbers = [low, high, *([low - width, high + width] if any_number and feature.kind != "bool" else [])]
    return [typed(feature, number) for number in numbers if math.isfinite(number)]


def typed(feature: Feature, number: float) -> Any:
    """A number in the feature's own type."""
    if feature.kind == "bool":
        return number != 0
    return min(max(round(number), LEAST_INT), MOST_INT) if feature.kind == "int" else number


# --- trees --------------------------------------------------------------------------------------------------------


@dataclass
class PathConstraints:
    """The values that a row needs to reach a node.

    By numeric feature: a value above one bound and up to another. By string feature: a certain code, or none of some.
    """

    above: dict[int, float] = field(default_factory=dict)
    up_to: dict[int, float] = field(default_factory=dict)
    codes: dict[int, int] = field(default_factory=dict)
    not_codes: dict[int, set[int]] = field(default_factory=dict)


class Trees:
    """The nodes of a model's trees (see ``scoring.trees.Forest``), and rows that reach them."""

    def __init__(self, arrays: Mapping[str, Any], encoder: Encoder) -> None:
        self.encoder = encoder
        self.features = {feature.name: feature for feature in encoder.features}
        self.position = arrays["place"].astype(np.intp)
        self.threshold: Array = arrays["threshold"]
        self.left, self.right = (arrays[side].astype(np.intp) for side in ("left", "right"))
        inner = np.flatnonzero(self.position != LEAF)
        self.parent = np.full(len(self.position), LEAF)
        self.parent[self.left[inner]] = self.parent[self.right[inner]] = inner
        self.inner: list[int] = inner.tolist()
        self.fixed = {feature.name for feature in encoder.features if feature.is_calendar}
        self.starts = len(encoder.numbers) + np.cumsum([0, *(len(known) for known in encoder.codes)])

    def beside(self, node: int, row: Row) -> Iterator[dict[str, Any]]:
        """The row, changed so that it reaches this node, with its number just below, at and above the threshold, or
        with the node's category and another one."""
        constraints = self.constraints(node)
        reaching = dict(row) | self.fitting_numbers(constraints, row) | self.fitting_categories(constraints, row)
        position, threshold = int(self.position[node]), float(self.threshold[node])
        if self.is_fixed(position):
            return
        if position < len(self.encoder.numbers):
            yield from (reaching | {self.encoder.numbers[position]: value} for value in self.sides(position, threshold))
            return
        block, code = self.category(position)
        yield reaching | {self.encoder.strings[block].name: list(self.encoder.codes[block])[code]}
        constraints.not_codes.setdefault(block, set()).add(code)
        yield reaching | self.fitting_categories(constraints, row)

    def is_fixed(self, position: int) -> bool:
        """Whether no value of a column is made for this position: terms, and parts of timestamps, have probes of their
        own."""
        block, _ = self.category(position)
        if block >= len(self.encoder.strings):
            return True
        return (self.encoder.numbers[position] if block < 0 else self.encoder.strings[block].name) in self.fixed

    def category(self, position: int) -> tuple[int, int]:
        """The index of the string feature whose block has this position of the feature vector, and the category's code.

        The index is -1 for a position in the numeric block, and the number of string features for one of a term.
        """
        block = int(np.searchsorted(self.starts, position, side="right")) - 1
        return block, position - int(self.starts[block])

    def constraints(self, node: int) -> PathConstraints:
        """The values that a row needs to reach the node."""
        constraints = PathConstraints()
        while (parent := int(self.parent[node])) != LEAF:
            if not self.is_fixed(int(self.position[parent])):
                self.constrain(constraints, parent, left=bool(self.left[parent] == node))
            node = parent
        return constraints

    def constrain(self, constraints: PathConstraints, node: int, left: bool) -> None:
        """Add what a row needs to go left, or right, at a node."""
        position, threshold = int(self.position[node]), float(self.threshold[node])
        block, code = self.category(position)
        if block >= 0 and left:
            constraints.not_codes.setdefault(block, set()).add(code)
        elif block >= 0:
            constraints.codes[block] = code
        elif left:
            constraints.up_to[position] = min(constraints.up_to.get(position, math.inf), threshold)
        else:
            constraints.above[position] = max(constraints.above.get(position, -math.inf), threshold)

    def fitting_numbers(self, constraints: PathConstraints, row: Row) -> Change:
        """The numeric features that have constraints, with values that fit; as they are where no value is found."""
        change = {}
        for position in constraints.above.keys() | constraints.up_to.keys():
            above, up_to = constraints.above.get(position, -math.inf), constraints.up_to.get(position, math.inf)
            name = self.encoder.numbers[position]
            around = [row[name], *(value for bound in (up_to, above) for value in self.sides(position, bound))]
            fitting = (value for value in around if above < self.scaled(position, value) <= up_to)
            change[name] = next(fitting, row[name])
        return change

    def fitting_categories(self, constraints: PathConstraints, row: Row) -> Change:
        """The string features that have constraints, with categories that fit."""
        change = {}
        for block in constraints.codes.keys() | constraints.not_codes.keys():
            feature, known = self.encoder.strings[block], self.encoder.codes[block]
            names = list(known)
            if block in constraints.codes:
                change[feature.name] = names[constraints.codes[block]]
            elif known.get(row[feature.name]) in constraints.not_codes[block]:
                fitting = (name for code, name in enumerate(names) if code not in constraints.not_codes[block])
                change[feature.name] = next(fitting, unseen(feature))
        return change

    def sides(self, position: int, threshold: float) -> list[Any]:
        """The feature's values nearest to a threshold: below it, at it if there is one, and above it."""
        if not math.isfinite(threshold):
            return []
        near = [(self.scaled(position, value), value) for value in self.near(position, threshold)]
        return [
            *max_of(near, lambda scaled: scaled < threshold),
            *max_of(near, lambda scaled: scaled == threshold),
            *max_of([(-scaled, value) for scaled, value in near], lambda scaled: -scaled > threshold),
        ]

    def near(self, position: int, threshold: float) -> list[Any]:
        """Candidates for the values nearest to a threshold, in the feature's own units and type."""
        feature = self.features[self.encoder.numbers[position]]
        if feature.kind == "bool":
            return [False, True]
        number = self.unscaled(position, threshold)
        if feature.kind == "int":
            return [typed(feature, round(number) + step) for step in (-1, 0, 1)]
        return [*steps(number, -math.inf), number, *steps(number, math.inf)]

    def scaled(self, position: int, value: Any) -> float:
        if self.encoder.scaling is None:
            return float(value)
        shift, factor, offset = self.encoder.scaling[:, position].tolist()
        return float((float(value) - shift) * factor + offset)

    def unscaled(self, position: int, number: float) -> float:
        if self.encoder.scaling is None:
            return number
        shift, factor, offset = self.encoder.scaling[:, position].tolist()
        return float((number - offset) / factor + shift) if factor else float(shift)


def steps(number: float, towards: float) -> list[float]:
    """The next few numbers in a direction, and some further ones, as scaling maps several to the same."""
    numbers = [number]
    for _ in range(3):
        numbers.append(math.nextafter(numbers[-1], towards))
    ulp = math.ulp(number)
    return [*numbers[1:], *(number + math.copysign(ulp * 2.0**power, towards) for power in (3, 6))]


def max_of(values: Sequence[tuple[float, Any]], fits: Callable[[float], bool]) -> list[Any]:
    """A list of the value whose number is the highest that fits; empty where none does."""
    fitting = [pair for pair in values if fits(pair[0])]
    return [max(fitting, key=lambda pair: pair[0])[1]] if fitting else []
