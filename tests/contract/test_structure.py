"""Rules of the code that no single feature's test would notice being broken."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

from graphql import GraphQLEnumType, GraphQLInputObjectType

import domain
import domain.audit.queries
import domain.configs.queries
import domain.device_commands.queries
import domain.devices.queries
import domain.events.queries
import domain.firmware.queries
import domain.generation.queries
import domain.images.filters
import domain.images.queries
from schema import relation
from tests.contract.documents import graphql_schema

_DATA_ACCESS = {
    *("queries", "commands", "jobs", "bulk", "wakes", "exchange", "uploads", "rollouts", "log", "sessions"),
    *("templates", "rules", "history", "arrivals", "variants", "settings", "scenes", "sweeps", "repair", "backups"),
    *("runs", "cleanups", "logs", "images"),
}
_ACTS_WITHOUT_A_SCOPE = {
    "domain.idempotency.commands.expire_keys": "forgets old keys of every caller; keys belong to callers",
    "domain.users.sessions.check_password": "works on a credential: whose it is, is what it finds out",
    "domain.users.sessions.start_session": "works on a user whose password was just checked",
    "domain.users.sessions.refresh_session": "works on a credential: whose it is, is what it finds out",
    "domain.users.sessions.delete_ended_sessions": "forgets old sessions of every user",
}
_ORDERS = {
    "DeviceOrder": domain.devices.queries.ORDERS,
    "ConfigOrder": domain.configs.queries.ORDERS,
    "ImageOrder": domain.images.queries.ORDERS,
}
_FILTERS = {
    "DeviceCommandFilter": domain.device_commands.queries._CONDITIONS,
    "DeviceFilter": domain.devices.queries._CONDITIONS,
    "FirmwareFilter": domain.firmware.queries.FIRMWARE_CONDITIONS,
    "RolloutFilter": domain.firmware.queries.ROLLOUT_CONDITIONS,
    "ConfigFilter": domain.configs.queries._CONDITIONS,
    "ImageFilter": domain.images.filters.FILTERS,
    "ImageGenerationFilter": domain.generation.queries._CONDITIONS,
    "EventFilter": domain.events.queries._CONDITIONS,
    "AuditFilter": domain.audit.queries._CONDITIONS,
}


def _functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public functions of the modules of the domain that reach data."""
    for found in pkgutil.walk_packages(domain.__path__, "domain."):
        if found.name.rpartition(".")[2] in _DATA_ACCESS and not found.name.startswith("domain.kit"):
            module = importlib.import_module(found.name)
            for name, function in vars(module).items():
                own = inspect.isfunction(function) and function.__module__ == found.name
                if own and not name.startswith("_"):
                    yield f"{found.name}.{name}", function


def _reaches_data(function: Callable[..., Any]) -> bool:
    """Whether it is given something that runs SQL, or may fetch it for itself."""
    parameters = inspect.signature(function).parameters
    return inspect.iscoroutinefunction(function) or bool({"db", "tx", "database"} & parameters.keys())


def test_every_function_that_reaches_data_takes_a_scope_first() -> None:
    reaching = {name: function for name, function in _functions() if _reaches_data(function)}
    assert len(reaching) > 30
    without = {
        name
        for name, function in reaching.items()
        if "scope" not in list(inspect.signature(function).parameters)[:2]
    }
    assert without == set(_ACTS_WITHOUT_A_SCOPE)


def test_a_scope_has_no_default() -> None:
    defaulted = [
        name
        for name, function in _functions()
        if (scope := inspect.signature(function).parameters.get("scope")) and scope.default is not scope.empty
    ]
    assert defaulted == []


def test_every_relation_has_one_batch_resolver() -> None:
    graphql_schema()
    assert len(relation._declared) > 10
    assert relation.unanswered() == set()
    assert relation._answers.keys() == relation._declared  # and none that answers what is not declared


def test_every_order_that_the_schema_offers_is_one_that_the_domain_has() -> None:
    offered = {
        name: set(type_.values)
        for name, type_ in graphql_schema().type_map.items()
        if isinstance(type_, GraphQLEnumType) and name.endswith("Order")
    }
    assert offered == {name: set(orders) for name, orders in _ORDERS.items()}


def test_every_filter_that_the_schema_offers_is_one_that_the_domain_has() -> None:
    offered = {
        name: {field.extensions["strawberry-definition"].python_name for field in type_.fields.values()}
        for name, type_ in graphql_schema().type_map.items()
        if isinstance(type_, GraphQLInputObjectType) and name.endswith("Filter")
    }
    assert offered == {name: set(conditions) - {"scope"} for name, conditions in _FILTERS.items()}


def test_every_type_in_the_schema_is_described() -> None:
    roots = {"Query", "Mutation", "Subscription"}  # their operations are described one by one
    types = {name: type_ for name, type_ in graphql_schema().type_map.items() if not name.startswith("__")}
    assert len(types) > 20
    assert {name for name, type_ in types.items() if not type_.description} - roots == set()
