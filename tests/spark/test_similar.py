"""Similar rows: Spark's buckets and TF-IDF without Spark, on real public data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.ml import PipelineModel
from pyspark.ml.common import _py2java
from pyspark.ml.linalg import Vector
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tests.support import DATA
from tests.support.training_run import quiet_stage, run_of, seal_tables, table_of
from tidemill import scoring
from tidemill.errors import FeatureError, ParityFailed
from tidemill.run.catalog import Generation
from tidemill.run.folder import Run
from tidemill.scoring import storage
from tidemill.scoring.base import lowest
from tidemill.scoring.features import Encoded
from tidemill.scoring.linear import LinearScorer, LogisticScorer
from tidemill.scoring.neighbours import NeighboursScorer
from tidemill.scoring.storage import Stored
from tidemill.scoring.text import TextScorer
from tidemill.scoring.words import terms
from tidemill.training.estimators.checks import model_faults
from tidemill.training.estimators.neighbours import compare_neighbours
from tidemill.training.estimators.search import ROW
from tidemill.training.estimators.text import compare_text
from tidemill.training.features import FEATURES, TYPES, spark_name
from tidemill.training.registry import inputs_of
from tidemill.training.trainer import Trainer

PRICE_PAID = DATA / "price-paid" / "pp-1995-sample.csv"
AMAZON = DATA / "amazon-sales" / "amazon_sales.csv"
SOLD = ["id", "price", "date", "postcode", "type", "new", "tenure", "paon", "saon", "street", "locality", "town"]
SOLD += ["district", "county", "category", "status"]
SOLD_COLUMNS = {"id": "string", "price": "float", "type": "string", "new": "string", "town": "string"}
NEAR = {
    "estimator": "BucketedRandomProjectionLSH",
    "features": ["price", "type", "new", "town"],
    "scale": "standard",
    "params": {"bucketLength": 0.05, "numHashTables": 2},  # a unit vector of 960 places is about 0.03 in each
}
NAMES_COLUMNS = {"product_id": "string", "product_name": "string"}
ALIKE = {"estimator": "IDF", "features": ["product_name"]}


class SearchModel(NamedTuple):
    """One generation of one model, its rows, its scorer and Spark's own model."""

    run: Run
    record: Generation
    table: pa.Table
    scorer: Any
    spark: PipelineModel


def train_search_model(
    spark: SparkSession, folder: Path, columns: dict[str, str], model: dict[str, Any], table: pa.Table
) -> SearchModel:
    """The model, trained by the real trainer on this one batch."""
    run = run_of(folder, source={"path": "data.csv", "columns": columns}, models={"like": model})
    rows = table_of(run, table.to_pylist())
    seal_tables(run, [rows])
    trainer = Trainer(quiet_stage(run), spark)
    trainer.take_up()
    trainer.look()
    trainer.step()
    record = run.catalog.generation(1)
    assert record is not None
    assert record.state == "published", record.error
    found = record.models["like"]
    scorer = scoring.load(run.folder / found.scorer_path, found.sha256)
    return SearchModel(run, record, rows, scorer, PipelineModel.load(str(run.folder / found.spark_path)))


def transformed(spark: SparkSession, one: SearchModel) -> DataFrame:
    """All rows of the generation, as Spark's model transforms them, each with its place."""
    columns = one.run.pipeline.source.schema_
    schema = ", ".join(f"{spark_name(column.name)} {TYPES[column.kind].simpleString()}" for column in columns)
    rows = [(*row.values(), place) for place, row in enumerate(one.table.to_pylist())]
    return one.spark.transform(spark.createDataFrame(rows, f"{schema}, `{ROW}` bigint")).cache()


@pytest.fixture(scope="module")
def sold(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SearchModel:
    """Neighbours among the real price paid data."""
    table = pc.read_csv(PRICE_PAID, read_options=pc.ReadOptions(column_names=SOLD)).select(list(SOLD_COLUMNS))
    return train_search_model(spark, tmp_path_factory.mktemp("sold"), SOLD_COLUMNS, NEAR, table)


@pytest.fixture(scope="module")
def named(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SearchModel:
    """Texts: the real product names."""
    table = pc.read_csv(AMAZON, parse_options=pc.ParseOptions(newlines_in_values=True)).select(list(NAMES_COLUMNS))
    return train_search_model(spark, tmp_path_factory.mktemp("named"), NAMES_COLUMNS, ALIKE, table)


@contextmanager
def compiled(spark: SparkSession) -> Iterator[None]:
    """Let Spark generate code: interpreted, its approxNearestNeighbors fails (an Object[] is no Vector[])."""
    before = spark.conf.get("spark.sql.codegen.factoryMode")
    spark.conf.set("spark.sql.codegen.factoryMode", "FALLBACK")
    yield
    spark.conf.set("spark.sql.codegen.factoryMode", str(before))


def multi_probe(spark: SparkSession, model: Any, rows: DataFrame, key: Vector, count: int) -> list[Row]:
    """Spark's approxNearestNeighbors with ``singleProbe`` off, which pyspark has no way to ask for."""
    vector = _py2java(spark.sparkContext, key)
    neighbours = model._java_obj.approxNearestNeighbors(rows._jdf, vector, count, False, "distance")
    rows_found: list[Row] = DataFrame(neighbours.toDF(), spark).collect()
    return rows_found


def exhaustive(one: SearchModel, query: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The vectors' distances to all rows, and how far their nearest bucket is off (squared), in plain numpy."""
    scorer: NeighboursScorer = one.scorer
    encoded, _ = scorer.encoder.table(one.table)
    blocks = [
        np.eye(len(known) + 1)[codes][:, :-1] for known, codes in zip(scorer.encoder.codes, encoded.codes, strict=True)
    ]
    vectors = np.hstack([encoded.numbers, *blocks])
    apart = np.square(scorer.hashes(encoded) - scorer.hashes(encoded)[query]).min(axis=1)
    return np.linalg.norm(vectors - vectors[query], axis=1), apart


# --- neighbours ---------------------------------------------------------------------------------------------------


def test_a_published_model_of_neighbours_gave_sparks_buckets(sold: SearchModel) -> None:
    """The parity report covers a thousand rows, and the search is narrower than all rows."""
    model = sold.record.models["like"]
    assert model.parity["rows"] == model.parity["equal"] == 1000
    assert model.parity["max_difference"] <= 1e-9
    share = model.metrics["candidate_share"]
    assert share is not None
    assert 0 < share < 0.9


@pytest.mark.parametrize("query", [0, 1, 5000])
def test_the_nearest_rows_are_sparks_own(sold: SearchModel, spark: SparkSession, query: int) -> None:
    """On all 10,298 rows the neighbours and their distances are those of approxNearestNeighbors."""
    rows = transformed(spark, sold)
    key = rows.filter(F.col(ROW) == query).first()
    assert key is not None
    with compiled(spark):
        neighbours = sold.spark.stages[-1].approxNearestNeighbors(rows, key[FEATURES], 50, "distance").collect()
    index, whole = sold.scorer.index(sold.table)
    assert whole.all()
    encoded = sold.scorer.encoder.encode(sold.table.slice(query, 1).to_pylist())
    ours = index.nearest(encoded, sold.scorer.hashes(encoded), 50)
    assert ours.probe == "single"
    np.testing.assert_allclose(ours.distances, [row["distance"] for row in neighbours], rtol=0, atol=1e-9)
    last = ours.distances[-1]  # of the rows at the very last distance either may be shown
    assert {int(place) for place, far in zip(ours.places, ours.distances, strict=True) if far < last - 1e-9} == {
        row[ROW] for row in neighbours if row["distance"] < last - 1e-9
    }


def test_too_few_in_the_bucket_widens_as_sparks_multi_probe(sold: SearchModel, spark: SparkSession) -> None:
    """The dearest house has its bucket almost for itself: the rows are ranked that are likely candidates of Spark's.

    Spark's threshold is a quantile that may be off by 5 % of all rows, so its answer and ours are both between those of
    the narrowest and of the widest threshold that it may take.
    """
    query = int(np.argmax(sold.table["price"].to_numpy()))
    rows = transformed(spark, sold)
    key = rows.filter(F.col(ROW) == query).first()
    assert key is not None
    with compiled(spark):
        neighbours = multi_probe(spark, sold.spark.stages[-1], rows, key[FEATURES], 20)
    index, _ = sold.scorer.index(sold.table)
    encoded = sold.scorer.encoder.encode(sold.table.slice(query, 1).to_pylist())
    ours = index.nearest(encoded, sold.scorer.hashes(encoded), 20)
    assert ours.probe == "multi"
    distances, apart = exhaustive(sold, query)
    reach = np.sort(apart)[[19, 19 + math.ceil(0.1 * len(apart))]]
    narrow, wide = (np.sort(distances[apart <= one])[:20] for one in reach)
    for answer in (ours.distances, np.array([row["distance"] for row in neighbours])):
        assert (answer >= wide - 1e-9).all()
        assert (answer <= narrow + 1e-9).all()


@pytest.mark.parametrize("query", [3, 77, 9000])
@pytest.mark.parametrize("top", [1, 10, 500])
def test_the_answer_is_that_of_an_exhaustive_search_of_the_candidates(sold: SearchModel, query: int, top: int) -> None:
    """No candidate that was left out is nearer than one that was found, and equally near ones keep their order."""
    distances, apart = exhaustive(sold, query)
    reach = 0 if (apart == 0).sum() >= top else np.sort(apart)[math.ceil(top + 0.05 * len(apart)) - 1]
    candidates = np.flatnonzero(apart <= reach)
    best = candidates[np.lexsort((candidates, distances[candidates].round(9)))][:top]
    index, _ = sold.scorer.index(sold.table)
    encoded = sold.scorer.encoder.encode(sold.table.slice(query, 1).to_pylist())
    ours = index.nearest(encoded, sold.scorer.hashes(encoded), top)
    np.testing.assert_allclose(ours.distances, distances[best], rtol=0, atol=1e-9)
    assert ours.places.tolist() == best.tolist()
    assert ours.distances[0] == 0


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_neighbours_of_any_rows(data: st.DataObject) -> None:
    """For any rows and any bucket length the search is exact among its candidates, and enough of them are found."""
    count, top = data.draw(st.integers(0, 30)), data.draw(st.integers(1, 12))
    number = st.floats(-50, 50, allow_nan=False)
    numbers = np.array(data.draw(st.lists(st.tuples(number, number), min_size=count + 1, max_size=count + 1)))
    codes = np.array(data.draw(st.lists(st.integers(0, 3), min_size=count + 1, max_size=count + 1)), dtype=np.intp)
    scorer = NeighboursScorer(stored_neighbours(data.draw(st.floats(0.01, 100))))
    encoded = Encoded(numbers, [codes])
    hashes = scorer.hashes(encoded)
    rows, query = Encoded(numbers[1:], [codes[1:]]), Encoded(numbers[:1], [codes[:1]])
    neighbours = scorer.searched(rows, hashes[1:]).nearest(query, hashes[:1], top)
    vectors = np.hstack([numbers, np.eye(4)[codes][:, :3]])
    distances = np.linalg.norm(vectors[1:] - vectors[0], axis=1)
    apart = np.square(hashes[1:] - hashes[0]).min(axis=1, initial=np.inf)
    assert len(neighbours.places) == min(top, count)
    if count:
        enough = (apart == 0).sum() >= min(top, count)
        reach = 0 if enough else np.sort(apart)[min(count, math.ceil(top + 0.05 * count)) - 1]
        np.testing.assert_allclose(neighbours.distances, np.sort(distances[apart <= reach])[:top], rtol=1e-9, atol=1e-9)
        assert neighbours.probe == ("single" if enough else "multi")


def stored_neighbours(bucket_length: float) -> Stored:
    """Two numbers and a string of three categories, projected on two lines."""
    text = {
        "model": "near",
        "estimator": "BucketedRandomProjectionLSH",
        "features": [
            {"name": "x", "kind": "float", "categories": None},
            {"name": "y", "kind": "float", "categories": None},
            {"name": "kind", "kind": "string", "categories": ["a", "b", "c"]},
        ],
        "bucket_length": bucket_length,
    }
    vectors = np.array([[0.6, -0.2, 0.3, 0.5, -0.5], [-0.1, 0.9, 0.1, -0.4, 0.1]])
    return Stored(text, {"vectors": vectors / np.linalg.norm(vectors, axis=1, keepdims=True)})


def test_rows_that_lack_a_feature_are_not_searched() -> None:
    """A missing number or string takes the row out; an unseen category does not, and is told."""
    scorer = NeighboursScorer(stored_neighbours(1.0))
    plain = {"x": 1.0, "y": 2.0, "kind": "a"}
    rows: list[dict[str, Any]] = [plain, plain | {"x": None}, plain | {"kind": None}, plain | {"kind": "new"}]
    schema = pa.schema([("x", pa.float64()), ("y", pa.float64()), ("kind", pa.string())])
    index, whole = scorer.index(pa.Table.from_pylist(rows, schema=schema))
    assert whole.tolist() == [True, False, False, True]
    query = scorer.encoder.encode([rows[3]])
    neighbours = index.nearest(query, scorer.hashes(query), 5)
    assert neighbours.places.tolist() == [1, 0]
    assert neighbours.distances.tolist() == [0.0, 1.0]
    assert scorer.unseen(query) == ["kind"]


@given(values=st.lists(st.sampled_from([0.0, 1.0, 2.5, -1.0, math.inf])), top=st.integers(1, 8))
def test_the_lowest_come_first_and_equal_ones_in_order(values: list[float], top: int) -> None:
    """``lowest`` is the head of a stable sort."""
    expected = sorted(range(len(values)), key=values.__getitem__)[:top]
    assert lowest(np.array(values, dtype=np.float64), top).tolist() == expected


def test_a_planted_fault_in_the_buckets_fails_parity(sold: SearchModel, spark: SparkSession, tmp_path: Path) -> None:
    """A scorer with another bucket length, or with one vector changed, is not published."""
    stored = storage.read(sold.run.folder / sold.record.models["like"].scorer_path)
    rows = transformed(spark, sold).limit(200).cache()
    inputs = inputs_of(sold.run.pipeline)[0]
    assert compare_neighbours(sold.scorer, inputs, sold.spark, rows)["rows"] == 200
    wider = Stored(stored.text | {"bucket_length": 0.06}, stored.arrays)
    turned = Stored(stored.text, stored.arrays | {"vectors": stored.arrays["vectors"][::-1]})
    scaled = Stored(stored.text, stored.arrays | {"scaling": stored.arrays["scaling"] * 1.001})
    for bad in (wider, turned, scaled):
        with pytest.raises(ParityFailed, match="differs from Spark"):
            compare_neighbours(NeighboursScorer(bad), inputs, sold.spark, rows)


# --- texts --------------------------------------------------------------------------------------------------------


def names(one: SearchModel, text: str, top: int) -> list[str]:
    index, _ = one.scorer.index(one.table)
    return [one.table["product_name"][int(place)].as_py() for place in index.similar(text, top).places]


def test_every_tf_idf_vector_is_sparks_own(named: SearchModel, spark: SparkSession) -> None:
    """Of all 978 product names, held out or not, word by word within 1e-9."""
    report = compare_text(named.scorer, inputs_of(named.run.pipeline)[0], named.spark, transformed(spark, named))
    assert report["rows"] == report["equal"] == 978
    assert report["max_difference"] <= 1e-9


@pytest.mark.parametrize("text", ["laptop", "Laptops", "LAPTOP!"])
def test_laptop_finds_laptops_sleeves_and_stands(named: SearchModel, text: str) -> None:
    """By words, in any case, singular or plural: the first ten all name a laptop, stands and sleeves among them."""
    found = names(named, text, 10)
    assert len(found) == 10
    assert all("laptop" in terms(name) for name in found)
    assert any("Stand" in name for name in found)
    assert any("Sleeve" in name for name in found)


def test_a_sleeve_for_a_laptop_comes_before_other_laptop_things(named: SearchModel) -> None:
    """The rarer word weighs more."""
    assert all("Sleeve" in name for name in names(named, "laptop sleeves", 5))


def test_usb_cable_ranks_cables_first(named: SearchModel) -> None:
    """The first twenty are USB cables, though hundreds of names have one of the words."""
    assert all({"usb", "cable"} <= set(terms(name)) for name in names(named, "USB cable", 20))


def test_a_name_finds_itself_first(named: SearchModel) -> None:
    """A text has cosine 1 to itself; of equal names the first row comes first."""
    index, _ = named.scorer.index(named.table)
    texts = named.table["product_name"].to_pylist()
    for place in range(0, 978, 97):
        items = index.similar(texts[place], 3)
        assert items.places[0] == texts.index(texts[place])
        assert items.similarities[0] == pytest.approx(1.0, abs=1e-9)
        assert items.similarities.max() <= 1.0


def test_the_ranking_is_the_exhaustive_one(named: SearchModel) -> None:
    """Cosines worked out pair by pair, in plain Python, give the same rows in the same order."""
    weights = named.scorer.weights(named.table["product_name"].to_pylist()).toarray()
    asked = named.scorer.weights(["wireless optical mouse"]).toarray()[0]
    lengths = np.linalg.norm(weights, axis=1) * np.linalg.norm(asked)
    cosines = np.divide(weights @ asked, lengths, out=np.zeros(len(weights)), where=lengths > 0)
    best = sorted(
        (place for place in range(len(cosines)) if cosines[place] > 0), key=lambda one: -round(cosines[one], 12)
    )
    index, _ = named.scorer.index(named.table)
    items = index.similar("wireless optical mouse", 1000)
    np.testing.assert_allclose(items.similarities, cosines[best], atol=1e-12)
    assert sorted(items.places.tolist()) == sorted(best)
    assert items.places[:10].tolist() == best[:10]


def test_unknown_words_are_named(named: SearchModel) -> None:
    """A word that training has not seen changes nothing; nothing but such words finds nothing."""
    index, _ = named.scorer.index(named.table)
    items = index.similar("Laptop qwertz qwertz _é_", 5)
    assert items.unknown == ["qwertz", "_é_"]
    assert items.places.tolist() == index.similar("laptop", 5).places.tolist()
    nothing = index.similar("qwertz ... !!!", 5)
    assert (nothing.places.tolist(), nothing.unknown) == ([], ["qwertz"])
    assert index.similar("", 5).places.tolist() == []


def test_texts_of_every_script_are_trained_and_found(spark: SparkSession, tmp_path: Path) -> None:
    """Spark counts the same terms as requests do: words with vowel signs are whole, composed letters and decomposed
    ones are the same, Japanese is found by pairs of characters."""
    texts = ["Cafe\u0301 noir", "हिन्दी किताबें", "हि", "東京タワー", "Straße"]
    rows = [(text, f"{text} {number}") for text in texts for number in range(4)]  # equal rows are held out together
    table = pa.table({"name": [name for _, name in rows]})
    one = train_search_model(spark, tmp_path, {"name": "string"}, {"estimator": "IDF", "features": ["name"]}, table)
    index, _ = one.scorer.index(one.table)

    def found(text: str) -> set[str]:
        return {rows[int(place)][0] for place in index.similar(text, 20).places}

    assert found("CAF\u00c9") == {texts[0]}
    assert found("हिन्दी") == {texts[1]}
    assert found("हि") == {texts[2]}
    assert found("タワー") == {texts[3]}
    assert found("STRASSE") == {texts[4]}


def test_a_planted_fault_in_the_weights_fails_parity(named: SearchModel, spark: SparkSession) -> None:
    """A scorer whose words or weights are not Spark's is not published."""
    stored = storage.read(named.run.folder / named.record.models["like"].scorer_path)
    inputs = inputs_of(named.run.pipeline)[0]
    rows = transformed(spark, named)
    heavier = Stored(stored.text, stored.arrays | {"idf": stored.arrays["idf"] + 1e-6})
    swapped = Stored(stored.text, stored.arrays | {"idf": stored.arrays["idf"][::-1].copy()})
    for bad in (heavier, swapped):
        with pytest.raises(ParityFailed, match="TF-IDF"):
            compare_text(TextScorer(bad), inputs, named.spark, rows)


def test_texts_without_a_word_and_missing_texts(spark: SparkSession, tmp_path: Path) -> None:
    """A text without a word finds nothing and is not found; a missing one is skipped; training twice gives one file."""
    texts = ["Red apples", "red pears", "!!!", "", None, "apple pies", "red"]
    table = pa.table({"name": pa.array(texts, pa.string())})
    columns = {"name": "string?"}
    made = [
        train_search_model(spark, tmp_path / part, columns, {"estimator": "IDF", "features": ["name"]}, table)
        for part in "ab"
    ]
    one = made[0]
    assert one.record.models["like"].rows["skipped"] == 1
    assert one.record.models["like"].sha256 == made[1].record.models["like"].sha256
    index, whole = one.scorer.index(one.table)
    assert whole.tolist() == [True, True, True, True, False, True, True]
    assert 2 not in index.similar("apple red !!!", 10).places


def test_texts_without_any_word_fail_the_generation(spark: SparkSession, tmp_path: Path) -> None:
    """The reason names the column."""
    table = pa.table({"name": ["!!!", "..."] * 10})
    with pytest.raises(AssertionError, match="there is no word in name"):
        train_search_model(spark, tmp_path, {"name": "string"}, {"estimator": "IDF", "features": ["name"]}, table)


# --- the pipeline file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (NEAR | {"params": {}}, "params.bucketLength"),
        (NEAR | {"params": {"bucketLength": 0}}, "params.bucketLength"),
        (NEAR | {"params": {"bucketLength": 1.0, "numHashTables": 0}}, "params.numHashTables"),
        (NEAR | {"params": {"bucketLength": 1.0, "inputCol": "price"}}, "params.inputCol"),
        (NEAR | {"label": "price"}, "label"),
        (NEAR | {"newest_of_key": True}, "newest_of_key"),
        (ALIKE | {"features": ["town"], "params": {"minDocFreq": -1}}, "params.minDocFreq"),
        (ALIKE | {"features": ["town", "type"]}, "features"),
        (ALIKE | {"features": ["price"]}, "features"),
        (ALIKE | {"features": ["town"], "scale": "standard"}, "scale"),
    ],
)
def test_what_spark_would_refuse_is_found_before_anything_starts(model: dict[str, Any], path: str) -> None:
    """Each fault is one, with its path."""
    faults = model_faults({"source": {"columns": SOLD_COLUMNS}, "models": {"like": model}})
    assert [fault.path for fault in faults] == [f"models.like.{path}"]


# --- tables of rows, for what looks at all of them ----------------------------------------------------------------

FEATURE_KINDS = {"size": "float", "count": "int", "on": "bool", "colour": "string", "shape": "string"}
ARROW = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_(), "string": pa.string()}
CATEGORIES = {"colour": ["red", "", "blue"], "shape": ["round"]}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "size": st.floats(-1e6, 1e6, allow_nan=False),
    "count": st.integers(-(2**63), 2**63 - 1),
    "on": st.booleans(),
    "colour": st.sampled_from(["red", "", "blue", "unseen", "Ünseen"]),
    "shape": st.sampled_from(["round", "square"]),
}
ROWS = st.lists(st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()}), max_size=12)
PLACES = 7


def stored_scorer(estimator: str, **arrays: Any) -> Stored:
    features = [
        {"name": name, "kind": kind, "categories": CATEGORIES.get(name)} for name, kind in FEATURE_KINDS.items()
    ]
    classes = ["no", "yes"] if estimator == "LogisticRegression" else None
    text: dict[str, Any] = {
        "model": "m",
        "estimator": estimator,
        "labels": {},
        "classes": classes,
        "features": features,
    }
    scaling = np.array([[1.0, 5.0, 0.0], [0.5, 1e-9, 2.0], [0.0, 0.1, 0.0]])
    return Stored(text, {"scaling": scaling, **{name: np.array(value) for name, value in arrays.items()}})


WEIGHTS = [[0.5], [-1.0], [0.25], [2.0], [-3.0], [0.125], [1.5]]
SCORERS = {
    "regression": LinearScorer(stored_scorer("LinearRegression", coefficients=WEIGHTS, intercept=[0.5])),
    "classification": LogisticScorer(
        stored_scorer("LogisticRegression", coefficients=WEIGHTS, intercept=[0.5], threshold=[0.5])
    ),
}


@pytest.mark.parametrize("kind", SCORERS)
@settings(deadline=None)
@given(rows=ROWS, chunks=st.integers(1, 3))
def test_a_column_of_predictions_is_that_of_each_row(kind: str, rows: list[dict[str, Any]], chunks: int) -> None:
    """Null where a feature is missing; else what ``predict`` says, whatever the categories, in however many chunks."""
    scorer = SCORERS[kind]
    schema = pa.schema([(name, ARROW[kind]) for name, kind in FEATURE_KINDS.items()])
    table = pa.Table.from_pylist(rows, schema=schema)
    step = max(1, math.ceil(len(rows) / chunks))
    table = pa.concat_tables([schema.empty_table(), *(table.slice(at, step) for at in range(0, len(rows), step))])
    expected = [None if None in row.values() else scorer.predict([row])[0].prediction for row in rows]
    values = scorer.column(table).to_pylist()
    assert [value is None for value in values] == [value is None for value in expected]
    given_values = [value for value in values if value is not None]
    known = [value for value in expected if value is not None]
    assert given_values == (pytest.approx(known, rel=1e-12) if kind == "regression" else known)


def test_the_encoded_table_is_the_encoded_rows() -> None:
    """An empty string is a category of its own, booleans are 0 and 1, and wide integers are rounded as Spark's cast."""
    rows = [
        {"size": 1.5, "count": 2**53 + 1, "on": True, "colour": "", "shape": "square"},
        {"size": -1.5, "count": -3, "on": False, "colour": "new", "shape": "round"},
    ]
    encoder = SCORERS["regression"].encoder
    schema = pa.schema([(name, ARROW[kind]) for name, kind in FEATURE_KINDS.items()])
    encoded, whole = encoder.table(pa.Table.from_pylist(rows, schema=schema))
    expected = encoder.encode(rows)
    assert whole.all()
    np.testing.assert_array_equal(encoded.numbers, expected.numbers)
    assert (
        [codes.tolist() for codes in encoded.codes] == [codes.tolist() for codes in expected.codes] == [[1, 3], [1, 0]]
    )


def test_a_row_to_search_by_is_checked(sold: SearchModel) -> None:
    """A feature that is missing or of the wrong type is named."""
    with pytest.raises(FeatureError, match="price is missing"):
        sold.scorer.encoder.encode([{"type": "T", "new": "N", "town": "LEEDS"}])
    with pytest.raises(FeatureError, match="town is 5"):
        sold.scorer.encoder.encode([{"price": 1.0, "type": "T", "new": "N", "town": 5}])
