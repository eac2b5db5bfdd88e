"""The routes of devices: post a photo, post a heartbeat, and be told in the answer what to do next.

The answer to a photo is given when its bytes (see `intake.py`) and its row are safe.
"""

from dataclasses import replace
from typing import Any

import orjson
from limits import RateLimitItem
from starlette.requests import Request
from starlette.responses import Response

from domain.devices.queries import device_by_key
from domain.devices.wakes import Wake, WakeReport, hold_reporting_device, record_wakes
from domain.images.formats import CONTENT_TYPES, NotAnImage
from domain.images.uploads import Accepted, Upload, accept_upload
from domain.kit.batches import Batches
from domain.kit.correlation import correlation_id
from domain.kit.errors import Denied, Invalid, NotFound, Refusal
from domain.kit.limits import per_minute
from domain.kit.scope import SYSTEM, Scope
from domain.kit.transactions import transaction
from domain.users.principals import Permission, PrincipalKind
from domain.wakes.exchange import Arrival, check_in, exchange
from resolvers.context import Services
from server import metrics
from server.errors import HttpProblem
from server.routes.declared import Answer, Body, Declaration, DeclaredRoute, Parameter, obj
from server.routes.intake import Intake, told, unusable
from server.routes.vitals import Report, read_report
from server.routes.words import ACCEPTED, METADATA, NEXT, PHOTO_HEADERS, REPORT, REPORT_HEADERS
from server.settings import Settings

_MAX_HEARTBEAT = 16 * 1024
_LINK_LIFETIME = 24 * 3600.0  # seconds: each wake brings a new one


class DeviceRoutes:
    """The routes, with the parts of the server that they use."""

    def __init__(self, settings: Settings, services: Services, intake: Intake) -> None:
        self._services = services
        self._limit: RateLimitItem = per_minute(settings.device_reports_per_minute, "device reports")
        self._awake = services.presence.awake
        self._intake = intake
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
        body = {**told(accepted), "next": self._linked(following)}
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
        """The image and what its device is to do next."""
        scope, device_id = await self.reporter(request)
        body = self._intake.body(request)
        async with self._intake.place():
            try:
                upload, report = await self._intake.store(
                    request, body, lambda: read_report(request.headers, body.metadata)
                )
            except NotAnImage as error:
                await self._failed(scope, device_id, request, error)
                raise unusable(error) from None
            return await self._accept(scope, device_id, upload, report)

    async def _accept(
        self, scope: Scope, device_id: str, upload: Upload, report: Report
    ) -> tuple[Accepted, dict[str, Any]]:
        async with self._intake.naming(upload), transaction(self._services.database) as tx:
            device = await hold_reporting_device(tx, scope, device_id)
            accepted = await accept_upload(tx, scope, device, upload)
            wake = Wake(scope, device, replace(report.wake, uploaded=True))
            answers = await exchange(tx, scope, [wake], captured=not accepted.duplicate, awake=self._awake)
        await self._intake.settle(upload, duplicate=accepted.duplicate)
        return accepted, answers[device_id]

    async def _failed(self, scope: Scope, device_id: str, request: Request, error: NotAnImage) -> None:
        """Count a failed upload."""
        try:
            said = read_report(request.headers, {}).wake
        except Invalid:
            said = WakeReport()
        async with transaction(self._services.database) as tx:
            device = await hold_reporting_device(tx, scope, device_id)
            wake = Wake(scope, device, replace(said, uploaded=False))
            await record_wakes(tx, scope, [wake], awake=self._awake)
            wake.emit(tx, "device.upload_failed", code=error.code, message=error.message)


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
_TAKEN = obj("Taken", **ACCEPTED, next=NEXT)
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
