"""`GET /v1/devices/{key}/config`: the config of a device, for the device itself, without a wake's report."""

from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.configs.queries import desired_config
from domain.kit.errors import Denied, NotFound
from domain.kit.scope import Scope
from resolvers.context import Services
from server.routes.media import is_known

Reporter = Callable[[Request], Awaitable[tuple[Scope, str]]]
"""Who asks, and the id of the device that it asks for. Raises what refuses the caller."""


class ConfigRoutes:
    """The revision is the ETag: it is new whenever the content is, and never met twice."""

    def __init__(self, services: Services, reporter: Reporter) -> None:
        self._services = services
        self._reporter = reporter

    def routes(self) -> list[Route]:
        return [Route("/v1/devices/{key}/config", self.get_config, methods=["GET"])]

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
