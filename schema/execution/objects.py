"""Completion of objects: which type each value has, and on to what is selected of that type."""

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError, GraphQLObjectType, default_type_resolver, is_object_type
from graphql.pyutils import inspect, is_awaitable

from .failures import Failure
from .hints import Trusted, hint_of
from .places import FieldPlaces, Picked
from .plan import Objects, Selection

if TYPE_CHECKING:
    from .run import Run


def complete_objects(
    run: "Run", objects: Objects, values: Sequence[Any], places: FieldPlaces
) -> Coroutine[Any, Any, list[Any]]:
    """Execute what is selected of values of an object type, interface or union."""
    if isinstance(objects.type, GraphQLObjectType):
        return _of_type(run, objects, objects.type, values, places)
    return _of_any_type(run, objects, values, places)


async def _of_any_type(run: "Run", objects: Objects, values: Sequence[Any], places: FieldPlaces) -> list[Any]:
    types = await _types(run, objects, values, places)
    groups: dict[GraphQLObjectType, list[int]] = {}
    completed: list[Any] = list(types)  # where there is no type there is a failure
    for index, type_ in enumerate(types):
        if type_.__class__ is not Failure:
            groups.setdefault(type_, []).append(index)
    results = await run.steps.together([
        _of_type(run, objects, type_, [values[index] for index in indexes], Picked(indexes, places))
        for type_, indexes in groups.items()
    ])  # fmt: skip
    for indexes, group in zip(groups.values(), results, strict=True):
        for index, result in zip(indexes, group, strict=True):
            completed[index] = result
    return completed


def _of_type(
    run: "Run", objects: Objects, type_: GraphQLObjectType, values: Sequence[Any], places: FieldPlaces
) -> Coroutine[Any, Any, list[Any]]:
    selection = objects.of(type_)
    if type_.is_type_of is None or isinstance(hint_of(type_.extensions), Trusted):
        return run.select(selection, values, places)
    return _of_tested_type(run, selection, type_, values, places)


async def _of_tested_type(
    run: "Run", selection: Selection, type_: GraphQLObjectType, values: Sequence[Any], places: FieldPlaces
) -> list[Any]:
    is_type_of = type_.is_type_of
    assert is_type_of is not None
    verdicts = await _each(run, is_type_of, values, places)
    completed: list[Any] = [
        verdict
        if verdict.__class__ is Failure
        else run.fail(_unexpected(type_, value, places), places, index)
        if not verdict
        else None
        for index, (verdict, value) in enumerate(zip(verdicts, values, strict=True))
    ]
    indexes = [index for index, failure in enumerate(completed) if failure is None]
    if indexes:
        rows = [values[index] for index in indexes]
        results = await run.select(selection, rows, Picked(indexes, places))
        for index, result in zip(indexes, results, strict=True):
            completed[index] = result
    return completed


def _unexpected(type_: GraphQLObjectType, value: Any, places: FieldPlaces) -> GraphQLError:
    return GraphQLError(f"Expected value of type '{type_}' but got: {inspect(value)}.", places.field.nodes)


async def _types(run: "Run", objects: Objects, values: Sequence[Any], places: FieldPlaces) -> list[Any]:
    """The object type of each value, or its failure."""
    if objects.type_name is not None:
        type_name = objects.type_name
        names = await _each(run, lambda value, _info: type_name(value), values, places, informed=False)
    else:
        resolve = objects.resolve_type or default_type_resolver
        abstract: Any = objects.type
        names = await _each(run, lambda value, info: resolve(value, info, abstract), values, places)
    known: dict[str, GraphQLObjectType] = {}
    types = []
    for index, name in enumerate(names):
        type_: Any = name if name.__class__ is Failure else known.get(name) if name.__class__ is str else None
        if type_ is None:
            try:
                type_ = known[name] = _object_type(run, objects, name, values[index], places)
            except GraphQLError as error:
                type_ = run.fail(error, places, index)
        types.append(type_)
    return types


async def _each(
    run: "Run",
    function: Callable[[Any, Any], Any],
    values: Sequence[Any],
    places: FieldPlaces,
    informed: bool = True,
) -> list[Any]:
    """Ask a function, synchronous or not, about each value; its answers, or failures."""
    answers: list[Any] = []
    for index, value in enumerate(values):
        try:
            answers.append(function(value, places.info(index) if informed else None))
        except Exception as error:  # noqa: BLE001 - it is the field's error
            answers.append(run.fail(error, places, index))
    waiting = [index for index, answer in enumerate(answers) if is_awaitable(answer)]
    if waiting:
        results = await run.steps.settle([answers[index] for index in waiting])
        for index, result in zip(waiting, results, strict=True):
            failed = isinstance(result, Exception)
            answers[index] = run.fail(result, places, index) if failed else result
    return answers


def _object_type(run: "Run", objects: Objects, name: Any, value: Any, places: FieldPlaces) -> GraphQLObjectType:
    """The object type of this name, or the error that graphql-core has for it."""
    abstract, field = objects.type, places.field
    assert not isinstance(abstract, GraphQLObjectType)
    schema = run.plan.operation.schema
    must = f"Abstract type '{abstract}' must resolve to an Object type at runtime"
    if name is None:
        message = (
            f"{must} for field '{field.parent}.{field.name}'. Either the '{abstract}' type should provide"
            " a 'resolve_type' function or each possible type should provide an 'is_type_of' function."
        )
    elif not isinstance(name, str):
        message = (
            f"{must} for field '{field.parent}.{field.name}' with value {inspect(value)},"
            f" received '{inspect(name)}', which is not a valid Object type name."
        )
    elif (type_ := schema.get_type(name)) is None:
        message = (
            f"Abstract type '{abstract}' was resolved to a type '{name}' that does not exist inside the schema."
        )
    elif not is_object_type(type_):
        message = f"Abstract type '{abstract}' was resolved to a non-object type '{name}'."
    elif not schema.is_sub_type(abstract, type_):
        message = f"Runtime Object type '{type_}' is not a possible type for '{abstract}'."
    else:
        return type_
    raise GraphQLError(message, field.nodes)
