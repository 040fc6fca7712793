"""A sentence for each cluster, made from the figures: in what it differs from the others.

A centre is compared with the mean over all clusters, each counting by its size, in units of the spread between them
(the standard deviation, weighted so too). A feature whose centres are all but alike, beside the range that training
saw, tells nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

MOST_NUMBERS, MOST_CATEGORIES = 3, 2
TELLING = 0.5  # spreads from the mean
SLIGHT = 0.02  # of the range seen: less between the clusters is no difference
MORE, TIMES = 0.1, 1.25  # a category's share above that of all: by so much at least, and so many times

Cluster = Mapping[str, Any]
Columns = Mapping[str, Mapping[str, Any]]  # by name: what the API tells of a model's inputs


class Trait(NamedTuple):
    """What sets a cluster apart, and how much: in spreads, or in shares."""

    strength: float
    words: str


def sentences(clusters: Sequence[Cluster], columns: Columns) -> dict[int, str]:
    """The sentence of each cluster by its number; ``clusters`` and ``columns`` as a profile and a model tell them."""
    peopled = [one for one in clusters if one["size"]]
    return {one["cluster"]: sentence(one, peopled, columns) for one in clusters}


def sentence(cluster: Cluster, peopled: Sequence[Cluster], columns: Columns) -> str:
    if not cluster["size"]:
        return "No row of this generation is in it."
    if len(peopled) == 1:
        return "The only cluster: it has all rows."
    traits = [*numbers(cluster, peopled, columns), *categories(cluster, peopled, columns)]
    if not traits:
        return "Not distinct: close to the average in everything."
    text = ", ".join(trait.words for trait in traits)
    return f"{text[0].upper()}{text[1:]}."


def numbers(cluster: Cluster, peopled: Sequence[Cluster], columns: Columns) -> list[Trait]:
    """The numeric features far from the mean, the farthest first."""
    traits = [number(name, cluster, peopled, columns.get(name, {})) for name in cluster["centre"]]
    return sorted((one for one in traits if one), key=lambda one: -one.strength)[:MOST_NUMBERS]


def number(name: str, cluster: Cluster, peopled: Sequence[Cluster], column: Mapping[str, Any]) -> Trait | None:
    weighted = [(one["size"], one["centre"][name]) for one in peopled if is_number(one["centre"].get(name))]
    value = cluster["centre"][name]
    if not weighted or not is_number(value):
        return None
    mean, spread = mean_and_spread(weighted)
    if spread == 0 or spread < SLIGHT * seen_range(column) or abs(value - mean) < TELLING * spread:
        return None
    level = "high" if value > mean else "low"
    unit, digits = column.get("unit"), digits_for(spread)
    told = shown(value, digits) + (f" {unit}" if unit else "")
    return Trait(
        abs(value - mean) / spread, f"{level} {titled(name, column)} ({told}; {shown(mean, digits)} on average)"
    )


def categories(cluster: Cluster, peopled: Sequence[Cluster], columns: Columns) -> list[Trait]:
    """The categories that it has clearly more of than all clusters together, the most first."""
    traits = []
    for name, shares in cluster["shares"].items():
        for category, share in shares.items():
            sizes = [(one["size"], one["shares"].get(name, {}).get(category, 0.0)) for one in peopled]
            of_all, _ = mean_and_spread(sizes)
            if share - of_all >= MORE and share >= TIMES * of_all:
                title = titled(name, columns.get(name, {}))
                words = f"{mostly(share)} {title} {category} ({100 * share:.0f} %; {100 * of_all:.0f} % of all)"
                traits.append(Trait(share - of_all, words))
    return sorted(traits, key=lambda one: -one.strength)[:MOST_CATEGORIES]


def mostly(share: float) -> str:
    if share > 0.995:
        return "only"
    return "mostly" if share > 0.5 else "more often"


def mean_and_spread(weighted: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """The mean and the standard deviation of values that count by their weights, of which one must be above 0."""
    weight = sum(size for size, _ in weighted)
    mean = sum(size * value for size, value in weighted) / weight
    return mean, math.sqrt(sum(size * (value - mean) * (value - mean) for size, value in weighted) / weight)


def seen_range(column: Mapping[str, Any]) -> float:
    least, most = column.get("minimum"), column.get("maximum")
    return most - least if is_number(least) and is_number(most) else 0.0


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def titled(name: str, column: Mapping[str, Any]) -> str:
    return column.get("title") or name


def digits_for(spread: float) -> int:
    """So many places after the point that the clusters can be told apart."""
    return max(0, min(6, 1 - math.floor(math.log10(spread))))


def shown(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
