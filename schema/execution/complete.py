"""Completion: from the values of a field, over all parents at once, to what the response holds.

Values of a column are completed together. The set of their classes tells whether there is anything among
them that is to be treated one by one: nulls, errors, awaitables. Types are unwrapped from the outside:
lists of a column are flattened into one column of items, whose completed values are cut into lists again;
objects are handed to the runtime, which executes what is selected of them.

Every position of the result holds a completed value, null where that is allowed, or a `Failure`.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError, Undefined
from graphql.pyutils import is_awaitable, is_iterable

from .classes import is_particular
from .failures import Failure
from .generate import build_of
from .leaves import Leaf
from .objects import complete_objects
from .places import FieldPlaces, Items, Picked
from .plan import Output, Plan

if TYPE_CHECKING:
    from .run import Run

_NULL = {type(None)}
_GAPS = {*_NULL, Failure}
_LISTS = {list, tuple}


async def complete(run: "Run", output: Output, values: Sequence[Any], places: FieldPlaces) -> list[Any]:
    """Complete a column of values of this type."""
    classes = set(map(type, values))
    if any(map(is_particular, classes)):
        values = await settled(run, values, places)
        classes = set(map(type, values))
    if classes.isdisjoint(_GAPS):
        completed = await _present(run, output, values, classes, places)
    else:
        completed = await _with_gaps(run, output, values, places)
    if output.nullable and run.failed:
        for index, value in enumerate(completed):
            if value.__class__ is Failure:
                run.nulled(value, places.order(index))
                completed[index] = None
    return completed


def completed_at_once(plan: Plan, output: Output, values: Sequence[Any]) -> list[Any] | None:
    """`complete` for what most columns are: leaves that are written as they are, objects of which nothing but
    columns is selected, and lists of these. None where anything asks for a closer look.
    """
    if not values:
        return []
    classes = set(map(type, values))
    if output.leaf is not None:
        untouched = classes - _NULL if output.nullable else classes
        return list(values) if untouched <= output.leaf.untouched else None
    if len(classes) != 1:
        return None
    if classes == _NULL:
        return list(values) if output.nullable else None
    at_once = _objects_at_once if output.item is None else _lists_at_once
    return at_once(plan, output, values, *classes)


def _lists_at_once(plan: Plan, output: Output, values: Sequence[Any], cls: type) -> list[Any] | None:
    assert output.item is not None
    if cls not in _LISTS:
        return None
    flat = values[0] if len(values) == 1 else [*chain.from_iterable(values)]
    items = completed_at_once(plan, output.item, flat)
    return None if items is None else _cut(items, values)


def _objects_at_once(plan: Plan, output: Output, values: Sequence[Any], cls: type) -> list[Any] | None:
    assert output.objects is not None
    selection = output.objects.columns
    if selection is None or cls is Failure or is_particular(cls):
        return None
    if cls is plan.written:
        return list(values)
    try:
        return build_of(selection, cls)(values)
    except Exception:  # noqa: BLE001 - the careful path will meet it again and tell what it is
        return None


async def settled(run: "Run", values: Sequence[Any], places: FieldPlaces) -> list[Any]:
    """Await what is awaitable; turn exceptions into failures and `Undefined` into null."""
    settled = list(values)
    waiting = [index for index, value in enumerate(settled) if is_awaitable(value)]
    if waiting:
        results = await run.steps.settle([settled[index] for index in waiting])
        for index, result in zip(waiting, results, strict=True):
            settled[index] = result
    for index, value in enumerate(settled):
        if isinstance(value, Exception):
            settled[index] = run.fail(value, places, index)
        elif value is Undefined:
            settled[index] = None
    return settled


async def _with_gaps(run: "Run", output: Output, values: Sequence[Any], places: FieldPlaces) -> list[Any]:
    """Complete the values that are neither null nor failures, and leave those where they are."""
    completed = list(values)
    indexes = [i for i, value in enumerate(values) if not (value is None or value.__class__ is Failure)]
    if indexes:
        present = [values[i] for i in indexes]
        classes = set(map(type, present))
        results = await _present(run, output, present, classes, Picked(indexes, places))
        for index, result in zip(indexes, results, strict=True):
            completed[index] = result
    if not output.nullable:
        field = places.field
        for index, value in enumerate(values):
            if value is None:
                message = f"Cannot return null for non-nullable field {field.parent}.{field.name}."
                completed[index] = run.fail(TypeError(message), places, index)
    return completed


def _present(
    run: "Run", output: Output, values: Sequence[Any], classes: set[type], places: FieldPlaces
) -> Coroutine[Any, Any, list[Any]]:
    """Complete values that are neither null nor failures."""
    if output.item is not None:
        return _lists(run, output.item, values, classes, places)
    if output.leaf is not None:
        return _leaves(run, output.leaf, values, classes, places)
    assert output.objects is not None
    return complete_objects(run, output.objects, values, places)


async def _leaves(
    run: "Run", leaf: Leaf, values: Sequence[Any], classes: set[type], places: FieldPlaces
) -> list[Any]:
    if classes <= leaf.untouched:
        return list(values)
    try:
        return [*map(leaf.exact, values)]
    except Exception:  # noqa: BLE001 - each value has an error of its own
        results = [attempt(leaf.exact, value) for value in values]
        return [
            run.fail(result, places, index) if isinstance(result, Exception) else result
            for index, result in enumerate(results)
        ]


def attempt(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """What a function returns, or the exception that it raises."""
    try:
        return function(*arguments, **keywords)
    except Exception as error:  # noqa: BLE001 - it is the field's error
        return error


async def _lists(
    run: "Run", item: Output, values: Sequence[Any], classes: set[type], places: FieldPlaces
) -> list[Any]:
    failures: dict[int, Failure] = {}
    if not classes <= _LISTS:
        values, failures = await _iterated(run, values, places)
    flat = list(chain.from_iterable(values))
    items = await complete(run, item, flat, Items(values, places)) if flat else []
    lists = _cut(items, values)
    if run.failed:
        for index, completed in enumerate(lists):
            lists[index] = next((value for value in completed if value.__class__ is Failure), completed)
        for index, failure in failures.items():
            lists[index] = failure
    return lists


def _cut(items: list[Any], lists: Sequence[Sequence[Any]]) -> list[Any]:
    """The items as lists again, each as long as it was."""
    ends = accumulate(map(len, lists), initial=0)
    return [items[start:end] for start, end in pairwise(ends)]


async def _iterated(
    run: "Run", values: Sequence[Any], places: FieldPlaces
) -> tuple[list[Sequence[Any]], dict[int, Failure]]:
    """Make lists of whatever can be iterated; an empty one and a failure where that is impossible."""
    lists = [attempt(_as_list, value, places) for value in values]
    waiting = [index for index, value in enumerate(lists) if is_awaitable(value)]
    if waiting:
        results = await run.steps.settle([lists[index] for index in waiting])
        for index, result in zip(waiting, results, strict=True):
            lists[index] = result
    failures = {}
    for index, value in enumerate(lists):
        if isinstance(value, Exception):
            failures[index] = run.fail(value, places, index)
            lists[index] = ()
    return lists, failures


def _as_list(value: Iterable[Any], places: FieldPlaces) -> list[Any] | Awaitable[list[Any]]:
    if hasattr(value, "__aiter__"):
        return _collected(value)
    if not is_iterable(value):
        field = places.field
        raise GraphQLError(f"Expected Iterable, but did not find one for field '{field.parent}.{field.name}'.")
    return list(value)


async def _collected(values: Any) -> list[Any]:
    return [value async for value in values]
