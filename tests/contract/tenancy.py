"""Every place of the schema that takes an id, with what an operator of another organisation gets for one there."""

from dataclasses import dataclass
from typing import Any

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
OWN_FIRMWARE = "the caller's own firmware"
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
class Case:
    """A document with a variable `id`, and whose id goes there: a property of `_Things`.

    `answer` is what an operator of another organisation gets: a code, None for null, [] for nothing, a set of the
    codes of all results.
    """

    thing: str
    answer: Any
    document: str


MAC = "00-00-00-00-00-01"
DELETED = "00-00-00-00-00-02"
_ID = "mutation ($id: ID!) "
_CONFIGS = "query ($id: ID!) { configs(filter: %s) { nodes { id } edges { node { id } } totalCount } }"
_OF_CONFIGS = {
    "Query.config.clientId": Case(
        "client", None, f'query ($id: ID!) {{ config(mac: "{MAC}", clientId: $id) {{ id }} }}'
    ),
    "Query.configDiff.clientId": Case(
        "client",
        "NOT_FOUND",
        f'query ($id: ID!) {{ configDiff(mac: "{MAC}", from: 1, to: 1, clientId: $id) {{ patch }} }}',
    ),
    "Query.configs.filter.clientId": Case("client", [], _CONFIGS % "{clientId: $id}"),
    "Query.configs.filter.templateId": Case("template", [], _CONFIGS % "{templateId: $id}"),
    "Query.configTemplate.id": Case("template", None, "query ($id: ID!) { configTemplate(id: $id) { id } }"),
    "Query.configTemplate.clientId": Case(
        "client", None, 'query ($id: ID!) { configTemplate(name: "same", clientId: $id) { id } }'
    ),
    "Query.configSchema.clientId": Case(
        "client", None, "query ($id: ID!) { configSchema(clientId: $id) { schema } }"
    ),
    "Mutation.saveConfig.clientId": Case(
        "client", "NOT_FOUND", f'{_ID}{{ saveConfig(mac: "{MAC}", content: {{x: 1}}, clientId: $id) {{ id }} }}'
    ),
    "Mutation.rollbackConfig.clientId": Case(
        "client", "NOT_FOUND", f'{_ID}{{ rollbackConfig(mac: "{MAC}", toVersion: 1, clientId: $id) {{ id }} }}'
    ),
    "Mutation.deleteConfig.clientId": Case(
        "client", "NOT_FOUND", f'{_ID}{{ deleteConfig(mac: "{MAC}", clientId: $id) {{ id }} }}'
    ),
    "Mutation.restoreConfig.clientId": Case(
        "client", "NOT_FOUND", f'{_ID}{{ restoreConfig(mac: "{DELETED}", clientId: $id) {{ id }} }}'
    ),
    "Mutation.saveConfigTemplate.clientId": Case(
        "client",
        "NOT_FOUND",
        f'{_ID}{{ saveConfigTemplate(name: "same", content: {{x: 1}}, clientId: $id) {{ id }} }}',
    ),
    "Mutation.deleteConfigTemplate.id": Case(
        "spare", "NOT_FOUND", f"{_ID}{{ deleteConfigTemplate(id: $id) {{ id }} }}"
    ),
    "Mutation.setConfigSchema.clientId": Case(
        "client",
        "NOT_FOUND",
        f"{_ID}{{ setConfigSchema(schema: {{minProperties: 0}}, clientId: $id) {{ failed }} }}",
    ),
    "Mutation.removeConfigSchema.clientId": Case(
        "client", "NOT_FOUND", f"{_ID}{{ removeConfigSchema(clientId: $id) {{ id }} }}"
    ),
}
_SOME = {"changed": 0, "failed": 1, "results": [{"error": {"code": "NOT_FOUND"}}]}
_BULK_IMAGES = f"{_ID}{{ %s(ids: [$id]%s) {{ changed failed results {{ error {{ code }} }} }} }}"
_OF_IMAGES = {
    "Query.images.filter.similarTo.imageId": Case(
        "image",
        {"totalCount": 0},
        "query ($id: ID!) { images(filter: {similarTo: {imageId: $id, distance: 16}}) { totalCount } }",
    ),
    "Device.images.filter.similarTo.imageId": Case(
        "image",
        {"nodes": [{"images": {"totalCount": 0}}]},
        "query ($id: ID!) { devices { nodes { images(filter: {similarTo: {imageId: $id}}) { totalCount } } } }",
    ),
    "Query.imageSettings.clientId": Case(
        "client", "NOT_FOUND", "query ($id: ID!) { imageSettings(clientId: $id) { previewSide } }"
    ),
    "Mutation.updateImageSettings.clientId": Case(
        "client",
        "NOT_FOUND",
        f"{_ID}{{ updateImageSettings(changes: {{previewSide: 900}}, clientId: $id) {{ previewSide }} }}",
    ),
    **{
        f"Mutation.{name}.id": Case("image", "NOT_FOUND", f"{_ID}{{ {name}(id: $id) {{ id }} }}")
        for name in ("featureImage", "deleteImage", "restoreImage", "recordImageUse")
    },
    **{
        f"Mutation.{name}.ids": Case("image", _SOME, _BULK_IMAGES % (name, more))
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
    "Query.retentionPolicy.clientId": Case(
        "client", "NOT_FOUND", "query ($id: ID!) { retentionPolicy(clientId: $id) { rules { keepDays } } }"
    ),
    "Query.cleanupRuns.clientId": Case("client", [], _RUNS),
    "Query.cleanupRun.id": Case("cleanup", None, "query ($id: ID!) { cleanupRun(id: $id) { id } }"),
    "Mutation.updateRetentionPolicy.clientId": Case(
        "client",
        "NOT_FOUND",
        f"{_ID}{{ updateRetentionPolicy(changes: [{{kind: IMAGES, keepDays: 3}}], clientId: $id) "
        "{ rules { keepDays } } }",
    ),
    "Mutation.cleanupImages.clientId": Case(
        "client", "NOT_FOUND", f"{_ID}{{ cleanupImages(clientId: $id) {{ found due }} }}"
    ),
}
_GENERATIONS = "query ($id: ID!) { imageGenerations(filter: %s) { nodes { id } edges { node { id } } totalCount } }"
_OF_PICTURES = {
    "Query.imageGeneration.id": Case("generation", None, "query ($id: ID!) { imageGeneration(id: $id) { id } }"),
    "Query.imageGenerations.filter.clientId": Case("client", [], _GENERATIONS % "{clientId: $id}"),
    "Query.imageGenerations.filter.requesterId": Case("requester", [], _GENERATIONS % "{requesterId: $id}"),
    "Query.scene.id": Case("scene", None, "query ($id: ID!) { scene(id: $id) { id } }"),
    "Query.sceneCacheStats.clientId": Case(
        "client", {"scenes": 0}, "query ($id: ID!) { sceneCacheStats(clientId: $id) { scenes } }"
    ),
    "Mutation.generateImage.clientId": Case(
        "client", "NOT_FOUND", f'{_ID}{{ generateImage(prompt: "x", clientId: $id) {{ id }} }}'
    ),
    "Mutation.generateScene.clientId": Case(
        "client", "NOT_FOUND", f'{_ID}{{ generateScene(prompt: "x", clientId: $id) {{ cache }} }}'
    ),
    "Mutation.clearSceneCache.clientId": Case(
        "client", "NOT_FOUND", f"{_ID}{{ clearSceneCache(clientId: $id) {{ scenes }} }}"
    ),
    "Mutation.cleanupSceneCache.clientId": Case(
        "client", {"removed": 0}, f"{_ID}{{ cleanupSceneCache(clientId: $id) {{ removed }} }}"
    ),
    "Mutation.importLocalStorage.clientId": Case(
        "client", "NOT_FOUND", f"{_ID}{{ importLocalStorage(dump: {{a: 1}}, clientId: $id) {{ keys }} }}"
    ),
}
_NOBODY = {"total": 0, "presence": []}
CASES = {
    **_OF_CONFIGS,
    **_OF_PICTURES,
    **_OF_IMAGES,
    **_OF_RETENTION,
    "Query.client.id": Case("client", None, "query ($id: ID!) { client(id: $id) { id } }"),
    "Query.device.id": Case("device", None, "query ($id: ID!) { device(id: $id) { id } }"),
    "Query.device.clientId": Case(
        "client", None, 'query ($id: ID!) { device(key: "the-same-key", clientId: $id) { id } }'
    ),
    "Query.deviceSummary.clientId": Case(
        "client", _NOBODY, "query ($id: ID!) { deviceSummary(clientId: $id) { total presence { count } } }"
    ),
    "Query.image.id": Case("image", None, "query ($id: ID!) { image(id: $id) { id } }"),
    "Query.deviceCommand.id": Case("command", None, "query ($id: ID!) { deviceCommand(id: $id) { id } }"),
    "Query.storageSweep.id": Case("device", "FORBIDDEN", "query ($id: ID!) { storageSweep(id: $id) { id } }"),
    "Query.firmware.id": Case("firmware", None, "query ($id: ID!) { firmware(id: $id) { id } }"),
    "Query.rollout.id": Case("rollout", None, "query ($id: ID!) { rollout(id: $id) { id } }"),
    "Query.firmwares.filter.clientId": Case("client", [], _FIRMWARES % "{clientId: $id}"),
    "Query.rollouts.filter.clientId": Case("client", [], _ROLLOUTS % "{clientId: $id}"),
    "Query.rollouts.filter.firmwareId": Case("in_use", [], _ROLLOUTS % "{firmwareId: $id}"),
    "Query.node.id": Case("device", None, "query ($id: ID!) { node(id: $id) { id } }"),
    "Query.devices.filter.clientId": Case("client", [], _DEVICES % "{clientId: $id}"),
    "Query.images.filter.clientId": Case("client", [], _IMAGES % "{clientId: $id}"),
    "Query.images.filter.deviceId": Case("device", [], _IMAGES % "{deviceId: $id}"),
    "Query.events.filter.clientId": Case("client", [], _EVENTS % "{clientId: $id}"),
    "Query.events.filter.subjectIds": Case("device", [], _EVENTS % "{subjectIds: [$id]}"),
    "Query.auditLog.filter.clientId": Case("client", [], _AUDIT % "{clientId: $id}"),
    "Query.auditLog.filter.actorIds": Case("operator", [], _AUDIT % "{actorIds: [$id]}"),
    "Query.auditLog.filter.subjectIds": Case("device", [], _AUDIT % "{subjectIds: [$id]}"),
    "Device.images.filter.clientId": Case("client", [], _NESTED % "{clientId: $id}"),
    "Device.images.filter.deviceId": Case("device", [], _NESTED % "{deviceId: $id}"),
    "Mutation.createUser.clientId": Case(
        "client",
        "FORBIDDEN",
        f'mutation ($id: ID!) {{ createUser(email: "in@example.com", {_PASSWORD}, role: VIEWER, clientId: $id) '
        "{ id } }",
    ),
    "Mutation.setUserRole.id": Case(
        "user", "FORBIDDEN", "mutation ($id: ID!) { setUserRole(id: $id, role: VIEWER) { id } }"
    ),
    "Mutation.setUserRole.clientId": Case(
        "client",
        "FORBIDDEN",
        "mutation ($id: ID!) { setUserRole(id: $id, role: VIEWER, clientId: $id) { id } }",
    ),
    "Mutation.deleteUser.id": Case("user", "FORBIDDEN", "mutation ($id: ID!) { deleteUser(id: $id) { id } }"),
    "Mutation.deleteClient.id": Case("client", "FORBIDDEN", "mutation ($id: ID!) { deleteClient(id: $id) { id } }"),
    "Mutation.regenerateClientToken.id": Case(
        "client", "NOT_FOUND", "mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }"
    ),
    "Mutation.registerDevice.device.clientId": Case(
        "client",
        "NOT_FOUND",
        'mutation ($id: ID!) { registerDevice(device: {key: "intruder", clientId: $id}) { token } }',
    ),
    "Mutation.updateDevice.id": Case(
        "device", "NOT_FOUND", "mutation ($id: ID!) { updateDevice(id: $id, changes: {enabled: false}) { id } }"
    ),
    "Mutation.rotateDeviceToken.id": Case(
        "device", "NOT_FOUND", "mutation ($id: ID!) { rotateDeviceToken(id: $id) { token } }"
    ),
    "Mutation.deregisterDevice.id": Case(
        "device", "NOT_FOUND", "mutation ($id: ID!) { deregisterDevice(id: $id) { id } }"
    ),
    "Mutation.sendDeviceCommand.deviceId": Case(
        "device",
        "NOT_FOUND",
        "mutation ($id: ID!) { sendDeviceCommand(deviceId: $id, command: {type: RESTART}) { id } }",
    ),
    "Mutation.sendDeviceCommands.deviceIds": Case("device", _REFUSED, _SEND_MANY % "deviceIds: [$id]"),
    "Mutation.sendDeviceCommands.clientId": Case(
        "client", "NOT_FOUND", _SEND_MANY % 'labels: ["shared"], clientId: $id'
    ),
    "Mutation.bulkUpdateDevices.ids": Case("device", _NOT_FOUND, _BULK_UPDATE % "ids: [$id]"),
    "Mutation.bulkUpdateDevices.filter.clientId": Case(
        "client", _NONE_MATCHED, _BULK_UPDATE % "filter: {clientId: $id}"
    ),
    "Mutation.bulkDeregisterDevices.ids": Case("device", _NOT_FOUND, _BULK_DEREGISTER % "ids: [$id]"),
    "Mutation.bulkDeregisterDevices.filter.clientId": Case(
        "client", _NONE_MATCHED, _BULK_DEREGISTER % "filter: {clientId: $id}"
    ),
    "Mutation.cancelDeviceCommand.id": Case(
        "command", "NOT_FOUND", "mutation ($id: ID!) { cancelDeviceCommand(id: $id) { id } }"
    ),
    "Mutation.updateFirmware.id": Case(
        "firmware", "NOT_FOUND", 'mutation ($id: ID!) { updateFirmware(id: $id, note: "x") { id } }'
    ),
    "Mutation.deleteFirmware.id": Case(
        "firmware", "NOT_FOUND", "mutation ($id: ID!) { deleteFirmware(id: $id) { id } }"
    ),
    "Mutation.createRollout.rollout.firmwareId": Case(
        "firmware",
        "NOT_FOUND",
        "mutation ($id: ID!) { createRollout(rollout: {firmwareId: $id, all: true}) { id } }",
    ),
    "Mutation.createRollout.rollout.deviceIds": Case(
        "device",
        "NOT_FOUND",
        f'mutation ($id: ID!) {{ createRollout(rollout: {{firmwareId: "{OWN_FIRMWARE}", deviceIds: [$id]}}) '
        "{ id } }",
    ),
    **{
        f"Mutation.{name}Rollout.id": Case(
            "rollout", "NOT_FOUND", f"mutation ($id: ID!) {{ {name}Rollout(id: $id) {{ id }} }}"
        )
        for name in ("pause", "resume", "cancel")
    },
}
LIVE_CASES = {
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
