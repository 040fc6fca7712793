"""Dutch electricity: a grid operator's yearly files, in the form of the public data set.

A block is one year's file. Every year has the same streets, each with a range of postcodes. Planted, as in the public
files: a street's mean yearly consumption belongs to one of four levels, log-normal around 1,900, 3,330, 8,500 and
20,000 kWh, and falls by 3 % a year. Smart meters are nearly absent for two years, then at 82 % of the connections, and
more each year. The operator is renamed after the first year. Shares are whole percents from the third year on. A few
streets use nothing. Operator, streets and postcode ranges are invented; the towns are real.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tidemill.pipeline import Column, arrow_schema
from tidemill.samples.making import digits, join, pick, words

VERSION = 1
SEED = 2_018
BLOCK_ROWS = 2_550

COLUMNS = (
    Column("net_manager", "string", False),
    Column("purchase_area", "string", False),
    Column("street", "string", False),
    Column("zipcode_from", "string", False),
    Column("zipcode_to", "string", False),
    Column("city", "string", False),
    Column("num_connections", "int", False),
    Column("delivery_perc", "float", False),
    Column("perc_of_active_connections", "float", False),
    Column("type_conn_perc", "int", False),
    Column("type_of_connection", "string", False),
    Column("annual_consume", "int", False),
    Column("annual_consume_lowtarif_perc", "float", False),
    Column("smartmeter_perc", "float", False),
)
LEVELS = np.array([1_900.0, 3_330.0, 8_500.0, 20_000.0])
LEVEL_SHARES = (0.20, 0.66, 0.12, 0.02)
SPREADS = np.array([0.10, 0.12, 0.08, 0.06])  # standard deviations of the logarithm
FALL = 0.97  # of the consumption, from year to year
EMPTY_SHARE = 0.001
CONNECTIONS = words("1x35 3x25 1x25 3x35 3x63 3x50 3x80")
CONNECTION_SHARES = (0.81, 0.11, 0.075, 0.003, 0.001, 0.0005, 0.0005)
CITIES = np.array(["HENGELO", "BORNE", "DELDEN", "RIJSSEN"])
CITY_SHARES = (0.6, 0.2, 0.1, 0.1)
FIRST_POSTCODE = 7_550
LETTERS = "ABCDEGHJKLMNPRSTVWXZ"
FRONTS = words(
    "Beuken Berken Eiken Elzen Esdoorn Fazanten Fluit Goudsbloem Haver Hazelaar Kastanje Klaver Koolwitjes Leeuwerik "
    "Lijsterbes Linden Margrieten Meidoorn Merel Molen Noten Papaver Populieren Reiger Rogge Sering Sleedoorn Spechten "
    "Tarwe Tulpen Valken Veldbloem Vlier Wilgen Zonnebloem Zwaluw"
)
BACKS = words("straat laan weg hof plein dreef pad kade singel steeg")
YEARS_WITH_DECIMALS = 2  # in these years shares have two decimals, later none
ROLL_OUT = np.array([0.0002, 0.0002])  # share of connections with a smart meter, before the roll-out


class Streets(NamedTuple):
    """The properties of a street that stay the same every year; one row each."""

    street: pa.Array
    first: pa.Array
    last: pa.Array
    city: np.ndarray
    connections: np.ndarray
    kind: np.ndarray
    kind_share: np.ndarray
    level: np.ndarray
    place_in_level: np.ndarray


def streets() -> Streets:
    """The operator's streets, in the order of their postcodes."""
    random = np.random.default_rng([SEED])
    several = random.random(BLOCK_ROWS) < 0.3
    codes = np.cumsum(1 + random.integers(0, 3, BLOCK_ROWS))
    name = np.cumsum(random.random(BLOCK_ROWS) < 0.45)  # a street has several rows
    city = np.sort(pick(random, CITY_SHARES, BLOCK_ROWS))
    kinds = len(FRONTS) * len(BACKS)
    name = random.permutation(kinds)[name % kinds]
    return Streets(
        street=join(FRONTS[name % len(FRONTS)], BACKS[name // len(FRONTS)]),
        first=postcode(codes),
        last=postcode(codes + (several & (np.diff(codes, append=codes[-1] + 2) > 1))),
        city=CITIES[city],
        connections=(10 + random.gamma(1.2, 9.4, BLOCK_ROWS)).astype(np.int64),
        kind=CONNECTIONS[pick(random, CONNECTION_SHARES, BLOCK_ROWS)],
        kind_share=random.beta(3.2, 0.9, BLOCK_ROWS),
        level=pick(random, LEVEL_SHARES, BLOCK_ROWS),
        place_in_level=random.standard_normal(BLOCK_ROWS),
    )


def postcode(numbers: np.ndarray) -> pa.Array:
    """Postcodes: four digits and two letters, in the order of the numbers."""
    pairs = len(LETTERS) ** 2
    return join(FIRST_POSTCODE + numbers // pairs, digits(numbers % pairs, 2, LETTERS))


def block(number: int) -> pa.Table:
    """The file of year ``number``, counted from 0."""
    random = np.random.default_rng([SEED, number])
    all_streets = streets()
    empty = random.random(BLOCK_ROWS) < EMPTY_SHARE
    manager = "Kanaalstreek Netbeheer BV" if number == 0 else "Kanaalstreek Infra & Beheer BV"

    def share(mean: float, concentration: float) -> np.ndarray:
        """Percentages that are whole numbers of the n connections."""
        wanted = random.beta(mean * concentration, (1 - mean) * concentration, BLOCK_ROWS)
        percents = 100 * np.round(wanted * all_streets.connections) / all_streets.connections
        rounded: np.ndarray = np.round(percents, 2 if number < YEARS_WITH_DECIMALS else 0)
        return rounded

    columns = [
        np.full(BLOCK_ROWS, manager),
        np.full(BLOCK_ROWS, "Netbeheerder Kanaalstreek B.V."),
        all_streets.street,
        all_streets.first,
        all_streets.last,
        all_streets.city,
        all_streets.connections,
        share(max(0.953 - 0.032 * number, 0.4), 9),
        np.where(empty, 0.0, share(0.985, 40)),
        np.round(20 + 80 * all_streets.kind_share).astype(np.int64),
        all_streets.kind,
        np.where(empty, 0, consumption(all_streets, number, random)),
        np.where(empty, 0.0, share(min(0.87 + 0.04 * number, 0.96), 9)),
        share(smart_meters(number), 8),
    ]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=arrow_schema(COLUMNS))


def consumption(all_streets: Streets, year: int, random: np.random.Generator) -> np.ndarray:
    """kWh per year: the street's level, its mostly constant deviation from it, and the fall over the years."""
    deviation = 0.9 * all_streets.place_in_level + np.sqrt(0.19) * random.standard_normal(BLOCK_ROWS)
    level = LEVELS[all_streets.level] * FALL**year
    used: np.ndarray = np.round(level * np.exp(SPREADS[all_streets.level] * deviation)).astype(np.int64)
    return used


def smart_meters(year: int) -> float:
    """The share of connections that have a smart meter."""
    return float(ROLL_OUT[year]) if year < len(ROLL_OUT) else min(0.82 + 0.03 * (year - len(ROLL_OUT)), 0.99)
