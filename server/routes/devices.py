"""The routes of devices: post a photo, post a heartbeat, and be told in the answer what to do next.

A photo is streamed to the blob store while its hash is taken and its ends are looked at; the answer is
given when bytes and row are safe. Nothing is decoded here.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import orjson
from limits import RateLimitItem
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from domain.devices.queries import device_by_key
from domain.devices.wakes import Wake, WakeReport, hold_reporting_device, record_wakes
from domain.images.formats import CONTENT_TYPES, Completeness, NotAnImage
from domain.images.uploads import Accepted, Upload, accept_upload, new_upload
from domain.kit.batches import Batches
from domain.kit.blobs import Staged
from domain.kit.correlation import correlation_id
from domain.kit.errors import Denied, Invalid, NotFound, Refusal, Unavailable
from domain.kit.limits import per_minute
from domain.kit.scope import SYSTEM, Scope
from domain.kit.transactions import transaction
from domain.users.principals import Permission, PrincipalKind
from domain.wakes.exchange import Arrival, check_in, exchange
from resolvers.context import Services
from server import metrics
from server.errors import HttpProblem
from server.routes.bodies import ImageBody, staging
from server.routes.declared import Answer, Body, Declaration, DeclaredRoute, Parameter, obj
from server.routes.vitals import Report, read_report
from server.routes.words import METADATA, NEXT, PHOTO_HEADERS, REPORT, REPORT_HEADERS
from server.settings import Settings

_MAX_HEARTBEAT = 16 * 1024
_LINK_LIFETIME = 24 * 3600.0  # seconds: each wake brings a new one


class DeviceRoutes:
    """The routes, with the parts of the server that they use."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self._settings = settings
        self._services = services
        self._limit: RateLimitItem = per_minute(settings.device_reports_per_minute, "device reports")
        self._awake = services.presence.awake
        self._uploading = asyncio.Semaphore(settings.uploads_at_once)
        self._check_ins = Batches(self._check_in, key=lambda arrival: arrival.device_id)

    def routes(self) -> list[DeclaredRoute]:
        return [
            DeclaredRoute("POST", "/v1/devices/{key}/images", self.post_image, _POST_IMAGE),
            DeclaredRoute("POST", "/v1/devices/{key}/heartbeat", self.post_heartbeat, _POST_HEARTBEAT),
        ]

    async def post_image(self, request: Request) -> Response:
        """201 with the new image's id, or 200 with the first one's when these bytes came before."""
        try:
            accepted, following = await self._receive(request)
        except (Refusal, HttpProblem) as error:
            metrics.uploads.labels(error.code).inc()
            raise
        metrics.uploads.labels("duplicate" if accepted.duplicate else "accepted").inc()
        body = {"imageId": accepted.image_id, "duplicate": accepted.duplicate, "next": self._linked(following)}
        return _json(body, 200 if accepted.duplicate else 201)

    async def post_heartbeat(self, request: Request) -> Response:
        """200 with what to do next."""
        scope, device_id = await self.reporter(request)
        report = read_report(request.headers, await _small_object(request))
        arrival = Arrival(scope, device_id, report.wake, correlation_id.get())
        return _json({"next": self._linked(await self._check_ins.do(arrival))}, 200)

    def _linked(self, following: dict[str, Any]) -> dict[str, Any]:
        """With a link to the firmware's bytes in place of their key."""
        firmware = following["firmware"]
        if firmware is None:
            return following
        told = {name: value for name, value in firmware.items() if name != "blobKey"}
        told["url"] = self._services.blobs.signed_url(firmware["blobKey"], expires_in=_LINK_LIFETIME)
        return {**following, "firmware": told}

    async def _check_in(self, arrivals: list[Arrival]) -> list[dict[str, Any] | Refusal]:
        async with transaction(self._services.database) as tx:
            return await check_in(tx, SYSTEM, arrivals, awake=self._awake)

    async def reporter(self, request: Request) -> tuple[Scope, str]:
        """Who reports, and the id of the device it reports for: itself, or one of its client's."""
        principal = await self._services.authenticator.principal(request.headers.get("authorization"))
        principal.demand(Permission.DEVICES_REPORT)
        key = request.path_params["key"]
        if principal.kind is PrincipalKind.DEVICE:
            if principal.key != key:
                raise Denied("This token is of another device.", code="OTHER_DEVICE", key=key)
            device_id = str(principal.id)
        else:
            device = await device_by_key(self._services.database, principal.scope, key)
            if device is None:
                raise NotFound("There is no such device.", key=key)
            device_id = device.id
        self._services.limiter.spend_here(self._limit, device_id)
        return principal.scope, device_id

    async def _receive(self, request: Request) -> tuple[Accepted, dict[str, Any]]:
        scope, device_id = await self.reporter(request)
        body = ImageBody(request, self._settings.upload_max_bytes)
        if self._uploading.locked():
            raise Unavailable("Too many uploads at once.", code="BUSY", retry_after=5)
        async with self._uploading:
            try:
                return await self._store(request, scope, device_id, body)
            except NotAnImage as error:
                raise await self._failed(scope, device_id, request, error.code, error.message) from None
            except ClientDisconnect:
                raise await self._failed(
                    scope, device_id, request, "CUT_OFF", "the connection ended in the middle"
                ) from None

    async def _store(
        self, request: Request, scope: Scope, device_id: str, body: ImageBody
    ) -> tuple[Accepted, dict[str, Any]]:
        """The image and what its device is to do next."""
        async with staging(self._services.blobs.stage()) as staged:
            content_type = await _stream(body.chunks(), staged)
            report = read_report(request.headers, body.metadata)
            idempotency_key = _idempotency_key(request.headers)
            uploads: list[Upload] = []

            def key(sha256: str) -> str:
                if report.sha256 not in (None, sha256):
                    raise NotAnImage("DIGEST_MISMATCH", "the bytes do not have the digest that was sent")
                upload = new_upload(
                    content_type=content_type,
                    size=staged.size,
                    sha256=sha256,
                    device_captured_at=report.captured_at,
                    idempotency_key=idempotency_key,
                )
                uploads.append(upload)
                return upload.blob_key

            await staged.commit(key)
        return await self._accept(scope, device_id, uploads[0], report)

    async def _accept(
        self, scope: Scope, device_id: str, upload: Upload, report: Report
    ) -> tuple[Accepted, dict[str, Any]]:
        blobs = self._services.blobs
        try:
            async with transaction(self._services.database) as tx:
                device = await hold_reporting_device(tx, scope, device_id)
                accepted = await accept_upload(tx, scope, device, upload)
                wake = Wake(scope, device, replace(report.wake, uploaded=True))
                answers = await exchange(tx, scope, [wake], captured=not accepted.duplicate, awake=self._awake)
        except Unavailable:
            raise  # perhaps it was committed all the same: a blob too many is swept, one too few is a loss
        except Refusal:
            await blobs.delete_many([upload.blob_key])
            raise
        if accepted.duplicate:
            await blobs.delete_many([upload.blob_key])
        else:
            metrics.upload_bytes.inc(upload.size)
        return accepted, answers[device_id]

    async def _failed(self, scope: Scope, device_id: str, request: Request, code: str, message: str) -> Invalid:
        """Count a failed upload; returns what to tell the device."""
        try:
            said = read_report(request.headers, {}).wake
        except Invalid:
            said = WakeReport()
        async with transaction(self._services.database) as tx:
            device = await hold_reporting_device(tx, scope, device_id)
            wake = Wake(scope, device, replace(said, uploaded=False))
            await record_wakes(tx, scope, [wake], awake=self._awake)
            wake.emit(tx, "device.upload_failed", code=code, message=message)
        return Invalid(f"This cannot be used: {message}.", code=code)


async def _stream(chunks: AsyncIterator[bytes], staged: Staged) -> str:
    """Write an image away; returns its content type. Raises NotAnImage."""
    completeness = Completeness()
    async for chunk in chunks:
        completeness.feed(chunk)
        await staged.write(chunk)
    return completeness.finish()


def _idempotency_key(headers: Mapping[str, str]) -> str | None:
    key = headers.get("idempotency-key")
    if key is not None and not (1 <= len(key) <= 255 and key.isprintable()):
        raise Invalid("An Idempotency-Key has 1 to 255 printable characters.", code="BAD_IDEMPOTENCY_KEY")
    return key


async def _small_object(request: Request) -> dict[str, Any]:
    """The body of a heartbeat: a JSON object, or nothing."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_HEARTBEAT:
            raise HttpProblem(413, "TOO_LARGE", f"A heartbeat has at most {_MAX_HEARTBEAT} bytes.")
    if not body.strip():
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise Invalid("The body is not a JSON object.", code="BAD_JSON")
    return value


def _json(body: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


_KEY = Parameter(name="key", where="path", description="The device's key.")
_BINARY = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "properties": {"image": _BINARY, "metadata": METADATA},
    "required": ["image"],
}
_TAKEN = obj("Taken", imageId={"type": "string", "format": "uuid"}, duplicate={"type": "boolean"}, next=NEXT)
_TOLD = obj("Told", next=NEXT)
_COMMON_PROBLEMS = {
    403: ("OTHER_DEVICE", "DEVICE_DISABLED"),
    404: ("NOT_FOUND",),
    413: ("TOO_LARGE",),
    429: ("TOO_MANY_REQUESTS",),
}
_POST_IMAGE = Declaration(
    tag="Devices",
    summary="Post a photo",
    description="The same bytes from the same device within 24 hours are one photo, and so are those with the same "
    "`Idempotency-Key`. `Content-Length` is required.",
    parameters=[_KEY, *PHOTO_HEADERS],
    body=Body(
        description="The file itself, or a form. `metadata` goes before the headers.",
        content={**dict.fromkeys(CONTENT_TYPES, _BINARY), "multipart/form-data": _FORM},
    ),
    answers={
        201: Answer(description="It is on disk and will be processed.", content={"application/json": _TAKEN}),
        200: Answer(description="It was there already.", content={"application/json": _TAKEN}),
    },
    problems={
        **_COMMON_PROBLEMS,
        409: ("IDEMPOTENCY_KEY_REUSED",),
        411: ("LENGTH_REQUIRED",),
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
        503: ("UNAVAILABLE", "BUSY"),
    },
    secured=True,
)
_POST_HEARTBEAT = Declaration(
    tag="Devices",
    summary="Say how it is, without a photo",
    parameters=[_KEY, *REPORT_HEADERS],
    body=Body(description="Goes before the headers.", content={"application/json": REPORT}, required=False),
    answers={200: Answer(description="What to do next.", content={"application/json": _TOLD})},
    problems={**_COMMON_PROBLEMS, 422: ("BAD_USER_INPUT", "BAD_JSON"), 503: ("UNAVAILABLE",)},
    secured=True,
)
