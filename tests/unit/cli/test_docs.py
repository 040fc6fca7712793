"""The documentation can't drift: whatever a user can type, call or read stands in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import typer.main
from pydantic import BaseModel

from tests.support import ROOT
from tidemill import schemas
from tidemill.api.app import create_app
from tidemill.api.models.registry import ModelRegistry
from tidemill.cli.main import app
from tidemill.errors import all_errors
from tidemill.judging.comparisons import Word
from tidemill.pipeline import Pipeline, bare, load, ready_pipelines
from tidemill.pipeline.model import Evidence, Policy
from tidemill.run.folder import open_run

REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
VERDICT = (ROOT / "docs" / "verdict.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def keys(model: type[BaseModel]) -> set[str]:
    """Every key of a model, such as the pipeline file, with those of the models below."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        found.add(field.alias or name)
        for kind in [field.annotation, *getattr(bare(field.annotation), "__args__", ())]:
            inner = bare(kind)
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found |= keys(inner)
    return found


def test_every_key_of_the_pipeline_file() -> None:
    """Each key that a pipeline file may have stands in the reference."""
    found = keys(Pipeline)
    assert {"estimator", "holdout", "share", "answer"} <= found
    assert {key for key in found if not re.search(rf"[`\[ ]{key}[`\]. ]", REFERENCE)} == set()


def test_every_command_and_option() -> None:
    """Each command and each of its options stands in the reference."""
    command = typer.main.get_command(app)
    names = command.commands  # type: ignore[attr-defined]  # a group, since the app has several commands
    assert {name for name in names if f"`tidemill {name}" not in REFERENCE} == set()
    options = {option for one in names.values() for parameter in one.params for option in parameter.opts}
    long = {option for option in options if option.startswith("--")} - {"--help"}
    assert {option for option in long if option not in REFERENCE} == set()


def test_every_endpoint(tmp_path: Path) -> None:
    """Each endpoint of a pipeline stands in the reference."""
    run = open_run(load("smart-home"), tmp_path)
    served = {getattr(route, "path", "") for route in create_app(run, ModelRegistry(run)).routes}
    declared = {route.path for route in run.pipeline.routes}
    general = {
        re.sub(r"^/models/(efficiency|malfunction|segment)", "/models/{model}", path) for path in served - declared
    }
    shown = {path.replace(":rest", "") for path in general if not path.startswith("/docs/")}
    assert {path for path in shown if f"{path}`" not in REFERENCE} == set()


def test_every_error_code() -> None:
    """Each error's code stands in the reference."""
    assert {error.code for error in all_errors() if f"`{error.code}`" not in REFERENCE} == set()


@pytest.mark.parametrize("name", ready_pipelines())
def test_every_ready_pipeline_and_route(name: str) -> None:
    """Each ready pipeline and each of its routes stands in the README."""
    assert name in README
    assert [route.path for route in load(name).pipeline.routes if route.path not in README] == []


def test_files_that_are_named_are_there() -> None:
    """Each file that ARCHITECTURE and README name is in the project."""
    named = re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py|[a-z_]+/)`", ARCHITECTURE)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / "src" / "tidemill" / path).exists()] == []


@pytest.mark.parametrize("document", [path.relative_to(ROOT) for path in DOCUMENTS], ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    """Each file that a document links to is in the project, and has the heading that is named."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for path, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", text):
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), path
        assert not heading or heading in anchors(target.read_text(encoding="utf-8")), f"{path}#{heading}"


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_first_screen_says_what_it_is_for() -> None:
    """The README's first 25 lines ask the question, name the command that answers it, and link to how it does."""
    first = "\n".join(README.splitlines()[:25])
    assert "Did retraining" in first
    assert "tidemill verdict smart-home" in first
    assert "95 % interval" in first
    assert "docs/verdict.md" in "\n".join(README.splitlines()[:35])


def test_every_key_of_a_verdict() -> None:
    """Each key of ``verdict --json`` stands in the reference."""
    found = keys(schemas.VerdictBody)
    assert {"models", "rows_needed", "gain_share", "flagged", "because", "own_loss"} <= found
    assert {key for key in found if f"`{key}`" not in REFERENCE} == set()


def test_every_word_and_policy() -> None:
    """Each word of a verdict and each policy of the gate stands in the document about them."""
    named = [*get_args(Word), *get_args(Policy), *get_args(Evidence)]
    assert len(named) == 10
    assert [name for name in named if f"`{name}`" not in VERDICT and f"**{name}**" not in VERDICT] == []


def test_every_metric() -> None:
    """Each metric for Prometheus stands in the reference."""
    source = (ROOT / "src" / "tidemill" / "api" / "metrics.py").read_text(encoding="utf-8")
    metrics = set(re.findall(r"\"(tidemill_[a-z_]+)\"", source))
    assert len(metrics) >= 7
    assert {metric for metric in metrics if f"`{metric}`" not in REFERENCE} == set()


def test_tests_that_are_named_are_there() -> None:
    """Each test file and folder that a document names is in the project."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")]
    named = {path for text in texts for path in re.findall(r"\btests/[a-z0-9_/]+(?:\.py)?", text)}
    assert len(named) > 40
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
