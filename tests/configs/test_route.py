"""`GET /v1/devices/{key}/config`: for a device that asks by itself."""

import json

import httpx
import pytest

from tests.configs.operations import DELETE, configured, save
from tests.devices.operations import UPDATE
from tests.support.api import Organisation, TestDevice
from tests.support.problems import problem

REGENERATE = "mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }"


async def get(device: TestDevice, *, token: str | None = None, **headers: str) -> httpx.Response:
    given = {"Authorization": f"Bearer {token or device.token}", **headers}
    return await device.http.get(f"/v1/devices/{device.key}/config", headers=given)


async def test_a_device_gets_its_config_and_later_that_it_has_it(org: Organisation) -> None:
    content = {"zeta": 1, "alpha": {"b": 1, "a": 2}}
    device, config = await configured(org, content)
    answer = await get(device)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert json.dumps(answer.json()) == json.dumps(content)
    assert answer.headers["x-config-version"] == str(config["revision"])
    etag = answer.headers["etag"]
    assert etag == f'"{config["revision"]}"'
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        again = await get(device, **{"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    changed = await save(org.operator, config["mac"], {"n": 2})
    answer = await get(device, **{"If-None-Match": etag})
    assert (answer.status_code, answer.json()) == (200, {"n": 2})
    assert answer.headers["x-config-version"] == str(changed["revision"])


async def test_a_device_without_a_config_is_told_so(org: Organisation) -> None:
    problem(await get(await org.device()), 404, "NO_CONFIG")
    device, config = await configured(org, {})
    await org.operator.run(DELETE, mac=config["mac"])
    problem(await get(device), 404, "NO_CONFIG")


async def test_who_may_ask(org: Organisation, other_org: Organisation) -> None:
    device, _ = await configured(org, {"wifi": "s3cret"})
    made = [await one.operator.run(REGENERATE, id=one.id) for one in (org, other_org)]
    tokens = [answer["regenerateClientToken"]["token"] for answer in made]
    assert (await get(device, token=tokens[0])).json() == {"wifi": "s3cret"}
    problem(await get(device, token=tokens[1]), 404, "NOT_FOUND")
    problem(await get(device, token=(await org.device()).token), 403, "OTHER_DEVICE")
    problem(await get(device, token=str(org.viewer.token)), 403, "FORBIDDEN")
    problem(await get(device, token="qmd_nobody"), 401, "INVALID_TOKEN")


async def test_a_disabled_device_gets_none(org: Organisation) -> None:
    device, _ = await configured(org, {"n": 1})
    await org.operator.run(UPDATE, id=device.id, changes={"enabled": False})
    problem(await get(device), 403, "DEVICE_DISABLED")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_it_is_read_only(org: Organisation, method: str) -> None:
    device, _ = await configured(org, {"n": 1})
    answer = await device.http.request(method, f"/v1/devices/{device.key}/config", headers=org.operator.headers)
    problem(answer, 405, "METHOD_NOT_ALLOWED")
