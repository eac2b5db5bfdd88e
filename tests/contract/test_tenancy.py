"""What belongs to one organisation is not there for another: not by id, not in lists, not live.

The table of cases names every place of the schema that takes an id; a new place without a case fails.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from tests.configs.operations import DELETE, SCHEMA, save, save_template
from tests.contract.documents import id_arguments
from tests.contract.tenancy import CASES, DELETED, LIVE_CASES, MAC, OWN_FIRMWARE
from tests.device_commands.operations import send
from tests.firmware.operations import begun, uploaded
from tests.generation.operations import ended, scene
from tests.retention.operations import CLEANUP
from tests.support.api import Api, Organisation, TestDevice
from tests.support.live import Socket
from tests.support.log import eventually
from tests.support.people import Person
from tests.support.photos import photo
from tests.support.stack import Stack


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
        config = await save(org.operator, MAC, {}, extends="same")
        await save(org.operator, DELETED, {})
        await org.operator.run(DELETE, mac=DELETED)
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
    assert id_arguments() == CASES.keys() | LIVE_CASES.keys()


@pytest.mark.parametrize("place", CASES)
async def test_another_organisations_id_leads_nowhere(
    org: Organisation, other_org: Organisation, theirs: _Things, place: str
) -> None:
    case = CASES[place]
    theirs = await theirs.pictured(other_org, place)
    await org.device()  # so that lists under one's own devices are asked at all
    before = await _inventory(other_org)
    document = case.document
    if OWN_FIRMWARE in document:
        document = document.replace(OWN_FIRMWARE, await uploaded(org.operator))
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
    sorted(set(CASES) - {"Mutation.deleteClient.id", "Mutation.setUserRole.clientId", "Query.storageSweep.id"}),
)
async def test_ones_own_id_leads_somewhere(org: Organisation, place: str) -> None:
    own, case = await (await _Things.of(org)).pictured(org, place), CASES[place]
    caller = org.admin if case.answer == "FORBIDDEN" else org.operator
    document = case.document.replace("in@", f"{own.device}@").replace(OWN_FIRMWARE, own.firmware)
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

    async def counted(caller: Api) -> bool:
        """Whether all were listed that were counted: one may come in between."""
        page = (await caller.run(query))["events"]
        assert {event["clientId"] for event in page["nodes"]} == {org.id}
        assert own.device in {event["subjectId"] for event in page["nodes"]}
        assert theirs.device not in str(page)
        return bool(page["totalCount"] == len(page["nodes"]))

    for caller in (org.operator, org.viewer):
        await eventually(partial(counted, caller), what="a count of the events that are listed")


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


@pytest.mark.parametrize("place", LIVE_CASES)
async def test_another_organisations_events_are_never_delivered(
    stack: Stack, org: Organisation, other_org: Organisation, theirs: _Things, place: str
) -> None:
    thing, document = LIVE_CASES[place]
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
        await save(other_org.operator, MAC, {"changed": True})
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
