"""The audit log: who changed what, before and after, and nothing that a device merely reported."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.api import Api, Organisation
from tests.support.log import eventually, logged
from tests.support.people import Person

AUDIT = (
    "query ($filter: AuditFilter, $first: Int, $after: String) "
    "{ auditLog(filter: $filter, first: $first, after: $after) { totalCount pageInfo { hasNextPage endCursor } "
    "nodes { action subjectKind subjectId clientId before after details correlationId occurredAt cursor "
    "actor { kind id name } } } }"
)
_UPDATE = "mutation ($id: ID!, $changes: DeviceChanges!) { updateDevice(id: $id, changes: $changes) { id } }"
_WHO = "{ viewer { user { id email } } }"


async def _entries(api: Api, count: int, **filter: Any) -> list[dict[str, Any]]:
    """So many entries as soon as they are there, the newest first: the relay records them a moment later."""
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        found[:] = (await api.run(AUDIT, filter=filter))["auditLog"]["nodes"]
        return len(found) >= count

    await eventually(there, what=f"{count} entries of the audit log")
    assert len(found) == count
    return found


async def test_an_update_tells_who_and_before_and_after(org: Organisation) -> None:
    device = await org.device(name="Left")
    headers = {"X-Request-ID": f"audit-{device.key}"}
    await org.operator.run(_UPDATE, id=device.id, changes={"name": "Right"}, headers=headers)
    updated, registered = await _entries(org.operator, 2, subjectIds=[device.id])
    who = (await org.operator.run(_WHO))["viewer"]["user"]

    assert updated["action"] == "device.updated"
    assert (updated["before"], updated["after"]) == ({"name": "Left"}, {"name": "Right"})
    assert updated["actor"] == {"kind": "USER", "id": who["id"], "name": who["email"]}
    assert updated["correlationId"] == headers["X-Request-ID"]
    assert updated["clientId"] == org.id
    assert updated["subjectKind"] == "DEVICE"
    assert registered["before"] is None
    assert registered["after"]["name"] == "Left"


async def test_what_a_device_reports_is_no_change_whoever_sends_it(org: Organisation) -> None:
    device = await org.device()
    made = await org.operator.run("mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }", id=org.id)
    by_client = org.operator.with_token(made["regenerateClientToken"]["token"])
    assert (await device.heartbeat()).status_code == 200
    answer = await by_client.http.post(f"/v1/devices/{device.key}/heartbeat", headers=by_client.headers)
    assert answer.status_code == 200
    await by_client.run(_UPDATE, id=device.id, changes={"name": "By a program"})

    newest, registered = await _entries(org.operator, 2, subjectIds=[device.id])
    assert newest["actor"] == {"kind": "CLIENT", "id": org.id, "name": org.name}
    assert registered["action"] == "device.registered"
    reports = await logged(org.viewer, 2, types=["device.checked_in"], subjectIds=[device.id])
    assert {(event["actorKind"], event["actorId"]) for event in reports} == {("DEVICE", device.id)}
    by = [event["data"].get("reportedBy") for event in reports]
    assert by == [None, {"kind": "CLIENT", "id": org.id}]


async def test_users_and_clients_carry_before_and_after(org: Organisation) -> None:
    admin, person = org.admin, await Person.made(org.admin, "VIEWER", org.id)
    await admin.run(
        "mutation ($id: ID!) { setUserRole(id: $id, role: OPERATOR) { id } }",
        id=person.id,
    )
    await admin.run("mutation ($id: ID!) { deleteUser(id: $id) { id } }", id=person.id)
    deleted, changed, created = await _entries(admin, 3, subjectIds=[person.id], actionPrefix="user.")
    viewer, operator = ({"role": role, "clientId": org.id} for role in ("VIEWER", "OPERATOR"))
    assert (created["before"], created["after"]) == (None, viewer)
    assert (changed["before"], changed["after"]) == (viewer, operator)
    assert (deleted["before"], deleted["after"]) == (operator, None)

    (made,) = await _entries(admin, 1, subjectIds=[org.id], actionPrefix="client.created")
    assert (made["before"], made["after"]) == (None, {"name": org.name})


async def test_an_operator_sees_its_client_only_and_no_admins_address(
    org: Organisation, other_org: Organisation
) -> None:
    theirs = await other_org.device()
    await _entries(other_org.operator, 1, subjectIds=[theirs.id])
    mine = await _entries(org.operator, 0, subjectIds=[theirs.id])
    assert mine == []
    assert await _entries(org.operator, 0, clientId=other_org.id) == []
    (created,) = await _entries(org.operator, 1, actionPrefix="client.created")
    assert created["actor"]["kind"] == "USER"
    assert created["actor"]["name"] is None
    (same,) = await _entries(org.admin, 1, actionPrefix="client.created", clientId=org.id)
    assert same["actor"]["name"] == "admin@example.com"
    assert await org.viewer.code(AUDIT) == "FORBIDDEN"


async def test_filters_by_actor_action_and_time(org: Organisation) -> None:
    device = await org.device()
    await org.admin.run(_UPDATE, id=device.id, changes={"name": "By the admin"})
    await _entries(org.operator, 2, subjectIds=[device.id])
    operator = (await org.operator.run(_WHO))["viewer"]["user"]["id"]
    of_device = {"subjectIds": [device.id]}
    (registered,) = await _entries(org.operator, 1, actorIds=[operator], **of_device)
    assert registered["action"] == "device.registered"
    (updated,) = await _entries(org.operator, 1, actionPrefix="device.upd", **of_device)
    assert updated["after"] == {"name": "By the admin"}
    assert await _entries(org.operator, 0, actionPrefix="evice", **of_device) == []
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert await _entries(org.operator, 0, since=later, **of_device) == []
    assert len(await _entries(org.operator, 2, until=later, subjectKind="DEVICE", **of_device)) == 2
    refused = await org.operator.refused(AUDIT, filter={"actionPrefix": "x" * 101})
    assert refused["extensions"]["details"]["argument"] == "actionPrefix"


async def test_pages_go_on_where_the_last_one_ended(org: Organisation) -> None:
    devices = [await org.device() for _ in range(3)]
    await _entries(org.operator, 3, actionPrefix="device.registered")
    filter, after, seen = {"actionPrefix": "device.registered"}, None, []
    for _ in devices:
        page = (await org.operator.run(AUDIT, filter=filter, first=1, after=after))["auditLog"]
        assert page["totalCount"] == 3
        seen.append(page["nodes"][0]["subjectId"])
        after = page["pageInfo"]["endCursor"]
    assert seen == [device.id for device in reversed(devices)]
    assert page["pageInfo"]["hasNextPage"] is False
    assert await org.operator.code(AUDIT, after="nonsense") == "BAD_USER_INPUT"
