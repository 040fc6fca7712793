"""A run for the tests of the API: real batch files, a real catalog, and real scorers whose answers one can work out.

In generation g, for a row of ``hours`` h and ``count`` c::

    size   LinearRegression    1000 g + h + c / 2
    good   LogisticRegression  P(1) = 1 / (1 + exp(g - h))
    group  KMeans              cluster 0 around h = 0, cluster 1 around h = 10 g
"""

from __future__ import annotations

import math
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

from tests.support import wait_for
from tidemill.api.server import run_server
from tidemill.collector.batch_file import Draft
from tidemill.kafka.intake import RowIntake
from tidemill.pipeline import Raw, arrow_schema, override, parse
from tidemill.run.catalog import (
    BatchTimes,
    Decision,
    GateDecision,
    GenerationRef,
    LineModel,
    Span,
    TrainedModel,
    TrainingTimes,
)
from tidemill.run.files import sha256
from tidemill.run.folder import Run, open_run
from tidemill.run.locks import locked
from tidemill.run.stage import Stage
from tidemill.scoring.als import packed
from tidemill.scoring.storage import write
from tidemill.web.limits import Limits
from tidemill.web.server import LIMITS

DOCUMENT: dict[str, Any] = {
    "name": "devices",
    "title": "Devices & <more>",
    "source": {
        "path": "devices.csv",
        "columns": {
            "id": "int",
            "kind": "string",
            "hours": "float",
            "count": "int",
            "on": "bool",
            "seen": "timestamp",
            "note": "string?",
            "good": "int",
            "size": "float",
        },
    },
    "stream": {"topic": "devices", "key": "id"},
    "batches": {"rows": 3},
    "models": {
        "size": {"estimator": "LinearRegression", "features": ["hours", "count"], "label": "size"},
        "good": {
            "estimator": "LogisticRegression",
            "features": ["kind", "hours", "on"],
            "label": "good",
            "labels": {"0": "bad", "1": "good"},
        },
        "group": {"estimator": "KMeans", "features": ["hours"], "params": {"k": 2}},
    },
    "routes": [
        {
            "path": "/is_good",
            "model": "good",
            "answer": {
                "class": "prediction",
                "p": "probability",
                "all": "probabilities",
                "name": "label",
                "g": "generation",
                "m": "model",
                "new": "unseen",
            },
        },
        {"path": "/size_of", "model": "size"},
    ],
}
ROW: dict[str, Any] = {
    "id": 1,
    "kind": "lamp",
    "hours": 2.0,
    "count": 3,
    "on": True,
    "seen": "2026-01-02T03:04:05Z",
    "note": None,
    "good": 1,
    "size": 7.5,
}
KEY = "correct-horse-battery-staple"
"""The key of an API that has one."""
TLS = ssl.create_default_context()
"""Read once: each client reads the system's certificates anew, at 30 ms."""
RENAMED = {"is_good": 1, "watts": 7.5}
TEXT: dict[str, Any] = {"model": "of the test", "labels": {}, "classes": None}
FEATURE = {"categories": None, "minimum": None, "maximum": None}
KIND = FEATURE | {"name": "kind", "kind": "string", "categories": ["lamp", "fan"], "example": "lamp"}
HOURS = FEATURE | {"name": "hours", "kind": "float", "minimum": 0.0, "maximum": 24.0, "example": 2.5}
COUNT = FEATURE | {"name": "count", "kind": "int", "minimum": 0.0, "maximum": 9.0, "example": 3}
NOTE = FEATURE | {"name": "note", "kind": "string", "example": "a lamp"}
ON = FEATURE | {"name": "on", "kind": "bool", "minimum": 0.0, "maximum": 1.0, "example": True}
METRICS: dict[str, dict[str, float | None]] = {
    "good": {"accuracy": 0.9, "auc": None},
    "size": {"rmse": 1.5},
    "group": {"cost": 2.0},
}
PROFILE: dict[str, Any] = {
    "clusters": [
        {
            "cluster": number,
            "size": 2 - number,
            "centre": {"hours": 10.0 * number},
            "shares": {},
            "distance": {"mean": 1.0, "max": 2.5},
            "to_centres": {str(1 - number): 10.0},
        }
        for number in (0, 1)
    ],
    "renumbered": {"0": 1, "1": 0},
    "matched_to": 1,
}


def routes_document(*routes: dict[str, Any]) -> dict[str, Any]:
    """The test pipeline with these routes; with columns of other names than the models, and models that search."""
    document = deepcopy(DOCUMENT) | {"routes": list(routes)}
    columns, models = document["source"]["columns"], document["models"]
    columns |= {"is_good": columns.pop("good"), "watts": columns.pop("size")}
    models["good"]["label"], models["size"]["label"] = "is_good", "watts"
    models |= {
        "near": {
            "estimator": "BucketedRandomProjectionLSH",
            "features": ["hours", "count"],
            "params": {"bucketLength": 1000.0},
        },
        "words": {"estimator": "IDF", "features": ["note"]},
        "taste": {"estimator": "ALS", "user": "kind", "item": "count", "rating": "hours"},
    }
    return document


SETTINGS = {"regularisation": 0.1, "implicit": False, "alpha": 1.0, "nonnegative": False}
SEARCHING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "near": (
        {"estimator": "BucketedRandomProjectionLSH", "features": [HOURS, COUNT], "bucket_length": 1000.0},
        {"vectors": [[1.0, 0.0]]},
    ),
    "words": ({"estimator": "IDF", "features": [NOTE], "vocabulary": ["lamp", "green"]}, {"idf": [1.0, 2.0]}),
    "taste": (
        {"estimator": "ALS", "rating": "hours", "settings": SETTINGS},
        {
            "user_factors": np.array([[1.0, 0.0]], dtype=np.float32),
            "item_factors": np.array([[1.0, 0.0], [3.0, 1.0], [2.0, 0.0]], dtype=np.float32),
            "users": packed(pa.table({"user": ["ann"]})),
            "items": packed(pa.table({"item": [0, 1, 2], "title": ["zero", "one", "two"]})),
            "rated_offsets": np.array([0, 1]),
            "rated_items": np.array([0], dtype=np.int32),
        },
    ),
}


def size_of(generation: int, row: dict[str, Any]) -> float:
    return float(1000 * generation + row["hours"] + row["count"] / 2)


def chance_of_good(generation: int, row: dict[str, Any]) -> float:
    return 1 / (1 + math.exp(generation - row["hours"]))


def new_run(folder: Path, *assignments: str, document: dict[str, Any] = DOCUMENT) -> Run:
    """A run of the test pipeline, or of ``document``, with changes as on the command line."""
    raw = deepcopy(document)
    assert override(raw, assignments) == []
    return open_run(parse(Raw("devices.toml", folder, raw)), folder / "run")


def seal(run: Run, batch: int, rows: Sequence[dict[str, Any]], times: BatchTimes | None = None) -> None:
    """Write and seal a batch of these rows, each ``ROW`` with changes."""
    schema = arrow_schema(run.pipeline.source.schema_)
    row = {name: value for name, value in (ROW | RENAMED).items() if name in schema.names}
    stamps = pa.schema([field.with_type(pa.string()) if field.name == "seen" else field for field in schema])
    draft = Draft(run, batch, schema)
    draft.add(pa.Table.from_pylist([row | changes for changes in rows], schema=stamps).cast(schema))
    draft.close()
    run.catalog.decide(Decision(batch, "rows", (Span(0, 3 * batch, 3 * batch + len(rows) - 1),)))
    run.catalog.seal(batch, draft.publish(None, None), times=times)


def publish(
    run: Run,
    generation: int,
    batches: Sequence[int] = (),
    damage: Callable[[Path], None] | None = None,
    champion_of: Sequence[str] = (),
    times: TrainingTimes | None = None,
) -> None:
    """Publish a generation of the three models, with the coefficients named at the head of this module.

    ``damage`` is done to the file of ``size`` after its sum was taken. ``champion_of``: the models whose champion it
    becomes in the same transaction, as in a run of this version; nothing is decided about others.
    """
    run.catalog.begin_generation(generation, batches, rows=3 * len(batches))
    write_generation(run, generation)
    models = [trained_model(run, generation, name) for name in run.pipeline.models]
    if damage:
        damage(scorer_path(run, generation, "size"))
    champions = numbers(run.catalog.champions())
    decided = [decision(model, generation, champions.get(model)) for model in champion_of]
    run.catalog.publish_generation(generation, models, decided, times)


def numbers(champions: Mapping[str, GenerationRef]) -> dict[str, int]:
    """The champions by their numbers; all are the run's own."""
    assert not any(ref.line for ref in champions.values())
    return {model: ref.number for model, ref in champions.items()}


def decision(model: str, champion: int, former: int | None = None) -> GateDecision:
    return GateDecision(model, "chosen", champion, champion, former, by="ann", because="of a test")


def choose(run: Run, model: str, champion: int) -> None:
    """Have this generation answer for a model, as a person does."""
    run.catalog.decide_champion(decision(model, champion))


def publish_three(run: Run) -> None:
    """Publish three generations, each of one batch more than the one before; batch n has the keys n and 10 n."""
    for number in (1, 2, 3):
        seal(run, number, [{"id": number}, {"id": 10 * number, "hours": 20.0}])
        publish(run, number, list(range(1, number + 1)))


def replay(run: Run, ref: GenerationRef, like: int, batches: Sequence[int]) -> None:
    """Record a generation of a replay, whose answers are those of the generation ``like``."""
    run.catalog.begin_line(ref.line, ref.line.partition("-")[0], None)
    paths = {name: run.judgings / ref.line / f"{ref.number:05}" / f"{name}.npz" for name in run.pipeline.models}
    for name, path in paths.items():
        write_scorer(path, name, like)
    run.catalog.save_line_generation(
        [
            LineModel(
                **vars(trained_model(run, like, name, path))
                | {"line": ref.line, "generation": ref.number, "batches": tuple(batches)}
            )
            for name, path in paths.items()
        ]
    )


def write_generation(run: Run, generation: int) -> None:
    for name in run.pipeline.models:
        write_scorer(scorer_path(run, generation, name), name, generation)


def write_scorer(path: Path, model: str, generation: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text, arrays = scorer_parts(model, float(generation))
    write(path, TEXT | text, {key: np.array(values) for key, values in arrays.items()})


def scorer_parts(model: str, generation: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The text and the arrays that are particular to a model's scorer file."""
    text: dict[str, Any]
    if model in SEARCHING:
        return SEARCHING[model]
    if model == "size":
        text = {"estimator": "LinearRegression", "features": [HOURS, COUNT]}
        return text, {"coefficients": [[1.0], [0.5]], "intercept": [1000 * generation]}
    if model == "good":
        text = {"estimator": "LogisticRegression", "features": [KIND, HOURS, ON], "classes": [0, 1]}
        arrays = {"coefficients": [[1.0], [0.0], [0.0], [0.0]], "intercept": [-generation], "threshold": [0.5]}
        return text | {"labels": {"0": "bad", "1": "good"}}, arrays
    return {"estimator": "KMeans", "features": [HOURS], "distance": "euclidean"}, {
        "centres": [[0.0], [10 * generation]]
    }


def scorer_path(run: Run, generation: int, model: str) -> Path:
    return run.generations / f"{generation:05}" / "scorers" / f"{model}.npz"


def trained_model(run: Run, generation: int, model: str, path: Path | None = None) -> TrainedModel:
    path = path or scorer_path(run, generation, model)
    return TrainedModel(
        model=model,
        estimator=run.pipeline.models[model].estimator,
        metrics=METRICS.get(model, {}),
        fit_seconds=0.5,
        parity={"rows": 3, "worst": 0.0},
        rows={"train": 3, "holdout": 0, "skipped": 0},
        scorer_path=run.relative(path),
        sha256=sha256(path),
        spark_path=f"generations/{generation:05}/spark/{model}",
        profile=PROFILE if model == "group" else None,
    )


class HeardStage(Stage):
    """A stage that is heard to be ready."""

    def __init__(self, run: Run, name: str) -> None:
        super().__init__(run, name)
        self.heard = threading.Event()

    def ready(self, endpoint: str | None = None) -> None:
        super().ready(endpoint)
        self.heard.set()


@contextmanager
def api_of(
    run: Run,
    host: str = "127.0.0.1",
    key_file: Path | None = None,
    limits: Limits = LIMITS,
    name: str = "serve",
    intake: RowIntake | None = None,
    workers: int = 1,
) -> Iterator[httpx.Client]:
    """Serve the run's API on a free port, as the stage does, and yield a client of it.

    ``name``: the stage's; each of several APIs of one run needs its own.
    """
    stage = HeardStage(run, name)
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            with locked(run.stage_lock(name)):
                run_server(stage, host, 0, key_file, limits, intake, workers)
        except BaseException as error:
            failures.append(error)
            stage.heard.set()
            raise

    server = threading.Thread(target=serve)
    server.start()
    try:
        assert stage.heard.wait(60), "waited in vain for the API to listen"
        address = endpoint(run, name)
        assert address is not None, failures
        with httpx.Client(base_url=address, timeout=30, verify=TLS) as client:
            yield client
    finally:
        stage.stop.set()
        server.join(timeout=10)
        assert not server.is_alive()


def endpoint(run: Run, name: str = "serve") -> str | None:
    status = run.catalog.stages().get(name)
    return status.endpoint if status and status.state == "running" else None


def wait_for_generation(client: httpx.Client, generation: int) -> None:
    def served() -> bool:
        answer = client.get("/health")
        return answer.status_code == 200 and answer.json()["generation"] == generation

    wait_for(served, f"generation {generation} to be served", seconds=20)


def wait_for_champion(client: httpx.Client, model: str, generation: int) -> None:
    def served() -> bool:
        return bool(json_of(client.get("/health"))["champions"][model] == generation)

    wait_for(served, f"{model} to be answered by generation {generation}", seconds=20)


def json_of(response: httpx.Response) -> Any:
    """The JSON of a response that must be a 200."""
    assert response.status_code == 200, response.text
    return response.json()


def message_of(response: httpx.Response) -> str:
    """The message of an error, which must be JSON of its three parts."""
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    return str(error["message"])


def write_key(folder: Path) -> Path:
    """A file in ``folder`` that holds ``KEY``."""
    path = folder / "key.txt"
    path.write_text(f"{KEY}\n", encoding="utf-8")
    return path


def basic_auth(password: str, user: str = "anyone") -> dict[str, str]:
    """The header of basic credentials."""
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


class Clock:
    """The clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now
