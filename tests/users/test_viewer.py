"""`viewer`: who the server takes a caller for, for every kind of credential there is."""

import pytest

from tests.support.api import Api, Organisation
from tests.support.people import VIEWER

_REGENERATE = "mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }"
_READING = {
    "account",
    "public",
    "clients:read",
    "devices:read",
    "images:read",
    "configs:read",
    "firmware:read",
    "events:read",
    "retention:read",
}
_OPERATING = _READING | {
    "audit:read",
    *(
        "devices:write",
        "devices:report",
        "configs:content",
        "configs:write",
        "firmware:write",
        "images:write",
        "images:generate",
        "clients:token",
        "users:read",
        "retention:write",
    ),
}


async def test_an_admin_is_of_no_client_and_may_do_everything(admin: Api) -> None:
    viewer = (await admin.run(VIEWER))["viewer"]
    assert (viewer["kind"], viewer["role"], viewer["client"], viewer["device"]) == ("USER", "ADMIN", None, None)
    assert set(viewer["permissions"]) == _OPERATING | {
        "clients:write",
        "users:write",
        "platform:read",
        "platform:write",
    }
    assert viewer["user"]["email"] == "admin@example.com"


@pytest.mark.parametrize(("role", "permissions"), [("OPERATOR", _OPERATING), ("VIEWER", _READING)])
async def test_an_operator_and_a_viewer_are_of_their_client(
    org: Organisation, role: str, permissions: set[str]
) -> None:
    who = org.operator if role == "OPERATOR" else org.viewer
    viewer = (await who.run(VIEWER))["viewer"]
    assert (viewer["kind"], viewer["role"], viewer["device"]) == ("USER", role, None)
    assert viewer["client"] == {"id": org.id, "name": org.name}
    assert viewer["user"]["id"]
    assert set(viewer["permissions"]) == permissions
    assert viewer["permissions"] == sorted(viewer["permissions"])


async def test_a_client_token_is_its_client(org: Organisation) -> None:
    token = (await org.operator.run(_REGENERATE, id=org.id))["regenerateClientToken"]["token"]
    viewer = (await org.operator.with_token(token).run(VIEWER))["viewer"]
    assert viewer == {
        "kind": "CLIENT",
        "role": None,
        "permissions": sorted(_OPERATING - {"clients:token", "users:read", "audit:read", "retention:write"}),
        "user": None,
        "client": {"id": org.id, "name": org.name},
        "device": None,
    }


async def test_a_device_token_is_its_device(org: Organisation) -> None:
    device = await org.device()
    viewer = (await org.operator.with_token(device.token).run(VIEWER))["viewer"]
    assert viewer == {
        "kind": "DEVICE",
        "role": None,
        "permissions": ["account", "devices:report", "public"],
        "user": None,
        "client": {"id": org.id, "name": org.name},
        "device": {"id": device.id, "key": device.key},
    }


async def test_only_a_session_ends_by_itself(org: Organisation) -> None:
    device = await org.device()
    query = "{ viewer { expiresAt } }"
    assert (await org.viewer.run(query))["viewer"]["expiresAt"] is not None
    assert (await org.viewer.with_token(device.token).run(query))["viewer"]["expiresAt"] is None


async def test_nobody_is_unauthenticated(api: Api) -> None:
    assert await api.code(VIEWER) == "UNAUTHENTICATED"
