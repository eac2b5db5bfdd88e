"""Relay connections: how every list looks."""

from typing import Generic, TypeVar

from schema.describe import object_type
from schema.relation import relation

Node = TypeVar("Node")


@object_type
class PageInfo:
    """Where a page stands in its list."""

    has_next_page: bool
    """Whether there is more after this page."""
    has_previous_page: bool
    """Whether this page was asked for with `after`."""
    start_cursor: str | None
    """The cursor of the page's first node."""
    end_cursor: str | None
    """The cursor of the page's last node: pass it as `after` to go on."""


@object_type
class Edge(Generic[Node]):
    """A node and where it stands in the list."""

    node: Node
    cursor: str
    """Pass it as `after` to go on behind this node."""


@object_type
class Connection(Generic[Node]):
    """A page of a list."""

    nodes: list[Node]
    edges: list[Edge[Node]]
    page_info: PageInfo

    @relation
    async def total_count(self) -> int:
        """The length of the whole list. Counted only when asked for."""
