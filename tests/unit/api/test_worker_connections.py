"""An API with two workers: which of them has which connection, and what the death of one does to the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import psutil
import pytest

from tests.support import wait_for
from tests.support.api_workers import PREDICT, clients_of, counted, port_of, ports_of, workers_of
from tests.support.serving_run import ROW, api_of, new_run, publish, size_of
from tidemill.run.folder import Run

pytestmark = pytest.mark.slow  # each worker loads the whole API


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


def test_connections_are_spread_and_all_workers_answer_alike(
    shared: httpx.Client, shared_run: Run, workers: list[psutil.Process]
) -> None:
    """Eight connections are four to each of two workers; both count into one sum, refuse foreign names, and answer from
    a new generation within a second."""
    with ExitStack() as stack:
        tries = iter(range(3))

        def four_each() -> list[httpx.Client]:
            assert next(tries, None) is not None, "eight connections were never four to each"
            stack.close()  # of the time before: a worker's connection that has just ended may still count as one
            clients = stack.enter_context(clients_of(shared, 8))
            ports = {port_of(each.get("/health")) for each in clients}
            spread = [ports_of(worker) & ports for worker in workers]
            return clients if [*map(len, spread)] == [4, 4] and set.union(*spread) == ports else []

        clients = wait_for(four_each, "four connections for each worker")
        before = counted(shared, PREDICT)
        for each in clients:
            each.post(PREDICT, json=ROW)
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
        assert len(errors) <= 3  # a client opens another connection without an error if its own was idle
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
