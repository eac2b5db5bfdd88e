"""The routes of those who run the server: `/`, health, metrics."""

import sys
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from domain.events.log import backlog
from domain.kit.errors import Refusal
from domain.kit.scope import SYSTEM
from resolvers.context import Services
from server import VERSION, metrics
from server.graphql.fanout import Fanout
from server.health import Health
from server.routes.declared import Answer, Declaration, DeclaredRoute, obj


class OperationRoutes:
    """Health answers 200 or 503; live answers as long as the process does."""

    def __init__(self, services: Services, health: Health, fanout: Fanout) -> None:
        self._services = services
        self._fanout = fanout
        self._health = health

    def routes(self) -> list[DeclaredRoute]:
        return [
            DeclaredRoute("GET", "/", self.root, _ROOT),
            DeclaredRoute("GET", "/health", self.health, _HEALTH),
            DeclaredRoute("GET", "/health/live", self.live, _LIVE),
            DeclaredRoute("GET", "/metrics", self.metrics, _METRICS),
        ]

    async def root(self, request: Request) -> Response:
        """What this is and where its doors are."""
        return _json(
            {
                "name": "Quartermaster",
                "version": VERSION,
                "graphql": "/graphql",
                "devices": "/v1/devices/{key}/images",
                "openapi": "/v1/openapi.json",
                "docs": "/v1/docs",
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


_TEXT = {"type": "string"}
_DOORS = ("name", "version", "graphql", "devices", "openapi", "docs", "health", "metrics")
_CHECK = obj("Check", ["ok"], ok={"type": "boolean"}, reason={**_TEXT, "description": "What is wrong."})
_REPORT = obj(
    "Health",
    status={"enum": ["ok", "unavailable"]},
    uptimeSeconds={"type": "number"},
    checks=obj(**dict.fromkeys(("database", "redis", "storage", "migrations", "relay"), _CHECK)),
    system=obj(version=_TEXT, python=_TEXT, liveSubscribers={"type": "integer"}),
)
_ALIVE = obj("Live", status={"const": "ok"})
_ROOT = Declaration(
    tag="Operations",
    summary="What this is and where its doors are",
    answers={
        200: Answer(
            description="Addresses.",
            content={"application/json": obj("Doors", **dict.fromkeys(_DOORS, _TEXT))},
        )
    },
)
_HEALTH = Declaration(
    tag="Operations",
    summary="Whether this server can do its work, and if not, why",
    answers={
        200: Answer(description="It can.", content={"application/json": _REPORT}),
        503: Answer(
            description="It cannot; the checks say why.",
            content={"application/json": _REPORT},
            headers={"Retry-After": "Seconds."},
        ),
    },
)
_LIVE = Declaration(
    tag="Operations",
    summary="Whether this process lives",
    answers={
        200: Answer(description="It does.", content={"application/json": obj("Live", status={"const": "ok"})})
    },
)
_METRICS = Declaration(
    tag="Operations",
    summary="Metrics for Prometheus",
    answers={200: Answer(description="The text format of Prometheus.", content={"text/plain": {"type": "string"}})},
)
