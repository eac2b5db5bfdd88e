"""A pytest plugin that points graphql-core's own tests at our `execute`.

They are in its source distribution, which `pip download --no-binary graphql-core --no-deps graphql-core`
gets; they need pytest-describe. In its unpacked folder, with this folder and ours on PYTHONPATH:

    python -m pytest -c /dev/null --rootdir . -o asyncio_mode=strict -p core_plugin tests/execution

Tests of what is different on purpose are expected to fail, each with its reason. How many operations plans
answered, and how many were left to graphql-core, is told at the end of the run.
"""

import inspect
import sys
from collections import Counter
from typing import Any

import graphql
import graphql.execution
import pytest
from graphql.pyutils import is_awaitable

from schema.execution import execute

_CHOICE = "of several errors for one null, the first in the document is told, not the first in time"
_NO_CANCELLING = "siblings of a failed field are awaited, not cancelled: errors do not depend on the clock"
_WHOLE_LISTS = "an iterable is read to its end before its items are completed"
_SYNC = "`execute` has no mode in which awaitables are values"

DIFFERENT = {
    "describe_nulls_a_complex_tree_of_nullable_fields_each::throws": _CHOICE + " (and sorted)",
    "nullable_and_non_nullable_root_fields_throw_nested_errors": _CHOICE,
    "slower_nullable_after_non_nullable_root_field": _CHOICE,
    "nullable_and_non_nullable_nested_fields_throw_nested_errors": _CHOICE,
    "slower_nullable_after_non_nullable_nested_field": _CHOICE,
    "handles_mixture_of_sync_and_async_errors_in_async_iterables": _CHOICE,
    "cancel_selection_sets": _NO_CANCELLING,
    "cancel_lists": _NO_CANCELLING,
    "cancel_async_iterators": _NO_CANCELLING,
    "stops_late_sibling_object_completion_after_non_null_bubbling": _NO_CANCELLING,
    "handles_sync_errors_combined_with_async_ones": _NO_CANCELLING,
    "handles_sync_errors_combined_with_async_ones_in_async_context": _NO_CANCELLING,
    "drains_the_iterator_when_next_throws": _WHOLE_LISTS,
    "handles_iterator_errors_with_later_pending_awaitables": _WHOLE_LISTS,
    "handles_sync_errors_with_later_pending_awaitables": _WHOLE_LISTS,
    "calls_aclose_when_non_null_list_item_errors": _WHOLE_LISTS,
    "describe_execute_sync::throws_if_encountering_async_operation_without_check_sync": _SYNC,
    "throws_if_encountering_async_iterable_execution_with_check_sync": _SYNC,
    "throws_if_encountering_async_iterable_execution_without_check_sync": _SYNC,
    "iterates_sync_and_async_iterables_synchronously_without_check_sync": _SYNC,
    "reports_async_iterables_as_errors_without_check_sync": _SYNC,
}

_counts: Counter[str] = Counter()
_core_execute = graphql.execution.execute


def _counted_core_execute(*arguments: Any, **keywords: Any) -> Any:
    _counts["left to graphql-core"] += 1
    return _core_execute(*arguments, **keywords)


def _execute(*arguments: Any, **keywords: Any) -> Any:
    _counts["all"] += 1
    return execute(*arguments, fallback=_counted_core_execute, **keywords)


def _execute_sync(
    *arguments: Any, check_sync: bool = False, subscribe_field_resolver: Any = None, **keywords: Any
) -> Any:
    """As graphql-core's, except that an awaitable is refused even when nobody asked to check."""
    result = _execute(*arguments, **keywords)
    if is_awaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise RuntimeError("GraphQL execution failed to complete synchronously.")
    return result


def pytest_configure(config: pytest.Config) -> None:
    for module in (graphql, graphql.execution, sys.modules["graphql.execution.execute"]):
        module.__dict__.update(execute=_execute, execute_sync=_execute_sync)
    harness = sys.modules["graphql.harness"]
    patched = harness.default_harness._replace(execute=_execute)
    for module in (graphql, harness, sys.modules["graphql.graphql"]):
        module.__dict__["default_harness"] = patched


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name, reason in DIFFERENT.items():
            if item.nodeid.endswith(f"::{name}"):
                waits_for_ever = name.startswith("stops_late")
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True, run=not waits_for_ever))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    answered = _counts["all"] - _counts["left to graphql-core"]
    terminalreporter.write_line(
        f"{answered} operations by plans, {_counts['left to graphql-core']} left to graphql-core"
    )
