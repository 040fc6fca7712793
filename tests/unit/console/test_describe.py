"""The sentences about clusters, how far they moved, and which columns are places."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from tests.support.console_answers import cluster, model_input
from tests.support.serving_run import HOURS
from tidemill import schemas
from tidemill.console import charts
from tidemill.console.clusters import geo, plots, tables
from tidemill.console.clusters.describe import sentences

COLUMNS = {
    name: model_input(HOURS, name=name, title=title, unit=unit, minimum=0.0, maximum=most)
    for name, title, unit, most in (
        ("age", "device age", "months", 60.0),
        ("energy", "energy consumption", "kWh", 10.0),
        ("hours", None, None, 24.0),
    )
}


def test_a_sentence_names_what_sets_a_cluster_apart_in_its_units() -> None:
    """The features far from the mean of all rows are named, the farthest first, with both figures and the unit."""
    clusters = [
        cluster(0, 100, age=48.0, energy=2.1),
        cluster(1, 100, age=30.0, energy=7.9),
        cluster(2, 100, age=12.0, energy=5.0),
    ]
    assert sentences(clusters, COLUMNS) == {
        0: "High device age (48 months; 30 on average), low energy consumption (2.1 kWh; 5 on average).",
        1: "High energy consumption (7.9 kWh; 5 on average).",
        2: "Low device age (12 months; 30 on average).",
    }


def test_the_average_counts_each_cluster_by_its_size() -> None:
    found = sentences([cluster(0, 300, hours=2.0), cluster(1, 100, hours=10.0)], COLUMNS)
    assert found == {0: "Low hours (2; 4 on average).", 1: "High hours (10; 4 on average)."}


def test_a_sentence_names_at_most_three_numbers() -> None:
    features = {f"f{place}": float(place + 1) for place in range(6)}
    found = sentences([cluster(0, 1, **features), cluster(1, 1, **dict.fromkeys(features, 0.0))], {})
    assert found[0].count("high") + found[0].count("High") == 3


def test_the_only_cluster_has_nothing_to_be_compared_with() -> None:
    assert sentences([cluster(0, 7, hours=3.0)], COLUMNS) == {0: "The only cluster: it has all rows."}


def test_clusters_that_are_alike_are_not_made_out_to_differ() -> None:
    """Neither without any spread nor with one that is nothing beside the range that training saw."""
    alike = "Not distinct: close to the average in everything."
    assert sentences([cluster(0, 5, hours=3.0), cluster(1, 5, hours=3.0)], COLUMNS) == {0: alike, 1: alike}
    assert sentences([cluster(0, 5, hours=3.0), cluster(1, 5, hours=3.1)], COLUMNS) == {0: alike, 1: alike}
    assert "hours" in sentences([cluster(0, 5, hours=3.0), cluster(1, 5, hours=3.1)], {})[0]


def test_an_empty_cluster_says_so_and_counts_for_nothing() -> None:
    clusters = [cluster(0, 10, hours=2.0), cluster(1, 10, hours=4.0), cluster(2, 0, hours=1000.0)]
    found = sentences(clusters, COLUMNS)
    assert found[2] == "No row of this generation is in it."
    assert found[1] == "High hours (4; 3 on average)."
    assert sentences(clusters[:1] + clusters[2:], COLUMNS)[0] == "The only cluster: it has all rows."


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf")])
def test_a_centre_without_a_value_is_left_out(missing: Any) -> None:
    lacking = cluster(0, 5, age=10.0).model_copy(update={"centre": {"hours": missing, "age": 10.0}})  # never sent
    found = sentences([lacking, cluster(1, 5, hours=3.0, age=50.0)], COLUMNS)
    assert found[0] == "Low device age (10 months; 30 on average)."
    assert found[1] == "High device age (50 months; 30 on average)."


def test_values_near_the_end_of_64_bits_break_nothing() -> None:
    clusters = [cluster(0, 5, hours=1e300), cluster(1, 5, hours=-1e300)]
    assert set(sentences(clusters, {}).values()) == {"Not distinct: close to the average in everything."}


def test_a_sentence_names_categories_that_a_cluster_has_clearly_more_of() -> None:
    clusters = [
        cluster(0, 50, {"kind": {"lamp": 0.9, "fan": 0.1}}),
        cluster(1, 50, {"kind": {"lamp": 0.5, "fan": 0.5}}),
        cluster(2, 100, {"kind": {"lamp": 0.65, "fan": 0.35}}),
    ]
    found = sentences(clusters, {})
    assert found[0] == "Mostly kind lamp (90 %; 68 % of all)."
    assert found[1] == "More often kind fan (50 %; 32 % of all)."
    assert found[2].startswith("Not distinct")


def test_a_table_has_the_share_of_each_cluster() -> None:
    clusters = [cluster(0, 1, hours=2.0), cluster(1, 3, hours=4.0)]
    assert tables.percentages(clusters) == {0: "25.0 %", 1: "75.0 %"}
    assert tables.shares([cluster(0, 0)]) == {0: None}
    assert tables.centres(clusters) == [
        {"cluster": 0, "size": 1, "share": 0.25, "hours": 2.0},
        {"cluster": 1, "size": 3, "share": 0.75, "hours": 4.0},
    ]


def test_the_categories_of_each_cluster_are_a_table() -> None:
    clusters = [cluster(0, 1, {"kind": {"lamp": 1.0}}), cluster(1, 3, {"kind": {"fan": 1.0}})]
    assert tables.categories(clusters) == [
        {"feature": "kind", "category": "fan", "cluster 0": 0.0, "cluster 1": 1.0},
        {"feature": "kind", "category": "lamp", "cluster 0": 1.0, "cluster 1": 0.0},
    ]


def test_how_far_a_cluster_moved_is_in_shares_of_the_range_seen() -> None:
    before, now = [cluster(0, 4, hours=2.0, age=30.0)], [cluster(0, 6, hours=8.0, age=30.0), cluster(1, 1, hours=1.0)]
    far = tables.moved(now, before, COLUMNS)
    assert far[0] == pytest.approx((0.25**2 / 2) ** 0.5)
    assert far[1] is None
    assert tables.moves(now, before, far)[0] == {
        "cluster": 0, "moved": far[0], "size": 2, "hours": 6.0, "age": 0.0,
    }  # fmt: skip
    assert tables.moves(now, before, far)[1] == {"cluster": 1, "moved": None, "size": None, "hours": None}


def test_places_move_by_kilometres_along_the_ground() -> None:
    """A degree of latitude is 111.2 km, and at 60 degrees north one of longitude is half that."""
    columns = geo.CoordinateColumns("lat", "lon")
    before = [cluster(0, 1, lat=60.0, lon=10.0), cluster(1, 1, lat=0.0, lon=0.0)]
    now = [cluster(0, 1, lat=60.0, lon=11.0), cluster(1, 1, lat=1.0, lon=0.0)]
    far = tables.moved_km(now, before, columns)
    assert far[1] == pytest.approx(111.195, abs=0.01)
    assert far[0] == pytest.approx(55.6, abs=0.1)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["GEO_LAT", "GEO_LON", "x"], ("GEO_LAT", "GEO_LON")),
        (["pickupLongitude", "pickupLatitude"], ("pickupLatitude", "pickupLongitude")),
        (["lat", "lng"], ("lat", "lng")),
        (["latency", "longest"], None),
        (["lat"], None),
        (["start_lat", "start_lon", "end_lat", "end_lon"], None),
        ([], None),
    ],
)
def test_places_are_known_by_their_columns_names(columns: list[str], found: tuple[str, str] | None) -> None:
    assert geo.coordinate_columns(columns) == found


def test_a_map_is_as_wide_as_its_latitude_makes_it() -> None:
    found = geo.extent([59.0, 61.0], [10.0, 14.0], margin=0.0)
    assert found[:4] == (60.0, 12.0, 1.0, 2.0)
    assert found.narrowing == pytest.approx(0.5)


def test_a_map_of_one_place_still_has_a_size() -> None:
    found = geo.extent([90.0], [0.0])
    assert found.half_height > 0
    assert found.half_width > 0
    assert found.narrowing > 0


POINTS = schemas.Points(
    model="group",
    generation=1,
    x="age",
    y="hours",
    rows=2,
    sampled=2,
    columns=schemas.PointColumns(x=[1.0, 2.0], y=[3.0, 4.0]),
    cluster=[0, 11],
    centres=[schemas.PointCentre(cluster=0, x=1.0, y=3.0)],
)


def test_axes_of_the_plots_have_titles_with_units() -> None:
    drawn = json.dumps(plots.scatter(POINTS, [0, 11], ("device age (months)", "hours")).to_dict())
    assert '"title": "device age (months)"' in drawn
    assert '"title": "hours"' in drawn
    drawn = json.dumps(plots.earth(POINTS, [0, 11]).to_dict())
    assert "longitude (\\u00b0)" in drawn
    assert "latitude (\\u00b0)" in drawn
    assert "size (training rows)" in json.dumps(plots.sizes([cluster(0, 1), cluster(11, 0)]).to_dict())


def test_bars_of_sizes_start_at_zero() -> None:
    """A bar is as long as its cluster is large."""
    drawn = plots.sizes([cluster(0, 100), cluster(1, 300)]).to_dict()
    assert drawn["layer"][0]["encoding"]["x"]["scale"]["domain"] == [0, pytest.approx(336)]


def test_twenty_clusters_have_colours_of_their_own_and_eighty_differ() -> None:
    """No two clusters share colour and shape, and up to twenty differ in colour alone."""
    numbers = list(range(80))
    pairs = list(zip(plots.colours(numbers).range, plots.shapes(numbers).range, strict=True))
    assert len(set(pairs)) == 80
    assert len({colour for colour, _ in pairs[:20]}) == 20
    assert {shape for _, shape in pairs[:20]} == {"circle"}


def linear(colour: str) -> np.ndarray[Any, Any]:
    """The linear red, green and blue of a colour as "#rrggbb"."""
    values = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""
    luminance = [float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05 for colour in (one, other)]
    return max(luminance) / min(luminance)


def oklab(light: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Oklab (Ottosson 2020) of linear red, green and blue: distances are as differences are seen."""
    cones = np.array([[0.41222, 0.53633, 0.05145], [0.2119, 0.6807, 0.1074], [0.0883, 0.28172, 0.62998]])
    axes = np.array([[0.21045, 0.79362, -0.00407], [1.978, -2.42859, 0.45059], [0.0259, 0.78277, -0.80868]])
    return np.asarray(axes @ np.cbrt(cones @ light))


SIGHT = {  # Machado, Oliveira and Fernandes 2009, severity 1
    "normal": np.eye(3),
    "deuteranopia": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9690]]),
    "protanopia": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0521]]),
}


@pytest.mark.parametrize("background", ["#ffffff", "#0e1117"])
def test_colours_stand_out_from_both_backgrounds(background: str) -> None:
    """Each colour is seen on the light and on the dark page."""
    assert min(contrast(colour, background) for colour in charts.PALETTE) >= 2.5


@pytest.mark.parametrize(
    ("sight", "count", "least"),
    [("normal", 8, 0.13), ("normal", 20, 0.09), ("deuteranopia", 20, 0.048), ("protanopia", 20, 0.048)],
)
def test_colours_are_told_apart(sight: str, count: int, least: float) -> None:
    """Any two of the colours differ, as seen by the colour-blind too, and the first eight differ most."""
    seen = [oklab(np.clip(SIGHT[sight] @ linear(colour), 0, 1)) for colour in charts.PALETTE[:count]]
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) >= least
