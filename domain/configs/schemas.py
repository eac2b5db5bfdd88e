"""The JSON Schema of a client, which the effective content of new versions must satisfy.

The validator is `jsonschema-rs`: its regular expressions run in linear time, where Python's `re` could be made to
hold this process for hours by a pattern, in a thread too. What is left that could take long is refused before a
schema is kept: references that lead out of it, round in a circle, or fan out without end, and too many patterns.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson

from domain.configs.content import checked_content, pointer
from domain.kit.errors import Invalid

MAX_VIOLATIONS = 20
"""So many are told of one content."""
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_MAX_COST = 10_000  # subschemas, each counted as often as references lead to it
_MAX_PATTERNS = 50
_PATTERN_BYTES = 256 * 1024  # of a compiled pattern, which is not the length of its text

_ONE = (
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_SOME = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("dependencies", "dependentSchemas", "patternProperties", "properties")
_DEFINITIONS = ("$defs", "definitions")
_MOVING = ("$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef")


@dataclass(frozen=True, slots=True)
class Violation:
    """`path` is a JSON pointer into the content, `schema_path` one into the schema."""

    path: str
    message: str
    schema_path: str

    def told(self) -> dict[str, str]:
        """As details of an error."""
        return {"path": self.path, "message": self.message, "schemaPath": self.schema_path}


class Validator:
    """A compiled schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._compiled = jsonschema_rs.Draft202012Validator(
            schema,
            validate_formats=True,
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES),
        )

    def violations(self, content: dict[str, Any]) -> list[Violation]:
        """The first ways in which the content does not satisfy the schema."""
        if self._compiled.is_valid(content):
            return []
        found: list[Violation] = []
        for error in self._compiled.iter_errors(content):
            path, schema_path = pointer(error.instance_path), pointer(error.schema_path)
            found.append(Violation(path, error.message[:300], schema_path))
            if len(found) == MAX_VIOLATIONS:
                break
        return found


def checked_schema(given: Any) -> str:
    """The text of a schema that can be kept. Raises Invalid, with a `path` into it, for one that cannot."""
    content = checked_content(given, argument="schema", noun="A schema")
    if given.get("$schema", _DRAFT) not in (_DRAFT, f"{_DRAFT}#"):
        raise Invalid(f"Schemas are of draft 2020-12: $schema is absent or {_DRAFT}.", argument="schema")
    _Measured(given).check()
    validator_of(content.text)
    return content.text


def validator_of(text: str) -> Validator:
    """The validator of a schema's text. Raises Invalid for what is no schema."""
    return _compiled(text)


@lru_cache(maxsize=8)
def _compiled(text: str) -> Validator:
    try:
        return Validator(orjson.loads(text))
    except jsonschema_rs.ValidationError as error:
        path = pointer(error.instance_path)
        if error.message.endswith('is not a "regex"'):
            hint = "patterns have neither lookaround nor back references, and are of moderate size"
            raise Invalid(f"{error.message[:200]}: {hint}.", argument="schema", path=path) from None
        raise Invalid(f"This is no JSON Schema: {error.message[:300]}.", argument="schema", path=path) from None
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise Invalid(f"This is no JSON Schema: {str(error)[:300]}.", argument="schema") from None


class _Measured:
    """A schema whose references are followed, to see that its work is bounded."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._patterns = 0
        self._costs: dict[str, int | None] = {}  # by reference; None while it is being followed

    def check(self) -> None:
        """Raises Invalid."""
        if self._cost(self._schema, "") > _MAX_COST:
            raise _refused("Its references fan out too far.", "")

    def _cost(self, schema: Any, path: str) -> int:
        if not isinstance(schema, dict):
            return 1  # a boolean; anything else is told of when it is compiled
        self._check_keywords(schema, path)
        total = 1 + sum(self._cost(below, at) for below, at in _below(schema, path))
        if "$ref" in schema:
            total += self._cost_of_reference(schema["$ref"], f"{path}/$ref")
        for keyword in _DEFINITIONS:  # they cost where they are referred to, and are looked at here
            for name, below in _entries(schema.get(keyword)):
                self._cost(below, path + pointer([keyword, name]))
        return min(total, _MAX_COST + 1)

    def _check_keywords(self, schema: dict[str, Any], path: str) -> None:
        for keyword in _MOVING:
            if keyword in schema:
                raise _refused(f"{keyword} cannot be used here: refer to definitions by their path.", path)
        if "$id" in schema and path:
            raise _refused("$id can stand at the top only.", path)
        self._patterns += ("pattern" in schema) + len(_entries(schema.get("patternProperties")))
        if self._patterns > _MAX_PATTERNS:
            raise _refused(f"A schema has at most {_MAX_PATTERNS} patterns.", path)

    def _cost_of_reference(self, reference: Any, path: str) -> int:
        if not isinstance(reference, str):
            raise _refused("A $ref is a string.", path)
        known = self._costs.get(reference, -1)
        if known is None:
            raise _refused("References go round in a circle.", path)
        if known == -1:
            self._costs[reference] = None
            known = self._cost(self._target(reference, path), reference[1:])
            self._costs[reference] = known
        return known

    def _target(self, reference: str, path: str) -> Any:
        if reference != "#" and not reference.startswith("#/"):
            raise _refused("A $ref leads to a place in this schema, such as #/$defs/port.", path)
        target: Any = self._schema
        for part in reference[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and key in target:
                target = target[key]
            elif isinstance(target, list) and key.isdecimal() and int(key) < len(target):
                target = target[int(key)]
            else:
                raise _refused("There is nothing where this $ref leads.", path)
        return target


def _below(schema: dict[str, Any], path: str) -> Iterator[tuple[Any, str]]:
    for keyword in _ONE:
        if keyword in schema:
            yield schema[keyword], f"{path}/{keyword}"
    for keyword in _SOME:
        listed = schema.get(keyword)
        if isinstance(listed, list):
            yield from ((below, f"{path}/{keyword}/{index}") for index, below in enumerate(listed))
    for keyword in _NAMED:
        for name, below in _entries(schema.get(keyword)):
            yield below, path + pointer([keyword, name])


def _entries(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []


def _refused(reason: str, path: str) -> Invalid:
    return Invalid(f"This schema cannot be used. {reason}", argument="schema", path=path[:500])
