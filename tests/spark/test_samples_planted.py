"""What is planted in the samples: the public files' quirks and shares, and something to learn that is known."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession

from tests.support import DATA
from tidemill.samples import amazon_sales, denver_crime, dutch_electricity, find_sample, movie_ratings, price_paid


def generated(name: str, rows: int | None = None) -> pl.DataFrame:
    """The first rows of a sample, as many as it has by default."""
    made = find_sample(name)
    frame = pl.from_arrow(pa.concat_tables(made.chunks(rows or made.default_rows)))
    assert isinstance(frame, pl.DataFrame)
    return frame


def lloyd(points: np.ndarray, centres: np.ndarray, steps: int = 30) -> np.ndarray:
    """k-means (Lloyd 1982) from given centres: those it ends in."""
    for _ in range(steps):
        nearest = ((points[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.array([points[nearest == one].mean(axis=0) for one in range(len(centres))])
    return centres


def share(frame: pl.DataFrame, condition: pl.Expr) -> float:
    """The share of rows for which a condition holds; of one that is missing it doesn't."""
    return float(frame.select(condition.fill_null(False).mean()).item())


# --- dutch-electricity --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def years() -> list[pl.DataFrame]:
    """Three years' files."""
    frame = generated("dutch-electricity")
    size = dutch_electricity.BLOCK_ROWS
    return [frame.slice(year * size, size) for year in range(3)]


def real_year(year: int) -> pl.DataFrame:
    return pl.read_csv(DATA / "dutch-electricity" / f"coteq_electricity_{year}.csv", infer_schema_length=None)


@pytest.mark.parametrize("year", range(3))
def test_dutch_consumption_is_spread_as_in_the_public_files(years: list[pl.DataFrame], year: int) -> None:
    """Each year's quantiles of consumption are the public file's, within a tenth; it has streets that use nothing."""
    ours, theirs = years[year]["annual_consume"], real_year(2018 + year)["annual_consume"]
    for part in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99):
        assert ours.quantile(part) == pytest.approx(theirs.quantile(part), rel=0.12)
    assert ours.median() == pytest.approx(3_270 * dutch_electricity.FALL**year, rel=0.02)
    assert (ours == 0).sum() > 0


def test_dutch_consumption_has_its_levels(years: list[pl.DataFrame]) -> None:
    """k-means with four clusters ends in the four levels that are planted, within 8 %."""
    points = years[0]["annual_consume"].to_numpy().astype(float)[:, None]
    found = lloyd(points, np.quantile(points, [[0.1], [0.5], [0.95], [0.995]]))
    assert np.sort(found[:, 0]) == pytest.approx(dutch_electricity.LEVELS, rel=0.08)


def test_dutch_smart_meters_jump_in_the_third_year(years: list[pl.DataFrame]) -> None:
    """Smart meters are all but absent for two years and at four fifths in the third; the mean consumption falls."""
    means = [float(year.select(pl.col("smartmeter_perc").mean()).item()) for year in years]
    assert max(means[:2]) < 0.1
    assert means[2] == pytest.approx(82, abs=2)
    falls = [float(year.select(pl.col("annual_consume").mean()).item()) for year in years]
    assert falls == sorted(falls, reverse=True)


def test_dutch_files_look_like_the_public_ones(years: list[pl.DataFrame]) -> None:
    """The columns are the same, and each year the streets, in order; the operator is renamed; percents get whole."""
    assert years[0].columns == real_year(2018).columns
    for year in years:
        assert year["zipcode_from"].is_sorted()
        assert (year["zipcode_from"] <= year["zipcode_to"]).all()
        assert year["street"].equals(years[0]["street"])
        assert year["net_manager"].n_unique() == 1
        for name in ("delivery_perc", "perc_of_active_connections", "annual_consume_lowtarif_perc", "smartmeter_perc"):
            assert year[name].is_between(0, 100).all()
    assert years[0]["net_manager"][0] != years[1]["net_manager"][0] == years[2]["net_manager"][0]
    assert share(years[0], pl.col("delivery_perc") % 1 != 0) > 0.3
    assert share(years[2], pl.col("delivery_perc") % 1 != 0) == 0


# --- denver-crime -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crimes() -> pl.DataFrame:
    return generated("denver-crime")


placed = (pl.col("GEO_LAT") != 0).fill_null(False)


def test_denver_columns_and_dates(crimes: pl.DataFrame) -> None:
    """The public file's 23 columns; times in its form, reported in order and after they began."""
    real = pl.read_csv(DATA / "denver-crime" / "denver_crime_by_reported_date.csv", n_rows=5)
    assert crimes.columns == real.columns
    assert crimes["REPORTED_DATE"].str.contains(r"^\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d\d:00 [AP]M$").all()
    names = ["FIRST_OCCURRENCE_DATE", "LAST_OCCURRENCE_DATE", "REPORTED_DATE"]
    times = crimes.select(pl.col(names).str.strptime(pl.Datetime, "%m/%d/%Y %I:%M:%S %p"))
    assert times["REPORTED_DATE"].is_sorted()
    assert share(times, pl.col(names[0]) > pl.col(names[2])) == 0
    assert share(times, pl.col(names[1]).is_between(pl.col(names[0]), pl.col(names[2]))) == pytest.approx(
        0.55, abs=0.02
    )


def test_denver_rows_without_a_place(crimes: pl.DataFrame) -> None:
    """Between a half and one percent of the rows have no place, some blank and some zero, in all four coordinates."""
    assert 0.005 < share(crimes, ~placed) < 0.011
    for lost in (crimes.filter(pl.col("GEO_LAT").is_null()), crimes.filter(pl.col("GEO_LAT") == 0)):
        assert len(lost) > 20
        assert lost.select(pl.n_unique("GEO_LON", "GEO_LAT", "x", "y")).row(0) == (1, 1, 1, 1)


def test_denver_incidents_with_several_offences(crimes: pl.DataFrame) -> None:
    """One row in fifty is another offence of the incident before it: same time and place, another offence."""
    again = (pl.col("INCIDENT_ID") == pl.col("INCIDENT_ID").shift(1)).fill_null(False)
    assert share(crimes, again) == pytest.approx(denver_crime.AGAIN_SHARE, abs=0.004)
    assert crimes["INCIDENT_ID"].n_unique() == len(crimes) - crimes.select(again.sum()).item()
    assert crimes["OFFENSE_ID"].n_unique() == crimes["OBJECTID"].n_unique() == len(crimes)
    same = crimes.filter(again | again.shift(-1)).group_by("INCIDENT_ID").agg(pl.all().n_unique())
    assert (
        same.select(pl.max("REPORTED_DATE", "INCIDENT_ADDRESS", "GEO_LON", "x", "NEIGHBORHOOD_ID")).row(0) == (1,) * 5
    )
    assert same["OFFENSE_TYPE_ID"].min() == 2


def test_denver_has_nine_hot_spots(crimes: pl.DataFrame) -> None:
    """k-means, begun nearby, ends in the nine centres; the city's own coordinates are linear in the degrees."""
    known = crimes.filter(placed)
    points = known.select("GEO_LON", "GEO_LAT").to_numpy()
    found = lloyd(points, denver_crime.CENTRES + 0.01, 10)
    assert np.abs(found - denver_crime.CENTRES).max() < 1e-3
    design = np.column_stack([points, np.ones(len(points))])
    errors = np.linalg.lstsq(design, known.select("x", "y").to_numpy(), rcond=None)[1]
    assert np.sqrt(errors / len(points)).max() < 1  # foot


def test_denver_hot_spots_have_their_seasons(crimes: pl.DataFrame) -> None:
    """From one generation to the next the shares of the hot spots change: by half somewhere."""
    shares = [
        crimes.slice(start, 5_000)["NEIGHBORHOOD_ID"].drop_nulls().value_counts(sort=False).sort("NEIGHBORHOOD_ID")
        for start in (0, 5_000, 10_000)
    ]
    for before, after in pairwise(shares):
        assert (after["count"] / before["count"]).max() > 1.5  # type: ignore[operator]  # a number, as counts are


# --- amazon-sales -------------------------------------------------------------------------------------------------


def number(name: str) -> pl.Expr:
    return pl.col(name).str.replace_all("[₹,%]", "").cast(pl.Float64, strict=False)


@pytest.fixture(scope="module")
def products() -> pl.DataFrame:
    """Two of the public file's lengths, as texts."""
    return generated("amazon-sales", 2 * amazon_sales.BLOCK_ROWS)


def test_amazon_texts_have_the_public_files_forms(products: pl.DataFrame) -> None:
    """Prices, discounts, ratings and counts are texts; in each block one rating is none and two counts are blank."""
    real = pl.read_csv(DATA / "amazon-sales" / "amazon_sales.csv", n_rows=5)
    personal = ["user_id", "user_name", "review_id", "review_title", "review_content"]  # taken out of the copy here
    assert products.columns == [*real.columns[:9], *personal, *real.columns[9:]]
    assert products["product_id"].str.contains(r"^B0[0-9A-Z]{8}$").all()
    for name in ("discounted_price", "actual_price"):
        assert products[name].str.contains(r"^₹\d{1,3}(,\d{3})*$").all()
    assert products["discount_percentage"].str.contains(r"^\d{1,2}%$").all()
    assert products["rating_count"].drop_nulls().str.contains(r"^\d{1,3}(,\d{3})*$").all()
    assert products["rating_count"].null_count() == 4
    assert products.filter(~pl.col("rating").str.contains(r"^[2-5]\.\d$"))["rating"].to_list() == ["|", "|"]


def test_amazon_ratings_and_prices(products: pl.DataFrame) -> None:
    """In every block the ratings' mean is 4.12 within 0.005, from 2.8 to 5; the discount is that between the prices."""
    clean = products.with_columns(
        number(name) for name in ("rating", "discounted_price", "actual_price", "discount_percentage")
    )
    for start in (0, amazon_sales.BLOCK_ROWS):
        ratings = clean["rating"].slice(start, amazon_sales.BLOCK_ROWS)
        assert ratings.mean() == pytest.approx(4.12, abs=0.005)
        assert (ratings.min(), ratings.max()) == (2.8, 5.0)
    off = 100 * (1 - pl.col("discounted_price") / pl.col("actual_price")) - pl.col("discount_percentage")
    assert share(clean, off.abs() <= 0.5) == 1
    real = pl.read_csv(DATA / "amazon-sales" / "amazon_sales.csv", infer_schema_length=None)
    for name, within in (("discounted_price", 0.5), ("actual_price", 0.5), ("discount_percentage", 0.15)):
        assert clean[name].median() == pytest.approx(real[name].median(), rel=within)


def test_amazon_quotes_commas_and_other_letters(products: pl.DataFrame) -> None:
    """Names have commas, quotes and letters beyond ASCII, categories from two levels on, some levels with commas."""
    assert share(products, pl.col("product_name").str.contains(",")) > 0.5
    assert share(products, pl.col("product_name").str.contains('"')) > 0.05
    assert share(products, pl.col("product_name").str.contains(r"[^\x00-\x7f]")) > 0.05
    assert share(products, pl.col("about_product").str.contains(r"[^\x00-\x7f]")) > 0.3
    levels = products["category"].str.split("|")
    assert (levels.list.len().min(), levels.list.len().max()) == (2, 5)
    assert products["category"].str.contains(r"^[^,]+\|[^|]+,").any()
    assert "Electronics|Mobiles&Accessories" in set(levels.list.head(2).list.join("|"))


def test_amazon_products_repeat(products: pl.DataFrame) -> None:
    """Some rows repeat a product, which keeps its name and its prices; each product's name is its own."""
    kept = products.group_by("product_id").agg(pl.len(), pl.n_unique("product_name", "category", "discounted_price"))
    assert kept.select(pl.max("product_name", "category", "discounted_price")).row(0) == (1, 1, 1)
    assert 0.9 < len(kept) / len(products) < 0.96
    assert products["product_name"].n_unique() == len(kept)


def test_amazon_kinds_and_brands(products: pl.DataFrame) -> None:
    """Laptops, sleeves and bags are among the products; dear kinds cost far more and are less discounted; ratings
    grow with the brand's quality."""
    for words in ("Laptop Sleeve", "Laptop Bag", "Business Laptop", "for TV, Laptop"):
        assert products["product_name"].str.contains(words, literal=True).sum() >= 3
    clean = products.with_columns(number(name) for name in ("rating", "discounted_price", "discount_percentage"))
    dear, cheap = (clean.filter(pl.col("category").str.contains(last)) for last in ("Smartphones$", "USBCables$"))
    medians = [each.select(pl.median("discounted_price", "discount_percentage")).row(0) for each in (dear, cheap)]
    assert medians[0][0] > 20 * medians[1][0]
    assert medians[0][1] < medians[1][1] - 20
    brands = clean.with_columns(pl.col("product_name").str.extract(r"^(\w+)").alias("brand"))
    ratings = brands.group_by("brand").agg(pl.mean("rating")).sort("brand")["rating"].to_numpy()
    assert np.corrcoef(ratings, amazon_sales.QUALITY)[0, 1] > 0.95


# --- price-paid ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sales() -> pl.DataFrame:
    return generated("price-paid")


@pytest.fixture(scope="module")
def real_sales(sales: pl.DataFrame) -> pl.DataFrame:
    path = DATA / "price-paid" / "pp-1995-sample.csv"
    return pl.read_csv(path, has_header=False, new_columns=sales.columns, infer_schema_length=None)


def test_price_paid_is_spread_as_in_the_public_file(sales: pl.DataFrame, real_sales: pl.DataFrame) -> None:
    """Quantiles of prices are the public file's within a sixth; types, tenure and new homes have its shares."""
    for part in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99):
        assert sales["price"].quantile(part) == pytest.approx(real_sales["price"].quantile(part), rel=1 / 6)
    for name in ("property_type", "new_build", "tenure"):
        for value in set(real_sales[name]):
            assert share(sales, pl.col(name) == value) == pytest.approx(
                share(real_sales, pl.col(name) == value), abs=0.03
            )


def test_price_paid_texts(sales: pl.DataFrame) -> None:
    """Identifiers, dates and postcodes have their forms; no postcode can be a real one; a few are empty; 1.6 % of the
    rows have a comma in the house's name."""
    assert sales["transaction_id"].str.contains(r"^\{[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}\}$").all()
    assert sales["transaction_id"].n_unique() == len(sales)
    assert sales["date"].str.contains(r"^1995-\d\d-\d\d 00:00$").all()
    assert sales["postcode"].str.contains(r"^([A-Z]{1,2}\d{1,2} \d[CIKMOV]{2})?$").all()
    assert 1 <= (sales["postcode"] == "").sum() <= 25
    assert share(sales, pl.any_horizontal(pl.col(pl.String).str.contains(","))) == pytest.approx(0.016, abs=0.004)


def test_price_paid_prices_follow_their_rule(sales: pl.DataFrame) -> None:
    """Least squares on the logarithm finds the planted effects within 4 standard errors, and their error."""
    flat = {f"property_type_{name}": effect for name, (_, effect) in price_paid.TYPES.items()}
    county = {f"county_{name}": effect for name, (_, effect) in price_paid.COUNTIES.items()}
    other = {
        "new_build_Y": price_paid.NEW,
        "tenure_L": price_paid.LEASEHOLD,
        "category_B": price_paid.OTHER_CATEGORY,
    }
    rule = flat | county | other
    names = ["property_type", "new_build", "tenure", "county", "category"]
    table = sales.select(names).to_dummies()
    base = ("property_type_T", "county_WEST MIDLANDS")
    columns = [name for name in table.columns if name in rule and name not in base]
    design = np.column_stack([table.select(columns).to_numpy(), np.ones(len(table))])
    target = np.log(sales["price"].to_numpy())
    found = np.linalg.lstsq(design, target, rcond=None)[0]
    error = float(np.std(target - design @ found))
    assert error == pytest.approx(price_paid.ERROR, rel=0.05)
    spread = error * np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    at_base = rule["county_WEST MIDLANDS"]
    for place, name in enumerate(columns):
        effect = rule[name] - (at_base if name.startswith("county") else 0)
        assert abs(found[place] - effect) < 4 * spread[place], name


# --- movie-ratings ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ratings() -> pl.DataFrame:
    return generated("movie-ratings")


def test_movie_ratings_look_like_the_public_file(ratings: pl.DataFrame) -> None:
    """Half stars from 0.5 to 5; users one after another, each with 20 ratings or more, of movies that have titles."""
    assert set(ratings["rating"]) == {stars / 2 for stars in range(1, 11)}
    assert ratings["rating"].mean() == pytest.approx(3.5, abs=0.1)
    assert ratings["userId"].is_sorted()
    counts = ratings.group_by("userId").len()["len"]
    assert counts.min() >= 20  # type: ignore[operator]  # a number, as counts are
    assert 100 < counts.median() < 140  # type: ignore[operator]  # the same
    assert len(counts) == 600
    assert ratings.select("userId", "movieId").is_duplicated().sum() == 0
    titles = generated("movie-titles")
    assert set(ratings["movieId"]) <= set(titles["movieId"])
    early = ratings.head(25_000)["movieId"]
    assert {1, 50} <= set(early)


def test_movie_titles_look_like_the_public_file() -> None:
    """A year behind each title, some articles behind a comma, and genres with | between them or none listed."""
    titles = generated("movie-titles")
    assert titles["title"].str.contains(r" \((19|20)\d\d\)$").all()
    assert 0.1 < share(titles, pl.col("title").str.contains(", The (", literal=True)) < 0.3
    listed = titles["genres"].str.split("|").explode().value_counts(sort=True)["genres"].to_list()
    assert listed[:2] == ["Drama", "Comedy"]
    assert "(no genres listed)" in listed


def test_movie_tastes_can_be_learned(ratings: pl.DataFrame, spark: SparkSession, tmp_path: Path) -> None:
    """Spark's ALS predicts held-out ratings better by a quarter than the users' and movies' means do."""
    held_out = np.random.default_rng(1).random(len(ratings)) < 0.2
    trained, kept = ratings.filter(~held_out), ratings.filter(held_out)
    model = ALS(userCol="userId", itemCol="movieId", ratingCol="rating", rank=6, maxIter=4, regParam=0.08, seed=1).fit(
        frame_of(spark, trained, tmp_path / "trained.parquet")
    )
    predicted = model.transform(frame_of(spark, kept, tmp_path / "kept.parquet")).dropna()
    by_taste = RegressionEvaluator(metricName="rmse", labelCol="rating").evaluate(predicted)
    mean = trained["rating"].mean()
    user = trained.group_by("userId").agg(pl.mean("rating").alias("user"))
    movie = trained.group_by("movieId").agg(pl.mean("rating").alias("movie"))
    by_means = kept.join(user, on="userId").join(movie, on="movieId")
    errors = by_means.select((pl.col("rating") - pl.col("user") - pl.col("movie") + mean).pow(2).mean().sqrt()).item()
    assert by_taste < 0.75 * errors


def frame_of(spark: SparkSession, ratings: pl.DataFrame, path: Path) -> Any:
    """The ratings as Spark has them, by way of a file."""
    ratings.write_parquet(path)
    return spark.read.parquet(str(path))


def test_movie_ratings_of_a_block_are_whole() -> None:
    """Every block has all the ratings of its thirty users, so that the default size cuts nobody short."""
    for place in (0, 7):
        users = movie_ratings.block(place)["userId"].to_numpy()
        assert (users.min(), users.max()) == (place * 30 + 1, place * 30 + 30)
    assert find_sample("movie-ratings").default_rows % movie_ratings.BLOCK_ROWS == 0
