"""What can be said of a value by its class alone. Asked once per class and column, not once per value."""

from collections.abc import Mapping
from functools import lru_cache
from types import GeneratorType

from graphql.pyutils import UndefinedType

_PARTICULAR = (Exception, UndefinedType, GeneratorType)  # a generator may be a coroutine of the old style


@lru_cache(maxsize=4096)
def is_particular(cls: type) -> bool:
    """Whether values of this class are to be looked at before they are completed: errors, awaitables."""
    return issubclass(cls, _PARTICULAR) or hasattr(cls, "__await__")


@lru_cache(maxsize=4096)
def is_plain(cls: type) -> bool:
    """Whether values of this class are just values: neither null nor particular, nor to be called."""
    is_callable = any("__call__" in base.__dict__ for base in cls.__mro__)
    return not (cls is type(None) or is_callable or is_particular(cls))


@lru_cache(maxsize=4096)
def is_record(cls: type) -> bool:
    """Whether rows of this class are read by key: mappings, and records of database drivers."""
    return hasattr(cls, "keys") and hasattr(cls, "__getitem__")


@lru_cache(maxsize=4096)
def is_mapping(cls: type) -> bool:
    """Whether graphql-core's default resolver reads this class by key."""
    return issubclass(cls, Mapping)
