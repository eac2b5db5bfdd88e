"""The runtime: one execution of a plan, level by level.

`select` is the heart: it makes the dicts of one selection for all its rows at once. The generated function
reads what are columns of the rows; the fields that it leaves open are resolved and completed as columns,
all of them concurrently, and filled in. Where it meets anything unusual every field goes that way.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any

from graphql import ExecutionResult, GraphQLResolveInfo, default_field_resolver
from graphql.execution.values import VariableValues, get_argument_values
from graphql.pyutils import Path, is_awaitable

from .classes import is_mapping, is_record
from .columns import wanted_of
from .complete import attempt, complete, completed_at_once
from .failures import Failure, Nulled, failure_at, shown
from .generate import build_of
from .hints import Arguments, Column, Computed, Relation, Root
from .places import FieldPlaces, Order, Places, Top
from .plan import Constant, Default, Field, Plan, Resolver, Selection
from .steps import HELPERS, Stepper


class Run:
    """One execution of a plan."""

    def __init__(self, plan: Plan, context: Any, variables: VariableValues, hide_suggestions: bool) -> None:
        self.plan = plan
        self.root_value: Any = None
        self.context = context
        self.variables = variables
        self.hide_suggestions = hide_suggestions
        self.steps = Stepper()
        self.failed = False
        """Whether anything failed so far: only then are failures looked for."""
        self._nulled: list[Nulled] = []

    async def execute(self, root_value: Any) -> ExecutionResult:
        """Execute the operation."""
        self.root_value = root_value
        if self.plan.serial:
            data = await self._serially(self.plan.root)
        else:
            data = (await self.select(self.plan.root, [self.root_value], Top()))[0]
        if not self.failed:
            return ExecutionResult(data)
        if data.__class__ is Failure:
            self.nulled(data, ())
            data = None
        return ExecutionResult(data, shown(self._nulled))

    async def execute_together(self, root_values: Sequence[Any]) -> list[ExecutionResult] | None:
        """Execute the operation for several root values at once; None if anything failed, since errors have to
        be told of one of them.
        """
        answers = await self.select(self.plan.root, root_values, Top())
        return None if self.failed else [ExecutionResult(data) for data in answers]

    async def _serially(self, selection: Selection) -> Any:
        """Execute the fields of a mutation, one after the other, until one ends the operation."""
        data = {}
        for field in selection.fields:
            (value,) = await self._column(field, [self.root_value], Top())
            if value.__class__ is Failure:
                return value
            data[field.key] = value
        return data

    async def select(self, selection: Selection, rows: Sequence[Any], places: Places) -> list[Any]:
        """The dicts of a selection for these rows, or failures."""
        if rows and rows[0].__class__ is self.plan.written:  # who made one made all of them
            return list(rows)
        objects = _built(selection, rows) if selection.inline else None
        fields = selection.fields if objects is None else selection.others
        if len(fields) == 1:
            columns = [await self._column(fields[0], rows, places)]
        else:
            columns = await self.steps.together([self._column(field, rows, places) for field in fields])
        if objects is None:
            objects = _from_columns(fields, columns, len(rows))
        else:
            for field, column in zip(fields, columns, strict=True):
                key = field.key
                for object_, value in zip(objects, column, strict=True):
                    object_[key] = value
        return _with_failures(objects, columns) if self.failed else objects

    async def _column(self, field: Field, rows: Sequence[Any], places: Places) -> list[Any]:
        """The completed values of a field, one per row."""
        at = _FieldOfRows(self, field, places)
        try:
            arguments = self._arguments(field)
            hint = field.hint
            if hint.__class__ is Relation:
                values = await self._related(field, hint.batch, rows, arguments)
            elif hint.__class__ is Root and len(rows) == 1:
                value = hint.function(self.context, **arguments)
                values = [await self.steps.in_earnest(value) if is_awaitable(value) else value]
            else:
                values = self._values(field, rows, at, arguments)
            completed = completed_at_once(self.plan, field.output, values)
            return await complete(self, field.output, values, at) if completed is None else completed
        except Exception as error:  # noqa: BLE001 - of arguments; or of selections nested without measure
            return await complete(self, field.output, [error] * len(rows), at)

    def _values(
        self, field: Field, rows: Sequence[Any], places: FieldPlaces, arguments: Arguments
    ) -> Sequence[Any]:
        """The values of a field, one per row; an exception where there is none."""
        match field.hint:
            case Root(function):
                values = [attempt(function, self.context, **arguments) for _ in rows]
            case Column(name):
                values = _read_all(rows, name)
            case Computed(function):
                values = [attempt(function, row) for row in rows]
            case Constant(value):
                values = [value] * len(rows)
            case Resolver(function):
                values = self._resolved(function, rows, places, arguments)
            case Default(name):
                values = [attempt(_entry, row, name) for row in rows]
                if any(map(callable, values)):
                    values = self._resolved(default_field_resolver, rows, places, arguments)
            case _:
                raise AssertionError(field.hint)
        return values

    def _resolved(
        self, resolve: Callable[..., Any], rows: Sequence[Any], places: FieldPlaces, arguments: Arguments
    ) -> list[Any]:
        return [attempt(resolve, row, places.info(index), **arguments) for index, row in enumerate(rows)]

    async def _related(
        self, field: Field, batch: Callable[..., Any], rows: Sequence[Any], arguments: Arguments
    ) -> Sequence[Any]:
        values = attempt(batch, self.context, rows, **arguments)
        if is_awaitable(values):
            (values,) = await self.steps.settle([values])
        if not isinstance(values, list | tuple | Exception):
            values = attempt(list, values)
        if isinstance(values, Exception):
            return [values] * len(rows)
        if len(values) != len(rows):
            message = f"The batch of {field.parent}.{field.name} has {len(values)} values for {len(rows)} parents."
            return [RuntimeError(message)] * len(rows)
        related: Sequence[Any] = values
        return related

    def _arguments(self, field: Field) -> Arguments:
        if field.projects and field.projection is None:
            self._project(field)
        if field.arguments is not None:
            return field.arguments
        if field.partly is not None and (given := field.partly.given(self.variables.coerced)) is not None:
            return field.partly.known | (given if field.convert is None else field.convert(given))
        arguments = get_argument_values(
            field.definition, field.nodes[0], self.variables, None, self.hide_suggestions
        )
        arguments = arguments if field.convert is None else field.convert(arguments)
        return arguments if field.projection is None else arguments | field.projection

    def _project(self, field: Field) -> None:
        """Work out `wanted`, once: it is the same in all executions, as are the arguments that it joins."""
        projection = {"wanted": wanted_of(field, self.plan.written is not None)}
        if field.arguments is not None:
            field.arguments = field.arguments | projection
        if field.partly is not None:
            field.partly = replace(field.partly, known=field.partly.known | projection)
        field.projection = projection

    def fail(self, error: Exception, places: FieldPlaces, index: int) -> Failure:
        """Note that a value of a column could not be completed."""
        self.failed = True
        return failure_at(error, places, index)

    def nulled(self, failure: Failure, position: Order) -> None:
        """Note that a failure made this position of the response null."""
        self._nulled.append(Nulled(failure.order, position, failure.error))


def _built(selection: Selection, rows: Sequence[Any]) -> list[Any] | None:
    """The dicts of a selection as generated functions make them, or None where they cannot."""
    try:
        if len(set(map(type, rows))) == 1:
            return build_of(selection, rows[0].__class__)(rows)
        return [build_of(selection, row.__class__)([row])[0] for row in rows]
    except Exception:  # noqa: BLE001 - the careful path will meet it again and tell what it is
        return None


def _from_columns(fields: list[Field], columns: list[list[Any]], count: int) -> list[Any]:
    """The dicts of a selection that has nothing for generated functions, or whose rows are unusual."""
    if len(fields) == 1:
        key = fields[0].key
        return [{key: value} for value in columns[0]]
    if not fields:
        return [{} for _ in range(count)]
    keys = [field.key for field in fields]
    return [dict(zip(keys, values, strict=True)) for values in zip(*columns, strict=True)]


def _with_failures(objects: list[Any], columns: list[list[Any]]) -> list[Any]:
    """Replace objects with a field that failed by that failure, the first where there are several."""
    for column in reversed(columns):
        for index, value in enumerate(column):
            if value.__class__ is Failure:
                objects[index] = value
    return objects


def _read_all(rows: Sequence[Any], name: str) -> list[Any]:
    by_key = {is_record(cls) for cls in set(map(type, rows))}
    try:
        if by_key == {True}:
            return [row[name] for row in rows]
        if by_key == {False}:
            return [*map(getattr, rows, repeat(name))]
        return [_read(row, name) for row in rows]
    except Exception:  # noqa: BLE001 - each row has an error of its own
        return [attempt(_read, row, name) for row in rows]


def _read(row: Any, name: str) -> Any:
    return row[name] if is_record(row.__class__) else getattr(row, name)


def _entry(row: Any, name: str) -> Any:
    return row.get(name) if is_mapping(row.__class__) else getattr(row, name, None)


class _FieldOfRows:
    """The places of a field's values, one per row."""

    __slots__ = ("_infos", "_rows", "_run", "field")

    def __init__(self, run: Run, field: Field, rows: Places) -> None:
        self.field = field
        self._run = run
        self._rows = rows
        self._infos: dict[int, GraphQLResolveInfo[Any]] | None = None

    def path(self, index: int) -> Path:
        return Path(self._rows.path(index), self.field.key, self.field.parent.name)

    def order(self, index: int) -> Order:
        return (*self._rows.order(index), self.field.index)

    def info(self, index: int) -> GraphQLResolveInfo[Any]:
        if self._infos is None:
            self._infos = {}
        info = self._infos.get(index)
        if info is None:
            info = self._infos[index] = self._new_info(index)
        return info

    def _new_info(self, index: int) -> GraphQLResolveInfo[Any]:
        run, field, operation = self._run, self.field, self._run.plan.operation
        return GraphQLResolveInfo(
            field.name,
            field.nodes,
            field.definition.type,
            field.parent,
            self.path(index),
            operation.schema,
            operation.definitions,
            run.root_value,
            operation.node,
            run.variables,
            run.context,
            is_awaitable,
            None,
            HELPERS,
        )
