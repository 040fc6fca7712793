"""Movie ratings in the form of MovieLens' ratings.csv, ordered by user.

Planted: a rating is 3.5 stars, plus the user's and the movie's deviations from the mean, plus the match of their tastes
in four dimensions, plus an error of 0.45 stars, rounded to half stars from 0.5 to 5. So recommending by taste does
clearly better than by means. A user has 20 ratings or more, of movies drawn by popularity: low numbers are popular.
Movies are those of the first block of the sample movie-titles.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tidemill.pipeline import Column, arrow_schema
from tidemill.samples import movie_titles

VERSION = 1
SEED = 610
BLOCK_ROWS = 5_000
BLOCK_USERS = 30

COLUMNS = (
    Column("userId", "int", False),
    Column("movieId", "int", False),
    Column("rating", "float", False),
    Column("timestamp", "int", False),
)
MOVIES = movie_titles.BLOCK_ROWS
LEAST_RATINGS, MOST_RATINGS = 20, 1_000
POPULARITY = 1 / (np.arange(MOVIES) + 20) ** 0.8
MEAN, USER_SPREAD, MOVIE_SPREAD, TASTE_SPREAD, ERROR = 3.5, 0.35, 0.35, 0.75, 0.45
FIRST_SECOND, LAST_SECOND = 828_124_615, 1_537_799_250  # 1996 to 2018, as in the public file


def block(number: int) -> pa.Table:
    """The ratings of ``BLOCK_USERS`` users, from user ``number * BLOCK_USERS + 1`` on: ``BLOCK_ROWS`` of them."""
    random = np.random.default_rng([SEED, number])
    counts = ratings_per_user(random)
    user = np.repeat(np.arange(BLOCK_USERS), counts)
    movie = rated_movies(counts, random)
    columns = [
        user + number * BLOCK_USERS + 1,
        movie + 1,
        stars(user, movie, random),
        seconds(user, random),
    ]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=arrow_schema(COLUMNS))


def ratings_per_user(random: np.random.Generator) -> np.ndarray:
    """The number of ratings of each user, ``BLOCK_ROWS`` in total; few users have many."""
    shares = random.lognormal(0, 1, BLOCK_USERS)
    spare = BLOCK_ROWS - LEAST_RATINGS * BLOCK_USERS
    counts: np.ndarray = LEAST_RATINGS + np.floor(spare * shares / shares.sum()).astype(np.int64)
    counts = np.minimum(counts, MOST_RATINGS)
    while (left := BLOCK_ROWS - int(counts.sum())) > 0:  # distribute what rounding and the limit left over
        free = np.flatnonzero(counts < MOST_RATINGS)
        counts[free[: min(left, len(free))]] += 1
    return counts


def rated_movies(counts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each user's movies, ascending: drawn by popularity without replacement (see ``movie_titles.genre_table``)."""
    keys = np.log(POPULARITY) + random.gumbel(size=(BLOCK_USERS, MOVIES))
    order = np.argsort(-keys, axis=1)
    return np.concatenate([np.sort(row[:count]) for row, count in zip(order, counts, strict=True)])


def stars(user: np.ndarray, movie: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Ratings in half stars, by the rule in this module's docstring."""
    quality = MOVIE_SPREAD * np.random.default_rng([SEED, MOVIES, 0]).standard_normal(MOVIES)
    kindness = USER_SPREAD * random.standard_normal(BLOCK_USERS)
    likes = random.standard_normal((BLOCK_USERS, movie_titles.TASTES)) / np.sqrt(movie_titles.TASTES)
    fit = (likes[user] * movie_titles.tastes(0)[movie]).sum(axis=1)
    exact = MEAN + kindness[user] + quality[movie] + TASTE_SPREAD * fit + ERROR * random.standard_normal(len(user))
    ratings: np.ndarray = np.clip(np.round(2 * exact) / 2, 0.5, 5.0)
    return ratings


def seconds(user: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The time of each rating; a user's ratings are within a few hours of the first."""
    start = random.integers(FIRST_SECOND, LAST_SECOND, BLOCK_USERS)
    rated_at: np.ndarray = start[user] + random.integers(0, 4 * 3_600, len(user))
    return rated_at
