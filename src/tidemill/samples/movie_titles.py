"""Movie titles: invented movies in the form of MovieLens' movies.csv, and their positions among tastes.

A movie's genres depend on its number alone. So does its position among the tastes, which the sample movie-ratings
plants: near the mean of its genres' positions. Every fifth title has its article after a comma, as in the public file.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tidemill.pipeline import Column, arrow_schema
from tidemill.samples.making import join, pick, words

VERSION = 1
SEED = 9_742
BLOCK_ROWS = 2_000

COLUMNS = (
    Column("movieId", "int", False),
    Column("title", "string", False),
    Column("genres", "string", False),
)
GENRES = words(
    "Action Adventure Animation Children Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical Mystery "
    "Romance Sci-Fi Thriller War Western"
)
GENRE_SHARES = (18, 13, 6, 7, 38, 12, 4, 44, 8, 1, 10, 3, 6, 16, 10, 19, 4, 2)
GENRE_COUNT_SHARES = (0.29, 0.33, 0.24, 0.10, 0.04)  # one genre, two, ...
TASTES = 4  # the dimensions of taste
OWN = 0.45  # how far a movie is from the mean of its genres; a genre is 1 from the centre
NO_GENRES = "(no genres listed)"
NO_GENRES_SHARE = 0.003

ADJECTIVES = words(
    "Amber Borrowed Brackish Clockwork Crooked Dappled Distant Electric Fallow Forgotten Gilded Hollow Inland Jagged "
    "Kindled Lanternlit Leaping Moonless Mossy Narrow Northern Overdue Painted Paper Quiet Reluctant Restless "
    "Sevenfold Silent Slanted Sleepless Sunken Tidal Unlikely Velvet Weathered Whistling Windward Woollen Yearlong"
)
NOUNS = words(
    "Almanac Apiary Archivist Balloonist Bellfounder Boatyard Cartographer Causeway Clockmaker Custodian Dovecote "
    "Estuary Ferryman Foghorn Gardener Glassblower Granary Harbourmaster Inkwell Journeyman Kiln Lamplighter "
    "Lighthouse Lockkeeper Meridian Millrace Miller Orchard Parlour Quarry Reservoir Saltworks Sluice Stairwell "
    "Steeplejack Tollhouse Trellis Understudy Viaduct Watermill"
)
ARTICLE_BEHIND = 0.2
FIRST_YEAR, LAST_YEAR = 1950, 2018


def block(number: int) -> pa.Table:
    """Movies ``number * BLOCK_ROWS + 1`` and on, ``BLOCK_ROWS`` of them."""
    random = np.random.default_rng([SEED, number])
    belongs = genre_table(random)
    behind = random.random(BLOCK_ROWS) < ARTICLE_BEHIND
    name = join(of(ADJECTIVES, random), of(NOUNS, random), by=" ")
    article = np.where(behind, ", The", "")
    part = np.where(random.random(BLOCK_ROWS) < 0.05, " II", "")
    year = random.integers(FIRST_YEAR, LAST_YEAR + 1, BLOCK_ROWS)
    listed = ["|".join(GENRES[row]) or NO_GENRES for row in belongs]
    columns = [
        np.arange(BLOCK_ROWS) + number * BLOCK_ROWS + 1,
        join(name, part, article, " (", year, ")"),
        listed,
    ]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=arrow_schema(COLUMNS))


def of(texts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    chosen: np.ndarray = texts[random.integers(len(texts), size=BLOCK_ROWS)]
    return chosen


def genre_table(random: np.random.Generator) -> np.ndarray:
    """Which movies (rows) have which genres (columns)."""
    count = 1 + pick(random, GENRE_COUNT_SHARES, BLOCK_ROWS)
    count = np.where(random.random(BLOCK_ROWS) < NO_GENRES_SHARE, 0, count)
    # The largest of log(weight) + Gumbel noise are a draw by weight without replacement (Vieira 2014).
    keys = np.log(GENRE_SHARES) + random.gumbel(size=(BLOCK_ROWS, len(GENRES)))
    rank = np.argsort(np.argsort(-keys, axis=1), axis=1)
    table: np.ndarray = rank < count[:, None]
    return table


def tastes(number: int) -> np.ndarray:
    """The position of each movie of a block among the tastes: shape (BLOCK_ROWS, TASTES), variance about 1 in each."""
    belongs = genre_table(np.random.default_rng([SEED, number]))
    genres = np.random.default_rng([SEED, TASTES, 0]).standard_normal((len(GENRES), TASTES))
    own = np.random.default_rng([SEED, TASTES, 1, number]).standard_normal((BLOCK_ROWS, TASTES))
    mean = belongs @ genres / np.sqrt(np.maximum(belongs.sum(axis=1), 1))[:, None]
    places: np.ndarray = (mean + OWN * own) / np.hypot(1, OWN)
    return places
