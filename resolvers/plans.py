"""How compiled execution is told where this schema's values come from.

Strawberry's wrappers around resolvers are what stock execution calls, field by field. The engine
(`schema/execution/`) calls what is inside them instead: the row's column, the computed method, the batch
resolver, the root operation, each once for as many rows as there are.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import strawberry
from graphql import GraphQLField, GraphQLInterfaceType, GraphQLObjectType, GraphQLScalarType, get_nullable_type
from strawberry.types.arguments import convert_argument
from strawberry.types.field import StrawberryField

from domain.clients.models import ClientRow
from domain.configs.models import ConfigRow, TemplateRow
from domain.devices.models import DeviceRow
from domain.events.interest import Interest
from domain.firmware.models import FirmwareRow, RolloutRow
from domain.generation.models import GenerationRow
from domain.images.models import ImageRow
from domain.kit.paging import MAX_PAGE
from domain.kit.written import EVERYTHING, Wanted
from domain.scenes.models import SceneRow
from domain.users.models import UserRow
from resolvers.context import Context
from resolvers.operation import permission_of
from schema.describe import READS
from schema.execution import EXTENSION, SIZED, Column, Computed, Hint, Relation, Root, Sized, Trusted, TypeName
from schema.relation import batch_of

_DEFINITION = "strawberry-definition"
_NODES: dict[type, str] = {
    DeviceRow: "Device",
    ImageRow: "Image",
    FirmwareRow: "Firmware",
    RolloutRow: "Rollout",
    GenerationRow: "ImageGeneration",
    SceneRow: "Scene",
    ConfigRow: "Config",
    TemplateRow: "ConfigTemplate",
    ClientRow: "Client",
    UserRow: "User",
}


@dataclass(slots=True)
class _Info:
    """As much of Strawberry's `Info` as root operations use; `wanted` is what is read of what they return."""

    context: Context
    wanted: Wanted = EVERYTHING


def attach_hints(schema: strawberry.Schema) -> None:
    """Put a hint on every field of the schema. The root of a subscription's event has it under its field's name."""
    core = schema._schema
    for type_ in core.type_map.values():
        if type_.name.startswith("__"):
            continue
        if type_ is core.subscription_type:
            for name, field in type_.fields.items():
                field.extensions[EXTENSION] = Column(name)
            continue
        if isinstance(type_, GraphQLInterfaceType):
            type_.extensions[EXTENSION] = TypeName(_node_type)
        if isinstance(type_, GraphQLObjectType):
            type_.extensions[EXTENSION] = Trusted()
            for field in type_.fields.values():
                field.extensions[EXTENSION] = _hint(schema, field)
                if "first" in field.args:
                    field.extensions[SIZED] = Sized("first", MAX_PAGE, ("nodes", "edges"))


def _node_type(row: Any) -> str:
    return _NODES[type(row)]


def _hint(schema: strawberry.Schema, field: GraphQLField) -> Hint:
    declared: StrawberryField = field.extensions[_DEFINITION]
    if declared.base_resolver is None:
        return Column(declared.python_name)
    convert = _converter(schema, declared, field) if declared.arguments else None
    if (answer := batch_of(declared)) is not None:
        batch, reads = answer
        return Relation(batch, convert, reads, projects="wanted" in inspect.signature(batch).parameters)
    function: Any = declared.base_resolver.wrapped_func
    if permission_of(declared) is not None:
        return Root(_root(declared, function), convert, projects=True)
    return Computed(function, declared.metadata.get(READS))


def _converter(
    schema: strawberry.Schema, declared: StrawberryField, field: GraphQLField
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """From GraphQL's values to what the Python function takes: other names, inputs as dataclasses, enum members."""
    converts: dict[str, tuple[str, Callable[[Any], Any] | None]] = {}
    for argument in declared.arguments:
        name = schema.config.name_converter.from_argument(argument)
        # Strawberry leaves scalars as they are too, but takes its time to find that they are.
        is_scalar = isinstance(get_nullable_type(field.args[name].type), GraphQLScalarType)
        convert = partial(
            convert_argument,
            type_=argument.type,
            scalar_registry=schema.schema_converter.scalar_registry,
            config=schema.config,
        )
        converts[name] = (argument.python_name, None if is_scalar else convert)

    def converted(arguments: dict[str, Any]) -> dict[str, Any]:
        values = {}
        for name, value in arguments.items():
            python_name, convert = converts[name]
            values[python_name] = value if convert is None else convert(value)
        return values

    return converted


def _root(declared: StrawberryField, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    permission = permission_of(declared)
    assert permission is not None

    def call(context: Context, wanted: Wanted = EVERYTHING, **arguments: Any) -> Awaitable[Any]:
        context.principal.demand(permission)
        return function(None, info=_Info(context, wanted), **arguments)

    return call


def source_of(schema: strawberry.Schema, name: str) -> Callable[[Context, dict[str, Any]], Interest]:
    """What says which events a subscription's root field wants: `(context, GraphQL's arguments) -> Interest`."""
    field = schema._schema.subscription_type.fields[name]  # type: ignore[union-attr]
    declared: StrawberryField = field.extensions[_DEFINITION]
    assert declared.base_resolver is not None
    function: Any = declared.base_resolver.wrapped_func
    permission = permission_of(declared)
    assert permission is not None
    convert = _converter(schema, declared, field)

    def source(context: Context, arguments: dict[str, Any]) -> Interest:
        context.principal.demand(permission)
        interest: Interest = function(None, info=_Info(context), **convert(arguments))
        return interest

    return source
