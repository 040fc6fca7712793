"""A pipeline for a data file: what was guessed, and what follows from it."""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tidemill.guessing.columns import ColumnGuess
from tidemill.guessing.files import guess_files
from tidemill.guessing.guess import FileGuess
from tidemill.guessing.models import (
    ModelProposal,
    as_class_column,
    find_label,
    is_class,
    key_of,
    looks_like_label,
    propose_models,
)
from tidemill.guessing.shared_settings import shared_settings
from tidemill.guessing.topic_notation import TopicAccess, TopicSample
from tidemill.guessing.topic_values import guess_topic

PARTS = 3
FEWEST_FOR_PARTS = 30  # rows; fewer make one batch
FEWEST_FOR_HOLDOUT = 10  # rows in a batch; of fewer none is held out
SHARE = 0.2


@dataclass(frozen=True)
class Proposal:
    """A pipeline to be written.

    Attributes:
        name, title: the pipeline's.
        file_name: of the pipeline file.
        given: the arguments of ``tidemill init`` that say where the data are, as typed in a shell.
        place: the same as ``[source]`` says it.
        access: how the topic is read; None for files.
        settings: the other keys of ``[source]``, without the columns.
        guess: what the data are like.
        columns: those that are declared.
        models: those that are proposed.
        refused: models that were proposed and that a check refused, with the reason.
        label_hint: a column that looks like a label, where none was given.
    """

    name: str
    title: str
    file_name: str
    given: str
    place: Mapping[str, str]
    settings: Mapping[str, Any]
    guess: FileGuess
    columns: tuple[ColumnGuess, ...]
    models: tuple[ModelProposal, ...]
    key: ColumnGuess | None
    refused: Mapping[str, str] = field(default_factory=dict)
    label_hint: str | None = None
    access: TopicAccess | None = None

    @property
    def rows(self) -> int:
        """About how many rows there are."""
        return self.guess.rows or self.guess.looked_at

    @property
    def parts(self) -> int:
        return PARTS if self.rows >= FEWEST_FOR_PARTS else 1

    @property
    def cut(self) -> tuple[str, int, str]:
        """The key of ``[batches]`` that cuts the stream, its value, and why."""
        if self.access is not None:
            return (
                "rows",
                max(1, -(-self.rows // self.parts)),
                f"about {self.parts} batches of what is there now, and more of what comes",
            )
        if self.parts > 1:
            why = "three equal batches, so that three generations can be compared; rows = 5000 cuts by rows"
        else:
            why = f"one batch, as the file has no more than {self.rows:,} rows"
        return "parts", self.parts, why

    @property
    def holdout(self) -> float:
        return SHARE if self.rows / self.parts >= FEWEST_FOR_HOLDOUT else 0.0

    @property
    def holdout_reason(self) -> str:
        return "" if self.holdout else f"none, as {self.rows:,} rows are too few to keep any back"

    @property
    def looked_at_text(self) -> str:
        guess = self.guess
        if guess.whole:
            return f"a look at all {guess.looked_at:,} rows of {guess.called}"
        of = f" of {'' if guess.exact else 'about '}{guess.rows:,}" if guess.rows else ""
        return f"a look at {guess.looked_at:,}{of} rows of {guess.called}"

    @property
    def source_note(self) -> list[str]:
        """What the settings of ``[source]`` rest on, line by line."""
        reasons = {key: why for key, why in self.guess.reasons.items() if key in self.settings}
        return [
            f"Guessed by tidemill init after {self.looked_at_text}.",
            *(f"{key}: {why}" for key, why in reasons.items()),
            *self.guess.notes,
        ]


def propose(path: str, out: Path | None = None, name: str | None = None, label: str | None = None) -> Proposal:
    """A pipeline for the data at ``path``, a file or a glob, relative to the current folder.

    Args:
        out: the pipeline file; by default its name is that of the data, in the current folder.
        name: of the pipeline; by default that of the pipeline file, or of the data.
        label: the column that is to be predicted.

    Raises:
        SourceError: there is no such file, or it holds no table that can be read.
        InputError: there is no such label, or no column is of use to a model.
    """
    chosen = name or pipeline_name(out.stem if out else path)
    target = (out or Path(f"{chosen}.toml")).absolute()
    place = {"path": path_from(path, target.parent)}
    return proposal_of(guess_files(path), place, shlex.quote(path), chosen, target.name, label)


def propose_topic(
    access: TopicAccess,
    sample: TopicSample,
    out: Path | None = None,
    name: str | None = None,
    label: str | None = None,
) -> Proposal:
    """The same for a topic that others write, after a look at its messages."""
    chosen = name or pipeline_name(out.stem if out else access.topic.replace(".", "-"))
    file_name = out.name if out else f"{chosen}.toml"
    given = shlex.join(["--topic", access.topic, "--bootstrap-servers", access.bootstrap, *access.options])
    proposal = proposal_of(guess_topic(sample, access), {"topic": access.topic}, given, chosen, file_name, label)
    return replace(proposal, access=access)


def proposal_of(
    guess: FileGuess, place: Mapping[str, str], given: str, name: str, file_name: str, label: str | None
) -> Proposal:
    """A pipeline for data that were looked at."""
    columns, to_predict = list(guess.columns), None
    if label is not None:
        to_predict = find_label(label, columns, guess.undeclared)
        if is_class(to_predict):
            as_class = as_class_column(to_predict)
            columns[columns.index(to_predict)] = as_class
            to_predict = as_class
    rows = guess.rows or guess.looked_at
    shared = shared_settings(columns)
    return Proposal(
        name=name,
        title=Path(next(iter(place.values()))).name,
        file_name=file_name,
        given=given,
        place=place,
        settings={**guess.settings, **shared.settings},
        guess=guess,
        columns=tuple(shared.columns),
        models=tuple(propose_models(columns, to_predict, rows, guess.undeclared)),
        key=next((column for column in columns if column.name == guess.settings.get("key_column")), key_of(columns)),
        label_hint=looks_like_label(columns) if label is None else None,
    )


def pipeline_name(path: str) -> str:
    """A pipeline's name after a file's: ``Air Quality (2004).csv`` is ``Air-Quality-2004``."""
    stem = Path(path).name.partition(".")[0]
    ascii_text = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", ascii_text).strip("-_")
    if not plain:
        return "data"
    return (plain if plain[0].isalpha() else f"data-{plain}")[:64].rstrip("-_")


def path_from(path: str, folder: Path) -> str:
    """The data's path as the pipeline file in ``folder`` says it: relative where they are below it, else absolute."""
    whole = Path(os.path.expanduser(path)).absolute()
    relative = os.path.relpath(whole, folder)
    return str(whole) if relative.startswith("..") else relative
