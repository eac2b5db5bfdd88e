"""`POST /v1/import/local-storage`: the dump of an old front end, where it is too large for a GraphQL request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from domain.kit.errors import Invalid, Unavailable
from domain.kit.ids import checked_id
from domain.kit.limits import per_minute
from domain.kit.transactions import transaction
from domain.local_storage.commands import Imported, ImportOutcome
from domain.local_storage.dump import PictureKind
from domain.users.principals import Permission, Principal
from resolvers.context import Services
from resolvers.local_storage import take_over
from server.errors import HttpProblem
from server.routes.declared import Answer, Body, Declaration, DeclaredRoute, Parameter, nullable, obj
from server.settings import Settings

_JSON = "application/json"
_AT_ONCE = 2  # in one process: a dump takes several times its size in memory
_BODY_WITHIN = 30  # seconds, for which a sender may keep others from a place
_FLAGS = {"true": True, "false": False}


class ImportRoutes:
    """The route. Importing twice is importing once, so it knows no Idempotency-Key."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self._services = services
        self._max_bytes = settings.import_max_bytes
        self._limit = per_minute(settings.imports_per_minute, "imports")
        self._importing: set[str] = set()  # the ids of those who have a place

    def routes(self) -> list[DeclaredRoute]:
        return [DeclaredRoute("POST", "/v1/import/local-storage", self.import_local_storage, _IMPORT)]

    async def import_local_storage(self, request: Request) -> Response:
        """200 with what became of every key."""
        principal = await self._services.authenticator.principal(request.headers.get("authorization"))
        principal.demand(Permission.IMAGES_WRITE)
        client_id, dry_run = _client(request), _flag(request, "dryRun")
        self._check_head(request)
        async with self._place(principal):
            dump = await asyncio.to_thread(_parsed, await self._body(request))
            taken = await take_over(
                self._services,
                principal,
                lambda: transaction(self._services.database),
                dump,
                client_id=client_id,
                dry_run=dry_run,
            )
        counts = {_COUNTED[outcome]: taken.count(outcome) for outcome in ImportOutcome}
        results = [_told(one) for one in taken.results]
        body = {"dryRun": dry_run, "keys": taken.keys, **counts, "results": results}
        return Response(await asyncio.to_thread(orjson.dumps, body), media_type=_JSON)

    @asynccontextmanager
    async def _place(self, principal: Principal) -> AsyncIterator[None]:
        """Around one import, from its body on. Raises Unavailable BUSY when all places are taken, or one by this
        caller; TooMany when it has imported often enough. Who waits for a place has not spent anything.
        """
        who = str(principal.id)
        if who in self._importing:
            raise Unavailable("Another dump of yours is being imported.", code="BUSY", retry_after=5)
        if len(self._importing) >= _AT_ONCE:
            raise Unavailable("Other dumps are being imported.", code="BUSY", retry_after=5)
        self._importing.add(who)
        try:
            await self._services.limiter.spend(self._limit, principal.kind.value, who)
            yield
        finally:
            self._importing.discard(who)

    def _check_head(self, request: Request) -> None:
        """Raises HttpProblem for what is refused before the body is read."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != _JSON:
            raise HttpProblem(415, "UNSUPPORTED_MEDIA_TYPE", f"Send {_JSON}.")
        declared = request.headers.get("content-length", "")
        if not (declared.isascii() and declared.isdigit()):
            raise HttpProblem(411, "LENGTH_REQUIRED", "Say the length of the body in Content-Length.")
        if int(declared) > self._max_bytes:
            raise HttpProblem(413, "TOO_LARGE", f"A dump has at most {self._max_bytes} bytes: send it in parts.")

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_WITHIN):
                async for chunk in request.stream():  # the server holds it to what it declared
                    body += chunk
        except TimeoutError:
            raise HttpProblem(
                408, "TOO_SLOW", f"A dump is sent within {_BODY_WITHIN} s: send it in parts."
            ) from None
        return bytes(body)


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Invalid("The body is not JSON.", code="BAD_JSON") from None


def _client(request: Request) -> str | None:
    given = request.query_params.get("clientId")
    return None if given is None else checked_id(given)


def _flag(request: Request, name: str) -> bool:
    given = request.query_params.get(name, "false")
    if given not in _FLAGS:
        raise Invalid(f"`{name}` is true or false.", argument=name, given=given[:100])
    return _FLAGS[given]


def _told(one: Imported) -> dict[str, Any]:
    return {
        "key": one.key,
        "path": one.path,
        "kind": one.kind,
        "outcome": one.outcome,
        "code": one.code,
        "message": one.message,
        "prompt": one.prompt,
        "imageId": one.image_id,
        "sceneId": one.scene_id,
    }


_COUNTED = {
    ImportOutcome.IMPORTED: "imported",
    ImportOutcome.DUPLICATE: "duplicates",
    ImportOutcome.SKIPPED: "skipped",
    ImportOutcome.FAILED: "failed",
}
_TEXT = nullable({"type": "string"})
_ID = nullable({"type": "string", "format": "uuid"})
_RESULT = obj(
    "LocalStorageResult",
    key={"type": "string"},
    path={"type": "string", "description": "Where in the value: `$.image`; `$` when it is the value itself."},
    kind={"enum": [kind.value for kind in PictureKind]},
    outcome={"enum": [outcome.value for outcome in ImportOutcome]},
    code={**_TEXT, "description": "Why there is no picture, such as `BAD_BASE64`, `TRUNCATED`, `REMOTE_URL`."},
    message={**_TEXT, "description": "The same for people."},
    prompt={**_TEXT, "description": "What it shows, as far as key or value tell."},
    imageId=_ID,
    sceneId=_ID,
)
_NUMBER = {"type": "integer", "minimum": 0}
_REPORT = obj(
    "LocalStorageImport",
    dryRun={"type": "boolean"},
    keys=_NUMBER,
    **dict.fromkeys(_COUNTED.values(), _NUMBER),
    results={"type": "array", "items": _RESULT},
)
_IMPORT = Declaration(
    tag="Import",
    summary="Take over the pictures of an old front end",
    description="The body is its `localStorage`, as `JSON.stringify(localStorage)` writes it. Every key has a "
    "result. The same dump again imports nothing twice. `Content-Length` is required.",
    parameters=[
        Parameter(
            name="clientId",
            where="query",
            description="Whose they will be; for callers who see all clients.",
            schema={"type": "string", "format": "uuid"},
        ),
        Parameter(
            name="dryRun",
            where="query",
            description="Only say what would become of it.",
            schema={"type": "string", "enum": list(_FLAGS)},
        ),
    ],
    body=Body(
        description="At most 5,000 keys and 1,000 pictures.",
        content={_JSON: {"type": "object", "additionalProperties": {"type": "string"}}},
    ),
    answers={200: Answer(description="What became of every key.", content={_JSON: _REPORT})},
    problems={
        404: ("NOT_FOUND",),
        408: ("TOO_SLOW",),
        411: ("LENGTH_REQUIRED",),
        413: ("TOO_LARGE",),
        415: ("UNSUPPORTED_MEDIA_TYPE",),
        422: ("BAD_JSON", "BAD_DUMP", "TOO_MANY_KEYS", "TOO_MANY_PICTURES", "BAD_USER_INPUT"),
        429: ("TOO_MANY_REQUESTS",),
        503: ("UNAVAILABLE", "BUSY"),
    },
    secured=True,
)
