"""The pages for browsers: a short one about the run, and the API's documentation, which needs no internet access."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse

from tidemill import schemas
from tidemill.api.models.snapshot import Snapshot
from tidemill.errors import NotFound

SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
CLOSED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE_HEADERS = {
    "Vary": "Accept",
    "Content-Security-Policy": f"{CLOSED}; style-src 'unsafe-inline'",
    **SAFE_HEADERS,
}
INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1d2b33 }
table { border-collapse: collapse } td, th { text-align: left; padding: .2rem 1.5rem .2rem 0 }
a { color: #05668d } code { background: #eef3f5; padding: .1rem .3rem }
@media (prefers-color-scheme: dark) { body { background: #14191c; color: #dbe4e8 } a { color: #7cc6e0 }
code { background: #22303a } }
"""
MAX_LISTED = 50
ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


def home_page(home: schemas.Home, snapshot: Snapshot) -> str:
    """The page at `/`, with the content of its JSON."""
    title = escape(home.title or home.pipeline)
    models = "".join(
        f"<tr><td>{link(f'/models/{name}', name)}</td><td>{escape(model.estimator)}</td>"
        f"<td><code>POST {escape(model.predict or model.recommend or model.similar or '')}</code></td></tr>"
        for name, model in home.models.items()
    )
    routes = "".join(
        f"<li><code>{route.method} {escape(route.path)}</code> {escape(route.description)}</li>"
        for route in home.routes
    )
    listed = snapshot.published[-MAX_LISTED:][::-1]
    generations = ", ".join(link(f"/generations/{number}", str(number)) for number in listed)
    links = " · ".join(link(address, name) for name, address in home.links.items())
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>\n'
        f"<h1>{title}</h1>\n<p>Pipeline <b>{escape(home.pipeline)}</b>, {state(home)}.</p>\n<p>{links}</p>\n"
        f"<h2>Models</h2>\n<table>{models}</table>\n"
        + (f"<h2>Routes</h2>\n<ul>{routes}</ul>\n" if routes else "")
        + (f"<h2>Generations</h2>\n<p>{generations}</p>\n" if generations else "")
        + "</body></html>\n"
    )


def state(home: schemas.Home) -> str:
    return (
        f"serving generation {home.generation}" if home.generation else 'no generation yet (<a href="/health">why</a>)'
    )


def link(address: str, text: str) -> str:
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def docs_policy(html: str) -> str:
    """The content security policy of a Swagger UI page.

    It allows our own scripts and the page's inline scripts, the latter by their hashes, and no picture from elsewhere.
    """
    hashes = [b64encode(sha256(script.encode()).digest()).decode() for script in INLINE_SCRIPT.findall(html)]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in hashes)])
    return (
        f"{CLOSED}; script-src {scripts}; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
        "img-src 'self' data:; font-src 'self' data:"
    )


class DocsPages:
    """Swagger UI from installed files; the page fetches nothing from the internet."""

    def __init__(self, title: str) -> None:
        self._title = title
        folder = Path(str(files("fastapi_offline") / "static"))
        self._assets = {name: (folder / name, kind) for name, kind in ASSETS.items()}

    async def docs(self, request: Request) -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=escape(self._title),
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/docs/assets/favicon.png",
            swagger_ui_parameters={"validatorUrl": None},  # its default asks a server on the internet
        )
        page.headers.update(SAFE_HEADERS | {"Content-Security-Policy": docs_policy(bytes(page.body).decode())})
        return page

    async def asset(self, request: Request) -> FileResponse:
        name = request.path_params["name"]
        if name not in self._assets:
            raise NotFound("there is no such file", "GET /docs")
        path, kind = self._assets[name]
        return FileResponse(path, media_type=kind, headers={"Cache-Control": "max-age=86400"})
