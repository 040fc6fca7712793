"""A sentence for each cluster, made from its figures: how it differs from the others.

A centre is compared with the mean over all clusters, in units of the standard deviation between them; both are weighted
by the clusters' sizes. A feature is left out if its centres hardly differ, compared with its range in training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from tidemill.console.forms.fields import input_range
from tidemill.schemas import Cluster, InputBody

MOST_NUMBERS, MOST_CATEGORIES = 3, 2
DISTINCT = 0.5  # standard deviations from the mean
NEGLIGIBLE = 0.02  # of the range in training: a smaller spread of the centres counts as no difference
MORE, TIMES = 0.1, 1.25  # a category's share exceeds its share of all rows by at least MORE, and is TIMES as large

Columns = Mapping[str, InputBody]  # a model's inputs by name


class Trait(NamedTuple):
    """A property that sets a cluster apart, and how far: in standard deviations, or in shares."""

    strength: float
    text: str


def sentences(clusters: Sequence[Cluster], columns: Columns) -> dict[int, str]:
    """The sentence of each cluster by its number."""
    peopled = [cluster for cluster in clusters if cluster.size]
    return {cluster.cluster: sentence(cluster, peopled, columns) for cluster in clusters}


def sentence(cluster: Cluster, peopled: Sequence[Cluster], columns: Columns) -> str:
    if not cluster.size:
        return "No row of this generation is in it."
    if len(peopled) == 1:
        return "The only cluster: it has all rows."
    traits = [*number_traits(cluster, peopled, columns), *category_traits(cluster, peopled, columns)]
    if not traits:
        return "Not distinct: close to the average in everything."
    text = ", ".join(trait.text for trait in traits)
    return f"{text[0].upper()}{text[1:]}."


def number_traits(cluster: Cluster, peopled: Sequence[Cluster], columns: Columns) -> list[Trait]:
    """The numeric features far from the mean, the farthest first."""
    traits = [number_trait(name, cluster, peopled, columns.get(name)) for name in cluster.centre]
    return sorted((trait for trait in traits if trait), key=lambda trait: -trait.strength)[:MOST_NUMBERS]


def number_trait(name: str, cluster: Cluster, peopled: Sequence[Cluster], column: InputBody | None) -> Trait | None:
    weighted = [(other.size, other.centre[name]) for other in peopled if is_number(other.centre.get(name))]
    value = cluster.centre[name]
    if not weighted or not is_number(value):
        return None
    mean, deviation = mean_and_deviation(weighted)
    negligible = NEGLIGIBLE * input_range(column) if column else 0.0
    if deviation == 0 or deviation < negligible or abs(value - mean) < DISTINCT * deviation:
        return None
    level = "high" if value > mean else "low"
    unit, digits = column.unit if column else None, decimals_for(deviation)
    shown = decimal(value, digits) + (f" {unit}" if unit else "")
    text = f"{level} {title_of(name, column)} ({shown}; {decimal(mean, digits)} on average)"
    return Trait(abs(value - mean) / deviation, text)


def category_traits(cluster: Cluster, peopled: Sequence[Cluster], columns: Columns) -> list[Trait]:
    """The categories whose share in the cluster is clearly above their share of all rows, the largest excess first."""
    traits = []
    for name, shares in cluster.shares.items():
        for category, share in shares.items():
            weighted = [(other.size, other.shares.get(name, {}).get(category, 0.0)) for other in peopled]
            of_all, _ = mean_and_deviation(weighted)
            if share - of_all >= MORE and share >= TIMES * of_all:
                title = title_of(name, columns.get(name))
                text = f"{mostly(share)} {title} {category} ({100 * share:.0f} %; {100 * of_all:.0f} % of all)"
                traits.append(Trait(share - of_all, text))
    return sorted(traits, key=lambda trait: -trait.strength)[:MOST_CATEGORIES]


def mostly(share: float) -> str:
    if share > 0.995:
        return "only"
    return "mostly" if share > 0.5 else "more often"


def mean_and_deviation(weighted: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """The weighted mean and standard deviation of ``(weight, value)`` pairs; the sum of the weights is above 0."""
    weight = sum(size for size, _ in weighted)
    mean = sum(size * value for size, value in weighted) / weight
    return mean, math.sqrt(sum(size * (value - mean) * (value - mean) for size, value in weighted) / weight)


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def title_of(name: str, column: InputBody | None) -> str:
    return (column.title if column else None) or name


def decimals_for(deviation: float) -> int:
    """The decimals with which values that differ by this much can be told apart."""
    return max(0, min(6, 1 - math.floor(math.log10(deviation))))


def decimal(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
