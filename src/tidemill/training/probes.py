"""Probes: made-up rows on which a scorer is compared with Spark, beside the rows that a generation has. Pure.

Real rows seldom have a rare category, a number at the end of its range, or one on the very threshold of a tree, and
that is where a fault of an exporter hides. A probe is a real row with some of its features changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
UNSEEN = "never seen"


class Probes(NamedTuple):
    """``rows`` to be scored; ``probed``: of each kind of probe how many were tried and how many there are."""

    rows: list[dict[str, Any]]
    probed: dict[str, list[int]]


def probes(encoder: Encoder, arrays: Mapping[str, Any], sample: Sequence[Row], beyond: bool) -> Probes:
    """The probes of one model.

    Args:
        arrays: the model's own, those of a ``Forest`` among them where it has trees.
        sample: real rows, which the probes are made from in turn; without any there are no probes.
        beyond: whether the model takes numbers outside the range that it was trained on.
    """
    if not sample:
        return Probes([], {})
    categories = [category_changes(one) for one in encoder.strings]
    most = MOST_CATEGORIES // max(1, len(categories))
    numbers = list(number_changes(encoder, beyond))
    kinds: dict[str, tuple[list[Change], int]] = {}
    if categories:
        some = [change for changes in categories for change in spread(changes, most)]
        kinds["categories"] = ([*some, *unseen_changes(encoder)], sum(map(len, categories)) + 1)
    if numbers:
        kinds["numbers"] = (spread(numbers, MOST_NUMBERS), len(numbers))
    made = [dict(base(sample, place)) | change for place, change in enumerate(flat(kinds))]
    probed = {kind: [len(some), every] for kind, (some, every) in kinds.items()}
    if "leaves" in arrays:  # of a ``Forest``; a mixture has ``roots`` too
        trees = Trees(arrays, encoder)
        nodes = spread(trees.inner, MOST_THRESHOLDS)
        made += [row for place, node in enumerate(nodes) for row in trees.beside(node, base(sample, place))]
        probed["thresholds"] = [len(nodes), len(trees.inner)]
    return Probes(made, probed)


def flat(kinds: Mapping[str, tuple[list[Change], int]]) -> Iterator[Change]:
    return (change for some, _ in kinds.values() for change in some)


def base(sample: Sequence[Row], place: int) -> Row:
    return sample[place % len(sample)]


def spread(values: Sequence[T], most: int) -> list[T]:
    """Up to ``most`` of them, evenly apart, the first and the last among them."""
    places = np.unique(np.linspace(0, len(values) - 1, min(len(values), most)).astype(np.intp))
    return [values[place] for place in places.tolist()]


def unseen(feature: Feature) -> str:
    """A category that training has not seen."""
    name = UNSEEN
    while name in (feature.categories or ()):
        name += "!"
    return name


def category_changes(feature: Feature) -> list[Change]:
    """Each category, one that was not seen, and the empty text."""
    return [{feature.name: one} for one in dict.fromkeys(["", unseen(feature), *(feature.categories or ())])]


def unseen_changes(encoder: Encoder) -> list[Change]:
    """Every category unseen at once."""
    return [{one.name: unseen(one) for one in encoder.strings}]


def number_changes(encoder: Encoder, beyond: bool) -> Iterator[Change]:
    """Each number's least and greatest value in training, and as far again outside; then all at their ends at once."""
    numeric = [one for one in encoder.features if one.kind != "string" and one.minimum is not None]
    for one in numeric:
        yield from ({one.name: value} for value in ends(one, beyond))
    if len(numeric) > 1:
        yield {one.name: ends(one, False)[0] for one in numeric}
        yield {one.name: ends(one, False)[-1] for one in numeric}


def ends(feature: Feature, beyond: bool) -> list[Any]:
    low, high = float(feature.minimum or 0.0), float(feature.maximum or 0.0)
    apart = (high - low) or 1.0
    numbers = [low, high, *([low - apart, high + apart] if beyond and feature.kind != "bool" else [])]
    return [typed(feature, number) for number in numbers if math.isfinite(number)]


def typed(feature: Feature, number: float) -> Any:
    """A number in the feature's own type."""
    if feature.kind == "bool":
        return number != 0
    return min(max(round(number), LEAST_INT), MOST_INT) if feature.kind == "int" else number


# --- trees --------------------------------------------------------------------------------------------------------


@dataclass
class Way:
    """What a row needs to come to a node: its numbers above and up to a bound, its categories' codes or not these."""

    above: dict[int, float] = field(default_factory=dict)
    up_to: dict[int, float] = field(default_factory=dict)
    codes: dict[int, int] = field(default_factory=dict)
    others: dict[int, set[int]] = field(default_factory=dict)


class Trees:
    """The nodes of a model's trees (see ``scoring.trees.Forest``), and rows that come to them."""

    def __init__(self, arrays: Mapping[str, Any], encoder: Encoder) -> None:
        self.encoder = encoder
        self.kinds = {one.name: one for one in encoder.features}
        self.place = arrays["place"].astype(np.intp)
        self.threshold: Array = arrays["threshold"]
        self.left, self.right = (arrays[side].astype(np.intp) for side in ("left", "right"))
        inner = np.flatnonzero(self.place != LEAF)
        self.parent = np.full(len(self.place), LEAF)
        self.parent[self.left[inner]] = self.parent[self.right[inner]] = inner
        self.inner: list[int] = inner.tolist()
        self.starts = len(encoder.numbers) + np.cumsum([0, *(len(known) for known in encoder.codes)])

    def beside(self, node: int, row: Row) -> Iterator[dict[str, Any]]:
        """The row, changed so that it comes to this node, with its number just below, at and above the threshold, or
        with the node's category and another."""
        way = self.way(node)
        there = dict(row) | self.numbers_on(way, row) | self.categories_on(way, row)
        place, threshold = int(self.place[node]), float(self.threshold[node])
        if place < len(self.encoder.numbers):
            yield from (there | {self.encoder.numbers[place]: value} for value in self.sides(place, threshold))
            return
        block, code = self.category(place)
        yield there | {self.encoder.strings[block].name: list(self.encoder.codes[block])[code]}
        way.others.setdefault(block, set()).add(code)
        yield there | self.categories_on(way, row)

    def category(self, place: int) -> tuple[int, int]:
        """Which string feature's block a place of the vector is in, and the category's code in it; block -1: none."""
        block = int(np.searchsorted(self.starts, place, side="right")) - 1
        return block, place - int(self.starts[block])

    def way(self, node: int) -> Way:
        way = Way()
        while (parent := int(self.parent[node])) != LEAF:
            place, threshold, left = int(self.place[parent]), float(self.threshold[parent]), self.left[parent] == node
            block, code = self.category(place)
            if block >= 0 and left:
                way.others.setdefault(block, set()).add(code)
            elif block >= 0:
                way.codes[block] = code
            elif left:
                way.up_to[place] = min(way.up_to.get(place, math.inf), threshold)
            else:
                way.above[place] = max(way.above.get(place, -math.inf), threshold)
            node = parent
        return way

    def numbers_on(self, way: Way, row: Row) -> Change:
        found = {}
        for place in way.above.keys() | way.up_to.keys():
            above, up_to = way.above.get(place, -math.inf), way.up_to.get(place, math.inf)
            name = self.encoder.numbers[place]
            around = [row[name], *(value for bound in (up_to, above) for value in self.sides(place, bound))]
            fitting = (value for value in around if above < self.scaled(place, value) <= up_to)
            found[name] = next(fitting, row[name])
        return found

    def categories_on(self, way: Way, row: Row) -> Change:
        found = {}
        for block in way.codes.keys() | way.others.keys():
            feature, known = self.encoder.strings[block], self.encoder.codes[block]
            names = list(known)
            if block in way.codes:
                found[feature.name] = names[way.codes[block]]
            elif known.get(row[feature.name]) in way.others[block]:
                fitting = (name for code, name in enumerate(names) if code not in way.others[block])
                found[feature.name] = next(fitting, unseen(feature))
        return found

    def sides(self, place: int, threshold: float) -> list[Any]:
        """The feature's values nearest to a threshold: below it, the very same where there is one, and above it."""
        if not math.isfinite(threshold):
            return []
        near = [(self.scaled(place, value), value) for value in self.near(place, threshold)]
        return [
            *max_of(near, lambda scaled: scaled < threshold),
            *max_of(near, lambda scaled: scaled == threshold),
            *max_of([(-scaled, value) for scaled, value in near], lambda scaled: -scaled > threshold),
        ]

    def near(self, place: int, threshold: float) -> list[Any]:
        feature = self.kinds[self.encoder.numbers[place]]
        if feature.kind == "bool":
            return [False, True]
        number = self.unscaled(place, threshold)
        if feature.kind == "int":
            return [typed(feature, round(number) + step) for step in (-1, 0, 1)]
        return [*steps(number, -math.inf), number, *steps(number, math.inf)]

    def scaled(self, place: int, value: Any) -> float:
        if self.encoder.scaling is None:
            return float(value)
        shift, factor, offset = self.encoder.scaling[:, place].tolist()
        return float((float(value) - shift) * factor + offset)

    def unscaled(self, place: int, number: float) -> float:
        if self.encoder.scaling is None:
            return number
        shift, factor, offset = self.encoder.scaling[:, place].tolist()
        return float((number - offset) / factor + shift) if factor else float(shift)


def steps(number: float, towards: float) -> list[float]:
    """The next few numbers in a direction, and some that are farther off: scaling maps several to the same."""
    found = [number]
    for _ in range(3):
        found.append(math.nextafter(found[-1], towards))
    ulp = math.ulp(number)
    return [*found[1:], *(number + math.copysign(ulp * 2.0**power, towards) for power in (3, 6))]


def max_of(values: Sequence[tuple[float, Any]], fits: Callable[[float], bool]) -> list[Any]:
    """The value of the greatest number that fits, in a list that is empty where none does."""
    fitting = [pair for pair in values if fits(pair[0])]
    return [max(fitting, key=lambda pair: pair[0])[1]] if fitting else []
