"""Which files a run keeps, and what is said about those that it does not."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.failpoint_run import arm
from tests.support.serving_run import api_of, choose, message_of, new_run, publish, seal
from tidemill.collector.collector import recover
from tidemill.collector.log_cut import first_needed
from tidemill.errors import BackupError, Gone, PipelineInvalid, PromotionRefused
from tidemill.judging.judge import Judge
from tidemill.judging.promotion import promote
from tidemill.pipeline import Keep, load
from tidemill.process.backup import back_up, named_files, refuse_cut, snapshot
from tidemill.process.replay import Line, refuse
from tidemill.process.restore import restore
from tidemill.run.catalog import (
    FILE_NAME,
    Catalog,
    Cell,
    Evidence,
    GateDecision,
    GenerationRef,
    Judging,
    KeptFiles,
    KeptOffsets,
    OutputState,
)
from tidemill.run.failpoints import FAILPOINTS, Crash
from tidemill.run.files import sha256
from tidemill.run.folder import Run
from tidemill.run.inventory import take_inventory
from tidemill.run.progress.status import judged
from tidemill.run.stage import Stage
from tidemill.training import keeping
from tidemill.training.keeping import Keeper, Kind, oldest_kept

DAYS = {number: f"2026-02-{number:02}T00:00:00.000Z" for number in range(1, 11)}
GENERATIONS = 8


@pytest.mark.parametrize(
    ("count", "age", "unwanted", "needed", "removed"),
    [
        (None, None, set(), set(), []),
        (3, None, set(), set(), [1, 2, 3, 4, 5, 6, 7]),
        (3, None, set(), {1, 6}, [2, 3, 4, 5, 7]),
        (30, None, set(), set(), []),
        (None, 3 * 86400, set(), set(), [1, 2, 3, 4, 5, 6]),
        (8, 7 * 86400, set(), {2}, [1]),
        (None, None, {4, 9}, {9}, [4]),
    ],
)
def test_what_is_removed(
    count: int | None, age: float | None, unwanted: set[int], needed: set[int], removed: list[int]
) -> None:
    """What is beyond the newest, or too old, or not wanted goes; what is needed stays."""
    before = oldest_kept(age, KeptFiles({}, DAYS))
    assert Kind(DAYS, needed, count).removable(before, unwanted) == removed


def kept_run(folder: Path, keep: str, *assignments: str) -> Run:
    """A windowed run of eight generations, with losses, which keeps only some."""
    run = new_run(folder, f"keep={keep}", *assignments)
    for number in range(1, GENERATIONS + 1):
        seal(run, number, [{"id": number}])
        publish(run, number, [number], champion_of=["size", "good", "group"])
        losses = run.judgings / f"{number:05}-settled-{'a' * 16}.parquet"
        losses.parent.mkdir(exist_ok=True)
        losses.write_bytes(b"losses")
        judging = Judging("", number, "settled", 0.1, run.relative(losses), sha256(losses))
        cell = Cell("size", number, number, "settled", "absolute error", 3, 1.0, 1.0, b"", b"", {})
        run.catalog.save_judging(judging, [cell])
    return run


def keeper(run: Run) -> Keeper:
    return Keeper(run, Stage(run, "trainer").log)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_removed(run: Run, batches: list[int], generations: list[int]) -> None:
    """Exactly the files of these are there, and the catalog, which has all records, says so."""
    assert names(run.batches) == [f"batch-{number:05}.parquet" for number in batches]
    assert names(run.generations) == [f"{number:05}" for number in generations]
    assert [int(name[:5]) for name in names(run.judgings)] == generations
    kept = run.catalog.kept_files()
    assert (list(kept.batches), list(kept.generations)) == (batches, generations)
    records = run.catalog.generations()
    assert [record.generation for record in records] == list(range(1, GENERATIONS + 1))
    assert [record.generation for record in records if record.removed_at is None] == generations
    assert {cell.generation for cell in run.catalog.cells("size")} == set(generations)
    take_inventory(run.folder, run.catalog)
    recover(run)


def test_the_newest_and_what_is_needed_stay(tmp_path: Path) -> None:
    """Beside the newest ones there stay the first generation, the champions and those that they replaced, with the
    batches that a champion was trained on. A second time nothing more goes."""
    run = kept_run(tmp_path, "{batches=2, generations=3}")
    choose(run, "good", 4)
    keeper(run).tidy()
    assert_removed(run, [4, 7, 8], [1, 4, 6, 7, 8])
    keeper(run).tidy()
    assert_removed(run, [4, 7, 8], [1, 4, 6, 7, 8])


def test_without_keep_all_stays(tmp_path: Path) -> None:
    """A pipeline that does not say otherwise keeps everything."""
    run = kept_run(tmp_path, "{}")
    keeper(run).tidy()
    assert_removed(run, list(range(1, 9)), list(range(1, 9)))


def test_what_waits_for_training_stays(tmp_path: Path) -> None:
    """Batches of a generation that failed or is still to come, with the window before them, are not touched."""
    run = kept_run(tmp_path, "{batches=3}", 'generations={scheme="sliding", window=3}')
    for number in (9, 10):
        seal(run, number, [{"id": number}])
    run.catalog.begin_generation(9, [7, 8, 9], 3)
    run.catalog.fail_generation(9, "of a test")
    keeper(run).tidy()
    assert list(run.catalog.kept_files().batches) == [7, 8, 9, 10]


def test_all_batches_stay_where_each_generation_needs_them(tmp_path: Path) -> None:
    """With cumulative, an age removes generations alone."""
    run = kept_run(tmp_path, '{age="1d"}', 'generations={scheme="cumulative"}')
    keeper(run).tidy()
    assert_removed(run, list(range(1, 9)), list(range(1, 9)))
    for table, at in (("batches", "sealed_at"), ("generations", "published_at")):
        number = table.removesuffix("es" if table == "batches" else "s")
        with run.catalog.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE {table} SET {at} = '2026-01-01T00:00:00.000Z' WHERE {number} < 8")
    keeper(run).tidy()
    assert_removed(run, list(range(1, 9)), [1, 7, 8])


def test_only_what_has_served_stays(tmp_path: Path) -> None:
    """With models = "champion" a generation that never served goes, unless others are compared with it."""
    run = kept_run(tmp_path, '{models="champion"}')
    publish(run, 9, [8])
    publish(run, 10, [8])
    publish(run, 11, [8])
    keeper(run).tidy()
    assert list(run.catalog.kept_files().generations) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11]


@pytest.mark.parametrize("name", [name for name in FAILPOINTS if name.startswith("keep.")])
@pytest.mark.parametrize("passing", [1, 2])
def test_a_trainer_that_dies_while_it_removes(tmp_path: Path, name: str, passing: int) -> None:
    """Wherever it dies, no stage refuses the run, and the next trainer removes the rest."""
    run = kept_run(tmp_path, "{batches=2, generations=3}")
    if passing == 2 and name != "keep.unlinked":
        keeper(run).tidy()
        arm("")
    else:
        arm(f"{name}=error:{passing}")
        with pytest.raises(Crash):
            keeper(run).tidy()
    take_inventory(run.folder, run.catalog)
    recover(run)
    assert named_files(run, run.catalog)
    again = keeper(run)
    again.finish()
    again.tidy()
    assert names(run.batches) == ["batch-00007.parquet", "batch-00008.parquet"]
    assert names(run.generations) == ["00001", "00006", "00007", "00008"]
    take_inventory(run.folder, run.catalog)


class Choosing(Catalog):
    """A catalog in which a person chooses generation 3 just before anything is removed."""

    def remove(self, of_batches: Collection[int], of_generations: Collection[int]) -> set[int]:
        self.decide_champion(GateDecision("size", "chosen", 3, 3, 8, "ann", "of a test"))
        return super().remove(of_batches, of_generations)


def test_a_choice_in_the_moment_of_a_removal(tmp_path: Path) -> None:
    """The generation that a person chooses while others are being removed stays, with its losses."""
    run = kept_run(tmp_path, "{batches=2, generations=3}")
    run.catalog = Choosing(run.catalog.path)
    keeper(run).tidy()
    assert names(run.generations) == ["00001", "00003", "00006", "00007", "00008"]
    assert [int(name[:5]) for name in names(run.judgings)] == [1, 3, 6, 7, 8]
    take_inventory(run.folder, run.catalog)


def test_a_removal_in_the_moment_of_a_choice(tmp_path: Path) -> None:
    """A choice that comes a moment too late is refused, and changes nothing."""
    run = kept_run(tmp_path, "{batches=2, generations=3}")
    keeper(run).tidy()
    with pytest.raises(PromotionRefused, match="generation 3 was removed meanwhile"):
        run.catalog.decide_champion(GateDecision("size", "chosen", 3, 3, 8, "ann", "of a test"))
    assert run.catalog.champions()["size"] == GenerationRef(8)


def test_more_is_removed_than_one_statement_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that kept all until now is tidied in parts."""
    monkeypatch.setattr(keeping, "AT_ONCE", 2)
    run = kept_run(tmp_path, "{batches=1, generations=3}")
    keeper(run).tidy()
    assert_removed(run, [7, 8], [1, 6, 7, 8])


def test_a_failed_look_at_what_was_removed_is_over(tmp_path: Path) -> None:
    """A look that ended with an error is not repeated once its generation is gone, though its batch is there: older
    generations would be judged in its place. Such a run counts as judged."""
    run = kept_run(tmp_path, "{generations=3}")
    keeper(run).tidy()
    for number in range(1, GENERATIONS + 1):
        run.catalog.save_judging(Judging("", number, "provisional", 0.1))
    looks: list[tuple[int, Evidence]] = [(4, "settled"), (4, "provisional"), (3, "provisional")]
    for batch, evidence in looks:
        run.catalog.save_judging(Judging("", batch, evidence, 0.1, error="of a test"))
    assert judged(run)
    before = run.catalog.judgings()
    Judge(run, Stage(run, "trainer").log).catch_up(run.catalog.generation_numbers("published"))
    assert run.catalog.judgings() == before


# --- what the API, and other commands, say --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def removed_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = kept_run(tmp_path_factory.mktemp("removed"), "{batches=2, generations=3}")
    keeper(run).tidy()
    return run


@pytest.fixture(scope="module")
def api(removed_run: Run) -> Iterator[httpx.Client]:
    with api_of(removed_run) as client:
        yield client


FEATURES = {"hours": 2.0, "count": 3}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/models/size/generations/3/predict", FEATURES),
        ("GET", "/models/size/rows/3?generation=3", None),
        ("GET", "/models/group/points?x=hours&y=count&generation=3", None),
        ("GET", "/models/group/profile?generation=3", None),
        ("GET", "/batches/3/rows", None),
        ("GET", "/rejects/batch-00003", None),
        ("POST", "/models/size/champion", {"generation": 3, "because": "of a test"}),
    ],
)
def test_the_address_of_what_was_removed(api: httpx.Client, method: str, path: str, body: dict[str, Any]) -> None:
    """It answers 410, and says that the run keeps only so much."""
    answer = api.request(method, path, json=body)
    assert answer.status_code == 410, answer.text
    assert answer.json()["error"]["code"] == "gone"
    assert "keeps only so much" in message_of(answer)


def test_the_records_stay(api: httpx.Client) -> None:
    """Batches, generations and metrics are listed as before, those without files with the time of their removal."""
    batch, generation = api.get("/batches/3").json(), api.get("/generations/3").json()
    assert batch["removed_at"]
    assert (batch["rows"], generation["models"]["size"]["metrics"]) == (1, {"rmse": 1.5})
    assert generation["removed_at"]
    assert "removed_at" not in api.get("/generations/8").json()
    assert len(api.get("/generations").json()) == len(api.get("/batches").json()) == GENERATIONS
    assert api.get("/health").json()["problems"] == []


def test_what_is_kept_answers_as_before(api: httpx.Client) -> None:
    """The first and the newest generations predict; the predictions of all are those of the kept ones."""
    for number in (1, 6, 8):
        answer = api.post(f"/models/size/generations/{number}/predict", json=FEATURES)
        assert answer.json()["prediction"] == 1000 * number + 3.5
    across = api.post("/models/size/generations/predict", json=FEATURES).json()
    assert [answer["generation"] for answer in across["answers"]] == [8, 7, 6, 1]


def test_a_key_that_no_kept_batch_has(api: httpx.Client) -> None:
    """Nothing is claimed of the rows that are gone, and no generation is named whose files are."""
    answer = api.get("/models/size/rows/3")
    assert answer.status_code == 404
    assert answer.json()["error"]["hint"] == (
        "no other batch that is kept has it; 1-6 may have had it, and are no longer kept"
    )
    assert api.get("/models/size/rows/7").json()["error"]["hint"] == "it was streamed: ask for generation 7"


def test_a_generation_is_removed_while_the_api_answers(tmp_path: Path) -> None:
    """One that was answered a moment ago is gone then, in memory too."""
    run = kept_run(tmp_path, "{generations=3}")
    with api_of(run) as client:
        path = "/models/size/generations/3/predict"
        assert client.post(path, json=FEATURES).status_code == 200
        keeper(run).tidy()
        codes = {client.post(path, json=FEATURES).status_code for _ in range(200)}
        assert codes <= {200, 410}
        while client.post(path, json=FEATURES).status_code == 200:
            pass
        assert client.post(path, json=FEATURES).status_code == 410


def test_other_commands_name_what_is_gone(removed_run: Run) -> None:
    """A removed generation can't be promoted, and a run without all batches not be replayed."""
    with pytest.raises(Gone, match="generation 3 is gone"):
        promote(removed_run, "size", GenerationRef(3), "of a test", "ann")
    with pytest.raises(Gone, match=r"of which 1-6 are no longer kept \(\[keep\] batches = 2, generations = 3\)"):
        refuse(removed_run, [Line("cumulative")], removed_run.catalog.batches())
    assert not any("00003" in name for name in named_files(removed_run, removed_run.catalog))


# --- the pipeline file, and the log -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "scheme", "words"),
    [
        ("{batches=5}", "cumulative", "trained on all batches"),
        ("{batches=2}", "sliding", "3 or more"),
        ("{batches=0}", "windowed", "above 0"),
        ('{age="soon"}', "windowed", "a duration"),
        ('{models="best"}', "windowed", "'all' or 'champion'"),
        ("{generation=5}", "windowed", 'did you mean "generations"?'),
    ],
)
def test_a_faulty_keep_is_told(keep: str, scheme: str, words: str) -> None:
    """Each fault says what the scheme needs, or what can be kept."""
    window = ", window=3" if scheme == "sliding" else ""
    with pytest.raises(PipelineInvalid, match=words.replace("?", r"\?")):
        load("smart-home", [f"keep={keep}", f'generations={{scheme="{scheme}"{window}}}'])


def test_keep_says_itself() -> None:
    """In the words of the pipeline file."""
    assert str(Keep(batches=2, models="champion")) == '[keep] batches = 2, models = "champion"'
    assert Keep().all


def test_the_log_is_cut_where_nobody_needs_it() -> None:
    """Behind the first kept batch and the last sealed message, and never before an output has read it."""
    kept = {0: KeptOffsets(50, 90), 1: KeptOffsets(70, 70)}
    assert first_needed(kept, []) == {0: 50, 1: 70}
    half = OutputState("scored", "m", "id", True, 2, {0: 40, 1: 80})
    assert first_needed(kept, [half]) == {0: 40, 1: 70}
    assert first_needed(kept, [OutputState("scored", "m", "id", True, 2, {0: 40}, ended=True)]) == {0: 50, 1: 70}
    assert first_needed(kept, [None]) == {}


def test_a_backup_has_what_is_kept(tmp_path: Path) -> None:
    """A run restored from a backup says of each batch and generation what the original says."""
    run = kept_run(tmp_path / "original", "{batches=2, generations=3}")
    keeper(run).tidy()
    back_up(run, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert names(tmp_path / "restored" / "batches") == names(run.batches)
    assert names(tmp_path / "restored" / "generations") == names(run.generations)
    catalog = Catalog(tmp_path / "restored" / FILE_NAME)
    take_inventory(tmp_path / "restored", catalog)
    assert catalog.kept_files() == run.catalog.kept_files()
    catalog.close()


def test_a_backup_whose_log_was_cut_meanwhile_is_refused(tmp_path: Path) -> None:
    """Where batches are sealed and removed while it is made, the log may lack what follows its catalog's last batch."""
    run = kept_run(tmp_path / "run", "{batches=1, generations=3}")
    keeper(run).tidy()
    (tmp_path / "backup").mkdir()
    snapshot(run, tmp_path / "backup")
    copied = Catalog(tmp_path / "backup" / FILE_NAME)
    refuse_cut(run, copied)
    for number in range(GENERATIONS + 1, GENERATIONS + 5):
        seal(run, number, [{"id": number}])
        publish(run, number, [number], champion_of=["size", "good", "group"])
    refuse_cut(run, copied)
    keeper(run).tidy()
    with pytest.raises(BackupError, match="sealed and removed while the backup was made"):
        refuse_cut(run, copied)
    copied.close()
