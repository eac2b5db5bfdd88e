"""The decorators that make a class a GraphQL type, with its docstrings as descriptions.

A string under an attribute is that field's description, as a string under `def` is a function's, so the
text stands once, where the code is, and readers of the SDL and of GraphiQL see the same.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from enum import EnumType
from typing import Any, TypeVar, dataclass_transform

import strawberry
from strawberry.types.field import StrawberryField

T = TypeVar("T")


@dataclass_transform()
def object_type(cls: type[T]) -> type[T]:
    """A GraphQL object type."""
    return strawberry.type(_described(cls), description=_doc(cls))


@dataclass_transform()
def interface(cls: type[T]) -> type[T]:
    """A GraphQL interface."""
    return strawberry.interface(_described(cls), description=_doc(cls))


@dataclass_transform()
def input_type(cls: type[T]) -> type[T]:
    """A GraphQL input type."""
    return strawberry.input(_described(cls), description=_doc(cls))


E = TypeVar("E", bound=EnumType)


def enum(cls: E, name: str | None = None) -> E:
    """A GraphQL enum of the domain's, under its own name or another."""
    return strawberry.enum(cls, name=name, description=_doc(cls))


READS = "reads"
"""Where the metadata of a computed field keeps the attributes that it reads."""


def computed(*reads: str) -> Callable[[Callable[..., Any]], Any]:
    """A field whose value is a pure function of these attributes of the row."""

    def declare(function: Callable[..., Any]) -> Any:
        return strawberry.field(function, description=_doc(function), metadata={READS: frozenset(reads)})

    return declare


def _doc(thing: Any) -> str | None:
    return inspect.getdoc(thing)


def _described(cls: type[T]) -> type[T]:
    for name, text in _attribute_docs(cls).items():
        default = cls.__dict__.get(name, strawberry.UNSET)
        if isinstance(default, StrawberryField):
            default.description = default.description or text
        elif name in cls.__dict__:
            setattr(cls, name, strawberry.field(default=default, description=text))
        else:
            setattr(cls, name, strawberry.field(description=text))
    return cls


def _attribute_docs(cls: type) -> dict[str, str]:
    """The string literals that directly follow annotated attributes in the source of a class."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except OSError:  # no source at hand (a zipped or compiled install): the API works, undescribed
        return {}
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for attribute, following in zip(definition.body, definition.body[1:], strict=False):
        if not isinstance(attribute, ast.AnnAssign) or not isinstance(attribute.target, ast.Name):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            docs[attribute.target.id] = inspect.cleandoc(str(following.value.value))
    return docs
