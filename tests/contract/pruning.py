"""An operation that is left with one of its fields."""

from dataclasses import dataclass, field, replace

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    NameNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)

_TYPENAME = SelectionSetNode(selections=(FieldNode(name=NameNode(value="__typename")),))


def alone(document: DocumentNode, operation_name: str | None, keys: list[str]) -> DocumentNode:
    """The operation with nothing but the field at this path of response keys. Nodes keep their locations."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    (operation,) = (node for node in operations if operation_name in (None, node.name and node.name.value))
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    pruning = _Pruning(keys, fragments)
    kept = replace(operation, selection_set=pruning.along(operation.selection_set, 0))
    return DocumentNode(definitions=(kept, *pruning.kept.values()))


@dataclass
class _Pruning:
    """A fragment is kept once for each depth at which it is spread: something else is left of it there."""

    keys: list[str]
    fragments: dict[str, FragmentDefinitionNode]
    kept: dict[str, FragmentDefinitionNode] = field(default_factory=dict)

    def along(self, selections: SelectionSetNode, depth: int) -> SelectionSetNode:
        """What of these selections leads to the field."""
        found = (self._pruned(selection, depth) for selection in selections.selections)
        return SelectionSetNode(selections=tuple(each for each in found if each is not None))

    def _pruned(self, selection: SelectionNode, depth: int) -> SelectionNode | None:
        match selection:
            case FieldNode():
                return self._field(selection, depth)
            case InlineFragmentNode():
                return replace(selection, selection_set=self.along(selection.selection_set, depth))
            case FragmentSpreadNode():
                return replace(selection, name=self._fragment(selection.name.value, depth))
        raise AssertionError(selection)

    def _field(self, node: FieldNode, depth: int) -> FieldNode | None:
        if (node.alias or node.name).value != self.keys[depth]:
            return None
        if node.selection_set is None:
            return node
        leads_on = depth + 1 < len(self.keys)
        return replace(node, selection_set=self.along(node.selection_set, depth + 1) if leads_on else _TYPENAME)

    def _fragment(self, name: str, depth: int) -> NameNode:
        fragment, new = self.fragments[name], NameNode(value=f"{name}_{depth}")
        if new.value not in self.kept:
            pruned = self.along(fragment.selection_set, depth)
            self.kept[new.value] = replace(fragment, name=new, selection_set=pruned)
        return new
