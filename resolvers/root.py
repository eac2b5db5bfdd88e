"""The whole schema: the roots, put together from every noun, and the executable schema made of them."""

from datetime import datetime

import strawberry
from strawberry.schema.config import StrawberryConfig

import resolvers.pages  # noqa: F401 - answers Connection.totalCount
from resolvers.audit import AuditQuery
from resolvers.clients import ClientMutation, ClientQuery
from resolvers.configs import ConfigMutation, ConfigQuery
from resolvers.device_bulk import DeviceBulkMutation
from resolvers.device_commands import DeviceCommandMutation, DeviceCommandQuery
from resolvers.devices import DeviceMutation, DeviceQuery
from resolvers.events import EventQuery, EventSubscription
from resolvers.firmware import FirmwareMutation, FirmwareQuery
from resolvers.image_changes import ImageMutation, ImageSettingsQuery
from resolvers.images import ImageQuery
from resolvers.plans import attach_hints
from resolvers.platform import PlatformQuery
from resolvers.users import UserMutation, UserQuery
from schema.clients import Client
from schema.configs import Config, ConfigTemplate
from schema.describe import object_type
from schema.devices import Device
from schema.firmware import Firmware, Rollout
from schema.images import Image
from schema.moments import DATE_TIME
from schema.relation import unanswered
from schema.scalars import MAC_ADDRESS, MacAddress
from schema.users import User


@object_type
class Query(
    UserQuery,
    ClientQuery,
    DeviceQuery,
    DeviceCommandQuery,
    FirmwareQuery,
    ConfigQuery,
    ImageQuery,
    ImageSettingsQuery,
    EventQuery,
    AuditQuery,
    PlatformQuery,
):
    """Read. Lists are Relay connections; ids are unique across all types."""


@object_type
class Mutation(
    UserMutation,
    ClientMutation,
    DeviceMutation,
    DeviceBulkMutation,
    DeviceCommandMutation,
    FirmwareMutation,
    ConfigMutation,
    ImageMutation,
):
    """Change. Each field is one transaction; send an `Idempotency-Key` header to be able to repeat safely."""


@object_type
class Subscription(EventSubscription):
    """Follow, over graphql-transport-ws or server-sent events. Resume with `after`."""


def build_schema() -> strawberry.Schema:
    """The schema. Raises LookupError when a relation is declared that nothing answers."""
    schema = strawberry.Schema(
        Query,
        Mutation,
        Subscription,
        types=[Client, User, Device, Image, Firmware, Rollout, Config, ConfigTemplate],
        config=StrawberryConfig(scalar_map={datetime: DATE_TIME, MacAddress: MAC_ADDRESS}),
    )
    if missing := unanswered():
        raise LookupError(f"relations without a batch resolver: {sorted(missing)}")
    attach_hints(schema)
    return schema
