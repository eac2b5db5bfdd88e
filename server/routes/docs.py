"""`/v1/openapi.json`, and the same as a page at `/v1/docs`: the routes that describe all routes."""

import secrets
from collections.abc import Sequence

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from server.routes.declared import Answer, Declaration, DeclaredRoute, obj
from server.routes.openapi import document
from server.routes.page import page

_POLICY = (
    "default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
_OPENAPI = obj("OpenApi", openapi={"type": "string"}, info={"type": "object"}, paths={"type": "object"})


class DocumentationRoutes:
    """The document is made once, when the routes are known."""

    def __init__(self, routes: Sequence[DeclaredRoute]) -> None:
        own = [
            DeclaredRoute("GET", "/v1/openapi.json", self.openapi, _OPENAPI_DECLARED),
            DeclaredRoute("GET", "/v1/docs", self.docs, _DOCS_DECLARED),
        ]
        self.every = [*routes, *own]
        self._document = document(self.every)

    async def openapi(self, request: Request) -> Response:
        """The description for programs."""
        return Response(
            orjson.dumps(self._document), headers={"Cache-Control": "no-cache"}, media_type="application/json"
        )

    async def docs(self, request: Request) -> Response:
        """The description for people."""
        nonce = secrets.token_urlsafe(16)
        headers = {
            "Cache-Control": "no-store",  # the nonce is for this one load
            "Content-Security-Policy": _POLICY.format(nonce=nonce),
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return HTMLResponse(page(self._document, nonce), headers=headers)


_OPENAPI_DECLARED = Declaration(
    tag="Operations",
    summary="These routes, described for programs",
    answers={200: Answer(description="An OpenAPI 3.1 document.", content={"application/json": _OPENAPI})},
)
_DOCS_DECLARED = Declaration(
    tag="Operations",
    summary="These routes, described for people",
    answers={200: Answer(description="A page without scripts.", content={"text/html": {"type": "string"}})},
)
