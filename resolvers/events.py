"""Events: the log, what is live of it, and what its entries are about."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import strawberry

from domain.clients.queries import clients_by_ids
from domain.configs.models import ConfigRow
from domain.configs.queries import configs_by_ids
from domain.configs.templates import templates_by_ids
from domain.devices.models import DeviceRow
from domain.devices.queries import devices_by_ids
from domain.events import queries
from domain.events.interest import Interest, Wanted
from domain.events.models import EventRow
from domain.firmware.queries import firmwares_by_ids, rollouts_by_ids
from domain.images.models import ImageRow
from domain.images.queries import images_by_ids
from domain.kit.errors import Denied
from domain.kit.paging import Page, page_size
from domain.kit.scope import Scope
from domain.kit.sql import Runner
from domain.users.principals import Permission
from domain.users.queries import users_by_ids
from resolvers.context import Context, Info
from resolvers.operation import operation, subscription
from schema.events import ConfigUpdate, DeviceUpdate, Event, EventFilter, ImageUpdate, SubjectKind
from schema.nodes import Node
from schema.pages import Connection
from schema.relation import answers

ByIds = Callable[[Runner, Scope, Sequence[str]], Awaitable[Sequence[Any]]]


async def _nothing(db: Runner, scope: Scope, ids: Sequence[str]) -> list[None]:
    """The platform is no node."""
    return [None] * len(ids)


_KINDS: dict[SubjectKind, tuple[Permission, ByIds]] = {
    SubjectKind.DEVICE: (Permission.DEVICES_READ, devices_by_ids),
    SubjectKind.IMAGE: (Permission.IMAGES_READ, images_by_ids),
    SubjectKind.FIRMWARE: (Permission.FIRMWARE_READ, firmwares_by_ids),
    SubjectKind.ROLLOUT: (Permission.FIRMWARE_READ, rollouts_by_ids),
    SubjectKind.CONFIG: (Permission.CONFIGS_READ, configs_by_ids),
    SubjectKind.CONFIG_TEMPLATE: (Permission.CONFIGS_READ, templates_by_ids),
    SubjectKind.CLIENT: (Permission.CLIENTS_READ, clients_by_ids),
    SubjectKind.USER: (Permission.USERS_READ, users_by_ids),
    SubjectKind.SYSTEM: (Permission.ACCOUNT, _nothing),
}


@strawberry.type
class EventQuery:
    @operation(Permission.EVENTS_READ, Connection[Event])
    async def events(
        self, info: Info, filter: EventFilter | None = None, first: int = 20, after: str | None = None
    ) -> Page[EventRow]:
        """What happened, the newest first. `first` is at most 100."""
        ctx = info.context
        filters = dict(vars(filter)) if filter else {}
        if filters.get("subject_kind"):
            filters["subject_kind"] = filters["subject_kind"].value
        return await queries.list_events(ctx.db, ctx.scope, first=page_size(first), after=after, **filters)

    @operation(Permission.ACCOUNT, Node | None)
    async def node(self, info: Info, id: strawberry.ID) -> Any:
        """Anything by its id; null when there is nothing that the caller may see."""
        ctx = info.context
        readable = [by_ids for permission, by_ids in _KINDS.values() if permission in ctx.principal.permissions]
        found = await asyncio.gather(*(by_ids(ctx.db, ctx.scope, [id]) for by_ids in readable))
        return next((row for (row,) in found if row is not None), None)


@strawberry.type
class EventSubscription:
    @subscription(Permission.EVENTS_READ, Event)
    def events(self, info: Info, filter: EventFilter | None = None, after: str | None = None) -> Interest:
        """Events as they happen, or from after a cursor on: none is left out, none comes twice."""
        subjects = filter.subject_ids if filter else None
        return Interest(_matcher(filter), None if subjects is None else frozenset(subjects))

    @subscription(Permission.DEVICES_READ, DeviceUpdate)
    def device_updates(
        self, info: Info, ids: list[strawberry.ID] | None = None, after: str | None = None
    ) -> Interest:
        """Changes of these devices, or of all; from after a cursor, if one is given."""
        chosen = None if ids is None else frozenset(ids)
        return Interest(
            lambda event: event.subject_kind == "Device" and (chosen is None or event.subject_id in chosen), chosen
        )

    @subscription(Permission.IMAGES_READ, ImageUpdate)
    def image_updates(
        self, info: Info, device_id: strawberry.ID | None = None, after: str | None = None
    ) -> Interest:
        """Changes of a device's images, or of all; from after a cursor, if one is given."""
        return Interest(
            lambda event: (
                event.subject_kind == "Image" and (device_id is None or event.data.get("deviceId") == device_id)
            )
        )

    @subscription(Permission.CONFIGS_READ, ConfigUpdate)
    def config_updates(
        self, info: Info, ids: list[strawberry.ID] | None = None, after: str | None = None
    ) -> Interest:
        """Changes of these configs, or of all; from after a cursor, if one is given."""
        chosen = None if ids is None else frozenset(ids)
        return Interest(
            lambda event: event.subject_kind == "Config" and (chosen is None or event.subject_id in chosen), chosen
        )


def _matcher(filter: EventFilter | None) -> Wanted:
    if filter is None:
        return lambda event: True
    types = frozenset(filter.types) if filter.types is not None else None
    subjects = frozenset(filter.subject_ids) if filter.subject_ids is not None else None

    def wanted(event: EventRow) -> bool:
        return (
            (types is None or event.type in types)
            and (subjects is None or event.subject_id in subjects)
            and (filter.subject_kind is None or event.subject_kind == filter.subject_kind.value)
            and (filter.client_id is None or event.client_id == filter.client_id)
            and (filter.since is None or event.recorded_at >= filter.since)
            and (filter.until is None or event.recorded_at < filter.until)
        )

    return wanted


@answers(DeviceUpdate, "event")
@answers(ImageUpdate, "event")
@answers(ConfigUpdate, "event")
async def event_of_update(ctx: Context, updates: Sequence[EventRow]) -> list[EventRow]:
    """An update is its event, seen from the thing that changed."""
    return list(updates)


@answers(DeviceUpdate, "device")
async def device_of_update(ctx: Context, updates: Sequence[EventRow]) -> Sequence[DeviceRow | None]:
    return await devices_by_ids(ctx.db, ctx.scope, [event.subject_id for event in updates])


@answers(ImageUpdate, "image")
async def image_of_update(ctx: Context, updates: Sequence[EventRow]) -> Sequence[ImageRow | None]:
    return await images_by_ids(ctx.db, ctx.scope, [event.subject_id for event in updates])


@answers(ConfigUpdate, "config")
async def config_of_update(ctx: Context, updates: Sequence[EventRow]) -> Sequence[ConfigRow | None]:
    return await configs_by_ids(ctx.db, ctx.scope, [event.subject_id for event in updates])


@answers(Event, "subject")
async def subject_of(ctx: Context, events: Sequence[EventRow]) -> list[Any]:
    """What each event is about: one statement for each kind among them."""
    wanted: dict[SubjectKind, set[str]] = {}
    for event in events:
        wanted.setdefault(SubjectKind(event.subject_kind), set()).add(event.subject_id)
    found: dict[str, Any] = {}
    for kind, ids in wanted.items():
        permission, by_ids = _KINDS[kind]
        if permission in ctx.principal.permissions:
            ordered = list(ids)
            found.update(zip(ordered, await by_ids(ctx.db, ctx.scope, ordered), strict=True))
        else:  # an error is a value, so that it is told of these events and not of the others beside them
            denied = Denied(f"This needs the permission {permission.value}.", permission=permission.value)
            found.update(dict.fromkeys(ids, denied))
    return [found[event.subject_id] for event in events]
