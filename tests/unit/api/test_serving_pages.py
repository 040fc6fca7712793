"""The pages for browsers, and the metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.serving_run import ROW, api_of, publish, seal
from tidemill.run.folder import Run

ADDRESS = re.compile(r"""(?:src|href|url)\s*[=:(]\s*["']?([^"'\s>)]+)""")
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def api(run: Run) -> Iterator[httpx.Client]:
    seal(run, 1, [{}, {}, {}])
    publish(run, 1, [1])
    with api_of(run) as client:
        yield client


def test_home_is_json_for_programs(api: httpx.Client) -> None:
    """`GET /` tells a program the pipeline, its models, routes and links."""
    home = api.get("/").json()
    assert (home["pipeline"], home["generation"]) == ("devices", 1)
    assert home["models"]["good"] == {
        "estimator": "LogisticRegression",
        "kind": "classification",
        "predict": "/models/good/predict",
    }
    assert home["routes"][0] == {"method": "POST", "path": "/is_good", "model": "good", "description": ""}
    assert {api.get(path).status_code for path in home["links"].values()} == {200}


def test_home_is_a_page_for_browsers(api: httpx.Client) -> None:
    """A browser gets a page with the same, its texts escaped, its links good, and nothing from elsewhere."""
    answer = api.get("/", headers=BROWSER)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    assert "<h1>Devices &amp; &lt;more&gt;</h1>" in answer.text
    assert "serving generation 1" in answer.text
    links = ADDRESS.findall(answer.text)
    assert {"/health", "/models/good", "/generations/1"} <= set(links)
    assert {api.get(link).status_code for link in links} == {200}


def test_home_before_there_is_a_generation(run: Run) -> None:
    """Before the first generation the page says so and where to read why."""
    with api_of(run) as client:
        assert 'no generation yet (<a href="/health">why</a>)' in client.get("/", headers=BROWSER).text
        assert client.get("/").json()["generation"] is None


def test_the_docs_need_no_internet(api: httpx.Client) -> None:
    """The docs page asks nothing of another server: every address in it is ours and answers."""
    page = api.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text
    assert '"validatorUrl": null' in page.text
    assert "<title>Devices &amp; &lt;more&gt;</title>" in page.text
    addresses = set(ADDRESS.findall(page.text))
    assert "/openapi.json" in addresses
    for address in addresses:
        answer = api.get(address)
        assert (answer.status_code, len(answer.content) > 100) == (200, True), address
    assert api.get("/docs/assets/swagger-ui-bundle.js").headers["content-type"].startswith("text/javascript")
    assert api.get("/redoc").status_code == 404


def test_metrics_count_requests_and_rows(api: httpx.Client) -> None:
    """Prometheus gets requests by route, method and status, their times, and what the run has come to."""
    for _ in range(3):
        api.post("/models/size/predict", json=ROW)
    api.post("/models/good/generations/7/predict", json=ROW)
    api.get("/no/such/address")
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(api.get("/metrics").text)
        for sample in family.samples
    }

    def requests(route: str, method: str, status: str) -> float:
        labels = (("method", method), ("route", route), ("status", status))
        return samples[("tidemill_http_requests_total", *labels)]

    assert requests("/models/size/predict", "POST", "200") == 3
    assert requests("/models/good/generations/{generation}/predict", "POST", "404") == 1
    assert requests("other", "GET", "404") == 1
    assert samples[("tidemill_http_request_seconds_count", ("route", "/models/size/predict"))] == 3
    assert samples[("tidemill_generation",)] == 1
    assert samples[("tidemill_rows", ("state", "sealed"))] == 3
    assert samples[("tidemill_model_metric", ("metric", "accuracy"), ("model", "good"))] == 0.9
