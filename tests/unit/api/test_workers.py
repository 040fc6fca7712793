"""The API in several processes: each request is answered as by one, and a worker that dies harms no other's."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support import ROOT, wait_for
from tests.support.memory_intake import MemoryIntake
from tests.support.open_stream import open_pipeline
from tests.support.serving_run import KEY, ROW, api_of, endpoint, new_run, publish, size_of, write_key
from tidemill.api.server import run_server
from tidemill.api.workers import pool
from tidemill.api.workers.process import MODULE
from tidemill.errors import RowsBusy, StageFailed, TidemillError
from tidemill.kafka.intake import IN_MEMORY_BYTES, MessageLimit
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage
from tidemill.web.limits import Limits

pytestmark = pytest.mark.slow  # each worker loads the whole API
PREDICT = "/models/size/predict"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = new_run(tmp_path)
    publish(run, 1)
    yield run
    run.close()


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = new_run(tmp_path_factory.mktemp("shared"))
    publish(run, 1)
    yield run
    run.close()


@pytest.fixture(scope="module")
def shared(shared_run: Run) -> Iterator[httpx.Client]:
    """An API with two workers, for the tests that leave it with two."""
    with api_of(shared_run, workers=2) as client:
        yield client
    assert workers_of() == []


@pytest.fixture
def workers(shared: httpx.Client) -> list[psutil.Process]:
    """The two workers of the shared API, which both answer: the one before may have been killed."""

    def both_answer() -> list[psutil.Process]:
        workers = workers_of()
        with clients_of(shared, 2) as clients:
            ports = {port_of(each.get("/health")) for each in clients}
            spread = len(workers) == 2 and all(len(ports_of(worker) & ports) == 1 for worker in workers)
        return workers if spread else []

    return wait_for(both_answer, "two workers")


def workers_of(process: psutil.Process | None = None) -> list[psutil.Process]:
    return [child for child in (process or psutil.Process()).children() if is_worker(child)]


def is_worker(process: psutil.Process) -> bool:
    try:
        return MODULE in process.cmdline()
    except psutil.NoSuchProcess:  # also one that has ended and is not waited for yet
        return False


def ports_of(worker: psutil.Process) -> set[int]:
    """The clients' ports of a worker's connections."""
    return {connection.raddr.port for connection in worker.net_connections("tcp") if connection.raddr}


def port_of(answer: httpx.Response) -> int:
    """The client's port of the connection that an answer came on."""
    return int(answer.extensions["network_stream"].get_extra_info("client_addr")[1])


@contextmanager
def clients_of(client: httpx.Client, count: int) -> Iterator[list[httpx.Client]]:
    """Clients with a connection each, which they keep."""
    one = httpx.Limits(max_connections=1, keepalive_expiry=60)
    with ExitStack() as opened:
        yield [
            opened.enter_context(httpx.Client(base_url=client.base_url, timeout=30, limits=one)) for _ in range(count)
        ]


def counted(client: httpx.Client, route: str, status: int = 200) -> float:
    """How many requests of a route ``/metrics`` tells."""
    start = f'tidemill_http_requests_total{{method="POST",route="{route}",status="{status}"}} '
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def test_connections_are_spread_and_all_workers_answer_alike(
    shared: httpx.Client, shared_run: Run, workers: list[psutil.Process]
) -> None:
    """Eight connections are four to each of two workers; both count into one sum, refuse foreign names, and answer from
    a new generation within a second."""
    before = counted(shared, PREDICT)
    with clients_of(shared, 8) as clients:
        ports = {port_of(each.post(PREDICT, json=ROW)) for each in clients}
        spread = [ports_of(worker) & ports for worker in workers]
        assert sorted(map(len, spread)) == [4, 4]
        assert spread[0] | spread[1] == ports
        assert {counted(each, PREDICT) for each in clients} == {before + 8}
        for each in clients:
            assert each.get("/health", headers={"Host": "evil.example"}).status_code == 403
        publish(shared_run, 2)
        for each in clients:
            wait_for(lambda each=each: each.post(PREDICT, json=ROW).json()["generation"] == 2, "generation 2", 5)  # type: ignore[misc]  # mypy can't infer it
            assert each.post(PREDICT, json=ROW).json()["prediction"] == size_of(2, ROW)


class Asking(threading.Thread):
    """Asks for predictions on one connection until it is stopped, and opens another one after an error."""

    def __init__(self, client: httpx.Client) -> None:
        super().__init__(daemon=True)
        self.answered = 0
        self.wrong: list[str] = []
        self.errors: list[int] = []  # the ports of connections that had one
        self._client = client
        self._over = threading.Event()

    def run(self) -> None:
        port = 0
        while not self._over.is_set():
            try:
                answer = self._client.post(PREDICT, json=ROW)
            except httpx.TransportError:
                self.errors.append(port)
                continue
            port = port_of(answer)
            self.answered += 1
            if answer.status_code != 200:
                self.wrong.append(answer.text)

    def stop(self) -> None:
        self._over.set()
        self.join(30)


def test_a_killed_worker_harms_only_its_own_connections(shared: httpx.Client, workers: list[psutil.Process]) -> None:
    """Under load, the connections of the other worker see no error, those of the killed one are answered by others, a
    new worker comes, and the counts add up: none of a dead worker is lost."""
    before = counted(shared, PREDICT)
    with clients_of(shared, 6) as clients:
        asking = [Asking(each) for each in clients]
        for each in asking:
            each.start()
        wait_for(lambda: all(each.answered for each in asking), "answers")
        first, second = workers
        lost = ports_of(first)
        first.kill()
        wait_for(lambda: len(set(workers_of()) - {first, second}) == 1, "another worker")
        (new,) = set(workers_of()) - {first, second}
        wait_for(lambda: shared.get("/health").is_success and ports_of(second), "an answer")

        def new_one_answers() -> bool:
            with httpx.Client(base_url=shared.base_url) as another:
                port = port_of(another.get("/health"))
                return port in ports_of(new)

        wait_for(new_one_answers, "an answer of the new worker")
        for each in asking:
            each.stop()
        errors = [port for each in asking for port in each.errors]
        assert len(errors) == 3
        assert set(errors) <= lost
        assert [each.wrong for each in asking] == [[]] * 6
        answered = sum(each.answered for each in asking)
        counts = counted(shared, PREDICT) - before
        assert answered <= counts <= answered + len(errors)


def test_connections_that_a_dead_worker_did_not_have_yet_are_answered(
    shared: httpx.Client, workers: list[psutil.Process]
) -> None:
    """A worker that hangs gets connections and takes none of them; when it is killed, the others answer these."""
    with clients_of(shared, 4) as clients:
        first, second = workers
        first.suspend()
        second.suspend()
        answers: list[httpx.Response] = []
        asking = [
            threading.Thread(target=lambda each=each: answers.append(each.post(PREDICT, json=ROW))) for each in clients
        ]
        for each in asking:
            each.start()
        listener = httpx.URL(str(shared.base_url)).port

        def accepted() -> bool:
            connections = psutil.Process().net_connections("tcp")
            mine = [each for each in connections if each.laddr.port == listener and each.raddr]
            return len(mine) == len(clients)

        wait_for(accepted, "the connections")
        first.kill()
        second.resume()
        for each in asking:
            each.join(30)
        assert [answer.status_code for answer in answers] == [200] * 4


PROCESS = """
import sys
from pathlib import Path
from tests.support.serving_run import new_run
from tidemill.api.server import run_server
from tidemill.run.stage import stage
with stage(new_run(Path(sys.argv[1])), "serve") as me:
    run_server(me, "127.0.0.1", 0, workers=2)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_the_stage(run: Run, tmp_path: Path, number: signal.Signals) -> None:
    """However the stage's process ends, its workers end with it, also with connections open; the log of all is in the
    stage's file."""
    process = subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    address = wait_for(lambda: process.poll() is not None or endpoint(run), "the API to listen")
    assert isinstance(address, str)
    workers = workers_of(psutil.Process(process.pid))
    with httpx.Client(base_url=address) as client, clients_of(client, 2) as clients:
        assert [each.get("/health").status_code for each in clients] == [200, 200]
        process.send_signal(number)
        assert process.wait(20) == (0 if number == signal.SIGTERM else -number)
        assert psutil.wait_procs(workers, 20)[1] == []
    records = [json.loads(line) for line in (run.logs / "serve.log").read_text(encoding="utf-8").splitlines()]
    served = {record.get("worker") for record in records if record["event"] == "a generation is served"}
    assert served == {1, 2}
    assert not (run.logs / "serve-counts").exists() or number == signal.SIGKILL


def test_the_key_and_the_limits_hold_in_each(run: Run, tmp_path: Path) -> None:
    """Each worker asks for the key, and the limit of connections is over all of them."""
    limits = Limits(connections=8)
    api = api_of(run, key_file=write_key(tmp_path), limits=limits, workers=2)
    with api as client, clients_of(client, 8) as clients:
        for each in clients:
            assert each.get("/status").status_code == 401
            assert each.get("/status", headers={"X-API-Key": KEY}).status_code == 200
        with httpx.Client(base_url=client.base_url) as another:
            assert another.get("/health").status_code == 200  # the oldest of its worker gives way
        assert sum(len(ports_of(worker)) for worker in workers_of()) <= 8
        assert 'route="refused",status="503"} 1.0' in client.get("/metrics", headers={"X-API-Key": KEY}).text


def test_workers_that_die_again_and_again_end_the_stage(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is started again only so often; then the stage fails with a clear error."""
    monkeypatch.setattr(pool, "MOST_RESTARTS", 0)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    failures: list[BaseException] = []
    original = pool.serve_with_workers

    def noting(*arguments: object) -> None:
        try:
            original(*arguments)  # type: ignore[arg-type]  # as they came
        except TidemillError as error:
            failures.append(error)
            raise

    monkeypatch.setattr(pool, "serve_with_workers", noting)
    with api_of(run, workers=2):
        workers_of()[0].kill()
        (error,) = wait_for(lambda: failures, "the stage's end")
    assert isinstance(error, StageFailed)
    assert "SIGKILL" in error.message
    assert workers_of() == []


def test_a_worker_that_can_not_start_says_why(run: Run) -> None:
    """The stage ends with the worker's own error and exit code."""
    (run.folder / "catalog.sqlite").rename(run.folder / "away")
    try:
        with pytest.raises(TidemillError) as caught:
            run_server(Stage(run, "serve"), "127.0.0.1", 0, workers=2)
    finally:
        (run.folder / "away").rename(run.folder / "catalog.sqlite")
    assert (caught.value.code, caught.value.exit_code) in {("no-run", 2), ("catalog", 1)}
    assert workers_of() == []


def test_rows_reach_the_one_writer_through_each_worker(tmp_path: Path) -> None:
    """Small and large requests with rows are written by the stage's process, whichever worker they reach; its errors
    are theirs, and so are its counts and its limit."""
    run = open_run(open_pipeline(), tmp_path / "run")
    intake = MemoryIntake()
    intake.limit = MessageLimit(2**20, 0)
    large = b"".join(b'{"n": %d, "note": "%s"}\n' % (n, b"x" * 900_000) for n in range(3))
    assert len(large) > IN_MEMORY_BYTES
    with api_of(run, intake=intake, workers=2) as client, clients_of(client, 2) as clients:
        for number, each in enumerate(clients):
            answer = each.post("/rows", json=[{"n": number}, {"n": "x"}]).json()
            assert (answer["accepted"], len(answer["rejected"])) == (1, 1)
            answer = each.post("/rows", content=large, headers={"content-type": "application/x-ndjson"}).json()
            assert answer["accepted"] == 3
            assert each.post("/rows", json={"n": 5, "note": "y" * 2**20}).status_code in (413, 422)
            assert each.post("/rows", json={"n": "x"}).status_code == 422
        assert [row["n"] for row in intake.rows] == [0, 0, 1, 2, 1, 0, 1, 2]
        for each in clients:
            assert "\ntidemill_posted_rows_total 8.0\n" in each.get("/metrics").text
        intake.refusal = RowsBusy("busy", "later")
        for each in clients:
            answer = each.post("/rows", json={"n": 1})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.json()["error"]["code"] == "rows-busy"
    run.close()
