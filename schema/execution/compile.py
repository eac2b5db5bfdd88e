"""The compiler: from an operation of a document to its plan.

graphql-core's own `collect_fields` merges fields, follows fragments and applies conditions, once per object
type instead of once per object. What plans do not know is found out first, in `operation_of`, so that a
compiled plan never has to give up.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from graphql import (
    BooleanValueNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLDeferDirective,
    GraphQLEnumType,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLSkipDirective,
    GraphQLStreamDirective,
    GraphQLUnionType,
    NamedTypeNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    assert_valid_schema,
    default_field_resolver,
)
from graphql.execution.collect_fields import (
    FieldDetailsList,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues
from graphql.type.directives import GraphQLDisableErrorPropagationDirective

from .hints import Column, Computed, Convert, Hint, Relation, Root, Trusted, TypeName, hint_of
from .inputs import Variables, partly_static_arguments, static_arguments
from .leaves import leaf_of
from .plan import (
    Constant,
    Default,
    Field,
    Objects,
    Operation,
    Output,
    Plan,
    Resolver,
    Selection,
    Settings,
    Unsupported,
)

_INCREMENTAL = {GraphQLDeferDirective.name, GraphQLStreamDirective.name}
_CONDITIONAL = {GraphQLSkipDirective.name, GraphQLIncludeDirective.name}
_INTROSPECTION = {"__schema", "__type"}


def compile_operation(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation_name: str | None = None,
    conditions: Mapping[str, bool] | None = None,
    *,
    native: frozenset[type] = frozenset(),
) -> Plan:
    """Compile an operation for these values of the variables of its `@skip` and `@include`.

    Raises Unsupported for what only graphql-core's `execute` can answer.
    """
    operation = operation_of(schema, document, operation_name)
    conditions = conditions or {}
    if missing := [name for name in operation.conditions if name not in conditions]:
        raise ValueError(f"The plan depends on the variables {missing}.")
    return compile_plan(operation, conditions, Settings(native, None, None, None))


def compile_plan(operation: Operation, conditions: Mapping[str, bool], settings: Settings) -> Plan:
    """Compile an operation that was looked up before."""
    compiler = _Compiler(operation, VariableValues({}, dict(conditions)), settings)
    try:
        root = compiler.root()
    except RecursionError:
        raise Unsupported("selections nested too deeply") from None
    return Plan(operation, root, settings.written, operation.node.operation is OperationType.MUTATION)


class _Compiler:
    def __init__(self, operation: Operation, conditions: VariableValues, settings: Settings) -> None:
        self.operation = operation
        self.conditions = conditions
        self.settings = settings

    def root(self) -> Selection:
        type_, operation = self.operation.root_type, self.operation
        collected = collect_fields(operation.schema, operation.fragments, self.conditions, type_, operation.node)
        return self.selection(type_, collected.grouped_field_set)

    def selection(self, type_: GraphQLObjectType, grouped: GroupedFieldSet) -> Selection:
        fields: list[Field] = []
        for key, details in grouped.items():
            # Of documents that were not validated, unknown fields are left out, as graphql-core does.
            definition = self.operation.schema.get_field(type_, details[0].node.name.value)
            if definition is not None:
                fields.append(self.field(type_, key, len(fields), details, definition))
        return Selection(fields)

    def field(
        self,
        parent: GraphQLObjectType,
        key: str,
        index: int,
        details: FieldDetailsList,
        definition: GraphQLField,
    ) -> Field:
        nodes = [detail.node for detail in details]
        name = nodes[0].name.value
        hint = self.hint(parent, name, definition)
        output = self.output(definition.type, details)
        convert: Convert | None = getattr(hint, "convert", None)
        arguments = static_arguments(definition, nodes[0], convert)
        # Resolvers take GraphQL's arguments in GraphQL's order; functions take them by name.
        by_name = arguments is None and isinstance(hint, Relation | Root)
        partly = partly_static_arguments(definition, nodes[0], convert) if by_name else None
        # Arguments may be wrong, which generated functions would not notice.
        bare = isinstance(hint, Constant) or not (definition.args or nodes[0].arguments)
        inline = bare and output.leaf is not None and isinstance(hint, Constant | Column | Computed | Default)
        return Field(
            key, index, name, parent, definition, nodes, hint, output, arguments, partly, convert, inline
        )  # fmt: skip

    def hint(self, parent: GraphQLObjectType, name: str, definition: GraphQLField) -> Hint:
        if name == "__typename":
            return Constant(parent.name)
        hint = hint_of(definition.extensions)
        if isinstance(hint, Column | Computed | Relation | Root):
            return hint
        resolve = definition.resolve or self.settings.field_resolver
        return Resolver(resolve) if resolve and resolve is not default_field_resolver else Default(name)

    def output(self, type_: GraphQLOutputType, details: FieldDetailsList) -> Output:
        nullable = not isinstance(type_, GraphQLNonNull)
        type_ = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        output = Output(type_, nullable)
        match type_:
            case GraphQLList():
                output.item = self.output(type_.of_type, details)
            case GraphQLScalarType() | GraphQLEnumType():
                output.leaf = leaf_of(type_, self.settings.native)
            case _:
                output.objects = self.objects(type_, details)
        return output

    def objects(self, type_: Any, details: FieldDetailsList) -> Objects:
        def compile_(object_type: GraphQLObjectType) -> Selection:
            operation = self.operation
            collected = collect_subfields(
                operation.schema, operation.fragments, self.conditions, operation.node, object_type, details
            )
            return self.selection(object_type, collected.grouped_field_set)

        hint = hint_of(type_.extensions)
        if not isinstance(type_, GraphQLInterfaceType | GraphQLUnionType):
            return Objects(type_, compile_, None, None, type_.is_type_of is None or isinstance(hint, Trusted))
        type_name = hint.function if isinstance(hint, TypeName) else None
        return Objects(type_, compile_, type_.resolve_type or self.settings.type_resolver, type_name, False)


def operation_of(schema: GraphQLSchema, document: DocumentNode, operation_name: str | None) -> Operation:
    """Look up an operation and see whether plans can know it. Raises Unsupported."""
    assert_valid_schema(schema)
    if any(schema.get_directive(name) for name in _INCREMENTAL):
        raise Unsupported("incremental delivery")
    node = _chosen(document, operation_name)
    root_type = schema.get_root_type(node.operation)
    if root_type is None:
        raise Unsupported("no such root type")
    if any(
        directive.name.value == GraphQLDisableErrorPropagationDirective.name for directive in node.directives or ()
    ):
        raise Unsupported("errors that are not propagated")
    definitions = {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    if any(definition.variable_definitions for definition in definitions.values()):
        raise Unsupported("variables of fragments")
    fragments = {name: FragmentDetails(definition) for name, definition in definitions.items()}
    conditions = _conditions(node, definitions)
    variables = Variables(schema, node.variable_definitions or ())
    return Operation(schema, document, node, fragments, definitions, root_type, conditions, variables)


def _chosen(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if name is not None:
        operations = [node for node in operations if node.name and node.name.value == name][-1:]
    if len(operations) != 1:
        raise Unsupported("no such operation")  # graphql-core has the words for it
    return operations[0]


def _conditions(
    operation: OperationDefinitionNode, definitions: Mapping[str, FragmentDefinitionNode]
) -> tuple[str, ...]:
    """The variables that choose what is selected."""
    booleans = {
        definition.variable.name.value
        for definition in operation.variable_definitions or ()
        if _is_boolean(definition.type)
    }
    names: dict[str, None] = {}
    for selection in _selections(operation.selection_set, definitions):
        if isinstance(selection, FieldNode) and selection.name.value in _INTROSPECTION:
            raise Unsupported("introspection")
        for directive in selection.directives or ():
            if directive.name.value in _INCREMENTAL:
                raise Unsupported("incremental delivery")
            if directive.name.value in _CONDITIONAL:
                name = _condition(directive.arguments or (), booleans)
                if name is not None:
                    names[name] = None
    return tuple(names)


def _condition(arguments: Any, booleans: set[str]) -> str | None:
    """The variable of a condition, or None if it is a literal."""
    values = [argument.value for argument in arguments if argument.name.value == "if"]
    if len(values) == 1 and isinstance(values[0], BooleanValueNode):
        return None
    if len(values) == 1 and isinstance(values[0], VariableNode) and values[0].name.value in booleans:
        name: str = values[0].name.value
        return name
    raise Unsupported("an invalid condition")


def _is_boolean(type_: Any) -> bool:
    named = type_.type if isinstance(type_, NonNullTypeNode) else type_
    return isinstance(named, NamedTypeNode) and named.name.value == "Boolean"


def _selections(
    selection_set: SelectionSetNode, definitions: Mapping[str, FragmentDefinitionNode]
) -> Iterator[SelectionNode]:
    """Everything selected at any depth, through fragments, each of them once."""
    seen: set[str] = set()
    sets = [selection_set]
    while sets:
        for selection in sets.pop().selections:
            yield selection
            if isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name in definitions and name not in seen:
                    seen.add(name)
                    sets.append(definitions[name].selection_set)
            elif (inner := getattr(selection, "selection_set", None)) is not None:
                sets.append(inner)
