"""Items by their id or their titles, and examples to ask a model with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.serving_run import (
    SEARCHING,
    TEXT,
    api_of,
    new_run,
    publish,
    routes_document,
    seal,
    wait_for_generation,
)
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.routers.items import ItemSearch, normalized
from tidemill.api.rows.examples import Examples
from tidemill.scoring.als import AlsScorer, packed
from tidemill.scoring.storage import Stored

FILMS = {
    1: ("Heat (1995)", "Action|Crime"),
    2: ("Amélie", "Comedy|Romance"),
    3: ("The Heat", "Action|Comedy"),
    10: ("Cheating", "Drama"),
    11: ("Theatre of Blood", None),
    20: ("Dead Heat", "Action"),
}
RATED = [3, 3, 3, 10, 10, 20]


def scorer(items: pa.Table, rated: Sequence[int | str]) -> AlsScorer:
    """A recommender of these items, rated so often by its only user."""
    text, arrays = SEARCHING["taste"]
    places = {item: place for place, item in enumerate(items["item"].to_pylist())}
    arrays = arrays | {
        "items": packed(items),
        "item_factors": np.ones((len(items), 2), dtype=np.float32),
        "rated_offsets": np.array([0, len(rated)]),
        "rated_items": np.array([places[one] for one in rated], dtype=np.int32),
    }
    return AlsScorer(Stored(TEXT | text, arrays))


def films() -> ItemSearch:
    titles, genres = zip(*FILMS.values(), strict=True)
    return ItemSearch(scorer(pa.table({"item": list(FILMS), "title": titles, "genres": genres}), RATED))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [3, 10, 20, 1, 2, 11]),
        ("  ", [3, 10, 20, 1, 2, 11]),
        ("heat", [3, 20, 1, 10, 11]),
        ("HEAT action", [3, 20, 1]),
        ("amelie", [2]),
        ("Amélie", [2]),
        ("1", [10, 1, 11]),
        ("20", [20]),
        ("(1995)", [1]),
        ("heat zebra", []),
        ("!?", []),
        (".*", []),
        ("heat heat action heat", [3, 20, 1]),
        ("a c t i o n e h z", [3, 20, 1]),
    ],
)
def test_items_are_found(text: str, found: list[int]) -> None:
    """By the beginning of an id or by words, whatever their case and accents: whole words first, then the most rated,
    then by id."""
    assert [one["item"] for one in films().search(text, 10)[0]] == found


def test_there_may_be_more() -> None:
    """No more items come than asked for, and whether there are others is told."""
    rows, more = films().search("heat", 2)
    assert (rows[0], len(rows), more) == ({"item": 3, "title": "The Heat", "genres": "Action|Comedy"}, 2, True)
    assert films().search("heat", 5)[1] is False


def test_items_without_titles() -> None:
    """Where no side table tells more of the items they are found by their ids, be these texts or numbers."""
    texts = ItemSearch(scorer(pa.table({"item": ["Ab-1", "ab-2", "bc ab"]}), ["ab-2"]))
    assert [one["item"] for one in texts.search("AB", 5)[0]] == ["ab-2", "Ab-1", "bc ab"]
    numbers = ItemSearch(scorer(pa.table({"item": [7, 70]}), []))
    assert [one["item"] for one in numbers.search("7", 5)[0]] == [7, 70]


def test_normalized() -> None:
    """A text is folded to its words."""
    assert normalized("  L'Été—Straße_2! ") == "l ete strasse 2"


def test_over_http(tmp_path: Path) -> None:
    """A recommender's items are asked for by GET; each model says what it can be asked for with success."""
    run = new_run(tmp_path, document=routes_document())
    with api_of(run) as client:
        assert client.get("/models/taste").json()["examples"] is None
        assert client.get("/models/taste/items").json()["error"]["code"] == "not-ready"
        seal(run, 1, [{"id": 71, "note": "a green lamp"}, {"id": 72}])
        publish(run, 1, [1])
        wait_for_generation(client, 1)
        found = client.get("/models/taste/items", params={"q": "tw"}).json()
        assert found == {
            "model": "taste",
            "generation": 1,
            "items": [{"item": 2, "title": "two"}],
            "more": False,
        }
        assert client.get("/models/taste/items", params={"limit": 2}).json()["more"] is True
        assert client.get("/models/size/items").status_code == 404
        told: dict[str, Any] = {one["model"]: one["examples"] for one in client.get("/models").json()}
        assert told["taste"] == client.get("/models/taste").json()["examples"] == {"user": "ann", "item": "0"}
        assert told["size"] == told["near"] == {"key": 71}
        assert told["words"] == {"text": "a lamp", "key": 71}
        assert client.get(f"/models/taste/recommend/{told['taste']['user']}").status_code == 200
        assert client.get(f"/models/taste/similar/{told['taste']['item']}").status_code == 200
        assert client.get(f"/models/near/similar/{told['near']['key']}").status_code == 200
        assert client.get(f"/models/size/rows/{told['size']['key']}").status_code == 200
    run.close()


def test_a_damaged_batch_gives_no_example(tmp_path: Path) -> None:
    """Where the rows can't be read a model is told of all the same."""
    run = new_run(tmp_path)
    seal(run, 1, [{"id": 71}])
    publish(run, 1, [1])
    (run.folder / run.catalog.batches()[0].path).write_bytes(b"gone bad")
    with api_of(run) as client:
        assert client.get("/models/size").json()["examples"] is None
    run.close()


def test_a_row_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    """Examples come from the newest batch once it can be read, though it could not at first."""
    run = new_run(tmp_path)
    seal(run, 1, [{"id": 7, "note": "a lamp"}])
    publish(run, 1, [1])
    registry, examples = ModelRegistry(run), Examples(run)
    registry.refresh()
    path = run.folder / run.catalog.batches()[0].path
    away = path.rename(tmp_path / "away")
    assert examples.key(registry.snapshot) is None
    away.rename(path)
    assert examples.key(registry.snapshot) == 7
    path.unlink()
    assert examples.key(registry.snapshot) == 7
    run.close()
