"""The routes of those who run the server: `/`, health, metrics."""

import sys
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.events.log import backlog
from domain.kit.errors import Refusal
from domain.kit.scope import SYSTEM
from resolvers.context import Services
from server import VERSION, metrics
from server.graphql.fanout import Fanout
from server.health import Health


class OperationRoutes:
    """Health answers 200 or 503; live answers as long as the process does."""

    def __init__(self, services: Services, health: Health, fanout: Fanout) -> None:
        self._services = services
        self._fanout = fanout
        self._health = health

    def routes(self) -> list[Route]:
        return [
            Route("/", self.root),
            Route("/health", self.health),
            Route("/health/live", self.live),
            Route("/metrics", self.metrics),
        ]

    async def root(self, request: Request) -> Response:
        """What this is and where its doors are."""
        return _json(
            {
                "name": "Quartermaster",
                "version": VERSION,
                "graphql": "/graphql",
                "devices": "/v1/devices/{key}/images",
                "health": "/health",
                "metrics": "/metrics",
            }
        )

    async def health(self, request: Request) -> Response:
        ready, report = await self._health.report()
        python = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
        system = {"version": VERSION, "python": python, "liveSubscribers": self._fanout.subscribers}
        return _json({**report, "system": system}, 200 if ready else 503)

    async def live(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        pool = self._services.database.pool
        metrics.pool.labels("open").set(pool.get_size())
        metrics.pool.labels("idle").set(self._services.database.idle)
        try:
            waiting = await backlog(self._services.database, SYSTEM)
        except Refusal:
            waiting = None
        return Response(metrics.exposition(waiting), media_type=CONTENT_TYPE_LATEST)


def _json(body: dict[str, Any], status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store", "Retry-After": "5"} if status == 503 else {"Cache-Control": "no-store"}
    return Response(orjson.dumps(body), status, headers=headers, media_type="application/json")
