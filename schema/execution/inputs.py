"""Variables and arguments, as far as they are known before an operation is executed.

Most variables are plain scalars, and come as exactly what their scalar would make of them: then they are taken
as they are. Most arguments are written in the document or left to their defaults: those are coerced and converted
once. Whatever else there is graphql-core coerces, which also has the words for what is wrong.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    FieldNode,
    GraphQLBoolean,
    GraphQLError,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    get_nullable_type,
    visit,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import (
    VariableValues,
    VariableValueSource,
    get_argument_values,
    get_variable_values,
)

from .hints import Arguments, Convert

NO_VARIABLES = VariableValues({}, {})
_PLAIN = {GraphQLString: str, GraphQLID: str, GraphQLBoolean: bool, GraphQLInt: int, GraphQLFloat: float}


class Variables:
    """How the variables of an operation are coerced."""

    def __init__(self, schema: GraphQLSchema, definitions: Collection[VariableDefinitionNode]) -> None:
        self._schema = schema
        self._definitions = definitions
        self._plain: list[tuple[str, GraphQLVariableSignature, type]] | None = []
        for definition in definitions:
            signature = get_variable_signature(schema, definition)
            plain = None if isinstance(signature, GraphQLError) else get_nullable_type(signature.type)
            if (
                isinstance(signature, GraphQLError)
                or not isinstance(plain, GraphQLScalarType)
                or plain not in _PLAIN
            ):
                self._plain = None
                break
            self._plain.append((signature.name, signature, _PLAIN[plain]))

    def coerce(
        self, values: Mapping[str, Any], max_errors: int, hide_suggestions: bool
    ) -> VariableValues | list[GraphQLError]:
        """The variables with these values, or what is wrong with them."""
        if not self._definitions:
            return NO_VARIABLES
        if self._plain is not None:
            sources, coerced = {}, {}
            for name, signature, class_ in self._plain:
                value = values.get(name)
                if value.__class__ is not class_ or not _in_range(value):
                    break  # null, absent, or to be coerced
                sources[name] = VariableValueSource(signature, value)
                coerced[name] = value
            else:
                return VariableValues(sources, coerced)
        return get_variable_values(
            self._schema,
            self._definitions,
            dict(values),
            max_errors=max_errors,
            hide_suggestions=hide_suggestions,
        )


def _in_range(value: Any) -> bool:
    if value.__class__ is int:
        return bool(-(2**31) <= value < 2**31)
    return value.__class__ is not float or value - value == 0.0  # neither infinite nor NaN


@dataclass(frozen=True, slots=True)
class Partly:
    """Arguments of which some are the values of variables, and the rest is known, converted."""

    known: Arguments
    from_variables: tuple[tuple[str, str], ...]
    """Names of arguments, each with its variable."""

    def given(self, variables: Mapping[str, Any]) -> Arguments | None:
        """The others, as GraphQL's values; None where one is null or absent, for which there are rules."""
        given = {}
        for name, variable in self.from_variables:
            value = given[name] = variables.get(variable)
            if value is None:
                return None
        return given


def static_arguments(definition: GraphQLField, node: FieldNode, convert: Convert | None) -> Arguments | None:
    """The arguments of a field, when they are the same in all executions; otherwise None."""
    if not definition.args and not node.arguments:
        return {} if convert is None else _converted({}, convert)
    if any(variables_of(argument.value) for argument in node.arguments or ()):
        return None
    return _known(definition, node, convert)


def partly_static_arguments(definition: GraphQLField, node: FieldNode, convert: Convert | None) -> Partly | None:
    """The arguments of a field as far as they are known; None when a variable is inside of one."""
    values = {argument.name.value: argument.value for argument in node.arguments or ()}
    from_variables: list[tuple[str, str]] = []
    others = {}
    for name, argument in definition.args.items():
        value = values.get(name)
        if isinstance(value, VariableNode):
            from_variables.append((argument.out_name or name, value.name.value))
        elif value is not None and variables_of(value):
            return None
        else:
            others[name] = argument
    known = _known(GraphQLField(definition.type, others), node, convert)
    return None if known is None else Partly(known, tuple(from_variables))


def _known(definition: GraphQLField, node: FieldNode, convert: Convert | None) -> Arguments | None:
    try:
        arguments = get_argument_values(definition, node, NO_VARIABLES)
    except GraphQLError:
        return None  # it will be raised again, in each execution
    return arguments if convert is None or not arguments else _converted(arguments, convert)


def _converted(arguments: Arguments, convert: Convert) -> Arguments | None:
    try:
        return convert(arguments)
    except Exception:  # noqa: BLE001 - it will be raised again, in each execution
        return None


class _VariableVisitor(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.names.append(node.name.value)


def variables_of(value: Any) -> list[str]:
    """The names of the variables in a value of a document."""
    visitor = _VariableVisitor()
    visit(value, visitor)
    return visitor.names
