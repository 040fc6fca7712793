"""The pipeline file that is written: TOML with a comment for each table and each guess."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tidemill.guessing.columns import ColumnGuess
from tidemill.guessing.models import ModelProposal
from tidemill.guessing.proposal import Proposal
from tidemill.pipeline import input_columns, key_text, toml

WITHOUT_HEADER = (
    "The file has no header: the names are placeholders, in the order of its fields. Rename them here and below."
)
PLACEHOLDER = re.compile("column_[0-9]+")
OF_FILE = (
    "Where the rows come from, how the file is laid out, and why that is thought. All rows are read; with rows = 1000 "
    "only the first 1,000."
)
OF_TOPIC = (
    "The topic that others write, from its first message on, how its messages are read, and why that is thought. "
    "Nothing is ever written to it, and no consumer group is joined."
)
OF_REGISTRY = (
    "The registry of the values' schemas, as given. Each value is decoded with the schema that it was written with."
)
OF_CLIENT = (
    "The settings of the Kafka client, as given, by librdkafka's names. docs/reference.md has all that are allowed."
)
SECRET = "read there at each start; never in this file"
COMMENTS_AT = 34  # the column at which comments begin
WIDTH = 118


def pipeline_text(proposal: Proposal) -> str:
    """The whole file."""
    blocks = [
        head(proposal),
        source(proposal),
        registry(proposal),
        columns(proposal),
        stream(proposal),
        client(proposal),
        batches(proposal),
        generations(proposal),
        *(model(each) for each in proposal.models),
        other_models(proposal),
        serve(proposal),
        requests(proposal),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


# --- TOML ---------------------------------------------------------------------------------------------------------


def line(key: str, value: object, why: str = "") -> str:
    """``key = value  # why``; a long list takes several lines."""
    text = f"{key_text(key)} = {toml(value)}"
    if isinstance(value, list) and len(text) > WIDTH:
        text = "\n".join([f"{key_text(key)} = [", *(f"    {toml(item)}," for item in value), "]"])
    whole = f"{text:<{COMMENTS_AT}} # {plain(why)}" if why else text
    return whole if len(whole) <= WIDTH or not why else "\n".join([*comment(why), text])


def multi_line(lines: Sequence[str]) -> str:
    """Lines as a TOML string over several lines."""
    inner = [toml(text)[1:-1] if '""' in text else toml(text)[1:-1].replace('\\"', '"') for text in lines]
    return '"""\n' + "\n".join(inner) + '"""'


def plain(text: str) -> str:
    """Text of a comment: on one line, without control characters, which TOML forbids there."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def comment(text: str) -> list[str]:
    return [f"# {piece}" for piece in textwrap.wrap(plain(text), WIDTH, break_long_words=False)]


# --- the tables ---------------------------------------------------------------------------------------------------


def head(proposal: Proposal) -> list[str]:
    file = proposal.file_name
    return [
        *comment(
            f"A pipeline, written by `tidemill init` after {proposal.looked_at_text}. Change what is wrong, then:"
        ),
        f"#   tidemill check {file:<24} finds every fault at once, before anything runs",
        f"#   tidemill up {file:<27} streams, trains and serves it until Ctrl-C; the same command resumes the run",
        *comment("docs/reference.md explains every key; docs/your-data.md has examples."),
        "",
        line("name", proposal.name, f"the run is kept in runs/{proposal.name}"),
        line("title", proposal.title, "for people"),
    ]


def source(proposal: Proposal) -> list[str]:
    return [
        *comment(OF_FILE if proposal.access is None else OF_TOPIC),
        "[source]",
        *(line(key, value) for key, value in proposal.place.items()),
        *(line(key, value) for key, value in proposal.settings.items()),
        f"note = {multi_line(proposal.source_note)}",
    ]


def registry(proposal: Proposal) -> list[str]:
    return settings_table("source.registry", OF_REGISTRY, proposal.access.registry if proposal.access else {})


def client(proposal: Proposal) -> list[str]:
    return settings_table("stream.kafka", OF_CLIENT, proposal.access.kafka if proposal.access else {})


def settings_table(name: str, about: str, settings: Mapping[str, Any]) -> list[str]:
    """A table of settings that the user gave; nothing where there is none."""
    if not settings:
        return []
    lines = (line(key, value, SECRET if isinstance(value, Mapping) else "") for key, value in settings.items())
    return [*comment(about), f"[{name}]", *lines]


def columns(proposal: Proposal) -> list[str]:
    block = [
        *comment(
            "The columns, each with its type (int, float, string, bool, timestamp; ? where one may be missing), how "
            'its values are read, and why. A type alone is enough: name = "int".'
        ),
        *(comment(WITHOUT_HEADER) if any(PLACEHOLDER.fullmatch(each.name) for each in proposal.columns) else []),
        "[source.columns]",
        *(column(each) for each in proposal.columns),
    ]
    for name, why in proposal.guess.undeclared.items():
        block += comment(f"Not declared: {name}: {why}.")
    return block


def column(guess: ColumnGuess) -> str:
    return f"{key_text(guess.name)} = {toml({'type': guess.type, **guess.settings, 'note': guess.note})}"


def stream(proposal: Proposal) -> list[str]:
    if proposal.access is None:
        block = ["# The Kafka topic that every row goes through. A Kafka is started for you.", "[stream]"]
        block.append(line("topic", proposal.name, "each run needs its own"))
    else:
        block = ["# The Kafka that has the topic.", "[stream]"]
        block.append(line("bootstrap_servers", proposal.access.bootstrap))
    if proposal.key and "key_column" not in proposal.settings:
        block.append(line("key", proposal.key.name, "a value of its own in every row: rows can be looked up by it"))
    return block


def batches(proposal: Proposal) -> list[str]:
    return [
        "# The stream is cut into sealed batches; each new one makes a new generation of every model.",
        "[batches]",
        line(*proposal.cut),
    ]


def generations(proposal: Proposal) -> list[str]:
    return [
        "# Which batches a generation is trained on, and the share of rows that it keeps back to be measured on.",
        "[generations]",
        line("scheme", "cumulative", 'all batches so far; "windowed": only the newest one'),
        line("holdout", {"share": proposal.holdout}, proposal.holdout_reason),
    ]


def model(proposal: ModelProposal) -> list[str]:
    block = [
        *comment(proposal.question),
        f"[models.{key_text(proposal.name)}]",
        line("estimator", proposal.estimator, proposal.why.get("estimator", "")),
        *(line(key, value, proposal.why.get(key, "")) for key, value in proposal.values.items()),
    ]
    if proposal.left_out:
        block += [
            "",
            "# Columns that are not among its features, and why. For people: to use one, move it to the features.",
            f"[models.{key_text(proposal.name)}.left_out]",
            *(line(name, why) for name, why in proposal.left_out.items()),
        ]
    return block


def other_models(proposal: Proposal) -> list[str]:
    """What could be there too."""
    block: list[str] = []
    for name, why in proposal.refused.items():
        block += comment(f"Left out: the model {name}, as {why}")
    if proposal.label_hint:
        block += comment(
            f"The column {proposal.label_hint} looks like something to predict. For a model of it: "
            f"tidemill init {proposal.given} --label {shlex.quote(proposal.label_hint)} --force"
        )
    return block


def serve(proposal: Proposal) -> list[str]:
    return [
        "# Where the REST API answers, and the web console.",
        "[serve]",
        line("port", 8000, "another one if it is taken; 0 picks a free one"),
        line("console_port", 8501),
    ]


def requests(proposal: Proposal) -> list[str]:
    """Requests to try while it runs."""
    block = ["# While it runs, in another terminal:"]
    for each in proposal.models:
        block += [f"#   {text}" for text in curls(each, proposal.columns, proposal.key)]
    block.append("#   curl -s http://127.0.0.1:8000/generations")
    block.append("# http://127.0.0.1:8000/docs has every endpoint; http://127.0.0.1:8501 is the console.")
    return block


def curls(proposal: ModelProposal, guesses: Iterable[ColumnGuess], key: ColumnGuess | None) -> list[str]:
    """Examples of requests to a model."""
    by_name = {guess.name: guess for guess in guesses}
    address = f"curl -s http://127.0.0.1:8000/models/{proposal.name}"
    if proposal.estimator == "ALS":
        user = example(by_name[proposal.values["user"]])
        return [f"{address}/recommend/{user}"] if re.fullmatch(r"\w+", str(user)) else []
    if proposal.estimator == "IDF":
        words = " ".join(str(by_name[proposal.values["features"][0]].present[0]).split()[:4])
        return [f"{address}/similar -H 'Content-Type: application/json' -d '{body({'text': words, 'top': 3})}'"]
    row = {name: example(by_name[name]) for name in input_columns(proposal.values, by_name)}
    by_key = (
        [f"{address}/rows/{key.present[0]}"] if key is not None and re.fullmatch(r"\w+", str(key.present[0])) else []
    )
    return [f"{address}/predict -H 'Content-Type: application/json' -d '{body(row)}'", *by_key]


def body(values: Mapping[str, Any]) -> str:
    """A JSON body within the single quotes of a shell."""
    return plain(json.dumps(values, ensure_ascii=False)).replace("'", "'\\''")


def example(guess: ColumnGuess) -> Any:
    """A value of the column: the commonest text, or one from the middle of the numbers."""
    present = guess.present
    if guess.kind in ("int", "float"):
        return present.sort()[len(present) // 2]
    if guess.kind == "timestamp":
        return f"{present[0]:%Y-%m-%dT%H:%M:%SZ}"
    return present.mode().sort()[0]
