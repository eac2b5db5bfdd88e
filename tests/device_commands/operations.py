"""The operations on commands as these tests send them."""

from typing import Any

from tests.support.api import Api, TestDevice

FIELDS = """id type name arguments status createdAt expiresAt deliveredAt deliveries finishedAt message
  senderKind senderId device { id }"""
SEND = f"""mutation ($device: ID!, $command: NewDeviceCommand!) {{
  sendDeviceCommand(deviceId: $device, command: $command) {{ {FIELDS} }}
}}"""
SEND_MANY = f"""mutation ($ids: [ID!], $labels: [String!], $client: ID, $command: NewDeviceCommand!) {{
  sendDeviceCommands(deviceIds: $ids, labels: $labels, clientId: $client, command: $command) {{
    queued results {{ deviceId code message command {{ {FIELDS} }} }}
  }}
}}"""
CANCEL = f"mutation ($id: ID!) {{ cancelDeviceCommand(id: $id) {{ {FIELDS} }} }}"
COMMAND = f"query ($id: ID!) {{ deviceCommand(id: $id) {{ {FIELDS} }} }}"
COMMANDS = """query ($id: ID!, $filter: DeviceCommandFilter, $first: Int! = 20, $after: String) {
  device(id: $id) { commands(filter: $filter, first: $first, after: $after) {
    nodes { id name status } totalCount pageInfo { hasNextPage endCursor }
  } }
}"""
RESTART = {"type": "RESTART"}


async def send(api: Api, device: TestDevice, **command: Any) -> dict[str, Any]:
    """A command that must be taken; a restart unless said otherwise."""
    made: dict[str, Any] = (await api.run(SEND, device=device.id, command={**RESTART, **command}))[
        "sendDeviceCommand"
    ]
    return made


async def command_now(api: Api, command_id: str) -> dict[str, Any]:
    command: dict[str, Any] = (await api.run(COMMAND, id=command_id))["deviceCommand"]
    return command


async def commands_of(api: Api, device: TestDevice, **variables: Any) -> dict[str, Any]:
    """A page of the device's commands."""
    page: dict[str, Any] = (await api.run(COMMANDS, id=device.id, **variables))["device"]["commands"]
    return page


async def wake(device: TestDevice, **said: Any) -> dict[str, Any]:
    """What the device is to do next."""
    answer = await device.heartbeat(json=said)
    assert answer.status_code == 200, answer.text
    following: dict[str, Any] = answer.json()["next"]
    return following
