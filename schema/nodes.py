"""The interface of everything that has an id of its own."""

import strawberry

from schema.describe import interface


@interface
class Node:
    """Anything that `node(id:)` finds."""

    id: strawberry.ID
