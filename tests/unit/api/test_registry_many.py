"""The API's looks at a run of many generations."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.support.many_run import insert, statements
from tests.support.serving_run import api_of, new_run, publish, seal, trained_model, wait_for_generation
from tidemill.api.models.registry import ModelRegistry
from tidemill.run.catalog import Generation
from tidemill.run.folder import Run

MANY = 10_000


@pytest.fixture
def run(run: Run) -> Run:
    seal(run, 1, [{"id": 1}])
    return run


def test_the_first_look_at_ten_thousand_generations(run: Run) -> None:
    """It takes under 0.3 s of the processor, though each has three models; each is still read whole when asked for."""
    publish(run, MANY, [1])
    models = [asdict(trained_model(run, MANY, name)) for name in run.pipeline.models]
    record = {"state": "published", "batches": [1], "rows": 3, "began_at": "2026", "published_at": "2026"}
    numbers = range(1, MANY)
    insert(
        run,
        generations=[record | {"generation": number} for number in numbers],
        models=[model | {"generation": number} for number in numbers for model in models],
    )
    taken = []
    for _ in range(5):  # the least counts: other programs at work slow the processor down
        registry = ModelRegistry(run)
        began = time.process_time()
        registry.refresh()
        taken.append(time.process_time() - began)
    assert len(registry.snapshot.published) == MANY
    assert registry.snapshot.newest is not None
    assert list(registry.snapshot.generations[5000].models) == sorted(run.pipeline.models)
    assert min(taken) < 0.3


def test_a_failed_first_generation_has_nothing_read_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With generation 1 failed and many published, a look after another is published reads these two alone."""
    run.catalog.begin_generation(1, [1], 3)
    run.catalog.fail_generation(1, "no space left")
    for number in range(2, 12):
        publish(run, number, [1])
    registry = ModelRegistry(run)
    registry.refresh()
    publish(run, 12, [1])
    read = list[int]()
    whole = run.catalog.generations_among

    def noted(numbers: list[int]) -> list[Generation]:
        read.extend(numbers)
        return whole(numbers)

    monkeypatch.setattr(run.catalog, "generations_among", noted)
    registry.refresh()
    assert read == [1]
    assert registry.snapshot.published == list(range(2, 13))
    assert registry.snapshot.generations[1].error == "no space left"
    assert not [one for one in statements(run, registry.refresh) if "models" in one]


def test_a_generation_that_is_begun_again_is_seen(run: Run) -> None:
    """One that failed, was begun again and failed again between two looks is shown with its newest error."""
    run.catalog.begin_generation(1, [1], 3)
    run.catalog.fail_generation(1, "the first")
    registry = ModelRegistry(run)
    registry.refresh()
    run.catalog.begin_generation(1, [1], 3)
    run.catalog.fail_generation(1, "the second")
    registry.refresh()
    assert registry.snapshot.generations[1].error == "the second"
    publish(run, 1, [1])
    registry.refresh()
    assert registry.snapshot.published == [1]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_missing_key_opens_no_batch(tmp_path: Path, form: str) -> None:
    """Once a batch's keys have been looked at, one that it has not is answered without its file, in any generation; one
    that it has is found, however often it is there, and a batch that was changed since is refused."""
    run = new_run(tmp_path, f"batches.format={form}")
    for batch in range(1, 6):
        seal(run, batch, [{"id": 10 * batch}, {"id": 10 * batch, "count": 7}])
    publish(run, 1, [1, 2, 3])
    publish(run, 2, [1, 2, 3, 4, 5])
    with api_of(run) as client:
        wait_for_generation(client, 2)
        assert client.get("/models/size/rows/7").status_code == 404
        assert [row["row"]["count"] for row in client.get("/models/size/rows/30").json()["rows"]] == [7, 3]
        for path in run.folder.glob("batches/batch-*"):
            path.rename(path.with_suffix(".away"))
        for address in ("/models/size/rows/8", "/models/size/rows/-10", "/models/size/rows/8?generation=1"):
            answer = client.get(address)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not-found")
        assert client.get("/models/size/rows/30").status_code == 503
    run.close()
