"""Pages of other origins, which may read the API only where the pipeline names them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from tests.support.serving_run import KEY, api_of, new_run, write_key
from tidemill.pipeline.model import Serve

PAGE = "https://example.org"
ALLOW = "access-control-allow-origin"


def preflight(client: httpx.Client, origin: str = PAGE) -> httpx.Response:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key, content-type"}
    return client.options("/models/size/predict", headers={"Origin": origin, **asks})


def test_a_named_origin_may_read_answers_and_errors(tmp_path: Path) -> None:
    """Its preflight is answered without the key, which a page may then send; no other origin has the header."""
    run = new_run(tmp_path, f'serve.cors=["{PAGE}"]')
    with api_of(run, key_file=write_key(tmp_path)) as client:
        allowed = preflight(client)
        assert (allowed.status_code, allowed.headers[ALLOW]) == (200, PAGE)
        assert "x-api-key" in allowed.headers["access-control-allow-headers"].lower()
        assert "access-control-allow-credentials" not in allowed.headers
        for headers, status in (({}, 401), ({"X-API-Key": KEY}, 200)):
            answer = client.get("/models", headers={"Origin": PAGE} | headers)
            assert (answer.status_code, answer.headers[ALLOW]) == (status, PAGE)
        assert client.get("/nothing", headers={"Origin": PAGE, "X-API-Key": KEY}).headers[ALLOW] == PAGE
        assert ALLOW not in preflight(client, "https://example.com").headers
        assert ALLOW not in client.get("/models", headers={"Origin": "https://example.com", "X-API-Key": KEY}).headers


def test_no_origin_is_allowed_unless_named(tmp_path: Path) -> None:
    """By default no answer has a header for other origins; a star allows them all."""
    with api_of(new_run(tmp_path / "off")) as client:
        assert preflight(client).status_code == 405
        assert ALLOW not in client.get("/models", headers={"Origin": PAGE}).headers
    with api_of(new_run(tmp_path / "all", 'serve.cors=["*"]')) as client:
        assert preflight(client).headers[ALLOW] == "*"


@pytest.mark.parametrize(
    "text", ["example.org", "https://example.org/", "https://", "https://*.org", "https://a b", ""]
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    """As a browser would never send it, so that nothing would be allowed."""
    with pytest.raises(ValidationError):
        Serve(cors=(text,))
