"""Configs: root operations, and the relations of configs, templates and versions."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from domain.configs import commands, queries, rules, templates
from domain.configs.models import ConfigRow, DeviceConfigRow, SchemaRow, TemplateRow, VersionRow
from domain.devices.models import DeviceRow
from domain.kit.errors import Denied, Invalid, NotFound
from domain.kit.paging import Page, page_size
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.operation import operation, wanted_of
from schema.configs import (
    Config,
    ConfigDiff,
    ConfigFilter,
    ConfigOrder,
    ConfigSchema,
    ConfigSchemaReport,
    ConfigTemplate,
    ConfigVersion,
    DeviceConfig,
)
from schema.devices import Device
from schema.pages import Connection
from schema.relation import answers
from schema.scalars import MacAddress
from schema.users import Deleted

_From = Annotated[int, strawberry.argument(name="from")]


@strawberry.type
class ConfigQuery:
    @operation(Permission.CONFIGS_READ, Connection[Config])
    async def configs(
        self,
        info: Info,
        filter: ConfigFilter | None = None,
        order: ConfigOrder = ConfigOrder.MAC_ASC,
        first: int = 20,
        after: str | None = None,
    ) -> Page[ConfigRow]:
        """The configs that the caller may see. `first` is at most 100."""
        ctx = info.context
        return await queries.list_configs(
            ctx.db,
            ctx.scope,
            order=order.name,
            first=page_size(first),
            after=after,
            wanted=wanted_of(info),
            **(vars(filter) if filter else {}),
        )

    @operation(Permission.CONFIGS_READ, Config | None)
    async def config(self, info: Info, mac: MacAddress, client_id: strawberry.ID | None = None) -> ConfigRow | None:
        """The config of a MAC address; null when there is none. Admins add `clientId` where several have one."""
        return await queries.config_by_mac(info.context.db, info.context.scope, mac, client_id)

    @operation(Permission.CONFIGS_CONTENT, ConfigDiff)
    async def config_diff(
        self,
        info: Info,
        mac: MacAddress,
        from_: _From,
        to: int,
        client_id: strawberry.ID | None = None,
    ) -> ConfigDiff:
        """What changed between two versions of a config, in either direction."""
        ctx = info.context
        config = await _config_of(ctx, mac, client_id)
        found = await queries.versions_numbered(ctx.db, ctx.scope, [config.id], [from_, to])
        for argument, number in (("from", from_), ("to", to)):
            if (config.id, number) not in found:
                raise NotFound("This config has no such version.", argument=argument, version=number)
        before, after = found[config.id, from_], found[config.id, to]
        patch: Any = await asyncio.to_thread(queries.patch_between, before.content, after.content)
        versions: dict[str, Any] = {"before": before, "after": after}
        return ConfigDiff(patch=patch, **versions)

    @operation(Permission.CONFIGS_READ, Connection[ConfigTemplate])
    async def config_templates(self, info: Info, first: int = 20, after: str | None = None) -> Page[TemplateRow]:
        """The templates that the caller may see, by name. `first` is at most 100."""
        ctx = info.context
        return await templates.list_templates(ctx.db, ctx.scope, first=page_size(first), after=after)

    @operation(Permission.CONFIGS_READ, ConfigTemplate | None)
    async def config_template(
        self,
        info: Info,
        id: strawberry.ID | None = None,
        name: str | None = None,
        client_id: strawberry.ID | None = None,
    ) -> TemplateRow | None:
        """One template by its id, deleted ones too, or by its name; null when there is none."""
        ctx = info.context
        if (id is None) == (name is None):
            raise Invalid("Give either `id` or `name`.")
        if name is not None:
            return await templates.template_by_name(ctx.db, ctx.scope, name, client_id)
        return (await templates.templates_by_ids(ctx.db, ctx.scope, [str(id)]))[0]

    @operation(Permission.CONFIGS_READ, ConfigSchema | None)
    async def config_schema(self, info: Info, client_id: strawberry.ID | None = None) -> SchemaRow | None:
        """The schema that a client's configs must satisfy, the caller's own when absent; null without one."""
        ctx = info.context
        if client_id is None and ctx.scope.client_id is None:
            raise Invalid("Name the client.", argument="clientId")
        return await queries.schema_of(ctx.db, ctx.scope, client_id or str(ctx.scope.client_id))


@strawberry.type
class ConfigMutation:
    @operation(Permission.CONFIGS_WRITE, Config)
    async def save_config(
        self,
        info: Info,
        mac: MacAddress,
        content: JSON,
        expected_version: int | None = None,
        note: str | None = None,
        extends: str | None = strawberry.UNSET,
        client_id: strawberry.ID | None = None,
    ) -> ConfigRow:
        """Make the config of a MAC address, or a new version of it. What is the same already makes none.

        With `expectedVersion` it is refused (CONFLICT) when the config is at another version; 0 means that there
        must be none. `extends` names a template; absent keeps it, null takes it away.
        """
        ctx = info.context
        async with ctx.transaction() as tx:
            config_id, _ = await commands.save_config(
                tx,
                ctx.scope,
                mac=mac,
                content=content,
                extends=_extends(extends),
                expected_version=expected_version,
                note=note,
                client_id=client_id,
            )
        return await _config(ctx, config_id)

    @operation(Permission.CONFIGS_WRITE, Config)
    async def rollback_config(
        self,
        info: Info,
        mac: MacAddress,
        to_version: int,
        expected_version: int | None = None,
        note: str | None = None,
        client_id: strawberry.ID | None = None,
    ) -> ConfigRow:
        """Bring back the content and template of an earlier version, as a new one."""
        ctx = info.context
        async with ctx.transaction() as tx:
            config_id = await commands.rollback_config(
                tx,
                ctx.scope,
                mac=mac,
                to_version=to_version,
                expected_version=expected_version,
                note=note,
                client_id=client_id,
            )
        return await _config(ctx, config_id)

    @operation(Permission.CONFIGS_WRITE, Deleted)
    async def delete_config(
        self,
        info: Info,
        mac: MacAddress,
        expected_version: int | None = None,
        client_id: strawberry.ID | None = None,
    ) -> Deleted:
        """Take a config out of use. Its device keeps what it runs, its versions stay; it may be restored."""
        ctx = info.context
        async with ctx.transaction() as tx:
            config_id = await commands.delete_config(
                tx, ctx.scope, mac=mac, expected_version=expected_version, client_id=client_id
            )
        return Deleted(id=strawberry.ID(config_id))

    @operation(Permission.CONFIGS_WRITE, Config)
    async def restore_config(
        self, info: Info, mac: MacAddress, client_id: strawberry.ID | None = None
    ) -> ConfigRow:
        """Put a deleted config into use again, under its template as that is now."""
        ctx = info.context
        async with ctx.transaction() as tx:
            config_id = await commands.restore_config(tx, ctx.scope, mac=mac, client_id=client_id)
        return await _config(ctx, config_id)

    @operation(Permission.CONFIGS_WRITE, ConfigTemplate)
    async def save_config_template(
        self,
        info: Info,
        name: str,
        content: JSON,
        expected_version: int | None = None,
        note: str | None = None,
        extends: str | None = strawberry.UNSET,
        client_id: strawberry.ID | None = None,
    ) -> TemplateRow:
        """Make a template, or a new version of it, and so of all configs that extend it.

        All or nothing: it is refused when one of those would not satisfy the client's schema. `extends` names
        another template; absent keeps it, null takes it away. At most 5 may stand above each other.
        """
        ctx = info.context
        async with ctx.transaction() as tx:
            template_id = await templates.save_config_template(
                tx,
                ctx.scope,
                name=name,
                content=content,
                extends=_extends(extends),
                expected_version=expected_version,
                note=note,
                client_id=client_id,
            )
        row = (await templates.templates_by_ids(ctx.db, ctx.scope, [template_id]))[0]
        if row is None:
            raise NotFound("There is no such template any more.", templateId=template_id)
        return row

    @operation(Permission.CONFIGS_WRITE, Deleted)
    async def delete_config_template(self, info: Info, id: strawberry.ID) -> Deleted:
        """Remove a template that nothing extends. Its versions stay, its name is free again."""
        ctx = info.context
        async with ctx.transaction() as tx:
            await templates.delete_config_template(tx, ctx.scope, id)
        return Deleted(id=id)

    @operation(Permission.CONFIGS_WRITE, ConfigSchemaReport)
    async def set_config_schema(
        self, info: Info, schema: JSON, client_id: strawberry.ID | None = None, dry_run: bool = False
    ) -> rules.Report:
        """Hold new versions of a client's configs to a JSON Schema (draft 2020-12), templates included.

        The answer says which configs do not satisfy it. They stay as they are until somebody changes them; to look
        before, use `dryRun`. References may lead to places in the schema itself only, and not in circles.
        """
        ctx = info.context
        async with ctx.transaction() as tx:
            return await rules.set_config_schema(tx, ctx.scope, schema=schema, client_id=client_id, dry_run=dry_run)

    @operation(Permission.CONFIGS_WRITE, Deleted)
    async def remove_config_schema(self, info: Info, client_id: strawberry.ID | None = None) -> Deleted:
        """Hold a client's configs to nothing any more. The answer's id is the client's."""
        ctx = info.context
        async with ctx.transaction() as tx:
            owner = await rules.remove_config_schema(tx, ctx.scope, client_id=client_id)
        return Deleted(id=strawberry.ID(owner))


def _extends(given: str | None) -> Any:
    return templates.KEEP if given is strawberry.UNSET else given


async def _config(ctx: Context, config_id: str) -> ConfigRow:
    row = (await queries.configs_by_ids(ctx.db, ctx.scope, [config_id]))[0]
    if row is None:
        raise NotFound("There is no such config any more.", configId=config_id)
    return row


async def _config_of(ctx: Context, mac: str, client_id: str | None) -> ConfigRow:
    row = await queries.config_by_mac(ctx.db, ctx.scope, mac, client_id)
    if row is None:
        raise NotFound("There is no config of this MAC.", mac=mac)
    return row


def _denied(ctx: Context, permission: Permission) -> Denied | None:
    """As a value in place of what is not shown: what stands beside it may be."""
    if permission in ctx.principal.permissions:
        return None
    return Denied(f"This needs the permission {permission.value}.", permission=permission.value)


def _contents(ctx: Context, rows: Sequence[Any], column: str) -> list[Any]:
    denied = _denied(ctx, Permission.CONFIGS_CONTENT)
    return [denied or row[column] for row in rows]


@answers(Config, "content", reads=["content"])
@answers(ConfigTemplate, "content", reads=["content"])
@answers(ConfigVersion, "content", reads=["content"])
async def content_of(ctx: Context, rows: Sequence[Any]) -> list[Any]:
    return _contents(ctx, rows, "content")


@answers(Config, "effective", reads=["effective"])
@answers(ConfigTemplate, "effective", reads=["effective"])
async def effective_of(ctx: Context, rows: Sequence[Any]) -> list[Any]:
    return _contents(ctx, rows, "effective")


@answers(Config, "extends", reads=["template_id"])
@answers(ConfigTemplate, "extends", reads=["template_id"])
@answers(ConfigVersion, "extends", reads=["template_id"])
async def template_of(ctx: Context, rows: Sequence[Any]) -> list[TemplateRow | None]:
    ids = list({row.template_id for row in rows if row.template_id is not None})
    found = dict(zip(ids, await templates.templates_by_ids(ctx.db, ctx.scope, ids), strict=True)) if ids else {}
    return [found.get(row.template_id) for row in rows]


@answers(Config, "versions", reads=["id"])
@answers(ConfigTemplate, "versions", reads=["id"])
async def versions_of(
    ctx: Context, rows: Sequence[Any], *, first: int, after: str | None
) -> list[Page[VersionRow]]:
    ids = [row["id"] for row in rows]
    return await queries.versions_of(ctx.db, ctx.scope, ids, first=page_size(first), after=after)


@answers(Config, "version_at", reads=["id"])
async def version_of(ctx: Context, configs: Sequence[ConfigRow], *, number: int) -> list[VersionRow | None]:
    found = await queries.versions_numbered(ctx.db, ctx.scope, [config["id"] for config in configs], [number])
    return [found.get((config["id"], number)) for config in configs]


@answers(Config, "device", reads=["id"])
async def device_of_config(ctx: Context, configs: Sequence[ConfigRow]) -> list[DeviceRow | None]:
    return await queries.devices_of_configs(ctx.db, ctx.scope, [config["id"] for config in configs])


@answers(Device, "config", reads=["id"])
async def config_of_device(ctx: Context, devices: Sequence[DeviceRow]) -> list[DeviceConfigRow | None]:
    return await queries.configs_of_devices(ctx.db, ctx.scope, [device["id"] for device in devices])


@answers(DeviceConfig, "config", reads=["config_id"])
async def config_of_state(ctx: Context, states: Sequence[DeviceConfigRow]) -> list[Any]:
    if denied := _denied(ctx, Permission.CONFIGS_READ):  # such as a device, which may see itself
        return [denied] * len(states)
    ids = list({state.config_id for state in states if state.config_id is not None})
    found: dict[Any, Any] = {}
    if ids:
        found.update(zip(ids, await queries.configs_by_ids(ctx.db, ctx.scope, ids), strict=True))
    return [found.get(state.config_id) for state in states]
