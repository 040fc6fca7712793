"""The HTML that a browser gets for each of the console's pages: Streamlit's own, told where the console is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import streamlit
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

INDEX = Path(streamlit.__file__).parent / "static" / "index.html"
PATHS = ("/", "/generations", "/try", "/clusters", "/data")
# Streamlit's page looks for its server below its own address first, as if it might be at /data/_stcore, and each miss
# would stand as an error in the browser's log.
HEADERS = {
    "Cache-Control": "no-cache",
    # Streamlit's pages write scripts and styles into themselves; nothing of them comes from, or goes, elsewhere.
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
BASE = "<script>window.__streamlit = { BACKEND_BASE_URL: window.location.origin + '/' }</script>"


@lru_cache(maxsize=1)
def html() -> str:
    text = INDEX.read_text(encoding="utf-8")
    return text.replace("<head>", f"<head>{BASE}", 1)


def routes() -> list[Route]:
    """A route for each page of the console."""

    async def answer(request: Request) -> HTMLResponse:
        return HTMLResponse(html(), headers=HEADERS)

    return [Route(path, answer) for path in PATHS]
