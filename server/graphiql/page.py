"""GraphiQL, served from our own origin: the HTML page that stands at /graphql, and the built files it loads
from /graphiql/. The page itself is TypeScript under src/, built by `make graphiql` into dist/; where that was
not done, the page says how to. Nothing here knows the schema or who is signed in.
"""

import json
import secrets
import shlex
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from server.routes.declared import Answer, Declaration, DeclaredRoute, Parameter, Schema
from server.routes.files import RANGE_PROBLEMS, RANGES, FileAnswer

DIST = Path(__file__).with_name("dist")

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".ttf": "font/ttf",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
# Best first: the endings build.mjs writes beside a file, by the name a client accepts them under.
_ENCODINGS = {"br": ".br", "gzip": ".gz"}
# build.mjs puts a hash of the content into these names, so one name is one content for good.
_HASHED = ("chunks/", "fonts/")
_FOREVER = "public, max-age=31536000, immutable"

_DIRECTIVES = [
    "default-src 'none'",
    "script-src 'self'",
    # Monaco writes <style> elements at run time: src/nonce.ts gives them the nonce.
    "style-src 'self' 'nonce-{nonce}'",
    # Monaco places every line with a style attribute in the HTML it generates, and attributes cannot carry
    # a nonce. What such a style could fetch (an image, a font) is held to our own origin all the same.
    "style-src-attr 'unsafe-inline'",
    # GraphiQL's style sheet has its squiggles and icons as data URLs.
    "img-src 'self' data:",
    "font-src 'self'",
    # In CSP 3 'self' also means ws: and wss: to our own host and port.
    "connect-src 'self'",
    "worker-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
]
_POLICY = "; ".join(_DIRECTIVES)
_ASSET_HEADERS = {
    # A worker has the policy of its own file, not the page's: ours compute and fetch nothing.
    "Content-Security-Policy": "default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' "
    "stroke='%23d60590' stroke-width='2' stroke-linejoin='round'%3E"
    "%3Cpath d='M12 2.5 20.5 7v10L12 21.5 3.5 17V7Z M3.5 7 12 11.5 20.5 7M12 11.5v10'/%3E%3C/svg%3E"
)
_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>Quartermaster</title>
<link rel="icon" href="{icon}">
"""
# Relative addresses, so that the page also works below a path prefix that a proxy strips.
_PAGE = (
    _HEAD
    + """\
<link rel="stylesheet" href="graphiql/graphiql.css?v={css}">
<script type="module" nonce="{nonce}" src="graphiql/graphiql.js?v={js}"></script>
</head>
<body>
<div id="root"></div>
<noscript>GraphiQL needs JavaScript. The API itself does not: send it a POST request.</noscript>
</body>
</html>
"""
)
_UNBUILT = (
    _HEAD
    + """\
<style nonce="{nonce}">
:root {{ color-scheme: light dark; --accent: light-dark(#c00381, #ff5794); --line: light-dark(#d9dee8, #3a4660) }}
body {{ background: light-dark(#f6f7fa, #1a2130); color: light-dark(#2f3b52, #ccd5e4); margin: 0;
  font: 16px/1.6 system-ui, sans-serif; display: grid; min-height: 100vh; place-items: center }}
main {{ box-sizing: border-box; width: min(46rem, 100%); padding: 2rem }}
h1 {{ font-size: 1.5rem; font-weight: 600; margin: 0 }}
h1 span {{ color: var(--accent) }}
h2 {{ font-size: 1rem; font-weight: 600; margin: 2rem 0 .5rem }}
p, ol {{ margin: .5rem 0 }}
ol {{ padding-left: 1.4rem }}
code, pre {{ font: .875rem/1.6 ui-monospace, Menlo, Consolas, monospace }}
code {{ color: var(--accent) }}
pre {{ background: light-dark(#fff, #212a3b); border: 1px solid var(--line); border-radius: 8px; margin: 0;
  overflow-wrap: anywhere; padding: 1rem; user-select: all; white-space: pre-wrap }}
small {{ opacity: .75 }}
</style>
</head>
<body>
<main>
<h1>Quartermaster <span>is running</span></h1>
<p>This is the address of its GraphQL API. GraphiQL, the page for exploring it, has not been built yet.</p>
<h2>Get GraphiQL</h2>
<ol>
<li>Install Node.js 20 or newer.</li>
<li>Run <code>make graphiql</code> where Quartermaster is checked out.</li>
<li>Reload this page. The server need not restart.</li>
</ol>
<h2>Or go on without it</h2>
<pre>{curl}</pre>
<p><small>A click selects the whole command. Send the token that comes back with further requests, as
<code>Authorization: Bearer …</code></small></p>
</main>
</body>
</html>
"""
)
_LOGIN = {
    "query": "mutation ($email: String!, $password: String!) "
    "{ login(email: $email, password: $password) { accessToken expiresAt } }",
    "variables": {"email": "you@example.com", "password": "your password"},
}


def page(url: str = "http://localhost:8000/graphql") -> Response:
    """The page for a browser that opens /graphql. `url` is that address, for the example of the unbuilt page."""
    files = _manifest()
    nonce = secrets.token_urlsafe(16)
    if "graphiql.js" in files:
        html = _PAGE.format(icon=_ICON, nonce=nonce, js=files["graphiql.js"], css=files["graphiql.css"])
    else:
        html = _UNBUILT.format(icon=_ICON, nonce=nonce, curl=escape(_curl(url)))
    headers = {
        "Cache-Control": "no-store",  # the nonce is for this one load
        "Content-Security-Policy": _POLICY.format(nonce=nonce),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(html, headers=headers)


def routes() -> list[DeclaredRoute]:
    """The built files, under /graphiql/."""
    return [DeclaredRoute("GET", "/graphiql/{name:path}", _asset, _ASSET)]


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    digest = _manifest().get(name)  # only what the build listed is served, so no path can lead elsewhere
    if digest is None:
        return PlainTextResponse("Not found", status_code=404, headers=_ASSET_HEADERS)
    # A part of a packed file cannot be unpacked, and several parts of one would be packed once more in name only.
    accepted = "" if "range" in request.headers else request.headers.get("accept-encoding", "")
    path, encoding = _variant(DIST / name, accepted)
    immutable = name.startswith(_HASHED) or request.query_params.get("v") == digest
    headers = {
        **_ASSET_HEADERS,
        "Cache-Control": _FOREVER if immutable else "no-cache",
        "ETag": f'"{digest}-{encoding}"' if encoding else f'"{digest}"',
    }
    if encoding:
        headers["Content-Encoding"] = encoding
    if _matches(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return FileAnswer(path, headers=headers, media_type=_TYPES.get(DIST.joinpath(name).suffix))


def _manifest() -> Mapping[str, str]:
    """Names and content hashes of the built files; empty when there is no build. Follows a rebuild."""
    path = DIST / "manifest.json"
    try:
        return _read_manifest(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return {}


@lru_cache(maxsize=1)
def _read_manifest(path: Path, _modified: int) -> Mapping[str, str]:
    files: dict[str, str] = json.loads(path.read_bytes())
    return files


def _variant(path: Path, accept: str) -> tuple[Path, str | None]:
    """The smallest form of a file that the client takes, and its Content-Encoding."""
    accepted = _accepted(accept)
    for encoding, ending in _ENCODINGS.items():
        compressed = path.with_name(path.name + ending)
        if encoding in accepted and compressed.exists():
            return compressed, encoding
    return path, None


def _accepted(accept: str) -> set[str]:
    """The encodings an Accept-Encoding header allows; one with q=0 is refused."""
    allowed = set()
    for item in accept.lower().split(","):
        encoding, _, parameter = item.partition(";")
        if parameter.replace(" ", "").rstrip("0") not in ("q=", "q=0."):
            allowed.add(encoding.strip())
    return allowed


def _matches(if_none_match: str, etag: str) -> bool:
    candidates = (candidate.strip().removeprefix("W/") for candidate in if_none_match.split(","))
    return any(candidate in ("*", etag) for candidate in candidates)


def _curl(url: str) -> str:
    body = json.dumps(_LOGIN, indent=2)
    return f"curl {shlex.quote(url)} \\\n  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"


_FILES: dict[str, Schema] = {content_type.partition(";")[0]: {} for content_type in _TYPES.values()}
_ASSET = Declaration(
    tag="Operations",
    summary="A file of GraphiQL, the page at /graphql",
    parameters=[
        Parameter(name="name", where="path", description="As the page says it; may contain slashes."),
        *RANGES,
        Parameter(name="If-None-Match", where="header", description="The ETag that the caller has."),
    ],
    answers={
        200: Answer(description="The file.", content=_FILES),
        206: Answer(description="The range.", content={**_FILES, "multipart/byteranges": {}}),
        304: Answer(description="The caller has it."),
        404: Answer(description="There is no such file.", content={"text/plain": {"type": "string"}}),
    },
    problems=RANGE_PROBLEMS,
)
