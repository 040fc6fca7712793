"""``tidemill init``: a pipeline file for data, checked before it is written; and ``tidemill up`` on a data file."""

from __future__ import annotations

import glob
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tidemill.errors import Fault, InputError, PipelineInvalid
from tidemill.guessing.document import pipeline_text
from tidemill.guessing.proposal import Proposal, pipeline_name, propose, propose_topic
from tidemill.guessing.sample import known_format
from tidemill.guessing.topic_notation import TopicAccess
from tidemill.pipeline import Raw, find, read, ready_pipelines, table
from tidemill.process.preflight import CheckReport, check_raw
from tidemill.process.topic_sample import sample_topic

MOST_BYTES = 2**20  # of a file that may be a pipeline file without the ending .toml


@dataclass(frozen=True)
class Initiated:
    """A pipeline file that fits its data, and the report of the check that it passed."""

    path: Path
    text: str
    proposal: Proposal
    report: CheckReport


def initiate(path: str, label: str | None = None, name: str | None = None, out: Path | None = None) -> Initiated:
    """A pipeline for the data at ``path``, not written yet. A model that the check refuses is left out, with why.

    Raises:
        SourceError: there are no such data, or they hold no table that can be read.
        InputError: there is no such label, or no column is of use to a model.
        PipelineInvalid: the pipeline has faults that no guess avoids.
    """
    return checked(propose(path, out, name, label), out)


def initiate_topic(
    access: TopicAccess, label: str | None = None, name: str | None = None, out: Path | None = None
) -> Initiated:
    """The same for a topic that others write.

    Raises:
        BootstrapError: no Kafka answers there, it refuses the login, or a secret is missing.
        TopicError: there is no such topic.
        StreamFailed: the topic can't be read.
        RegistryError, RegistryAway: the registry of its schemas refuses, or does not answer.
        SourceError, InputError, PipelineInvalid: as for :func:`initiate`.
    """
    return checked(propose_topic(access, sample_topic(access), out, name, label), out)


def checked(proposal: Proposal, out: Path | None) -> Initiated:
    """The pipeline, without the models that a check refuses.

    Raises:
        PipelineInvalid: it has other faults.
    """
    target = (out or Path(proposal.file_name)).absolute()
    while True:
        text = pipeline_text(proposal)
        report = check_raw(Raw(target.name, target.parent, tomllib.loads(text)), count_untried=False)
        refused = refused_models(report.faults)
        kept = tuple(model for model in proposal.models if model.name not in refused)
        if not refused or not kept:
            report.faultless()
            return Initiated(target, text, proposal, report)
        proposal = replace(proposal, models=kept, refused={**proposal.refused, **refused})


def refused_models(faults: Sequence[Fault]) -> dict[str, str]:
    """The models with faults, each with the first."""
    refused: dict[str, str] = {}
    for fault in faults:
        kind, _, rest = fault.path.partition(".")
        if kind == "models":
            refused.setdefault(rest.partition(".")[0], str(fault))
    return refused


def write(initiated: Initiated, force: bool) -> None:
    """Write the pipeline file.

    Raises:
        InputError: there is another one, or its folder can't be written to.
    """
    path = initiated.path
    if path.exists() and not force and path.read_text(encoding="utf-8", errors="replace") != initiated.text:
        raise InputError(f"{path} is there already", "give another name with --out, or --force to replace it")
    try:
        path.write_text(initiated.text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't write {path}: {error.strerror}", "give another path with --out") from error


# --- up FILE ------------------------------------------------------------------------------------------------------


def is_data(name: str) -> bool:
    """Whether what ``up`` is given is data, not a pipeline: a file that is no TOML with a ``[source]``, or a glob."""
    if name in ready_pipelines() or Path(name).suffix.lower() == ".toml":
        return False
    path = Path(os.path.expanduser(name))
    if not path.is_file():
        return glob.has_magic(name) and not path.exists()
    if known_format(path) or path.stat().st_size > MOST_BYTES:
        return True
    try:
        return "source" not in read(path)
    except PipelineInvalid:
        return True


def pipeline_for(data: str) -> tuple[Path, Initiated | None]:
    """The pipeline file for data: the one in the current folder that was written for them before, and perhaps changed
    since, or a new one.

    Returns:
        Its path, and what was guessed; None where the file was there.

    Raises:
        InputError: a file of its name is there, for other data.
    """
    path = Path(f"{pipeline_name(data)}.toml").absolute()
    if path.exists():
        refuse_other_data(path, data)
        return path, None
    initiated = initiate(data)
    write(initiated, force=False)
    return path, initiated


def refuse_other_data(path: Path, data: str) -> None:
    source = table(read(find(str(path))), "source").get("path")
    given = Path(os.path.expanduser(data)).absolute()
    if not isinstance(source, str) or Path(os.path.normpath(path.parent / source)) != Path(os.path.normpath(given)):
        raise InputError(
            f"{path} is there already, and reads other data ({source})",
            f"write one of another name: tidemill init {data} --name NAME, then tidemill up NAME.toml",
        )
