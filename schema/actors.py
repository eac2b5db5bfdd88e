"""Who does things, as the events log and the versions of configs remember it."""

from domain.kit.scope import ActorKind
from schema.describe import enum

__all__ = ["ActorKind"]

enum(ActorKind)
