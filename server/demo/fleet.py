"""The demonstration's own client and devices on the server: made on the first run, found again on later ones."""

import asyncio
from typing import Any

from server.demo.camera import Camera
from server.demo.client import DemoError, GraphQLError, Server

CLIENT = "Demo pantry"
WAKE_INTERVAL = 10  # seconds, the least that the server takes
_QUICKEST = 4.0
_AT_ONCE = 4

_CLIENTS = """query DemoClients($after: String) {
  clients(first: 100, after: $after) { nodes { id name } pageInfo { hasNextPage endCursor } }
}"""
_CREATE = "mutation DemoClient($name: String!) { createClient(name: $name) { id } }"
_DEVICE = "query DemoDevice($key: String!, $client: ID!) { device(key: $key, clientId: $client) { id } }"
_TEMPLATE = """mutation DemoTemplate($client: ID!, $content: JSON!) {
  saveConfigTemplate(name: "demo camera", content: $content, clientId: $client) { id }
}"""
_CONFIG = """mutation DemoConfig($client: ID!, $mac: MacAddress!, $content: JSON!) {
  saveConfig(mac: $mac, content: $content, clientId: $client, extends: "demo camera") { id }
}"""
_REGISTER = "mutation RegisterDemoDevice($device: NewDevice!) { made: registerDevice(device: $device) { token } }"
_ROTATE = """mutation ReuseDemoDevice($id: ID!, $changes: DeviceChanges!) {
  updateDevice(id: $id, changes: $changes) { id }
  made: rotateDeviceToken(id: $id) { token }
}"""


async def muster(server: Server, count: int) -> list[Camera]:
    """So many cameras, registered, each with a new token. Raises DemoError."""
    try:
        client_id = await _client(server)
        await server.run(_TEMPLATE, client=client_id, content={"enableOTA": True, "camera": {"quality": 12}})
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int) -> Camera:
            key = f"demo-cam-{number:03}"
            async with gate:
                token = await _token(server, client_id, key, number)
            return Camera.made(key, token, pace(count))

        return list(await asyncio.gather(*(one(number) for number in range(1, count + 1))))
    except GraphQLError as error:
        raise DemoError(f"The demonstration's devices could not be registered: {error}") from None


def pace(devices: int) -> float:
    """How much faster than told cameras wake: few often, so that a person sees something; many as they are told."""
    return min(_QUICKEST, max(1.0, 40 / devices))


async def _client(server: Server) -> str:
    after: str | None = None
    while True:
        page = (await server.run(_CLIENTS, after=after))["clients"]
        for client in page["nodes"]:
            if client["name"] == CLIENT:
                return str(client["id"])
        if not page["pageInfo"]["hasNextPage"]:
            return str((await server.run(_CREATE, name=CLIENT))["createClient"]["id"])
        after = page["pageInfo"]["endCursor"]


async def _token(server: Server, client_id: str, key: str, number: int) -> str:
    found = (await server.run(_DEVICE, key=key, client=client_id))["device"]
    answer: dict[str, Any]
    settings = {"wakeIntervalSeconds": WAKE_INTERVAL, "mac": f"02-00-00-00-{number >> 8:02x}-{number & 255:02x}"}
    name = f"Shelf {number}"
    await server.run(_CONFIG, client=client_id, mac=settings["mac"], content={"deviceName": name})
    if found is None:
        device = {"key": key, "name": name, "clientId": client_id, "labels": ["demo"], **settings}
        answer = await server.run(_REGISTER, device=device)
    else:
        answer = await server.run(_ROTATE, id=found["id"], changes={"enabled": True, **settings})
    return str(answer["made"]["token"])
