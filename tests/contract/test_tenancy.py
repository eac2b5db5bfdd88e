"""What belongs to one organisation is not there for another: not by id, not in lists, not live.

The table of cases names every place of the schema that takes an id; a new place without a case fails.
"""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.configs.operations import DELETE, SCHEMA, save, save_template
from tests.contract.documents import id_arguments
from tests.device_commands.operations import send
from tests.firmware.operations import begun, uploaded
from tests.generation.operations import ended, scene
from tests.retention.operations import CLEANUP
from tests.support.api import Organisation, TestDevice
from tests.support.live import Socket
from tests.support.people import Person
from tests.support.photos import photo
from tests.support.stack import Stack

_PASSWORD = 'password: "long enough a password"'
_DEVICES = "query ($id: ID!) { devices(filter: %s) { nodes { id } edges { node { id } } totalCount } }"
_IMAGES = "query ($id: ID!) { images(filter: %s) { nodes { id } edges { node { id } } totalCount } }"
_EVENTS = "query ($id: ID!) { events(filter: %s) { nodes { id } edges { node { id } } totalCount } }"
_NESTED = "query ($id: ID!) { devices { nodes { images(filter: %s) { nodes { id } totalCount } } } }"
_SEND_MANY = """mutation ($id: ID!) { sendDeviceCommands(%s, command: {type: RESTART}) {
  queued results { deviceId code command { id } }
} }"""
_FIRMWARES = "query ($id: ID!) { firmwares(filter: %s) { nodes { id } edges { node { id } } totalCount } }"
_ROLLOUTS = "query ($id: ID!) { rollouts(filter: %s) { nodes { id } edges { node { id } } totalCount } }"
_OWN_FIRMWARE = "the caller's own firmware"
_BULK_UPDATE = """mutation ($id: ID!) { bulkUpdateDevices(%s, changes: {enabled: false}) {
  matched changed results { key error { code } }
} }"""
_BULK_DEREGISTER = """mutation ($id: ID!) { bulkDeregisterDevices(%s) {
  matched changed results { key error { code } }
} }"""
_NONE_MATCHED = {"matched": 0, "changed": 0, "results": []}
_NOT_FOUND = {"matched": 1, "changed": 0, "results": [{"key": None, "error": {"code": "NOT_FOUND"}}]}
_REFUSED = {"NOT_FOUND"}

_AUDIT = "query ($id: ID!) { auditLog(filter: %s) { nodes { id } totalCount } }"


@dataclass(frozen=True)
class _Case:
    """A document with a variable `id`, and whose id goes there: a property of `_Things`.

    `answer` is what an operator of another organisation gets: a code, None for null, [] for nothing, a set of the
    codes of all results.
    """

    thing: str
    answer: Any
    document: str


_MAC = "00-00-00-00-00-01"
_DELETED = "00-00-00-00-00-02"
_ID = "mutation ($id: ID!) "
_CONFIGS = "query ($id: ID!) { configs(filter: %s) { nodes { id } edges { node { id } } totalCount } }"
_OF_CONFIGS = {
    "Query.config.clientId": _Case(
        "client", None, f'query ($id: ID!) {{ config(mac: "{_MAC}", clientId: $id) {{ id }} }}'
    ),
    "Query.configDiff.clientId": _Case(
        "client",
        "NOT_FOUND",
        f'query ($id: ID!) {{ configDiff(mac: "{_MAC}", from: 1, to: 1, clientId: $id) {{ patch }} }}',
    ),
    "Query.configs.filter.clientId": _Case("client", [], _CONFIGS % "{clientId: $id}"),
    "Query.configs.filter.templateId": _Case("template", [], _CONFIGS % "{templateId: $id}"),
    "Query.configTemplate.id": _Case("template", None, "query ($id: ID!) { configTemplate(id: $id) { id } }"),
    "Query.configTemplate.clientId": _Case(
        "client", None, 'query ($id: ID!) { configTemplate(name: "same", clientId: $id) { id } }'
    ),
    "Query.configSchema.clientId": _Case(
        "client", None, "query ($id: ID!) { configSchema(clientId: $id) { schema } }"
    ),
    "Mutation.saveConfig.clientId": _Case(
        "client", "NOT_FOUND", f'{_ID}{{ saveConfig(mac: "{_MAC}", content: {{x: 1}}, clientId: $id) {{ id }} }}'
    ),
    "Mutation.rollbackConfig.clientId": _Case(
        "client", "NOT_FOUND", f'{_ID}{{ rollbackConfig(mac: "{_MAC}", toVersion: 1, clientId: $id) {{ id }} }}'
    ),
    "Mutation.deleteConfig.clientId": _Case(
        "client", "NOT_FOUND", f'{_ID}{{ deleteConfig(mac: "{_MAC}", clientId: $id) {{ id }} }}'
    ),
    "Mutation.restoreConfig.clientId": _Case(
        "client", "NOT_FOUND", f'{_ID}{{ restoreConfig(mac: "{_DELETED}", clientId: $id) {{ id }} }}'
    ),
    "Mutation.saveConfigTemplate.clientId": _Case(
        "client",
        "NOT_FOUND",
        f'{_ID}{{ saveConfigTemplate(name: "same", content: {{x: 1}}, clientId: $id) {{ id }} }}',
    ),
    "Mutation.deleteConfigTemplate.id": _Case(
        "spare", "NOT_FOUND", f"{_ID}{{ deleteConfigTemplate(id: $id) {{ id }} }}"
    ),
    "Mutation.setConfigSchema.clientId": _Case(
        "client",
        "NOT_FOUND",
        f"{_ID}{{ setConfigSchema(schema: {{minProperties: 0}}, clientId: $id) {{ failed }} }}",
    ),
    "Mutation.removeConfigSchema.clientId": _Case(
        "client", "NOT_FOUND", f"{_ID}{{ removeConfigSchema(clientId: $id) {{ id }} }}"
    ),
}
_SOME = {"changed": 0, "failed": 1, "results": [{"error": {"code": "NOT_FOUND"}}]}
_BULK_IMAGES = f"{_ID}{{ %s(ids: [$id]%s) {{ changed failed results {{ error {{ code }} }} }} }}"
_OF_IMAGES = {
    "Query.images.filter.similarTo.imageId": _Case(
        "image",
        {"totalCount": 0},
        "query ($id: ID!) { images(filter: {similarTo: {imageId: $id, distance: 16}}) { totalCount } }",
    ),
    "Device.images.filter.similarTo.imageId": _Case(
        "image",
        {"nodes": [{"images": {"totalCount": 0}}]},
        "query ($id: ID!) { devices { nodes { images(filter: {similarTo: {imageId: $id}}) { totalCount } } } }",
    ),
    "Query.imageSettings.clientId": _Case(
        "client", "NOT_FOUND", "query ($id: ID!) { imageSettings(clientId: $id) { previewSide } }"
    ),
    "Mutation.updateImageSettings.clientId": _Case(
        "client",
        "NOT_FOUND",
        f"{_ID}{{ updateImageSettings(changes: {{previewSide: 900}}, clientId: $id) {{ previewSide }} }}",
    ),
    **{
        f"Mutation.{name}.id": _Case("image", "NOT_FOUND", f"{_ID}{{ {name}(id: $id) {{ id }} }}")
        for name in ("featureImage", "deleteImage", "restoreImage", "recordImageUse")
    },
    **{
        f"Mutation.{name}.ids": _Case("image", _SOME, _BULK_IMAGES % (name, more))
        for name, more in (
            ("featureImages", ""),
            ("deleteImages", ""),
            ("restoreImages", ""),
            ("tagImages", ', add: ["theirs"]'),
        )
    },
}
_RUNS = "query ($id: ID!) { cleanupRuns(clientId: $id) { nodes { id } edges { node { id } } totalCount } }"
_OF_RETENTION = {
    "Query.retentionPolicy.clientId": _Case(
        "client", "NOT_FOUND", "query ($id: ID!) { retentionPolicy(clientId: $id) { rules { keepDays } } }"
    ),
    "Query.cleanupRuns.clientId": _Case("client", [], _RUNS),
    "Query.cleanupRun.id": _Case("cleanup", None, "query ($id: ID!) { cleanupRun(id: $id) { id } }"),
    "Mutation.updateRetentionPolicy.clientId": _Case(
        "client",
        "NOT_FOUND",
        f"{_ID}{{ updateRetentionPolicy(changes: [{{kind: IMAGES, keepDays: 3}}], clientId: $id) "
        "{ rules { keepDays } } }",
    ),
    "Mutation.cleanupImages.clientId": _Case(
        "client", "NOT_FOUND", f"{_ID}{{ cleanupImages(clientId: $id) {{ found due }} }}"
    ),
}
_GENERATIONS = "query ($id: ID!) { imageGenerations(filter: %s) { nodes { id } edges { node { id } } totalCount } }"
_OF_PICTURES = {
    "Query.imageGeneration.id": _Case("generation", None, "query ($id: ID!) { imageGeneration(id: $id) { id } }"),
    "Query.imageGenerations.filter.clientId": _Case("client", [], _GENERATIONS % "{clientId: $id}"),
    "Query.imageGenerations.filter.requesterId": _Case("requester", [], _GENERATIONS % "{requesterId: $id}"),
    "Query.scene.id": _Case("scene", None, "query ($id: ID!) { scene(id: $id) { id } }"),
    "Query.sceneCacheStats.clientId": _Case(
        "client", {"scenes": 0}, "query ($id: ID!) { sceneCacheStats(clientId: $id) { scenes } }"
    ),
    "Mutation.generateImage.clientId": _Case(
        "client", "NOT_FOUND", f'{_ID}{{ generateImage(prompt: "x", clientId: $id) {{ id }} }}'
    ),
    "Mutation.generateScene.clientId": _Case(
        "client", "NOT_FOUND", f'{_ID}{{ generateScene(prompt: "x", clientId: $id) {{ cache }} }}'
    ),
    "Mutation.clearSceneCache.clientId": _Case(
        "client", "NOT_FOUND", f"{_ID}{{ clearSceneCache(clientId: $id) {{ scenes }} }}"
    ),
    "Mutation.cleanupSceneCache.clientId": _Case(
        "client", {"removed": 0}, f"{_ID}{{ cleanupSceneCache(clientId: $id) {{ removed }} }}"
    ),
    "Mutation.importLocalStorage.clientId": _Case(
        "client", "NOT_FOUND", f"{_ID}{{ importLocalStorage(dump: {{a: 1}}, clientId: $id) {{ keys }} }}"
    ),
}
_NOBODY = {"total": 0, "presence": []}
_CASES = {
    **_OF_CONFIGS,
    **_OF_PICTURES,
    **_OF_IMAGES,
    **_OF_RETENTION,
    "Query.client.id": _Case("client", None, "query ($id: ID!) { client(id: $id) { id } }"),
    "Query.device.id": _Case("device", None, "query ($id: ID!) { device(id: $id) { id } }"),
    "Query.device.clientId": _Case(
        "client", None, 'query ($id: ID!) { device(key: "the-same-key", clientId: $id) { id } }'
    ),
    "Query.deviceSummary.clientId": _Case(
        "client", _NOBODY, "query ($id: ID!) { deviceSummary(clientId: $id) { total presence { count } } }"
    ),
    "Query.image.id": _Case("image", None, "query ($id: ID!) { image(id: $id) { id } }"),
    "Query.deviceCommand.id": _Case("command", None, "query ($id: ID!) { deviceCommand(id: $id) { id } }"),
    "Query.storageSweep.id": _Case("device", "FORBIDDEN", "query ($id: ID!) { storageSweep(id: $id) { id } }"),
    "Query.firmware.id": _Case("firmware", None, "query ($id: ID!) { firmware(id: $id) { id } }"),
    "Query.rollout.id": _Case("rollout", None, "query ($id: ID!) { rollout(id: $id) { id } }"),
    "Query.firmwares.filter.clientId": _Case("client", [], _FIRMWARES % "{clientId: $id}"),
    "Query.rollouts.filter.clientId": _Case("client", [], _ROLLOUTS % "{clientId: $id}"),
    "Query.rollouts.filter.firmwareId": _Case("in_use", [], _ROLLOUTS % "{firmwareId: $id}"),
    "Query.node.id": _Case("device", None, "query ($id: ID!) { node(id: $id) { id } }"),
    "Query.devices.filter.clientId": _Case("client", [], _DEVICES % "{clientId: $id}"),
    "Query.images.filter.clientId": _Case("client", [], _IMAGES % "{clientId: $id}"),
    "Query.images.filter.deviceId": _Case("device", [], _IMAGES % "{deviceId: $id}"),
    "Query.events.filter.clientId": _Case("client", [], _EVENTS % "{clientId: $id}"),
    "Query.events.filter.subjectIds": _Case("device", [], _EVENTS % "{subjectIds: [$id]}"),
    "Query.auditLog.filter.clientId": _Case("client", [], _AUDIT % "{clientId: $id}"),
    "Query.auditLog.filter.actorIds": _Case("operator", [], _AUDIT % "{actorIds: [$id]}"),
    "Query.auditLog.filter.subjectIds": _Case("device", [], _AUDIT % "{subjectIds: [$id]}"),
    "Device.images.filter.clientId": _Case("client", [], _NESTED % "{clientId: $id}"),
    "Device.images.filter.deviceId": _Case("device", [], _NESTED % "{deviceId: $id}"),
    "Mutation.createUser.clientId": _Case(
        "client",
        "FORBIDDEN",
        f'mutation ($id: ID!) {{ createUser(email: "in@example.com", {_PASSWORD}, role: VIEWER, clientId: $id) '
        "{ id } }",
    ),
    "Mutation.setUserRole.id": _Case(
        "user", "FORBIDDEN", "mutation ($id: ID!) { setUserRole(id: $id, role: VIEWER) { id } }"
    ),
    "Mutation.setUserRole.clientId": _Case(
        "client",
        "FORBIDDEN",
        "mutation ($id: ID!) { setUserRole(id: $id, role: VIEWER, clientId: $id) { id } }",
    ),
    "Mutation.deleteUser.id": _Case("user", "FORBIDDEN", "mutation ($id: ID!) { deleteUser(id: $id) { id } }"),
    "Mutation.deleteClient.id": _Case(
        "client", "FORBIDDEN", "mutation ($id: ID!) { deleteClient(id: $id) { id } }"
    ),
    "Mutation.regenerateClientToken.id": _Case(
        "client", "NOT_FOUND", "mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }"
    ),
    "Mutation.registerDevice.device.clientId": _Case(
        "client",
        "NOT_FOUND",
        'mutation ($id: ID!) { registerDevice(device: {key: "intruder", clientId: $id}) { token } }',
    ),
    "Mutation.updateDevice.id": _Case(
        "device", "NOT_FOUND", "mutation ($id: ID!) { updateDevice(id: $id, changes: {enabled: false}) { id } }"
    ),
    "Mutation.rotateDeviceToken.id": _Case(
        "device", "NOT_FOUND", "mutation ($id: ID!) { rotateDeviceToken(id: $id) { token } }"
    ),
    "Mutation.deregisterDevice.id": _Case(
        "device", "NOT_FOUND", "mutation ($id: ID!) { deregisterDevice(id: $id) { id } }"
    ),
    "Mutation.sendDeviceCommand.deviceId": _Case(
        "device",
        "NOT_FOUND",
        "mutation ($id: ID!) { sendDeviceCommand(deviceId: $id, command: {type: RESTART}) { id } }",
    ),
    "Mutation.sendDeviceCommands.deviceIds": _Case("device", _REFUSED, _SEND_MANY % "deviceIds: [$id]"),
    "Mutation.sendDeviceCommands.clientId": _Case(
        "client", "NOT_FOUND", _SEND_MANY % 'labels: ["shared"], clientId: $id'
    ),
    "Mutation.bulkUpdateDevices.ids": _Case("device", _NOT_FOUND, _BULK_UPDATE % "ids: [$id]"),
    "Mutation.bulkUpdateDevices.filter.clientId": _Case(
        "client", _NONE_MATCHED, _BULK_UPDATE % "filter: {clientId: $id}"
    ),
    "Mutation.bulkDeregisterDevices.ids": _Case("device", _NOT_FOUND, _BULK_DEREGISTER % "ids: [$id]"),
    "Mutation.bulkDeregisterDevices.filter.clientId": _Case(
        "client", _NONE_MATCHED, _BULK_DEREGISTER % "filter: {clientId: $id}"
    ),
    "Mutation.cancelDeviceCommand.id": _Case(
        "command", "NOT_FOUND", "mutation ($id: ID!) { cancelDeviceCommand(id: $id) { id } }"
    ),
    "Mutation.updateFirmware.id": _Case(
        "firmware", "NOT_FOUND", 'mutation ($id: ID!) { updateFirmware(id: $id, note: "x") { id } }'
    ),
    "Mutation.deleteFirmware.id": _Case(
        "firmware", "NOT_FOUND", "mutation ($id: ID!) { deleteFirmware(id: $id) { id } }"
    ),
    "Mutation.createRollout.rollout.firmwareId": _Case(
        "firmware",
        "NOT_FOUND",
        "mutation ($id: ID!) { createRollout(rollout: {firmwareId: $id, all: true}) { id } }",
    ),
    "Mutation.createRollout.rollout.deviceIds": _Case(
        "device",
        "NOT_FOUND",
        f'mutation ($id: ID!) {{ createRollout(rollout: {{firmwareId: "{_OWN_FIRMWARE}", deviceIds: [$id]}}) '
        "{ id } }",
    ),
    **{
        f"Mutation.{name}Rollout.id": _Case(
            "rollout", "NOT_FOUND", f"mutation ($id: ID!) {{ {name}Rollout(id: $id) {{ id }} }}"
        )
        for name in ("pause", "resume", "cancel")
    },
}
_LIVE_CASES = {
    "Subscription.configUpdates.ids": (
        "config",
        "subscription ($id: ID!) { configUpdates(ids: [$id]) { config { id } } }",
    ),
    "Subscription.events.filter.clientId": (
        "client",
        "subscription ($id: ID!) { events(filter: {clientId: $id}) { id } }",
    ),
    "Subscription.events.filter.subjectIds": (
        "device",
        "subscription ($id: ID!) { events(filter: {subjectIds: [$id]}) { id } }",
    ),
    "Subscription.deviceUpdates.ids": (
        "device",
        "subscription ($id: ID!) { deviceUpdates(ids: [$id]) { device { id } } }",
    ),
    "Subscription.imageGenerationUpdates.ids": (
        "generation",
        "subscription ($id: ID!) { imageGenerationUpdates(ids: [$id]) { generation { id } } }",
    ),
    "Subscription.imageUpdates.deviceId": (
        "device",
        "subscription ($id: ID!) { imageUpdates(deviceId: $id) { image { id } } }",
    ),
}


@dataclass(frozen=True)
class _Things:
    """One of everything that an organisation can have, by id."""

    client: str
    device: str
    image: str
    user: str
    operator: str
    command: str
    firmware: str
    in_use: str
    rollout: str
    config: str
    template: str
    spare: str
    cleanup: str
    reporter: TestDevice
    generation: str = ""
    scene: str = ""
    requester: str = ""

    async def pictured(self, org: Organisation, place: str) -> "_Things":
        """With a scene, where a place is about pictures: others need not wait for one to be made."""
        if "eneration" not in place and "cene" not in place:
            return self
        _, made = await scene(org.operator, "the same scene")
        generation = await ended(org.operator, made["generation"]["id"])
        return replace(self, generation=generation["id"], scene=made["id"], requester=generation["requesterId"])

    @classmethod
    async def of(cls, org: Organisation) -> "_Things":
        device = await org.device("the-same-key", labels=["shared"])
        image_id = (await device.upload(photo())).json()["imageId"]
        user = await Person.made(org.admin, "VIEWER", org.id)
        command = await send(org.operator, device)
        firmware, in_use = [await uploaded(org.operator, version=version) for version in ("2.0", "2.1")]
        rollout = (await begun(org.operator, in_use))["id"]
        template, spare = [await save_template(org.operator, name, {}) for name in ("same", "spare")]
        config = await save(org.operator, _MAC, {}, extends="same")
        await save(org.operator, _DELETED, {})
        await org.operator.run(DELETE, mac=_DELETED)
        await org.operator.run(SCHEMA, schema={})
        cleanup = (await org.operator.run(CLEANUP, dry=True))["cleanupImages"]
        made = (firmware, in_use, rollout, config["id"], template["id"], spare["id"], cleanup["id"])
        operator = (await org.operator.run("{ viewer { user { id } } }"))["viewer"]["user"]["id"]
        return cls(org.id, device.id, image_id, user.id, operator, command["id"], *made, device)


@pytest.fixture
async def theirs(other_org: Organisation) -> _Things:
    return await _Things.of(other_org)


def _is_answer(data: dict[str, Any], expected: Any) -> bool:
    """Whether the data is null, or refuses each, or is a list without anything in it, also under one's devices."""
    (value,) = data.values()
    if isinstance(expected, set):
        return {one["code"] for one in value["results"]} == expected
    if expected is None:
        return value is None
    if isinstance(expected, dict):
        return bool(value == expected)
    lists = [node["images"] for node in value["nodes"]] if value["nodes"] else [value]
    return all(one["nodes"] == [] and one["totalCount"] == 0 for one in lists)


def test_every_place_that_takes_an_id_has_a_case() -> None:
    assert id_arguments() == _CASES.keys() | _LIVE_CASES.keys()


@pytest.mark.parametrize("place", _CASES)
async def test_another_organisations_id_leads_nowhere(
    org: Organisation, other_org: Organisation, theirs: _Things, place: str
) -> None:
    case = _CASES[place]
    theirs = await theirs.pictured(other_org, place)
    await org.device()  # so that lists under one's own devices are asked at all
    before = await _inventory(other_org)
    document = case.document
    if _OWN_FIRMWARE in document:
        document = document.replace(_OWN_FIRMWARE, await uploaded(org.operator))
    answer = (await org.operator.post(document, id=getattr(theirs, case.thing))).json()
    if isinstance(case.answer, str):
        assert answer["errors"][0]["extensions"]["code"] == case.answer
    else:
        assert not answer.get("errors"), answer
        assert _is_answer(answer["data"], case.answer), answer
    if not isinstance(case.answer, set):  # results name what was asked for
        assert theirs.device not in str(answer.get("data")), answer
    for thing in (theirs.command, theirs.firmware, theirs.rollout, theirs.image, other_org.name, "the-same-key"):
        assert thing not in str(answer.get("data")), answer
    assert await _inventory(other_org) == before


@pytest.mark.parametrize(
    "place",
    sorted(set(_CASES) - {"Mutation.deleteClient.id", "Mutation.setUserRole.clientId", "Query.storageSweep.id"}),
)
async def test_ones_own_id_leads_somewhere(org: Organisation, place: str) -> None:
    own, case = await (await _Things.of(org)).pictured(org, place), _CASES[place]
    caller = org.admin if case.answer == "FORBIDDEN" else org.operator
    document = case.document.replace("in@", f"{own.device}@").replace(_OWN_FIRMWARE, own.firmware)
    data = await caller.run(document, id=getattr(own, case.thing))
    (value,) = data.values()
    assert value is not None
    if place.startswith("Query") and case.answer == []:
        assert value["totalCount"] > 0


@pytest.mark.parametrize(
    "kind",
    [
        *("client", "device", "image", "user", "firmware", "rollout", "config", "template"),
        *("scene", "generation"),
    ],
)
async def test_node_finds_ones_own_things_and_nobody_elses(
    org: Organisation, other_org: Organisation, theirs: _Things, kind: str
) -> None:
    own = await (await _Things.of(org)).pictured(org, kind)
    theirs = await theirs.pictured(other_org, kind)
    query = "query ($id: ID!) { node(id: $id) { id __typename } }"
    found = (await org.operator.run(query, id=getattr(own, kind)))["node"]
    type_name = {"template": "ConfigTemplate", "generation": "ImageGeneration"}.get(kind, kind.capitalize())
    assert found == {"id": getattr(own, kind), "__typename": type_name}
    assert (await org.operator.run(query, id=getattr(theirs, kind)))["node"] is None
    assert (await org.admin.run(query, id=getattr(theirs, kind)))["node"]["id"] == getattr(theirs, kind)


async def test_lists_hold_ones_own_things_only(org: Organisation, theirs: _Things) -> None:
    own = await _Things.of(org)
    data = await org.operator.run(
        "{ clients { nodes { id } totalCount } devices { nodes { id client { id } } totalCount } "
        "images { nodes { id device { id } } totalCount } users { nodes { client { id } } totalCount } }"
    )
    assert data["clients"] == {"nodes": [{"id": org.id}], "totalCount": 1}
    assert data["devices"] == {"nodes": [{"id": own.device, "client": {"id": org.id}}], "totalCount": 1}
    assert data["images"] == {"nodes": [{"id": own.image, "device": {"id": own.device}}], "totalCount": 1}
    assert data["users"] == {"nodes": [{"client": {"id": org.id}}] * 3, "totalCount": 3}


async def test_the_log_holds_ones_own_events_only(stack: Stack, org: Organisation, theirs: _Things) -> None:
    own = await _own_event_after_theirs(stack, org, theirs)
    query = "{ events(first: 100) { nodes { clientId subjectId } totalCount } }"
    for caller in (org.operator, org.viewer):
        page = (await caller.run(query))["events"]
        assert {event["clientId"] for event in page["nodes"]} == {org.id}
        assert own.device in {event["subjectId"] for event in page["nodes"]}
        assert page["totalCount"] == len(page["nodes"])
        assert theirs.device not in str(page)


async def _own_event_after_theirs(stack: Stack, org: Organisation, theirs: _Things) -> _Things:
    """Something happens to theirs, then to one's own; returns when the last of one's own was seen live."""
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        live = await socket.subscribe("subscription { events { clientId type } }")
        assert (await theirs.reporter.heartbeat()).status_code == 200
        own = await _Things.of(org)
        last = {"config_schema.set", "image.ready"}  # in either order: a worker makes the image ready
        while last:
            event = (await live.next())["events"]
            assert event["clientId"] == org.id
            last.discard(event["type"])
    return own


@pytest.mark.parametrize("place", _LIVE_CASES)
async def test_another_organisations_events_are_never_delivered(
    stack: Stack, org: Organisation, other_org: Organisation, theirs: _Things, place: str
) -> None:
    thing, document = _LIVE_CASES[place]
    async with (
        Socket.opened(stack.url, org.operator.token) as listening,
        Socket.opened(stack.url, org.admin.token) as admins,
    ):
        if thing == "generation":  # whose story is over: it is told again
            (before,) = (await org.admin.run("{ events(first: 1) { nodes { cursor } } }"))["events"]["nodes"]
            document = document.replace("ids: [$id]", f'ids: [$id], after: "{before["cursor"]}"')
            theirs = await theirs.pictured(other_org, place)
        await listening.subscribe(document, id=getattr(theirs, thing))
        seen = await admins.subscribe(document, id=getattr(theirs, thing))
        assert (await theirs.reporter.upload(photo())).status_code == 201
        await save(other_org.operator, _MAC, {"changed": True})
        await seen.next()  # whoever may see it was given it, from the same feed
        await _own_event_after_theirs(stack, org, theirs)
        await listening.ping()  # fails on anything that was delivered instead of the answer


@pytest.mark.parametrize("subscription", ["deviceUpdates { device { id } }", "imageUpdates { image { id } }"])
async def test_live_updates_without_a_filter_are_ones_own(
    stack: Stack, org: Organisation, theirs: _Things, subscription: str
) -> None:
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        live = await socket.subscribe(f"subscription {{ {subscription} }}")
        assert (await theirs.reporter.upload(photo())).status_code == 201
        own = await _Things.of(org)
        ((kind, thing),) = (await live.next())[subscription.partition(" ")[0]].items()
    assert thing["id"] == getattr(own, kind)


async def _inventory(org: Organisation) -> Any:
    """What an organisation has, for comparing before and after."""
    return await org.operator.run(
        "{ clients { nodes { name token { prefix } } } users { nodes { id role } } "
        "devices { nodes { id name enabled token { prefix } commands { nodes { id status } } } } "
        "images { nodes { featured tags uses deletedAt } totalCount } "
        "firmwares { nodes { id note } } rollouts { nodes { id status } } "
        "configs { nodes { id version content } totalCount } configTemplates { nodes { id version } } "
        "configSchema { schema updatedAt } sceneCacheStats { scenes } imageGenerations { nodes { id status } } }"
    )
