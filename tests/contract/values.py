"""Random values for arguments of any type: in the text of an operation, or as its variables.

Values are drawn from samples. Variables come with and without defaults, given, absent, null, and here and there
wrong; each may stand where it is put, so that no operation is refused for it before it is executed.
"""

import json
import random
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    Undefined,
)

_WRONG = ["x", "", -1, 1.5, True, [], {}, {"unknown": 1}, [None]]

Taken = GraphQLArgument | GraphQLInputField


@dataclass(frozen=True)
class Samples:
    """Values by what they are for, told more or less exactly: `Page.after` (the named type of the field, and the
    argument or a part of it), `after`, `String`. `odd` ones are valid GraphQL and nothing else.
    """

    good: dict[str, list[Any]]
    odd: dict[str, list[Any]]

    def of(self, owner: str, name: str, type_name: str, *, odd: bool) -> list[Any]:
        samples = self.odd if odd else self.good
        return next(samples[key] for key in (f"{owner}.{name}", name, type_name) if key in samples)


class _EnumName(str):
    """A value that is written without quotes."""


@dataclass(frozen=True)
class _Variable:
    name: str


class ValueWriter:
    """Writes the values of one operation: `declarations` are of its variables, `given` their values.

    Most keep to what is good, or else hardly anything would be answered with more than errors.
    """

    def __init__(self, random_: random.Random, samples: Samples) -> None:
        self.random = random_
        self.samples = samples
        self.declarations: list[str] = []
        self.given: dict[str, Any] = {}
        self._careful = self.chance(65)
        self._of_type: dict[tuple[str, bool], list[_Variable]] = {}
        self._conditions: list[str] = []

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def arguments(self, owner: str, takes: dict[str, GraphQLArgument]) -> str:
        """Some arguments of a field whose named type is `owner`, in any order."""
        parts = [f"{name}: {_literal(part)}" for name, part in self._parts(owner, takes).items()]
        self.random.shuffle(parts)
        return f"({', '.join(parts)})" if parts else ""

    def condition(self) -> str:
        """What `@skip` and `@include` depend on."""
        if self.chance(40):
            return self.random.choice(["true", "false"])
        if len(self._conditions) < 2:
            name, form = f"if{len(self._conditions)}", self.random.choice(["!", " = true", "! = false"])
            self._conditions.append(name)
            self.declarations.append(f"${name}: Boolean{form}")
            if form == "!" or self.chance(60):
                self.given[name] = self.chance(50)
            return f"${name}"
        return f"${self.random.choice(self._conditions)}"

    def _parts(self, owner: str, takes: Any) -> dict[str, Any]:
        """Values for some arguments, or fields of an input: constants and variables."""
        return {name: self._part(owner, name, taken) for name, taken in takes.items() if self._is_given(taken)}

    def _is_given(self, taken: Taken) -> bool:
        has_default = taken.default_value is not Undefined
        return (isinstance(taken.type, GraphQLNonNull) and not has_default) or self.chance(35)

    def _part(self, owner: str, name: str, taken: Taken) -> Any:
        if self.chance(30):
            return self._variable(owner, name, taken)
        return self._constant(owner, name, taken.type, constant=False)

    def _constant(self, owner: str, name: str, type_: GraphQLInputType, *, constant: bool = True) -> Any:
        """A value, or null. Only inputs that need not be `constant` all through may have variables in them."""
        if isinstance(type_, GraphQLNonNull):
            type_ = type_.of_type
        elif self.chance(12):
            return None
        match type_:
            case GraphQLList():
                items = [self._constant(owner, name, type_.of_type) for _ in range(self.random.randint(0, 3))]
                return items[0] if items and self.chance(10) else items
            case GraphQLEnumType():
                return _EnumName(self.random.choice(list(type_.values)))
            case GraphQLInputObjectType() if constant:
                given = {key: part.type for key, part in type_.fields.items() if self._is_given(part)}
                return {key: self._constant(owner, key, part) for key, part in given.items()}
            case GraphQLInputObjectType():
                return self._parts(owner, type_.fields)
        odd = not self._careful and self.chance(25)
        return self.random.choice(self.samples.of(owner, name, type_.name, odd=odd))

    def _variable(self, owner: str, name: str, taken: Taken) -> _Variable:
        """A variable that may stand there: one that is declared already, or a new one."""
        has_default = taken.default_value is not Undefined
        known = self._of_type.setdefault((f"{owner}.{name}: {taken.type}", has_default), [])
        if known and self.chance(40):
            return self.random.choice(known)
        variable = _Variable(f"v{len(self.declarations)}")
        known.append(variable)
        required = isinstance(taken.type, GraphQLNonNull)
        type_: Any = taken.type.of_type if isinstance(taken.type, GraphQLNonNull) else taken.type
        form = self.random.choice(["!", " = "] if required and not has_default else ["!", " = ", ""])
        present = GraphQLNonNull(type_)
        default = _literal(self._constant(owner, name, present)) if form == " = " else ""
        self.declarations.append(f"${variable.name}: {type_}{form}{default}")
        if self.chance(70) or (form == "!" and (self._careful or self.chance(90))):
            may_be_null = form != "!" and not (
                required and self._careful
            )  # where null must not arrive it is an error
            self.given[variable.name] = self._sent(self._constant(owner, name, type_ if may_be_null else present))
        return variable

    def _sent(self, value: Any) -> Any:
        """A value as it comes in JSON, here and there a wrong one."""
        wrong = not self._careful and self.chance(5)
        return json.loads(json.dumps(self.random.choice(_WRONG) if wrong else value))


def _literal(value: Any) -> str:
    """A value as it stands in a document."""
    match value:
        case _Variable():
            return f"${value.name}"
        case _EnumName():
            return str(value)
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {_literal(part)}' for key, part in value.items())}}}"
    return json.dumps(value)
