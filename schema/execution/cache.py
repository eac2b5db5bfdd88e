"""A bounded cache of plans, for one event loop."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from graphql import DocumentNode

from .plan import Operation, Plan, Unsupported

T = TypeVar("T")


class PlanCache:
    """The plans that were used last, with how often one was found (`hits`) and had to be made (`misses`).

    Operations are kept beside their plans, for the names of the variables that choose between them; that
    an operation is not supported is remembered too.
    """

    def __init__(self, size: int) -> None:
        self.hits = 0
        self.misses = 0
        # Documents are kept because their identity may be part of the key: it must not be given again.
        self._operations: Recent[tuple[Operation | None, DocumentNode]] = Recent(size)
        self._plans: Recent[Plan] = Recent(size)

    def __len__(self) -> int:
        return len(self._plans)

    def operation(self, key: Hashable, document: DocumentNode, look_up: Callable[[], Operation]) -> Operation:
        """The operation with this key. Raises Unsupported."""
        found = self._operations.recent(key)
        if found is None:
            try:
                found = look_up(), document
            except Unsupported:
                found = None, document
            self._operations.keep(key, found)
        if found[0] is None:
            raise Unsupported
        return found[0]

    def plan(self, key: Hashable, compile_: Callable[[], Plan]) -> Plan:
        """The plan with this key."""
        plan = self._plans.recent(key)
        if plan is not None:
            self.hits += 1
            return plan
        self.misses += 1
        plan = compile_()
        self._plans.keep(key, plan)
        return plan


class Recent(OrderedDict[Hashable, T], Generic[T]):
    """What was used last."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def recent(self, key: Hashable) -> T | None:
        entry = self.get(key)
        if entry is not None:
            self.move_to_end(key)
        return entry

    def keep(self, key: Hashable, entry: T) -> None:
        self[key] = entry
        if len(self) > self.size:
            self.popitem(last=False)
