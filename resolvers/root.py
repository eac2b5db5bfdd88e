"""The whole schema: the roots, put together from every noun, and the executable schema made of them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import strawberry
from graphql import GraphQLError
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import DEFAULT_ALLOWED_OPERATION_TYPES
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.graphql import OperationType

import resolvers.pages  # noqa: F401 - answers Connection.totalCount
from resolvers.clients import ClientMutation, ClientQuery
from resolvers.devices import DeviceMutation, DeviceQuery
from resolvers.events import EventQuery, EventSubscription
from resolvers.images import ImageQuery
from resolvers.plans import attach_hints
from resolvers.users import UserMutation, UserQuery
from schema.clients import Client
from schema.describe import object_type
from schema.devices import Device
from schema.images import Image
from schema.moments import DATE_TIME
from schema.relation import unanswered
from schema.users import User


@object_type
class Query(UserQuery, ClientQuery, DeviceQuery, ImageQuery, EventQuery):
    """Read. Lists are Relay connections; ids are unique across all types."""


@object_type
class Mutation(UserMutation, ClientMutation, DeviceMutation):
    """Change. Each field is one transaction; send an `Idempotency-Key` header to be able to repeat safely."""


@object_type
class Subscription(EventSubscription):
    """Follow, over graphql-transport-ws or server-sent events. Resume with `after`."""


class _Schema(strawberry.Schema):
    async def execute(self, *args: Any, **kwargs: Any) -> ExecutionResult:
        """One answer to a query or mutation. Subscriptions are refused: what has many answers is streamed."""
        allowed = kwargs.pop("allowed_operation_types", None) or DEFAULT_ALLOWED_OPERATION_TYPES
        kwargs["allowed_operation_types"] = set(allowed) - {OperationType.SUBSCRIPTION}
        return await super().execute(*args, **kwargs)

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Nothing: what a caller did wrong is no error of the server, and what is gets logged at the edge."""


def build_schema(extensions: Iterable[type[SchemaExtension]] = ()) -> strawberry.Schema:
    """The schema. Raises LookupError when a relation is declared that nothing answers."""
    schema = _Schema(
        Query,
        Mutation,
        Subscription,
        types=[Client, User, Device, Image],
        config=StrawberryConfig(scalar_map={datetime: DATE_TIME}),
        extensions=list(extensions),
    )
    if missing := unanswered():
        raise LookupError(f"relations without a batch resolver: {sorted(missing)}")
    attach_hints(schema)
    return schema
