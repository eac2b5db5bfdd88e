"""Every operation declares what its caller needs, and the running server holds every caller to it."""

import pytest

from domain.users.principals import Permission
from tests.contract.documents import Operation, operations
from tests.support.api import Api, Organisation
from tests.support.live import event_stream

_REGENERATE = "mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }"
_PUBLIC = {"mutation login", "mutation refreshSession"}


async def _code(api: Api, operation: Operation) -> str:
    """The code with which an operation is refused, by the protocol that it is for."""
    if operation.kind != "subscription":
        return await api.code(operation.document)
    async with event_stream(api, operation.document) as events:
        event, data = await anext(events)
    assert event == "next"
    return str(data["errors"][0]["extensions"]["code"])


def test_every_operation_declares_a_permission() -> None:
    assert len(operations()) > 20
    assert [str(operation) for operation in operations() if operation.permission is None] == []


def test_only_signing_in_is_public() -> None:
    public = {str(operation) for operation in operations() if operation.permission is Permission.PUBLIC}
    assert public == _PUBLIC


def test_every_permission_is_demanded_somewhere() -> None:
    demanded = {operation.permission for operation in operations()}
    assert set(Permission) - demanded == {Permission.DEVICES_REPORT}  # the device routes demand that one


@pytest.mark.parametrize("operation", [one for one in operations() if str(one) not in _PUBLIC], ids=str)
async def test_nobody_gets_in(api: Api, operation: Operation) -> None:
    assert await _code(api, operation) == "UNAUTHENTICATED"


@pytest.mark.parametrize("caller", ["operator", "viewer", "client token", "device token"])
async def test_whoever_lacks_the_permission_is_refused(org: Organisation, caller: str) -> None:
    api = await _caller(org, caller)
    granted = (await api.run("{ viewer { permissions } }"))["viewer"]["permissions"]
    lacking = [operation for operation in operations() if operation.permission not in granted]
    assert len(lacking) > 2
    assert {str(operation): await _code(api, operation) for operation in lacking} == {
        str(operation): "FORBIDDEN" for operation in lacking
    }


async def _caller(org: Organisation, caller: str) -> Api:
    if caller == "operator":
        return org.operator
    if caller == "viewer":
        return org.viewer
    if caller == "device token":
        return org.operator.with_token((await org.device()).token)
    made = await org.operator.run(_REGENERATE, id=org.id)
    return org.operator.with_token(made["regenerateClientToken"]["token"])
