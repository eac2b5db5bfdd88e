"""How large an operation may be: levels of fields, aliases and root fields, checked before anything is executed.

Each fragment is measured once, however often it is spread. Measuring it at every spread, as the usual
limiters do, lets a page of fragments that spread each other twice keep the process busy for ever.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from graphql import (
    ExecutableDefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    SelectionSetNode,
    ValidationContext,
    ValidationRule,
)

MAX_LEVELS, MAX_ALIASES, MAX_ROOT_FIELDS = 10, 15, 20


@dataclass
class _Extent:
    """Levels of fields, number of aliases and of fields on the first level; `spreads` are fragments and the level
    they are spread at.
    """

    levels: int = 0
    aliases: int = 0
    first: int = 0
    spreads: list[tuple[str, int]] = field(default_factory=list)


class SizeRule(ValidationRule):
    """Refuses operations that are too deep, or have too many aliases or root fields. Introspection is not
    counted: it has a rule of its own."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        definitions = context.document.definitions
        fragments = _measured(node for node in definitions if isinstance(node, FragmentDefinitionNode))
        if fragments is None:
            return
        operations = [node for node in definitions if isinstance(node, OperationDefinitionNode)]
        sizes = [_total(_extent(operation), fragments) for operation in operations]
        for operation, size in zip(operations, sizes, strict=True):
            if size.levels > MAX_LEVELS:
                context.report_error(GraphQLError(f"More than {MAX_LEVELS} levels of fields.", [operation]))
            if size.first > MAX_ROOT_FIELDS:
                context.report_error(GraphQLError(f"More than {MAX_ROOT_FIELDS} root fields.", [operation]))
        if sum(size.aliases for size in sizes) > MAX_ALIASES:
            context.report_error(GraphQLError(f"More than {MAX_ALIASES} aliases."))


def _measured(definitions: Iterable[FragmentDefinitionNode]) -> dict[str, _Extent] | None:
    """The whole size of each fragment. None when some contain themselves: another rule refuses those."""
    own = {definition.name.value: _extent(definition) for definition in definitions}
    inside = {name: {spread for spread, _ in extent.spreads if spread in own} for name, extent in own.items()}
    measured: dict[str, _Extent] = {}
    try:
        for name in TopologicalSorter(inside).static_order():
            measured[name] = _total(own[name], measured)
    except CycleError:
        return None
    return measured


def _total(own: _Extent, fragments: Mapping[str, _Extent]) -> _Extent:
    """An extent with the fragments that it spreads put in. Unknown ones are refused by another rule."""
    total = _Extent(own.levels, own.aliases, own.first)
    for name, level in own.spreads:
        if fragment := fragments.get(name):
            total.levels = max(total.levels, level + fragment.levels)
            total.aliases += fragment.aliases
            total.first += fragment.first if level == 0 else 0
    return total


def _extent(definition: ExecutableDefinitionNode) -> _Extent:
    extent = _Extent()
    waiting: list[tuple[SelectionSetNode, int]] = [(definition.selection_set, 0)]
    while waiting:
        selection_set, level = waiting.pop()
        for selection in selection_set.selections:
            if isinstance(selection, FragmentSpreadNode):
                extent.spreads.append((selection.name.value, level))
            elif not isinstance(selection, FieldNode):
                waiting.append((selection.selection_set, level))  # type: ignore[attr-defined]
            else:
                extent.aliases += selection.alias is not None
                extent.first += level == 0
                if not selection.name.value.startswith("__"):
                    extent.levels = max(extent.levels, level + 1)
                    if selection.selection_set:
                        waiting.append((selection.selection_set, level + 1))
    return extent
