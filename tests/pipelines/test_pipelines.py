"""The ready pipelines, each on its sample and on the real file: streamed, trained, and asked all they answer."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.support import DATA, SMART_HOME
from tests.support.pipeline_run import Ran, served, train_pipeline
from tests.support.routes_run import refused_examples
from tidemill.run.folder import Run

AMAZON = DATA / "amazon-sales" / "amazon_sales.csv"
DENVER = DATA / "denver-crime" / "denver_crime_by_reported_date.csv"
ELECTRICITY = DATA / "dutch-electricity" / "coteq_electricity_*.csv"
PRICE_PAID = DATA / "price-paid" / "pp-1995-sample.csv"
RATINGS = DATA / "movielens" / "ratings.csv"

PRODUCT = {"name", "price", "actual_price", "discount", "rating", "rating_count", "description", "image", "category"}
NIGHTLY = pytest.mark.nightly


def pipeline(name: str, real: Path, checked: str | None = None) -> Any:
    """A fixture of the ready pipeline on its sample and on the real file; ``checked`` is the one of them that is for
    every day, the other is for the night; without it both are."""
    places = [pytest.param(place, marks=() if place == checked else NIGHTLY) for place in ("sample", "real")]

    @pytest.fixture(scope="module", params=places)
    def made(request: pytest.FixtureRequest, trained_run: Callable[[str, str | None], Run]) -> Iterator[Ran]:
        with served(trained_run(name, None if request.param == "sample" else str(real))) as ran:
            yield ran

    return made


smart_home = pipeline("smart-home", SMART_HOME, "real")
dutch_electricity = pipeline("dutch-electricity", ELECTRICITY, "real")
denver_crime = pipeline("denver-crime", DENVER, "sample")
amazon_sales = pipeline("amazon-sales", AMAZON, "real")
price_paid = pipeline("price-paid", PRICE_PAID)  # by day, `tests/spark/test_own_files.py` has its file
movie_ratings = pipeline("movie-ratings", RATINGS, "sample")


def is_real(one: Ran) -> bool:
    return one.run.pipeline.source.path is not None


def rows_of(one: Ran, generation: int) -> int:
    record = one.run.catalog.generation(generation)
    assert record is not None
    return record.rows


def refused(one: Ran, path: str, status: int) -> str:
    """The message of a GET that must be refused."""
    answer = one.client.get(path)
    assert answer.status_code == status, answer.text
    message: str = answer.json()["error"]["message"]
    return message


# --- smart-home ---------------------------------------------------------------------------------------------------


def test_smart_home(smart_home: Ran) -> None:
    """A device's efficiency with its probability, its malfunctions, and its segment."""
    assert refused_examples(smart_home.client) == []
    device = {
        "DeviceType": "Camera",
        "UsageHoursPerDay": 19.97,
        "EnergyConsumption": 2.61,
        "UserPreferences": 1,
        "MalfunctionIncidents": 0,
        "DeviceAgeMonths": 29,
    }
    efficiency = smart_home.post("/predict_efficiency", device)
    assert (efficiency["predicted_efficiency_class"], efficiency["label"]) == (1, "Efficient")
    assert 0.5 < efficiency["probability_of_predicted_class"] <= 1
    assert 0 < smart_home.post("/predict_malfunction", device)["predicted_malfunctions"] < 4
    assert smart_home.post("/get_device_segment", device)["device_segment_id"] in range(4)
    assert smart_home.published == [1, 2, 3]


# --- dutch-electricity --------------------------------------------------------------------------------------------


def test_dutch_electricity(dutch_electricity: Ran) -> None:
    """In every generation a consumption has its cluster, whose centre is the nearest of that generation's."""
    assert refused_examples(dutch_electricity.client) == []
    ran = dutch_electricity
    assert len(ran.published) >= 3
    for generation in ran.published:
        clusters = ran.get(f"/cluster/{generation}")["clusters"]
        assert ran.get(f"/{generation}")["clusters"] == clusters
        centres = {each["cluster"]: each["centre"]["annual_consume"] for each in clusters}
        for consumption in (1200, 3268.5, 9000, 40_000):
            answer = ran.form(f"/predict/{generation}", annual_consumption=consumption)
            assert ran.form(f"/{generation}", annual_consumption=consumption) == answer
            nearest = min(centres, key=lambda number: abs(centres[number] - consumption))
            assert answer["cluster"] == nearest
            assert answer["centre"]["annual_consume"] == pytest.approx(centres[nearest])
    assert refused(ran, "/cluster/99", 404)
    wrong = ran.client.post("/predict/1", data={"annual_consumption": "much"})
    assert (wrong.status_code, "annual_consumption" in wrong.json()["error"]["message"]) == (422, True)


def test_the_dutch_files_of_other_operators(kafka: str, spark: SparkSession, tmp_path: Path) -> None:
    """A file whose columns are in another order, with more of them, gives the same rows: they are mapped by name."""
    source = sorted(ELECTRICITY.parent.glob("*_2018.csv"))[0]
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    other = tmp_path / "other.csv"
    names = ["region", *reversed(rows[0])]
    with other.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({"region": "Twente", **row} for row in rows)
    profiles = []
    for data in (source, other):
        with served(train_pipeline("dutch-electricity", tmp_path / data.stem, kafka, spark, str(data))) as one:
            totals = one.run.catalog.totals()
            assert (totals["rows"], totals["rejected"]) == (len(rows), 0)
            profiles.append(one.get("/models/consumption/profile")["clusters"])
    assert profiles[0] == profiles[1]


# --- denver-crime -------------------------------------------------------------------------------------------------


def test_denver_crime(denver_crime: Ran) -> None:
    """An incident that was streamed is answered with its cluster, a bare number, by each generation that has it."""
    assert refused_examples(denver_crime.client) == []
    ran = denver_crime
    assert len(ran.published) >= 3
    for generation in ran.published:
        rows = ran.client.get("/models/hotspot/profile", params={"generation": generation}).json()["clusters"]
        assert sum(each["size"] for each in rows) > 0
        crime = incident(ran, generation)
        answer = ran.get(f"/model{generation}/{crime}/cluster")
        assert type(answer) is int
        assert answer in range(9)
        found = ran.client.get(f"/models/hotspot/rows/{crime}", params={"generation": generation}).json()["rows"]
        assert found[0]["prediction"] == answer
        assert {row["row"]["INCIDENT_ID"] for row in found} == {crime}
    assert "4242424242" in refused(ran, f"/model1/{4242424242}/cluster", 404)
    assert refused(ran, f"/model99/{incident(ran, 1)}/cluster", 404)


def incident(one: Ran, generation: int) -> int:
    """An incident of the newest batch of a generation."""
    return int(rows_in(one, generation)["INCIDENT_ID"][-1].as_py())


def rows_in(one: Ran, generation: int) -> Any:
    """The rows that a generation was trained on, as an Arrow table."""
    from tidemill.api.rows.generation_rows import GenerationRows

    record = one.run.catalog.generation(generation)
    assert record is not None
    return GenerationRows(one.run).of(record)


def test_denver_crime_without_a_place_is_rejected(denver_crime: Ran) -> None:
    """Rows with blank or zero coordinates are rejects, counted, each with its reason; none is clustered at (0, 0)."""
    ran = denver_crime
    source = ran.run.catalog.source()
    assert source is not None
    path = ran.run.rejects / "source.jsonl"
    rejects = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    assert len(rejects) == source.rejected
    assert all("GEO_LAT is missing" in line or "GEO_LON is missing" in line for line in rejects)
    for generation in ran.published:
        table = rows_in(ran, generation)
        assert min(table["GEO_LAT"].to_pylist()) > 39
        assert max(table["GEO_LON"].to_pylist()) < -104
    if is_real(ran):  # a file in which every row has its place
        assert (source.rows, source.rejected) == (15_779, 0)
    else:
        assert source.rejected > 50


def test_an_incident_with_several_offences(denver_crime: Ran) -> None:
    """Every row that carries a repeated incident is there, the newest first."""
    ran = denver_crime
    generation = ran.published[-1]
    ids = rows_in(ran, generation)["INCIDENT_ID"].to_pylist()
    repeated = next(number for number, times in Counter(ids).items() if times > 1)
    rows = ran.get(f"/models/hotspot/rows/{repeated}")["rows"]
    assert len(rows) == ids.count(repeated)
    stored = [row for row in rows_in(ran, generation).to_pylist() if row["INCIDENT_ID"] == repeated]
    assert [row["row"]["OFFENSE_ID"] for row in rows] == [row["OFFENSE_ID"] for row in reversed(stored)]


# --- amazon-sales -------------------------------------------------------------------------------------------------


def test_amazon_categories_and_products(amazon_sales: Ran) -> None:
    """Categories come back as main category with its sub-categories, and a category has its products."""
    assert refused_examples(amazon_sales.client) == []
    ran = amazon_sales
    categories = ran.get("/api/categories")
    assert ran.get("/")["categories"] == categories
    assert "Mobiles&Accessories" in categories["Electronics"]
    assert all(subs == sorted(set(subs)) for subs in categories.values())
    products = ran.get("/api/products?category=Electronics%7CMobiles%26Accessories")
    assert products
    assert all(set(each) == PRODUCT for each in products)
    assert all(each["category"].startswith("Electronics|Mobiles&Accessories") for each in products)
    assert ran.get("/api/products", category="x' or '1'='1") == []


def test_amazon_quoting_is_kept(amazon_sales: Ran) -> None:
    """The mean rating over all rows is 4.12, none is above 5, and prices are numbers: no quote was misread."""
    ran = amazon_sales
    table = rows_in(ran, ran.published[-1])
    ratings = table["rating"].to_pylist()
    assert sum(ratings) / len(ratings) == pytest.approx(4.12, abs=0.005)
    assert max(ratings) <= 5
    assert all(price > 0 for price in table["discounted_price"].to_pylist())
    if is_real(ran):
        assert len(table) == 978
    served = {each["name"]: each["rating"] for main in ran.get("/api/categories") for each in products_of(ran, main)}
    assert set(served) == set(table["product_name"].to_pylist())
    assert max(served.values()) <= 5


def products_of(one: Ran, category: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = one.get("/api/products", category=category)
    return found


def test_amazon_products_by_price(amazon_sales: Ran) -> None:
    """Within a tenth either way, the nearest first, at most five."""
    products = amazon_sales.get("/api/products_by_price?target_price=350")
    assert 1 <= len(products) <= 5
    assert all(set(each) == PRODUCT for each in products)
    gaps = [abs(each["price"] - 350) for each in products]
    assert gaps == sorted(gaps)
    assert gaps[-1] <= 35
    wrong = amazon_sales.client.get("/api/products_by_price?target_price=cheap")
    assert (wrong.status_code, "target_price" in wrong.json()["error"]["message"]) == (422, True)


def test_amazon_similar_products(amazon_sales: Ran) -> None:
    """`laptop` finds laptops and sleeves by their words, at most five; a word that no product has finds none."""
    products = amazon_sales.get("/api/similar_products?name=laptop")
    assert 1 <= len(products) <= 5
    assert all(set(each) == PRODUCT for each in products)
    assert all("laptop" in each["name"].lower() for each in products)
    assert len({each["name"] for each in products}) == len(products)
    assert amazon_sales.get("/api/similar_products?name=zyzzyva") == []
    assert {each["cluster"] for each in amazon_sales.get("/models/price_band/profile")["clusters"]} == {0, 1, 2}


# --- price-paid ---------------------------------------------------------------------------------------------------

HOUSE = {
    "property_type": "S",
    "new_build": "N",
    "tenure": "F",
    "county": "GREATER LONDON",
    "category": "A",
}


def house_of(one: Ran, model: str) -> dict[str, Any]:
    """The features of a real row for a model."""
    row = rows_in(one, one.published[-1]).slice(7, 1).to_pylist()[0]
    return {name: row[name] for name in one.run.pipeline.models[model].features}


def test_price_paid(price_paid: Ran) -> None:
    """A price, a cluster, and comparable sales with their distances, the nearest first."""
    assert refused_examples(price_paid.client) == []
    ran = price_paid
    price = ran.post("/predict-price", house_of(ran, "price"))
    assert set(price) == {"predicted_price"}
    assert 1_000 < price["predicted_price"] < 2_000_000
    cluster = ran.post("/clustering", house_of(ran, "segment"))
    assert set(cluster) == {"cluster"}
    assert cluster["cluster"] in range(3)
    wanted = {"property_features": house_of(ran, "comparable")}
    five = ran.post("/recommend", wanted)
    assert set(five) == {"message", "recommendations"}
    assert len(five["recommendations"]) == 5
    two = ran.post("/recommend", wanted | {"num_recommendations": 2})
    assert two["recommendations"] == five["recommendations"][:2]
    distances = [each["distCol"] for each in five["recommendations"]]
    assert distances == sorted(distances)
    assert set(ran.run.pipeline.source.columns) <= set(five["recommendations"][0])
    assert ran.get("/health")["status"] == "ready"
    missing = ran.client.post("/recommend", json={"num_recommendations": 2})
    assert (missing.status_code, "property_features" in missing.json()["error"]["message"]) == (422, True)


def test_price_paid_rows_all_arrive(price_paid: Ran) -> None:
    """Every row arrives, those with commas inside quotes too."""
    totals = price_paid.run.catalog.totals()
    source = price_paid.run.catalog.source()
    assert source is not None
    assert (totals["rows"], totals["rejected"], source.rejected) == (source.rows, 0, 0)
    if is_real(price_paid):
        assert totals["rows"] == 10_298


def test_price_paid_of_two_lines(kafka: str, spark: SparkSession, tmp_path: Path) -> None:
    """A file of two lines without a header is two rows."""
    from tests.support.pipeline_run import stream_pipeline

    lines = PRICE_PAID.read_text(encoding="utf-8").splitlines(keepends=True)[:2]
    data = tmp_path / "two.csv"
    data.write_text("".join(lines), encoding="utf-8")
    run = stream_pipeline("price-paid", tmp_path / "run", kafka, str(data))
    assert run.catalog.totals()["rows"] == 2


# --- movie-ratings ------------------------------------------------------------------------------------------------


def test_movie_ratings(movie_ratings: Ran) -> None:
    """Recommendations from a user's own ratings, for a known user, and similar items, all with their titles."""
    assert refused_examples(movie_ratings.client) == []
    ran = movie_ratings
    assert len(ran.published) >= 3
    answer = ran.post("/models/taste/recommend", {"ratings": {"1": 5.0, "50": 4.0}, "top": 10})
    assert answer["generation"] == ran.published[-1]
    assert len(answer["items"]) == 10
    assert answer["unknown"] == []
    assert all(each["title"] for each in answer["items"])
    assert not {1, 50} & {each["item"] for each in answer["items"]}
    scores = [each["score"] for each in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    rows = rows_in(ran, ran.published[-1])
    user = rows["userId"][0].as_py()
    known = ran.get(f"/models/taste/recommend/{user}", top=20)["items"]
    rated = {row["movieId"] for row in rows.to_pylist() if row["userId"] == user}
    assert len(known) == 20
    assert not rated & {each["item"] for each in known}
    similar = ran.get("/models/taste/similar/1", top=5)["items"]
    assert len(similar) == 5
    assert 1 not in {each["item"] for each in similar}
    assert refused(ran, "/models/taste/recommend/99999999", 404)


def test_movie_ratings_unknown_items(movie_ratings: Ran) -> None:
    """An unknown movie is named in the answer; with none that is known there is nothing to go by: 422."""
    ran = movie_ratings
    some = ran.post("/models/taste/recommend", {"ratings": {"1": 5.0, "99999999": 1.0}})
    assert some["unknown"] == ["99999999"]
    assert len(some["items"]) == 10
    none = ran.client.post("/models/taste/recommend", json={"ratings": {"99999999": 1.0}})
    assert (none.status_code, "99999999" in none.json()["error"]["message"]) == (422, True)
