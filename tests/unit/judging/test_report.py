"""The report on a run: whole, real, safe to open and free of secrets."""

from __future__ import annotations

import errno
import json
import re
import shlex
from collections.abc import Sequence
from copy import deepcopy
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.judged_run import JudgedRun, planted
from tests.support.serving_run import (
    DOCUMENT,
    ROW,
    api_of,
    chance_of_good,
    json_of,
    new_run,
    publish,
    routes_document,
    scorer_path,
    seal,
    size_of,
    trained_model,
    wait_for_generation,
    write_generation,
)
from tidemill.cli.main import app
from tidemill.errors import DiskError, InputError
from tidemill.judging import report
from tidemill.judging.report import report_page, write_report
from tidemill.judging.report_settings import without_secrets
from tidemill.judging.report_tables import MOST, checks_of
from tidemill.pipeline import load
from tidemill.run.catalog import Cell, ComparisonRecord, DriftRecord, GateDecision, Judging
from tidemill.run.folder import Run, open_run
from tidemill.texts import ranges

SECTIONS = [
    *("reading", "pipeline", "data", "batches", "generations", "verdicts", "drift", "decisions", "schedule", "schemes"),
    *("examples", "versions", "settings"),
]
VOID = {"meta", "br"}
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
EVIL = "<script>alert('x')</script>"
BLOCKS = np.full(20, 5.0).tobytes()


class Page(HTMLParser):
    """A page's sections, its tables by section, and its text; fails where a tag is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: list[str] = []
        self.ids: list[str] = []
        self.texts: dict[str, str] = {}
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append((tag, named))
        self.ids += [str(named["id"])] if "id" in named else []
        if tag == "section":
            self.sections.append(str(named["id"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        section = self.sections[-1] if "section" in self.open else "head"
        self.texts[section] = self.texts.get(section, "") + data


def page_of(run: Run) -> Page:
    return Page(report_page(run, {"Tidemill": "1", "Python": "3"}, NOW))


def three_batches(folder: Path, *assignments: str, document: dict[str, Any] = DOCUMENT) -> Run:
    """A run of three batches and two generations, the second of which is judged."""
    run = new_run(folder, *assignments, document=document)
    for batch in (1, 2, 3):
        seal(run, batch, [{"id": batch}, {"id": 9, "kind": "fan"}])
    for generation in (1, 2):
        publish(run, generation, (generation,))
    judge(run, 2, "paid")
    return run


def judge(run: Run, generation: int, word: str, drifted: Sequence[DriftRecord] = ()) -> None:
    """Record that a generation of the model ``size`` was compared with the one before, on all rows of a batch."""
    batch = generation + 1
    cells = [
        Cell("size", number, batch, "settled", "absolute error", 100, loss, 0.1, BLOCKS, BLOCKS, {"rmse": 1.25})
        for number, loss in ((generation - 1, 0.5), (generation, 0.4))
    ]
    figures = {"loss": 0.4, "reference_loss": 0.5, "gain": 0.1, "low": 0.05, "high": 0.15, "margin": 0.005}
    compared = [
        ComparisonRecord(
            model="size",
            generation=generation,
            against=against,
            evidence="settled",
            loss_name="absolute error",
            decides=True,
            reference=None if against == "trivial" else generation - 1,
            batch=batch,
            rows=100,
            word=word,
            **figures,  # type: ignore[arg-type]  # all of them are floats
        )
        for against in ("trivial", "previous")
    ]
    decided = GateDecision("size", "promoted", generation, generation, generation - 1, "gate", "it paid", batch)
    run.catalog.save_judging(Judging("", batch, "settled", 0.1), cells, compared, drifted, [decided])


def test_a_report_has_every_section_and_the_figures_of_the_run(tmp_path: Path) -> None:
    """A report is well-formed HTML with all its sections, each with what the catalog says."""
    run = three_batches(tmp_path)
    details = {"distance": 2.0, "measure": "mean"}
    drifted = DriftRecord(4, "hours", 1, "ks", 0.5, 0.001, True, details, before=1.5, after=12345.6)
    judge(run, 3, "cost", [drifted])
    page = page_of(run)
    assert page.sections == SECTIONS
    assert len(page.ids) == len(set(page.ids))
    assert {address for _, named in page.tags if (address := named.get("href"))} == {f"#{name}" for name in SECTIONS}
    assert "Devices & <more>" in page.texts["head"]
    assert "LinearRegression" in page.texts["pipeline"]
    assert "string, may be missing" in page.texts["data"]
    batch = run.catalog.batch(2)
    assert batch
    assert batch.sha256[:12] in page.texts["batches"]
    assert "published" in page.texts["generations"]
    assert "9 of 9" in page.texts["generations"]
    assert "The newest retraining cost" in page.texts["head"]
    assert "+0.05 to +0.15" in page.texts["verdicts"]
    assert "rmse 1.25" in page.texts["verdicts"]
    assert "2 standard deviations apart" in page.texts["drift"]
    assert "mean 1.5 -> 12,346" in page.texts["drift"]
    assert "it paid" in page.texts["decisions"]
    assert "Of 2 retrainings 1 paid" in page.texts["schedule"]
    assert "2026-01-02 03:04 UTC" in page.texts["head"]
    assert "Python" in page.texts["versions"]
    assert "models.good.labels.0" in page.texts["settings"]


def test_a_report_loads_nothing(tmp_path: Path) -> None:
    """Opening a report asks for no other file and runs no script: it has none, and its policy forbids both."""
    run = three_batches(tmp_path)
    html = report_page(run, {}, NOW)
    page = Page(html)
    loading = {"script", "link", "iframe", "img", "image", "object", "embed", "base", "form", "use", "a"}
    assert {tag for tag, _ in page.tags} & loading == {"a"}
    assert {
        name for _, named in page.tags for name in named if name in ("src", "srcset", "xlink:href", "style")
    } == set()
    assert not [name for _, named in page.tags for name in named if name.startswith("on")]
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert "@import" not in html
    policies = [named["content"] for tag, named in page.tags if named.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]
    assert set(re.findall(r"https?://[^/\s]*", html)) == {"http://127.0.0.1:8000"}  # in the text of the requests


def test_texts_of_data_and_settings_are_escaped(tmp_path: Path) -> None:
    """Whatever the pipeline file or the data hold, the page shows it as text."""
    document = deepcopy(DOCUMENT) | {"title": EVIL, "description": f"d {EVIL}"}
    document["source"]["columns"][EVIL] = "string?"
    document["models"]["good"]["labels"]["1"] = f"l {EVIL}"
    run = new_run(tmp_path, document=document)
    seal(run, 1, [{"kind": f"k {EVIL}"}])
    publish(run, 1, (1,))
    run.catalog.begin_generation(2, (1,), rows=3)
    run.catalog.fail_generation(2, f"e {EVIL}")
    run.catalog.decide_champion(GateDecision("good", "chosen", 1, 1, None, f"p {EVIL}", f"b {EVIL}"))
    judge(run, 2, "paid", [DriftRecord(3, EVIL, 1, "chi-square", 0.5, 0.1, True, {"new": [f"n {EVIL}"]})])
    page = page_of(run)
    assert "script" not in {tag for tag, _ in page.tags}
    expected = {
        "head": (EVIL, f"d {EVIL}"),
        "data": (EVIL,),
        "generations": (f"e {EVIL}",),
        "drift": (EVIL, f"n {EVIL}"),
        "decisions": (f"p {EVIL}", f"b {EVIL}"),
        "settings": (f"l {EVIL}",),
    }
    assert [text for section, texts in expected.items() for text in texts if text not in page.texts[section]] == []
    assert "k <script>" in page.texts["examples"]


def test_no_secret_is_in_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a setting that authenticates the Kafka client only the name is shown, and nothing of the run's own secret."""
    monkeypatch.setenv("PASSWORD_OF_KAFKA", "hunter2")
    document = deepcopy(DOCUMENT)
    document["stream"]["kafka"] = {
        "security.protocol": "SASL_SSL",
        "sasl.username": "anna",
        "sasl.password": {"env": "PASSWORD_OF_KAFKA"},
        "ssl.key.location": "/secrets/anna.pem",
        "client.id": "anna@home",
    }
    run = new_run(tmp_path, document=document)
    recorded = run.catalog.run()
    html = report_page(run, {}, NOW)
    settings = Page(html).texts["settings"]
    assert "SASL_SSL" in settings
    assert "sasl.password" in settings
    hidden = ("anna", "PASSWORD_OF_KAFKA", "hunter2", recorded.secret if recorded else None)
    assert [text for text in hidden if text is None or text in html] == []


def test_secrets_of_options_are_hidden() -> None:
    """An option of the start that sets something of the Kafka client is shown without its value."""
    options = ['stream.kafka={"sasl.username" = "anna"}', "stream.kafka.x=1", 'stream={"a" = 1}', "stream.rate=5"]
    shown = without_secrets({"options": {"assignments": options}})["options"]["assignments"]
    assert shown == ["stream.kafka=(not shown)", "stream.kafka.x=(not shown)", "stream=(not shown)", "stream.rate=5"]


def example_of(page: str, model: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The address, the body and the answer of a model's example."""
    match = re.search(rf"<h3>{model}</h3>\s*<pre><code>(.*?)</code></pre>\s*<pre><code>(.*?)</code></pre>", page, re.S)
    assert match
    request, answer = (
        part.replace("&#34;", '"').replace("&#39;", "'").replace("&amp;", "&") for part in match.groups()
    )
    words = shlex.split(request.replace("\\\n", " "))
    body = json.loads(words[words.index("-d") + 1]) if "-d" in words else {}
    return next(word for word in words if word.startswith("http")), body, json.loads(answer)


def test_examples_are_answered_by_the_generation_that_serves(tmp_path: Path) -> None:
    """An example asks for a row of the newest batch, and the answer is the champion's, not the newest generation's."""
    run = three_batches(tmp_path)
    run.catalog.decide_champion(GateDecision("size", "rolled back", 2, 1, 2, "gate", "it cost", 2))
    html = report_page(run, {}, NOW)
    address, body, answer = example_of(html, "size")
    assert address == "http://127.0.0.1:8000/models/size/predict"
    assert body == {"hours": ROW["hours"], "count": ROW["count"]}
    assert answer == {"model": "size", "generation": 1, "prediction": size_of(1, ROW)}
    answer = example_of(html, "good")[2]
    assert answer["generation"] == 2
    assert answer["probability"]["1"] == pytest.approx(chance_of_good(2, ROW))


def test_examples_are_what_the_api_answers(tmp_path: Path) -> None:
    """A request of the report, sent to the API, is answered with the JSON that the report shows."""
    run = three_batches(tmp_path)
    html = report_page(run, {}, NOW)
    with api_of(run) as client:
        wait_for_generation(client, 2)
        for model in run.pipeline.models:
            address, body, answer = example_of(html, model)
            assert json_of(client.post(urlsplit(address).path, json=body)) == answer


def test_examples_of_models_that_search(tmp_path: Path) -> None:
    """A recommender's example is for one of its users; a model of similar rows has a note instead."""
    run = new_run(tmp_path, document=routes_document())
    seal(run, 1, [{}])
    publish(run, 1, (1,))
    html = report_page(run, {}, NOW)
    address, _, answer = example_of(html, "taste")
    assert address == "http://127.0.0.1:8000/models/taste/recommend/ann?top=3"
    assert answer["user"] == "ann"
    assert [item["title"] for item in answer["items"]] == ["one", "two"]
    assert "an index that the running API makes" in Page(html).texts["examples"]


def test_a_damaged_file_costs_only_its_example(tmp_path: Path) -> None:
    """A scorer file that is not as the catalog says is named in place of the answer; all else is reported."""
    run = three_batches(tmp_path)
    scorer_path(run, 2, "good").write_bytes(b"damaged")
    text = page_of(run).texts["examples"]
    assert "No answer:" in text
    assert "good.npz" in text
    assert f'"prediction": {size_of(2, ROW)}' in text


def test_a_run_without_a_generation(tmp_path: Path) -> None:
    """A report on a run that has trained nothing says so, in all its sections."""
    page = page_of(new_run(tmp_path))
    assert page.sections == SECTIONS
    assert "No batch is sealed yet." in page.texts["batches"]
    for section in ("head", "generations"):
        assert "No generation has been trained yet." in page.texts[section]
    assert "No generation serves yet." in page.texts["examples"]
    assert "svg" not in {tag for tag, _ in page.tags}


def test_long_lists_show_the_newest(tmp_path: Path) -> None:
    """Of many batches, generations and decisions a report shows the newest 50, and says how many there are."""
    run = new_run(tmp_path)
    write_generation(run, 1)
    models = [trained_model(run, 1, name) for name in run.pipeline.models]
    count = MOST + 10
    for number in range(1, count + 1):
        seal(run, number, [{}])
        run.catalog.begin_generation(number, (number,), rows=1)
        run.catalog.publish_generation(number, models)
        if number > 1:
            judge(run, number, "no difference")
    page = page_of(run)
    assert f"The newest {MOST} of {count} batches." in page.texts["batches"]
    assert f"The newest {MOST} of {count} generations." in page.texts["generations"]
    assert f"The newest {MOST} of {count - 1} decisions." in page.texts["decisions"]
    assert f"The newest {MOST} of {count - 1} generations." in page.texts["verdicts"]


def test_pictures_show_what_was_judged(tmp_path: Path) -> None:
    """A judged model has its gains and its losses as pictures, which have the page's own colours and a text for those
    who can't see them."""
    judged = JudgedRun(tmp_path)
    for seed in range(3):
        judged.step(planted(1000, seed, weight_a=1.0 + seed))
    html = report_page(judged.run, {}, NOW)
    pictures = [named for tag, named in Page(html).tags if tag == "svg"]
    assert [picture["aria-label"] for picture in pictures] == [
        "Gain in absolute error over the generation before, by generation, with 95 % intervals",
        "absolute error of each generation on each batch",
    ]
    assert all(picture["role"] == "img" for picture in pictures)
    drawn = re.findall(r"<svg.*?</svg>", html, re.S)
    assert "paid" in drawn[0]
    assert all("currentColor" in picture for picture in drawn)
    assert html == report_page(judged.run, {}, NOW)


def test_a_report_replaces_an_older_one(tmp_path: Path) -> None:
    """The file is written whole, in place of an older one, and nothing else is left beside it."""
    run = new_run(tmp_path)
    out = tmp_path / "out" / "report.html"
    out.parent.mkdir()
    out.write_text("older")
    size = write_report(run, out, {}, NOW)
    assert out.stat().st_size == size
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert list(out.parent.iterdir()) == [out]


def test_a_place_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing folder, a folder in the file's place and a full disk are errors with a hint; an older report stays."""
    run = new_run(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        write_report(run, tmp_path / "none" / "report.html", {}, NOW)
    with pytest.raises(InputError, match="is a folder"):
        write_report(run, tmp_path, {}, NOW)
    out = tmp_path / "report.html"
    out.write_text("older")

    def full(written: Path, final: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(report, "publish", full)
    with pytest.raises(DiskError, match="No space left") as raised:
        write_report(run, out, {}, NOW)
    assert raised.value.hint
    assert out.read_text() == "older"
    assert not list(tmp_path.glob(".report*"))


def test_the_command(tmp_path: Path) -> None:
    """`tidemill report` writes the file and says where; a missing folder is wrong input."""
    open_run(load("smart-home"), tmp_path / "run").close()
    out = tmp_path / "report.html"
    options = ["report", "smart-home", "--run-dir", str(tmp_path / "run"), "--out"]
    done = CliRunner().invoke(app, [*options, str(out)])
    assert done.exit_code == 0, done.output
    assert re.fullmatch(rf"wrote {re.escape(str(out))} \(\d+ kB\)\n", done.stdout)
    versions = Page(out.read_text(encoding="utf-8")).texts["versions"]
    assert all(name in versions for name in ("Tidemill", "Python", "pyspark", "Kafka", "Java"))
    done = CliRunner().invoke(app, [*options, str(tmp_path / "no" / "report.html")])
    assert isinstance(done.exception, InputError)


@pytest.mark.parametrize(
    ("checks", "text"),
    [
        ({"mcnemar_p": 0.03125}, "McNemar p 0.0312"),
        ({"clusters": {"word": "moved", "rand": 0.5}}, "clusters: word moved, rand 0.5"),
        ({}, ""),
    ],
)
def test_checks_are_named(checks: dict[str, Any], text: str) -> None:
    """Further figures of a comparison are shown by their names."""
    assert checks_of(checks) == text


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([3], "3"), ([1, 2, 3, 7], "1-3, 7"), ([2, 1, 5, 4], "1-2, 4-5")]
)
def test_ranges(numbers: list[int], text: str) -> None:
    """Consecutive numbers are written as a range."""
    assert ranges(numbers) == text
