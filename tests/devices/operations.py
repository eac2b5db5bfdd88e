"""The operations on devices as these tests send them, and how a list is walked."""

from typing import Any

from tests.support.api import Api

REGISTER = """mutation ($device: NewDevice!) { registerDevice(device: $device) { token device {
  id key name enabled wakeIntervalSeconds token { prefix createdAt } client { id }
} } }"""
UPDATE = """mutation ($id: ID!, $changes: DeviceChanges!) { updateDevice(id: $id, changes: $changes) {
  id name enabled wakeIntervalSeconds createdAt updatedAt
} }"""
ROTATE = "mutation ($id: ID!) { rotateDeviceToken(id: $id) { token device { id token { prefix } } } }"
DEREGISTER = "mutation ($id: ID!) { deregisterDevice(id: $id) { id } }"
DEVICE = """query ($id: ID, $key: String, $client: ID) { device(id: $id, key: $key, clientId: $client) {
  id key name enabled status wakeIntervalSeconds createdAt updatedAt deregisteredAt lastSeenAt
  batteryV batteryPct rssi firmware totalCaptures failedUploads token { prefix }
} }"""
DEVICES = """query ($filter: DeviceFilter, $order: DeviceOrder! = KEY_ASC, $first: Int! = 20, $after: String) {
  devices(filter: $filter, order: $order, first: $first, after: $after) {
    nodes { key } edges { cursor node { key } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount
  }
}"""


async def device_now(api: Api, device_id: str) -> dict[str, Any]:
    """The device by its id."""
    device: dict[str, Any] = (await api.run(DEVICE, id=device_id))["device"]
    return device


async def keys(api: Api, **variables: Any) -> list[str]:
    """The keys on one page of the list."""
    return [node["key"] for node in (await api.run(DEVICES, **variables))["devices"]["nodes"]]
