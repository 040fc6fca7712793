"""Amazon sales: products with prices, ratings and reviews, in the form of the public file amazon.csv.

A block has as many rows as that file, and its features. Prices are texts such as ``₹1,099``, discounts ``64%``, counts
``24,269``; in one row the rating is ``|``, in two the count is blank. One row in thirteen repeats an earlier product
with a slightly greater count. Ratings have the public file's shares, and so its mean, 4.12. Categories have the public
file's form, some levels with commas; names have commas, quotes and non-ASCII letters. Each kind of product has its own
level of prices and discounts: expensive ones have lower discounts. Ratings depend on the brand's quality. Brands,
products, people and addresses are invented.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tidemill.pipeline import Column, arrow_schema
from tidemill.samples.amazon_products import BRANDS, CLAIMS, COLOURS, KINDS, OPINIONS, SERIES
from tidemill.samples.making import digits, join, pick, scatter

VERSION = 1
SEED = 1_465
BLOCK_ROWS = 1_465

COLUMNS = (
    Column("product_id", "string", False),
    Column("product_name", "string", False),
    Column("category", "string", False),
    Column("discounted_price", "string", False),
    Column("actual_price", "string", False),
    Column("discount_percentage", "string", False),
    Column("rating", "string", False),
    Column("rating_count", "string", True),
    Column("about_product", "string", False),
    Column("user_id", "string", False),
    Column("user_name", "string", False),
    Column("review_id", "string", False),
    Column("review_title", "string", False),
    Column("review_content", "string", False),
    Column("img_link", "string", False),
    Column("product_link", "string", False),
)
KIND_SHARES = tuple(kind.share for kind in KINDS)
AGAIN_SHARE = 0.077
BAD_RATING_ROW = 1_279
BLANK_COUNT_ROWS = (282, 324)
REVIEWS = 3
# How many of a block's rows have which rating: the public file's shares.
RATINGS = (2.8, 3.0, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7, 3.8, 3.9, 4.0, 4.1, 4.2, 4.3, 4.4, 4.5, 4.6, 4.7, 5.0)
RATING_ROWS = (1, 4, 2, 16, 9, 28, 24, 37, 72, 111, 184, 229, 235, 268, 138, 84, 14, 4, 5)
RANKED_RATINGS = np.repeat(RATINGS, RATING_ROWS)
QUALITY = np.linspace(-1.2, 1.2, len(BRANDS))  # of the brands, in standard deviations of the products' own quality
PRICE_SPREAD, COUNT_SPREAD, DISCOUNT_SPREAD = 0.5, 1.6, 13.0
MOST_REVIEWED = 426_973


class Products(NamedTuple):
    """A block's products, one per row. Rows that repeat a product differ only in ``reviewed``."""

    identifier: pa.Array
    kind: np.ndarray
    brand: np.ndarray
    name: pa.Array
    actual: np.ndarray
    discounted: np.ndarray
    reviewed: np.ndarray
    quality: np.ndarray
    about: pa.Array


def block(number: int) -> pa.Table:
    """Rows ``number * BLOCK_ROWS`` and on, ``BLOCK_ROWS`` of them."""
    random = np.random.default_rng([SEED, number])
    made = products(number, random)
    percent = np.round(100 * (1 - made.discounted / made.actual)).astype(np.int64)
    rating = RANKED_RATINGS[np.argsort(np.argsort(made.quality, kind="stable"), kind="stable")]
    ratings = np.char.mod("%.1f", rating)
    ratings[BAD_RATING_ROW] = "|"
    blank = np.isin(np.arange(BLOCK_ROWS), BLANK_COUNT_ROWS)
    columns = [
        made.identifier,
        made.name,
        np.array([kind.category for kind in KINDS])[made.kind],
        rupees(made.discounted),
        rupees(made.actual),
        join(percent, "%"),
        ratings,
        pa.array([f"{count:,}" for count in made.reviewed], mask=blank),
        made.about,
        *reviews(number, random),
        join("https://example.org/images/", made.identifier, ".jpg"),
        join("https://example.org/dp/", made.identifier, "/ref=sr_", np.arange(BLOCK_ROWS) % 16 + 1),
    ]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=arrow_schema(COLUMNS))


def products(number: int, random: np.random.Generator) -> Products:
    rows = np.arange(BLOCK_ROWS)
    first = np.where(random.random(BLOCK_ROWS) < AGAIN_SHARE, random.integers(0, rows + 1), rows)
    while (first[first] != first).any():
        first = first[first]  # where the repeated row is itself a repetition
    kind, brand = pick(random, KIND_SHARES, BLOCK_ROWS)[first], random.integers(0, len(BRANDS), BLOCK_ROWS)[first]
    identity = number * BLOCK_ROWS + first
    level = np.array([entry.price for entry in KINDS])[kind]
    actual = neat(level * np.exp(PRICE_SPREAD * random.standard_normal(BLOCK_ROWS)))[first]
    mean = np.array([entry.discount for entry in KINDS])[kind]
    discount = np.clip(mean + DISCOUNT_SPREAD * random.standard_normal(BLOCK_ROWS)[first], 0, 90)
    count = np.exp(np.log(5_200) + COUNT_SPREAD * random.standard_normal(BLOCK_ROWS)[first])
    luck = random.standard_normal(BLOCK_ROWS)
    return Products(
        identifier=join("B0", digits(scatter(1 + identity, 36**8), 8)),
        kind=kind,
        brand=brand,
        name=names(kind, brand, identity, random).take(pa.array(first)),
        actual=actual,
        discounted=np.minimum(neat(actual * (1 - discount / 100)), actual),
        reviewed=np.minimum(count, MOST_REVIEWED).astype(np.int64) + (rows - first) // 400,
        quality=(QUALITY[brand] + luck)[first],
        about=claims(random).take(pa.array(first)),
    )


def neat(prices: np.ndarray) -> np.ndarray:
    """Prices in shop style: from 100 rupees on they end in 9, above a thousand in 99."""
    ends = np.select([prices >= 1_000, prices >= 100], [100, 10], 1)
    whole: np.ndarray = np.maximum(np.round(prices / ends) * ends - (ends > 1), 39)
    return whole


def rupees(prices: np.ndarray) -> pa.Array:
    return pa.array([f"₹{price:,.0f}" for price in prices])


def names(kind: np.ndarray, brand: np.ndarray, identity: np.ndarray, random: np.random.Generator) -> pa.Array:
    """A name for each product; the model number makes it unique."""

    def one_of(texts: list[tuple[str, ...]]) -> np.ndarray:
        width = max(map(len, texts))
        table = np.array([[choices[index % len(choices)] for index in range(width)] for choices in texts])
        chosen: np.ndarray = table[kind, random.integers(0, width * 60, BLOCK_ROWS) % width]
        return chosen

    model = join(SERIES[random.integers(len(SERIES), size=BLOCK_ROWS)], "-", 100 + identity)
    colour = COLOURS[random.integers(len(COLOURS), size=BLOCK_ROWS)]
    nouns, details = one_of([entry.nouns for entry in KINDS]), one_of([entry.details for entry in KINDS])
    return join(BRANDS[brand], " ", model, " ", nouns, ", ", details, " (", colour, ")")


def claims(random: np.random.Generator) -> pa.Array:
    """Three claims about each product, separated by |."""
    order = random.permuted(np.tile(np.arange(len(CLAIMS)), (BLOCK_ROWS, 1)), axis=1)[:, :3]
    return join(*CLAIMS[order].T, by="|")


def reviews(number: int, random: np.random.Generator) -> list[pa.Array]:
    """The reviews' users, names, ids, titles and texts: one entry per review in each field, separated by commas."""
    start = (number * BLOCK_ROWS + np.arange(BLOCK_ROWS)) * REVIEWS
    users = [scatter(start + index + 1, 36**8) for index in range(REVIEWS)]
    opinions = [OPINIONS[random.integers(len(OPINIONS), size=BLOCK_ROWS)] for _ in users]
    return [
        join(*(join("AE", digits(user, 8)) for user in users), by=","),
        join(*(join("Customer ", user % 9_999 + 1) for user in users), by=","),
        join(*(join("R", digits(user, 8), "X") for user in users), by=","),
        join(*opinions, by=","),
        join(*(join(opinion, ", so far.") for opinion in opinions), by=","),
    ]
