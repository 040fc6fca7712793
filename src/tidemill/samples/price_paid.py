"""Price paid: sales of homes in England and Wales, in the form of HM Land Registry's public file of 1995.

Planted: the logarithm of a price is the sum of the effects of county, property type, new building, tenure and category,
and of a normal error of 0.38; prices are multiples of fifty. As in the public file, 1.6 % of the rows have a comma in a
field (a house's name before its number), a few postcodes are empty, every field is quoted, and there is no header.
Counties, districts and towns are real. A postcode ends in letters that no real one has, so no address is a real one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.pipeline import Column, arrow_schema
from tidemill.samples.making import digits, join, pick, words

VERSION = 1
SEED = 1_995
BLOCK_ROWS = 8_192

COLUMNS = (
    Column("transaction_id", "string", False),
    Column("price", "int", False),
    Column("date", "string", False),
    Column("postcode", "string", False),
    Column("property_type", "string", False),
    Column("new_build", "string", False),
    Column("tenure", "string", False),
    Column("paon", "string", False),
    Column("saon", "string", False),
    Column("street", "string", False),
    Column("locality", "string", False),
    Column("town", "string", False),
    Column("district", "string", False),
    Column("county", "string", False),
    Column("category", "string", False),
    Column("status", "string", False),
)


class Town(NamedTuple):
    """A town with its district and county, and the letters that its postcodes begin with."""

    county: str
    district: str
    town: str
    area: str


PLACES = tuple(
    Town(*line.split("/"))
    for line in """\
GREATER LONDON/CROYDON/LONDON/SE
GREATER LONDON/BARNET/LONDON/NW
GREATER LONDON/BROMLEY/BROMLEY/BR
GREATER MANCHESTER/MANCHESTER/MANCHESTER/M
GREATER MANCHESTER/BOLTON/BOLTON/BL
WEST MIDLANDS/BIRMINGHAM/BIRMINGHAM/B
WEST MIDLANDS/COVENTRY/COVENTRY/CV
WEST YORKSHIRE/LEEDS/LEEDS/LS
WEST YORKSHIRE/WAKEFIELD/WAKEFIELD/WF
KENT/MAIDSTONE/MAIDSTONE/ME
KENT/CANTERBURY/CANTERBURY/CT
HAMPSHIRE/WINCHESTER/WINCHESTER/SO
HAMPSHIRE/HAVANT/HAVANT/PO
ESSEX/COLCHESTER/COLCHESTER/CO
ESSEX/CHELMSFORD/CHELMSFORD/CM
LANCASHIRE/PRESTON/PRESTON/PR
LANCASHIRE/LANCASTER/LANCASTER/LA
HERTFORDSHIRE/ST ALBANS/ST ALBANS/AL
HERTFORDSHIRE/WATFORD/WATFORD/WD
SURREY/GUILDFORD/GUILDFORD/GU
SURREY/REIGATE AND BANSTEAD/REDHILL/RH
MERSEYSIDE/LIVERPOOL/LIVERPOOL/L
DEVON/EXETER/EXETER/EX
DEVON/TORBAY/TORQUAY/TQ
NORFOLK/NORWICH/NORWICH/NR
SOUTH YORKSHIRE/SHEFFIELD/SHEFFIELD/S""".splitlines()
)
# By county: its share of the sales, and its effect on the logarithm of a price.
COUNTIES = {
    "GREATER LONDON": (0.22, 0.60),
    "GREATER MANCHESTER": (0.09, -0.18),
    "WEST MIDLANDS": (0.09, -0.10),
    "WEST YORKSHIRE": (0.09, -0.15),
    "KENT": (0.07, 0.18),
    "HAMPSHIRE": (0.07, 0.28),
    "ESSEX": (0.07, 0.20),
    "LANCASHIRE": (0.06, -0.20),
    "HERTFORDSHIRE": (0.06, 0.45),
    "SURREY": (0.06, 0.62),
    "MERSEYSIDE": (0.04, -0.22),
    "DEVON": (0.03, 0.08),
    "NORFOLK": (0.03, -0.10),
    "SOUTH YORKSHIRE": (0.02, -0.20),
}
BASE = 10.56  # the logarithm of the price of an old freehold terraced house without an effect of the county
TYPES = {"T": (0.31, 0.0), "S": (0.32, 0.25), "D": (0.25, 0.72), "F": (0.12, 0.05)}
NEW, LEASEHOLD, OTHER_CATEGORY = 0.12, -0.12, -0.30
NEW_SHARE, OTHER_SHARE = 0.13, 0.004
LEASEHOLD_SHARES = {"T": 0.09, "S": 0.07, "D": 0.04, "F": 0.96}
ERROR = 0.38
LOWEST = 5_000
NAMED_SHARE, EMPTY_POSTCODE_SHARE = 0.016, 0.0008
SAON_SHARES = {"T": 0.01, "S": 0.005, "D": 0.005, "F": 0.62}
NO_STREET, NO_LOCALITY = 0.018, 0.01

HEX = "0123456789ABCDEF"
NO_UNIT_LETTERS = "CIKMOV"  # real postcodes never end in these letters
DAYS = np.arange(np.datetime64("1995-01-01"), np.datetime64("1996-01-01"))
FRONTS = words(
    "ALMOND BADGERS BARLEY BLUEBELL BRAMBLE BROOK CEDAR CLOVER CORNFLOWER CURLEW FERN FOXGLOVE HAZEL HERON HONEYSUCKLE "
    "KESTREL LARCH LAVENDER MAPLE MEADOW NUTHATCH OTTERS PLOVER PRIMROSE ROWAN SKYLARK SORREL TEASEL THISTLE WILLOW"
)
BACKS = words("ROAD STREET CLOSE AVENUE DRIVE LANE GARDENS WAY GROVE CRESCENT PLACE RISE")
HOUSES = words("COURT HOUSE LODGE COTTAGE MANSIONS POINT")


def block(number: int) -> pa.Table:
    """Sales ``number * BLOCK_ROWS`` and on, ``BLOCK_ROWS`` of them, in no order of time, as in the public file."""
    random = np.random.default_rng([SEED, number])
    kind = np.array(list(TYPES))[pick(random, [share for share, _ in TYPES.values()], BLOCK_ROWS)]
    town_index = places(random)
    county = np.array([entry.county for entry in PLACES])[town_index]
    town = np.array([entry.town for entry in PLACES])[town_index]
    new = random.random(BLOCK_ROWS) < NEW_SHARE
    leasehold = random.random(BLOCK_ROWS) < by_name(LEASEHOLD_SHARES, kind)
    other = random.random(BLOCK_ROWS) < OTHER_SHARE
    columns = [
        identifiers(random),
        prices(kind, county, new, leasehold, other, random),
        join(DAYS[random.integers(len(DAYS), size=BLOCK_ROWS)].astype(str), "00:00", by=" "),
        postcodes(town_index, random),
        kind,
        np.where(new, "Y", "N"),
        np.where(leasehold, "L", "F"),
        *address(kind, town, random),
        town,
        np.array([entry.district for entry in PLACES])[town_index],
        county,
        np.where(other, "B", "A"),
        np.full(BLOCK_ROWS, "A"),
    ]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=arrow_schema(COLUMNS))


def by_name(values: dict[str, float], names: np.ndarray) -> np.ndarray:
    """The value of each name."""
    keys, index = np.unique(names, return_inverse=True)
    chosen: np.ndarray = np.array([values[str(key)] for key in keys])[index]
    return chosen


def places(random: np.random.Generator) -> np.ndarray:
    """The town of each sale: the county by its share, with equal shares for its towns."""
    towns = [sum(other.county == entry.county for other in PLACES) for entry in PLACES]
    return pick(random, [COUNTIES[entry.county][0] / n for entry, n in zip(PLACES, towns, strict=True)], BLOCK_ROWS)


def identifiers(random: np.random.Generator) -> pa.Array:
    """Random GUIDs in braces."""
    pieces = [digits(random.integers(0, 16**4, BLOCK_ROWS), 4, HEX) for _ in range(8)]
    groups = [join(*pieces[:2]), *pieces[2:5], join(*pieces[5:])]
    return join("{", join(*groups, by="-"), "}")


def prices(
    kind: np.ndarray,
    county: np.ndarray,
    new: np.ndarray,
    leasehold: np.ndarray,
    other: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """Prices in multiples of fifty, by the rule in this module's docstring."""
    effects = by_name({name: effect for name, (_, effect) in COUNTIES.items()}, county)
    effects = effects + by_name({name: effect for name, (_, effect) in TYPES.items()}, kind)
    effects = effects + NEW * new + LEASEHOLD * leasehold + OTHER_CATEGORY * other
    price = np.exp(BASE + effects + ERROR * random.standard_normal(len(kind)))
    whole: np.ndarray = np.maximum(50 * np.round(price / 50), LOWEST).astype(np.int64)
    return whole


def postcodes(town_index: np.ndarray, random: np.random.Generator) -> pa.Array:
    area = np.array([entry.area for entry in PLACES])[town_index]
    letters = digits(random.integers(0, len(NO_UNIT_LETTERS) ** 2, BLOCK_ROWS), 2, NO_UNIT_LETTERS)
    whole = join(area, random.integers(1, 29, BLOCK_ROWS), " ", random.integers(0, 10, BLOCK_ROWS), letters)
    return pc.if_else(pa.array(random.random(BLOCK_ROWS) < EMPTY_POSTCODE_SHARE), "", whole)


def address(kind: np.ndarray, town: np.ndarray, random: np.random.Generator) -> list[pa.Array]:
    """House, flat, street and locality; some houses have a name, a comma and a number."""
    draws = random.random((4, BLOCK_ROWS))
    name = join(random_of(FRONTS, random), random_of(HOUSES, random), by=" ")
    house = (1 + random.gamma(1.0, 30, BLOCK_ROWS)).astype(np.int64)
    named = join(name, house, by=", ")
    only_name = pc.if_else(pa.array(draws[0] < 0.08), name, join(house))
    flat = join("FLAT", random.integers(1, 60, BLOCK_ROWS), by=" ")
    street = join(random_of(FRONTS, random), random_of(BACKS, random), by=" ")
    return [
        pc.if_else(pa.array(draws[0] < NAMED_SHARE), named, only_name),
        pc.if_else(pa.array(draws[1] < by_name(SAON_SHARES, kind)), flat, ""),
        pc.if_else(pa.array(draws[2] < NO_STREET), "", street),
        pc.if_else(pa.array(draws[3] < NO_LOCALITY), "", pa.array(town)),
    ]


def random_of(texts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    chosen: np.ndarray = texts[random.integers(len(texts), size=BLOCK_ROWS)]
    return chosen
