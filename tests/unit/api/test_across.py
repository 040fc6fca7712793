"""One row by many generations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.serving_run import api_of, chance_of_good, json_of, new_run, publish, scorer_path, seal, size_of
from tidemill.api.models.registry import ModelRegistry
from tidemill.run.catalog import TrainedModel
from tidemill.run.folder import Run
from tidemill.scoring import Scorer

ROW = {"kind": "lamp", "hours": 2.0, "count": 3, "on": True}


@pytest.fixture
def run(run: Run) -> Run:
    """Five generations of one batch, and a sixth in training."""
    seal(run, 1, [{"id": 1}])
    for number in range(1, 6):
        publish(run, number, [1])
    run.catalog.begin_generation(6, [1], 1)
    return run


def across(client: httpx.Client, model: str, row: Any = ROW, **params: Any) -> Any:
    answer = client.post(f"/models/{model}/generations/predict", json=row, params=params)
    return json_of(answer)


def test_the_newest_comes_first(api: httpx.Client) -> None:
    """Every published generation gives its own answer, as it does when it is asked alone."""
    assert across(api, "size") == {
        "model": "size",
        "answers": [{"generation": one, "prediction": size_of(one, ROW)} for one in (5, 4, 3, 2, 1)],
        "unseen": {},
        "more": False,
    }
    for answer in across(api, "good")["answers"]:
        alone = api.post(f"/models/good/generations/{answer['generation']}/predict", json=ROW).json()
        assert answer | {"model": "good"} == alone
        assert answer["probability"]["1"] == pytest.approx(chance_of_good(answer["generation"], ROW))
    assert [one["distance"] for one in across(api, "group")["answers"]] == [2.0] * 5


def test_pages_go_back_in_time(api: httpx.Client) -> None:
    """A page has the generations below the one given, and says whether there are more."""
    pages = [across(api, "size", limit=2), across(api, "size", limit=2, before=4), across(api, "size", before=1)]
    assert [[answer["generation"] for answer in page["answers"]] for page in pages] == [[5, 4], [3, 2], []]
    assert [page["more"] for page in pages] == [True, True, False]


def test_what_training_has_not_seen_is_told(api: httpx.Client) -> None:
    """A category that the newest generation's training has not seen is named with its feature."""
    assert across(api, "good", ROW | {"kind": "kettle"})["unseen"] == {"kind": "kettle"}


def test_a_generation_that_can_not_answer_says_why(run: Run) -> None:
    """A damaged scorer is an answer among the others, and does not name the run folder's place."""
    scorer_path(run, 3, "size").write_bytes(b"gone bad")
    with api_of(run) as client:
        answers = across(client, "size")["answers"]
    assert [answer["generation"] for answer in answers if "error" not in answer] == [5, 4, 2, 1]
    damaged = answers[2]
    assert set(damaged) == {"generation", "error"}
    assert "size.npz" in damaged["error"]
    assert str(run.folder) not in damaged["error"]


@pytest.mark.parametrize("body", [{"hours": 2.0}, {"rows": [ROW]}, {"rows": []}, [], 1])
def test_one_whole_row_is_wanted(api: httpx.Client, body: Any) -> None:
    """A row that lacks a feature, or a list of rows, is refused as a whole."""
    answer = api.post("/models/size/generations/predict", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "feature")


def test_without_a_generation_there_is_nothing_to_ask(tmp_path: Path) -> None:
    """Until a generation is published the answer says what is waited for."""
    run = new_run(tmp_path)
    with api_of(run) as client:
        assert client.post("/models/size/generations/predict", json=ROW).json()["error"]["code"] == "not-ready"
    run.close()


def test_scorers_are_read_once_and_push_out_no_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second row finds the scorers in memory, and what others had in memory stays there."""
    read: list[str] = []
    whole = ModelRegistry.read_scorer

    def watched(registry: ModelRegistry, trained: TrainedModel) -> Scorer:
        read.append(trained.scorer_path)
        return whole(registry, trained)

    monkeypatch.setattr(ModelRegistry, "read_scorer", watched)
    monkeypatch.setattr("tidemill.api.models.registry.MAX_OLDER_SCORERS", 1)
    with api_of(run) as client:
        client.post("/models/size/generations/1/predict", json=ROW)
        before = len(read)
        across(client, "size")
        assert len(read) == before + 3  # the newest is in memory, and so is the first
        across(client, "size", ROW | {"hours": 3.0})
        client.post("/models/size/generations/1/predict", json=ROW)
        assert len(read) == before + 3
