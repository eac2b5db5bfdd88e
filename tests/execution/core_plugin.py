"""A pytest plugin that points graphql-core's own tests at our `execute`: `pytest -p tests.execution.core_plugin`.

How many operations plans answered, and how many were left to graphql-core, is told at the end of the run.
"""

import inspect
import sys
from collections import Counter
from typing import Any

import graphql
import graphql.execution
import pytest
from graphql.pyutils import is_awaitable

import schema.execution.entry as ours

_counts: Counter[str] = Counter()
_core_execute = graphql.execution.execute


def _counted_core_execute(*arguments: Any, **keywords: Any) -> Any:
    _counts["left to graphql-core"] += 1
    return _core_execute(*arguments, **keywords)


def _execute(*arguments: Any, **keywords: Any) -> Any:
    _counts["all"] += 1
    return ours.execute(*arguments, **keywords)


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
    ours.__dict__["core_execute"] = _counted_core_execute
    for module in (graphql, graphql.execution, sys.modules["graphql.execution.execute"]):
        module.__dict__.update(execute=_execute, execute_sync=_execute_sync)
    harness = sys.modules["graphql.harness"]
    patched = harness.default_harness._replace(execute=_execute)
    for module in (graphql, harness, sys.modules["graphql.graphql"]):
        module.__dict__["default_harness"] = patched


def pytest_terminal_summary(terminalreporter: Any) -> None:
    answered = _counts["all"] - _counts["left to graphql-core"]
    terminalreporter.write_line(
        f"{answered} operations by plans, {_counts['left to graphql-core']} left to graphql-core"
    )
