"""Generated functions: from rows of one class to the dicts of a selection, in one loop.

For a selection `{ id battery: batteryV images { … } }` of rows that are records, the source reads

    def build(rows, leaf0=…, leaf1=…):
        objects = []
        append = objects.append
        for row in rows:
            v0 = row["id"]
            if v0.__class__ is not str: v0 = leaf0(v0)
            v1 = row["battery_v"]
            if v1 is not None and (v1.__class__ is not float or v1 - v1 != 0.0): v1 = leaf1(v1)
            append({"id": v0, "battery": v1, "images": None})
        return objects

Whatever it raises means: complete this list carefully. It never answers anything wrong.
"""

import keyword
from functools import lru_cache
from types import CodeType
from typing import Any

from .classes import is_mapping, is_record
from .hints import Column, Computed
from .plan import Build, Constant, Default, Field, Selection

_MOST_CLASSES = 64


def build_of(selection: Selection, cls: type) -> Build:
    """The function for rows of this class, generated when the class is first met."""
    build = selection.builds.get(cls)
    if build is None:
        if len(selection.builds) >= _MOST_CLASSES:  # classes made at run time must not pile up
            selection.builds.clear()
        build = selection.builds[cls] = generate(selection, cls)
    return build


def generate(selection: Selection, cls: type) -> Build:
    """Write and compile the function for rows of this class."""
    names: dict[str, Any] = {}
    lines: list[str] = []
    entries: list[str] = []
    for field in selection.fields:
        entries.append(f"{field.key!r}: {_value(field, cls, lines, names) if field.inline else None}")
    # Names are parameters with defaults: a local variable is read faster than a global one.
    parameters = ", ".join(["rows", "str=str", "int=int", "float=float", *(f"{name}={name}" for name in names)])
    source = "\n".join([
        f"def build({parameters}):",
        "    objects = []",
        "    append = objects.append",
        "    for row in rows:",
        *(f"        {line}" for line in lines),
        f"        append({{{', '.join(entries)}}})",
        "    return objects",
    ])  # fmt: skip
    exec(_compiled(source), names)  # noqa: S102 - of GraphQL names and of reprs of strings
    build: Build = names["build"]
    return build


@lru_cache(maxsize=1024)
def _compiled(source: str) -> CodeType:
    return compile(source, "<selection>", "exec")


def _value(field: Field, cls: type, lines: list[str], names: dict[str, Any]) -> str:
    """Write the lines that read and complete a field, and return the expression of its value."""
    if isinstance(field.hint, Constant):
        return repr(field.hint.value)
    leaf = field.output.leaf
    assert leaf is not None
    value, complete = f"v{field.index}", f"leaf{field.index}"
    names[complete] = leaf.quick
    conditions = [f"({leaf.unless.format(value=value, leaf=complete)})"] if leaf.unless else []
    if "{leaf}" in leaf.unless:
        names[f"{complete}_untouched"] = leaf.untouched
        names[f"{complete}_only"] = next(iter(leaf.untouched))
    if field.output.nullable:
        conditions.insert(0, f"{value} is not None")
    lines.append(f"{value} = {_read(field, cls, names)}")
    test = f"if {' and '.join(conditions)}: " if conditions else ""
    lines.append(f"{test}{value} = {leaf.call.format(value=value, leaf=complete)}")
    return value


def _read(field: Field, cls: type, names: dict[str, Any]) -> str:
    match field.hint:
        case Computed(function):
            names[f"compute{field.index}"] = function
            return f"compute{field.index}(row)"
        case Column(name):
            return f"row[{name!r}]" if is_record(cls) else _attribute(name)
        case Default(name):
            return f"row.get({name!r})" if is_mapping(cls) else _attribute(name)
    raise AssertionError(field.hint)


def _attribute(name: str) -> str:
    if name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__"):
        return f"row.{name}"
    return f"getattr(row, {name!r})"
