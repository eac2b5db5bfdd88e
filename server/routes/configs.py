"""`GET /v1/devices/{key}/config`: the config of a device, for the device itself, without a wake's report."""

from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from domain.configs.queries import desired_config
from domain.kit.errors import Denied, NotFound
from domain.kit.scope import Scope
from resolvers.context import Services
from server.routes.declared import Answer, Declaration, DeclaredRoute, Parameter
from server.routes.media import is_known

Reporter = Callable[[Request], Awaitable[tuple[Scope, str]]]
"""Who asks, and the id of the device that it asks for. Raises what refuses the caller."""


class ConfigRoutes:
    """The revision is the ETag: it is new whenever the content is, and never met twice."""

    def __init__(self, services: Services, reporter: Reporter) -> None:
        self._services = services
        self._reporter = reporter

    def routes(self) -> list[DeclaredRoute]:
        return [DeclaredRoute("GET", "/v1/devices/{key}/config", self.get_config, _GET_CONFIG)]

    async def get_config(self, request: Request) -> Response:
        """200 with the effective content, 304 when the device has it already, 404 when it has no config."""
        scope, device_id = await self._reporter(request)
        found = await desired_config(self._services.database, scope, device_id)
        if found is None:
            raise NotFound("This device has no config.", code="NO_CONFIG", key=request.path_params["key"])
        if not found["enabled"]:
            raise Denied("This device is disabled.", code="DEVICE_DISABLED", key=request.path_params["key"])
        headers = {
            "ETag": f'"{found.revision}"',
            "X-Config-Version": str(found.revision),
            "Cache-Control": "private, no-cache",
        }
        if is_known(request.headers.get("if-none-match"), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(orjson.dumps(found.effective), headers=headers, media_type="application/json")


_VERSION = {
    "ETag": "Of this version: send it as If-None-Match.",
    "X-Config-Version": "The version, to be confirmed by the next wake.",
}
_GET_CONFIG = Declaration(
    tag="Devices",
    summary="Fetch the device's config by itself",
    description="What a wake's answer holds anyway when the config is new: for devices that lost that answer.",
    parameters=[
        Parameter(name="key", where="path", description="The device's key."),
        Parameter(name="If-None-Match", where="header", description="The ETag of what the device has."),
    ],
    answers={
        200: Answer(description="The config.", content={"application/json": {"type": "object"}}, headers=_VERSION),
        304: Answer(description="The device has it.", headers=_VERSION),
    },
    problems={
        403: ("OTHER_DEVICE", "DEVICE_DISABLED"),
        404: ("NOT_FOUND", "NO_CONFIG"),
        429: ("TOO_MANY_REQUESTS",),
        503: ("UNAVAILABLE",),
    },
    secured=True,
)
