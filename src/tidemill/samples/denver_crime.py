"""Denver crime: offences as they were reported, rows like those of the city's public file in its 23-column form.

Planted: offences lie around nine hot spots, each a round cloud of about half a kilometre, at least 3 km from the next;
how much of the crime each has goes up and down over the year, so generations differ. About 0.8 % of the rows have no
place: coordinates that are blank or zero. One row in fifty is a further offence of the incident in the row before.
Neighbourhoods, districts and precincts are the city's; street names and house numbers are invented.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.pipeline import Column, arrow_schema
from tidemill.samples.making import join, pick, words

VERSION = 1
SEED = 80_202
BLOCK_ROWS = 8_192

COLUMNS = (
    Column("OBJECTID", "int", False),
    Column("INCIDENT_ID", "int", False),
    Column("OFFENSE_ID", "int", False),
    Column("OFFENSE_CODE", "int", False),
    Column("OFFENSE_CODE_EXTENSION", "int", False),
    Column("OFFENSE_TYPE_ID", "string", False),
    Column("OFFENSE_CATEGORY_ID", "string", False),
    Column("FIRST_OCCURRENCE_DATE", "string", False),
    Column("LAST_OCCURRENCE_DATE", "string", True),
    Column("REPORTED_DATE", "string", False),
    Column("INCIDENT_ADDRESS", "string", False),
    Column("GEO_X", "int", False),
    Column("GEO_Y", "int", False),
    Column("GEO_LON", "float", True),
    Column("GEO_LAT", "float", True),
    Column("DISTRICT_ID", "string", True),
    Column("PRECINCT_ID", "int", False),
    Column("NEIGHBORHOOD_ID", "string", True),
    Column("IS_CRIME", "int", False),
    Column("IS_TRAFFIC", "int", False),
    Column("VICTIM_COUNT", "int", False),
    Column("x", "float", True),
    Column("y", "float", True),
)


class HotSpot(NamedTuple):
    """A cloud of offences: its centre in degrees, its share of all, and the month in which it is at its worst."""

    neighborhood: str
    district: int
    precinct: int
    lon: float
    lat: float
    share: float
    worst_month: int


HOT_SPOTS = (
    HotSpot("dia", 7, 759, -104.700, 39.836, 0.05, 7),
    HotSpot("gateway-green-valley-ranch", 5, 523, -104.772, 39.782, 0.07, 5),
    HotSpot("montbello", 5, 521, -104.839, 39.783, 0.09, 9),
    HotSpot("central-park", 5, 512, -104.892, 39.770, 0.12, 12),
    HotSpot("cbd", 6, 611, -104.992, 39.745, 0.25, 6),
    HotSpot("west-colfax", 1, 122, -105.038, 39.740, 0.12, 2),
    HotSpot("westwood", 4, 412, -105.039, 39.704, 0.08, 8),
    HotSpot("virginia-village", 3, 322, -104.936, 39.688, 0.10, 3),
    HotSpot("hampden", 3, 323, -104.882, 39.657, 0.12, 10),
)
SPREAD = 0.005  # standard deviation in degrees, both ways
SEASON = 0.6  # how far a share goes up and down over the year
CENTRES = np.array([(spot.lon, spot.lat) for spot in HOT_SPOTS])
SPOT_SHARES = np.array([spot.share for spot in HOT_SPOTS])
WORST_MONTHS = np.array([spot.worst_month for spot in HOT_SPOTS])

# (type, category, code, extension, share of all offences in percent)
OFFENSES = (
    ("theft-of-motor-vehicle", "auto-theft", 2404, 0, 15.0),
    ("theft-items-from-vehicle", "theft-from-motor-vehicle", 2305, 0, 11.0),
    ("criminal-mischief-mtr-veh", "public-disorder", 2999, 1, 8.0),
    ("theft-parts-from-vehicle", "theft-from-motor-vehicle", 2304, 0, 7.0),
    ("theft-other", "larceny", 2399, 0, 7.0),
    ("criminal-mischief-other", "public-disorder", 2999, 0, 5.0),
    ("criminal-trespassing", "all-other-crimes", 5707, 0, 5.0),
    ("assault-simple", "other-crimes-against-persons", 1313, 0, 4.5),
    ("theft-shoplift", "larceny", 2303, 0, 4.5),
    ("theft-bicycle", "larceny", 2399, 1, 3.5),
    ("burglary-business-by-force", "burglary", 2203, 0, 4.0),
    ("burglary-residence-no-force", "burglary", 2204, 0, 3.5),
    ("weapon-unlawful-discharge-of", "all-other-crimes", 5213, 0, 3.5),
    ("aggravated-assault", "aggravated-assault", 1315, 0, 3.5),
    ("drug-poss-paraphernalia", "drug-alcohol", 3550, 0, 4.0),
    ("disturbing-the-peace", "public-disorder", 5312, 0, 2.5),
    ("robbery-street", "robbery", 1205, 0, 2.0),
    ("fraud-other", "white-collar-crime", 2699, 0, 1.5),
    ("arson-other", "arson", 2099, 0, 0.3),
)
OFFENSE_SHARES = tuple(share for *_, share in OFFENSES)
AGAIN_SHARE = 0.02
BLANK_SHARE = 0.003
ZERO_SHARE = 0.005
START = np.datetime64("2019-01-02T00:00", "m")
STEP = 30  # minutes from one report to the next, on the average
DAY = 24 * 60
YEAR = 365 * DAY

STREETS = words(
    "ALDERWOOD ANTELOPE ASPENGLOW BASALT BISON BLUEGRAMA BUNCHGRASS CANYONWREN CHAMISA COLUMBINE COTTONTAIL DIPPER "
    "ELKHORN FIREWEED FLICKER GNEISS GREENSTONE HAWKSEYE JUNIPERBERRY KINGFISHER LARKSPUR LIMBERPINE MAGPIE MARMOT "
    "MEADOWRUE MILKVETCH NUTHATCH PASQUEFLOWER PENSTEMON PIKA PINYON PTARMIGAN QUARTZITE SAGEBRUSH SHALE SNOWBERRY"
)
SUFFIXES = words("ST AVE BLVD CT WAY DR PL")
HEADINGS = words("N S E W")
# The city's own projection (Colorado Central, US feet), made linear about the city's middle: good to some ten metres.
MIDDLE = np.array([-104.95, 39.73])
FEET = np.array([[281_096.659, 1_843.205], [-2_320.724, 364_361.955]])
MIDDLE_FEET = np.array([3_154_687.65, 1_691_260.05])


def block(number: int) -> pa.Table:
    """Reports ``number * BLOCK_ROWS`` and on, ``BLOCK_ROWS`` of them, in the order of their reporting."""
    random = np.random.default_rng([SEED, number])
    rows = np.arange(BLOCK_ROWS)
    first = first_rows(rows, random)  # the row that begins each row's incident
    begin = pa.array(first)
    minutes = (rows + number * BLOCK_ROWS) * STEP + random.integers(0, STEP, BLOCK_ROWS)
    spot = spots(minutes, random)
    places = CENTRES[spot] + SPREAD * random.standard_normal((BLOCK_ROWS, 2))
    happened = random.exponential(300, BLOCK_ROWS).astype(np.int64)
    lasted = (random.random(BLOCK_ROWS) * happened).astype(np.int64)
    point = random.random(BLOCK_ROWS) < 0.45  # an offence of one moment has no last date
    address = join(
        100 * random.integers(1, 60, BLOCK_ROWS) + random.integers(0, 100, BLOCK_ROWS),
        HEADINGS[random.integers(len(HEADINGS), size=BLOCK_ROWS)],
        STREETS[random.integers(len(STREETS), size=BLOCK_ROWS)],
        SUFFIXES[random.integers(len(SUFFIXES), size=BLOCK_ROWS)],
        by=" ",
    )
    offense = pick(random, OFFENSE_SHARES, BLOCK_ROWS)
    once_more = first != rows  # a further offence of an incident is never the same one
    offense = np.where(once_more, (offense[first] + 1 + offense % (len(OFFENSES) - 1)) % len(OFFENSES), offense)
    code, extension = (np.array([entry[part] for entry in OFFENSES])[offense] for part in (2, 3))
    stamp = START + minutes[first]
    incident = (1970 + stamp.astype("datetime64[Y]").astype(np.int64)) * 10**7 + number * BLOCK_ROWS + first + 1
    lost = random.random(BLOCK_ROWS)
    columns = [
        number * BLOCK_ROWS + random.permutation(BLOCK_ROWS) + 1,
        incident,
        incident * 10**6 + code * 100 + extension,
        code,
        extension,
        np.array([entry[0] for entry in OFFENSES])[offense],
        np.array([entry[1] for entry in OFFENSES])[offense],
        clock(stamp - happened[first]),
        pc.if_else(pa.array(point[first]), pa.scalar(None, pa.string()), clock(stamp - lasted[first])),
        clock(stamp),
        address.take(begin),
        np.zeros(BLOCK_ROWS, np.int64),
        np.zeros(BLOCK_ROWS, np.int64),
        *(axis.take(begin) for axis in coordinates(places, lost)),
        *areas(spot[first], random),
        np.ones(BLOCK_ROWS, np.int64),
        np.zeros(BLOCK_ROWS, np.int64),
        1 + (random.random(BLOCK_ROWS) < 0.013) * random.geometric(0.7, BLOCK_ROWS),
        *(axis.take(begin) for axis in feet(places, lost, random)),
    ]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=arrow_schema(COLUMNS))


def first_rows(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """For each row the row that begins its incident: mostly itself, else the one before."""
    again = random.random(len(rows)) < AGAIN_SHARE
    again[0] = False
    again[1:] &= ~again[:-1]  # two offences at the most
    first: np.ndarray = np.maximum.accumulate(np.where(again, 0, rows))
    return first


def spots(minutes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The hot spot of each report, by the season's shares."""
    turn = 2 * np.pi * (minutes[:, None] / YEAR - (WORST_MONTHS - 0.5) / 12)
    shares = SPOT_SHARES * (1 + SEASON * np.cos(turn))
    ends = np.cumsum(shares, axis=1)
    drawn = random.random(len(minutes)) * ends[:, -1]
    numbers: np.ndarray = (drawn[:, None] >= ends).sum(axis=1)
    return numbers


def clock(stamps: np.ndarray) -> pa.Array:
    """Minutes as the public file writes them: ``1/2/2019 3:40:00 AM``."""
    days = stamps.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    minutes = (stamps - days).astype(np.int64)
    hours = minutes // 60
    year = 1970 + months.astype("datetime64[Y]").astype(np.int64)
    month = months.astype(np.int64) % 12 + 1
    day = (days - months).astype(np.int64) + 1
    date = join(month, day, year, by="/")
    minute = pc.utf8_lpad(pa.array(minutes % 60).cast(pa.string()), 2, "0")
    time = join((hours + 11) % 12 + 1, minute, "00", by=":")
    return join(date, time, np.where(hours < 12, "AM", "PM"), by=" ")


def coordinates(places: np.ndarray, lost: np.ndarray) -> list[pa.Array]:
    """Longitudes and latitudes; blank or zero where the place was lost."""
    known = np.where(lost[:, None] < BLANK_SHARE + ZERO_SHARE, 0.0, np.round(places, 8))
    return [pa.array(axis, mask=lost < BLANK_SHARE) for axis in known.T]


def feet(places: np.ndarray, lost: np.ndarray, random: np.random.Generator) -> list[pa.Array]:
    """The same in the city's own coordinates, to a foot and with the public file's crumbs behind the point."""
    whole = np.round((places - MIDDLE) @ FEET + MIDDLE_FEET)
    crumbs = np.round(random.uniform(-4e-4, 4e-4, whole.shape), 8)
    known = np.where(lost[:, None] < BLANK_SHARE + ZERO_SHARE, 0.0, whole + crumbs)
    return [pa.array(axis, mask=lost < BLANK_SHARE) for axis in known.T]


def areas(spot: np.ndarray, random: np.random.Generator) -> list[pa.Array]:
    """District, precinct and neighbourhood of each hot spot; a district may be unknown, a neighbourhood blank."""
    district = np.array([str(hot_spot.district) for hot_spot in HOT_SPOTS])[spot]
    precinct = np.array([hot_spot.precinct for hot_spot in HOT_SPOTS])[spot]
    neighborhood = np.array([hot_spot.neighborhood for hot_spot in HOT_SPOTS])[spot]
    doubt = random.random(len(spot))
    unknown = doubt < 0.001
    return [
        pa.array(np.where(unknown, "U", district), mask=doubt > 0.9998),
        pa.array(np.where(unknown, 999, precinct)),
        pa.array(neighborhood, mask=unknown),
    ]
