"""The route by which people and their programs post images."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from domain.images.arrivals import accept_post
from domain.images.formats import CONTENT_TYPES, NotAnImage
from domain.images.tags import LONGEST_PROMPT, LONGEST_TAG, MOST_TAGS, checked_prompt, checked_tags
from domain.images.uploads import Accepted
from domain.kit.errors import Invalid, Refusal
from domain.kit.ids import is_id
from domain.kit.limits import per_minute
from domain.kit.transactions import transaction
from domain.users.principals import Permission
from resolvers.context import Services
from server import metrics
from server.errors import HttpProblem
from server.routes.declared import Answer, Body, Declaration, DeclaredRoute, Parameter, Schema, obj
from server.routes.intake import Intake, told, unusable
from server.routes.vitals import read_claims
from server.routes.words import ACCEPTED, PHOTO_CLAIMS, WORDS
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class _Said:
    """What a sender said of an image, checked. `sha256` is hex."""

    captured_at: datetime | None
    sha256: str | None
    prompt: str | None
    tags: list[str]
    client_id: str | None


class ImageRoutes:
    """The routes, with the parts of the server that they use."""

    def __init__(self, settings: Settings, services: Services, intake: Intake) -> None:
        self._services = services
        self._intake = intake
        self._limit = per_minute(settings.image_uploads_per_minute, "image uploads")

    def routes(self) -> list[DeclaredRoute]:
        return [DeclaredRoute("POST", "/v1/images", self.post_image, _POST)]

    async def post_image(self, request: Request) -> Response:
        """201 with the new image's id, or 200 with that of the same image, which was there already."""
        try:
            accepted = await self._receive(request)
        except (Refusal, HttpProblem) as error:
            metrics.uploads.labels(error.code).inc()
            raise
        metrics.uploads.labels("duplicate" if accepted.duplicate else "accepted").inc()
        status = 200 if accepted.duplicate else 201
        return Response(orjson.dumps(told(accepted)), status, media_type="application/json")

    async def _receive(self, request: Request) -> Accepted:
        principal = await self._services.authenticator.principal(request.headers.get("authorization"))
        principal.demand(Permission.IMAGES_WRITE)
        self._services.limiter.spend_here(self._limit, str(principal.id))
        body = self._intake.body(request)
        async with self._intake.place():
            try:
                upload, said = await self._intake.store(
                    request, body, lambda: _read(request.headers, request.query_params, body.metadata)
                )
            except NotAnImage as error:
                raise unusable(error) from None
            async with self._intake.naming(upload), transaction(self._services.database) as tx:
                accepted = await accept_post(
                    tx, principal.scope, upload, prompt=said.prompt, tags=said.tags, client_id=said.client_id
                )
            await self._intake.settle(upload, duplicate=accepted.duplicate)
            return accepted


def _read(headers: Mapping[str, str], query: QueryParams, metadata: Mapping[str, Any]) -> _Said:
    """What is said in the form goes before the query, the query before headers. Raises Invalid."""
    asked: dict[str, Any] = {name: query[name] for name in ("prompt", "capturedAt", "clientId") if name in query}
    if "tags" in query:
        asked["tags"] = query.getlist("tags")
    said = {**asked, **{name: value for name, value in metadata.items() if value is not None}}
    captured_at, sha256 = read_claims(headers, said)
    client_id = _text(said, "clientId")
    if client_id is not None and not is_id(client_id):
        raise Invalid("clientId is not an id: ids are UUIDs.", argument="clientId")
    return _Said(captured_at, sha256, checked_prompt(_text(said, "prompt")), _tags(said), client_id)


def _text(said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    if value is not None and not isinstance(value, str):
        raise Invalid(f"{name} is not text.", argument=name)
    return value


def _tags(said: Mapping[str, Any]) -> list[str]:
    tags = said.get("tags", [])
    if not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        raise Invalid("tags is not a list of texts.", argument="tags")
    return checked_tags(tags)


_BINARY: Schema = {"type": "string", "format": "binary"}
_WORDS: dict[str, tuple[str, Schema]] = {
    "prompt": ("What it shows; found by the search.", {"type": "string", "maxLength": LONGEST_PROMPT}),
    "tags": (
        "Kept in lower case; found by the search.",
        {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": LONGEST_TAG},
            "maxItems": MOST_TAGS,
        },
    ),
    "capturedAt": (WORDS["capturedAt"].about, WORDS["capturedAt"].schema),
    "clientId": ("Whose it will be; needed from admins of the platform.", {"type": "string", "format": "uuid"}),
}
_METADATA = obj(
    "ImageMetadata",
    [],
    **{name: {**schema, "description": about} for name, (about, schema) in _WORDS.items()},
    sha256=WORDS["sha256"].member,
)
_FORM = {"type": "object", "properties": {"image": _BINARY, "metadata": _METADATA}, "required": ["image"]}
_TAKEN = obj("TakenImage", **ACCEPTED)
_POST = Declaration(
    tag="Images",
    summary="Post an image",
    description="For users and client tokens with `images:write`. The same bytes posted again are the same image, "
    "and so are those with the same `Idempotency-Key` of the same sender; one that was deleted is there again, "
    "with the prompt and the tags that it had. `Content-Length` is required.",
    parameters=[
        *(
            Parameter(name=name, where="query", description=about, schema=schema)
            for name, (about, schema) in _WORDS.items()
        ),
        *PHOTO_CLAIMS,
    ],
    body=Body(
        description="The file itself, or a form. `metadata` goes before the query.",
        content={**dict.fromkeys(CONTENT_TYPES, _BINARY), "multipart/form-data": _FORM},
    ),
    answers={
        201: Answer(description="It is on disk and will be processed.", content={"application/json": _TAKEN}),
        200: Answer(description="It was there already.", content={"application/json": _TAKEN}),
    },
    problems={
        404: ("NOT_FOUND",),
        409: ("IDEMPOTENCY_KEY_REUSED",),
        411: ("LENGTH_REQUIRED",),
        413: ("TOO_LARGE",),
        415: ("UNSUPPORTED_MEDIA_TYPE",),
        422: (
            "TRUNCATED",
            "NOT_AN_IMAGE",
            "DIGEST_MISMATCH",
            "CUT_OFF",
            "BAD_USER_INPUT",
            "BAD_FORM",
            "BAD_IDEMPOTENCY_KEY",
        ),
        429: ("TOO_MANY_REQUESTS",),
        503: ("UNAVAILABLE", "BUSY"),
    },
    secured=True,
)
