"""The commands that look at a judged run: what serves, what options change, and lines of replays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support.judged_run import MODEL, PIPELINE_FILE, JudgedRun, fed, replayed
from tidemill.cli.main import app
from tidemill.errors import InputError
from tidemill.run.locks import locked


@pytest.fixture
def judged(tmp_path: Path) -> JudgedRun:
    """A run of three generations, whose trainer recorded its gate."""
    (tmp_path / "planted.toml").write_text(PIPELINE_FILE)
    run = fed(tmp_path, batches=3)
    run.run.catalog.save_gates({MODEL: run.run.pipeline.gate_of(MODEL).model_dump()})
    return run


def asked(run: JudgedRun, command: str, *arguments: str) -> Result:
    folder = run.run.folder
    return CliRunner().invoke(app, [command, str(folder.parent / "planted.toml"), "--run-dir", str(folder), *arguments])


def test_what_serves_is_shown(judged: JudgedRun) -> None:
    """`status` and `generations` say which generation serves for which models, in text and as JSON."""
    assert "serves: generation 3" in asked(judged, "status").stdout
    marked = [line for line in asked(judged, "generations").stdout.splitlines() if line.endswith("; serves")]
    assert [line.split()[:2] for line in marked] == [["generation", "3"]]
    assert json.loads(asked(judged, "status", "--json").stdout)["champions"] == {MODEL: 3}
    assert [body["serves"] for body in json.loads(asked(judged, "generations", "--json").stdout)] == [[], [], [MODEL]]


def test_an_option_does_not_change_the_words(judged: JudgedRun) -> None:
    """Verdicts and the words of schemes keep the margin that was in force, and a note names it; other options, and the
    gate as it is, bring none."""
    replayed(judged, "sliding-2", 3, factor=0.97)
    before = json.loads(asked(judged, "verdict", "--json").stdout)
    assert [scheme["word"] for scheme in before["schemes"]] == ["paid"]
    done = asked(judged, "verdict", "--json", "--set", "gate.margin=50%")
    assert json.loads(done.stdout) == before
    assert "keep the margin that was in force when they were made (1%)" in done.stderr
    for option in ("gate.margin=1%", "title=Gate"):
        assert asked(judged, "verdict", "--set", option).stderr == ""


def test_the_words_of_schemes_follow_the_gate_in_force(judged: JudgedRun) -> None:
    """Once a trainer has recorded another margin, schemes are compared by that one."""
    replayed(judged, "sliding-2", 3, factor=0.97)
    judged.run.catalog.save_gates({MODEL: {"margin": "50%"}})
    assert [body["word"] for body in json.loads(asked(judged, "verdict", "--json").stdout)["schemes"]] == [
        "no difference"
    ]


def test_a_line_is_removed(judged: JudgedRun) -> None:
    """`replay --remove` removes a line with its files, and shows what is left."""
    for line in ("sliding-2", "cumulative"):
        replayed(judged, line, 3)
    done = asked(judged, "replay", "--remove", "sliding-2")
    assert done.stdout.splitlines()[0] == "removed sliding-2: 1 generation"
    assert done.stdout.splitlines()[1].startswith("value: cumulative beats windowed by ")
    done = asked(judged, "replay", "--remove", "cumulative", "--json")
    assert (json.loads(done.stdout), done.stderr) == ([], "removed cumulative: 1 generation\n")
    assert sorted(path.name for path in judged.run.judgings.iterdir() if path.is_dir()) == []


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (("--remove", "sliding-3"), "no replay 'sliding-3'", 'did you mean "sliding-2"?'),
        (("--remove", "sliding-2", "--remove", "x"), "no replay 'x'", "known: sliding-2"),
        (("--remove", "sliding-2", "--scheme", "windowed"), "--remove trains nothing", "leave out --scheme"),
    ],
)
def test_what_can_not_be_removed(judged: JudgedRun, options: tuple[str, ...], message: str, hint: str) -> None:
    """An unknown line is refused with the known ones, and then no other line is removed either."""
    replayed(judged, "sliding-2", 3)
    done = asked(judged, "replay", *options)
    assert isinstance(done.exception, InputError)
    assert message in done.exception.message
    assert hint in done.exception.hint
    assert list(judged.run.catalog.lines()) == ["sliding-2"]


def test_nothing_is_removed_beside_a_replay(judged: JudgedRun) -> None:
    """While a replay is under way, none of its lines is removed."""
    replayed(judged, "sliding-2", 3)
    with locked(judged.run.stage_lock("replay")):
        done = asked(judged, "replay", "--remove", "sliding-2")
    assert isinstance(done.exception, InputError)
    assert done.exception.code == "run-busy"
    assert list(judged.run.catalog.lines()) == ["sliding-2"]
