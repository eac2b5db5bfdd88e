"""The API process: one Starlette app, put together from its routes and parts."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from domain.kit.errors import Refusal
from resolvers.context import Services
from server import telemetry
from server.announce import announced
from server.connections import Connections
from server.edge import Edge
from server.errors import HttpProblem, problem, problem_of
from server.graphiql import page as graphiql
from server.graphql.executor import build_executor
from server.graphql.fanout import Fanout
from server.graphql.http import GraphQLEndpoint, new_context
from server.graphql.websocket import WebSocketEndpoint
from server.health import Health
from server.logs import configure_logs
from server.platform import api_details
from server.process import connect_redis, link_signer
from server.routes.configs import ConfigRoutes
from server.routes.declared import DeclaredRoute
from server.routes.devices import DeviceRoutes
from server.routes.docs import DocumentationRoutes
from server.routes.firmware import FirmwareRoutes
from server.routes.images import ImageRoutes
from server.routes.imports import ImportRoutes
from server.routes.intake import Intake
from server.routes.media import MediaRoutes, Variants
from server.routes.operations import OperationRoutes
from server.services import api_services
from server.settings import Settings, load_settings


def create_app() -> Edge:
    """The app, by the settings in the environment. For uvicorn's `--factory`."""
    settings = load_settings()
    configure_logs(level=settings.log_level, format=settings.log_format, process="api")
    telemetry.start(settings, "api")
    direct: dict[str, Route] = {}
    app = Starlette(
        lifespan=_lifespan(settings, direct),
        middleware=_cors(settings),
        exception_handlers={
            Refusal: _problem,
            HttpProblem: _problem,
            HTTPException: _http,
            Exception: _raised,
        },
    )
    return Edge(app, direct)


def _lifespan(settings: Settings, direct: dict[str, Route]):  # type: ignore[no-untyped-def]
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with api_services(settings) as services:
            connections = Connections(services.authenticator)
            services.feed.listen(connections.on_event)
            redis = connect_redis(settings)
            health = Health(services.database, redis, services.blobs)
            fanout = Fanout(services.feed, services.database)
            executor = build_executor(settings, redis)
            make_context = partial(new_context, services)
            socket = WebSocketEndpoint(executor, fanout, connections, settings, make_context)
            graphql = GraphQLEndpoint(settings, services, executor, fanout, connections, socket)
            route = Route("/graphql", graphql, methods=None)
            if not settings.allowed_origins:  # of which the middleware would have to tell browsers
                direct["/graphql"] = route
            app.router.routes += [
                route,
                WebSocketRoute("/graphql", graphql),
                *DocumentationRoutes(_rest_routes(settings, services, health, fanout)).every,
            ]
            _spare_the_collector()
            with announced(settings, "api", partial(api_details, settings, services, executor, fanout)):
                yield
            fanout.stop()
            await redis.aclose()

    return lifespan


def _rest_routes(settings: Settings, services: Services, health: Health, fanout: Fanout) -> list[DeclaredRoute]:
    intake = Intake(settings, services.blobs)
    devices = DeviceRoutes(settings, services, intake)
    return [
        *devices.routes(),
        *ImageRoutes(settings, services, intake).routes(),
        *ConfigRoutes(services, devices.reporter).routes(),
        *FirmwareRoutes(settings, services).routes(),
        *ImportRoutes(settings, services).routes(),
        *MediaRoutes(services.blobs, link_signer(settings), Variants(services.database)).routes(),
        *OperationRoutes(services, health, fanout).routes(),
        *(graphiql.routes() if settings.explorable else []),
    ]


def _spare_the_collector() -> None:
    """Tell Python's collector of cycles that what is there now stays, and to look at what is new less often.

    A page of devices with their images is some thousand objects without a cycle among them. By its defaults the
    collector looked through them all the time, and through schema, documents and plans every few seconds, for
    80 ms in which nobody was answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _cors(settings: Settings) -> list[Middleware]:
    if not settings.allowed_origins:
        return []
    exposed = ["X-Request-ID", "Retry-After", "RateLimit", "RateLimit-Policy"]
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-Request-ID"],
            expose_headers=exposed,
        )
    ]


async def _problem(request: Request, error: Exception) -> Response:
    return problem_of(error)


async def _raised(_: Request, error: Exception) -> Response:
    raise error  # to the edge, which knows the correlation id and answers


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 416: "RANGE_NOT_SATISFIABLE"}
    code = codes.get(error.status_code, "BAD_REQUEST")
    return problem(error.status_code, code, f"{error.detail}.", headers=error.headers)
