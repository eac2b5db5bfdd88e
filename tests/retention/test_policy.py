"""How long things are kept: defaults of the server, what a client says instead, who may say it."""

from collections.abc import Iterator

import pytest

from tests.conftest import StackOf
from tests.retention.operations import POLICY, UPDATE, change, rules
from tests.support.api import Api, Organisation
from tests.support.log import logged
from tests.support.stack import Stack

_DEFAULTS = {
    "IMAGES": (True, 30),
    "DELETED_IMAGES": (True, 7),
    "TELEMETRY": (True, 400),
    "EVENTS": (True, 400),
    "SCENES": (True, 7),
}


async def test_without_a_word_the_servers_defaults_hold(org: Organisation) -> None:
    found = await rules(org.viewer)
    assert {kind: (rule["enabled"], rule["keepDays"]) for kind, rule in found.items()} == _DEFAULTS
    assert all(rule["isDefault"] and rule["updatedAt"] is None for rule in found.values())
    of_server = (await org.admin.run(POLICY))["retentionPolicy"]
    assert of_server["client"] is None
    assert {rule["kind"]: rule["keepDays"] for rule in of_server["rules"]} == {
        kind: days for kind, (_, days) in _DEFAULTS.items()
    }


async def test_a_client_says_otherwise_and_takes_it_back(org: Organisation) -> None:
    changes = [{"kind": "IMAGES", "keepDays": 3}, {"kind": "TELEMETRY", "enabled": False}]
    await org.operator.run(UPDATE, changes=changes)
    found = await rules(org.admin, client=org.id)
    assert (found["IMAGES"]["enabled"], found["IMAGES"]["keepDays"]) == (True, 3)
    assert (found["TELEMETRY"]["enabled"], found["TELEMETRY"]["keepDays"]) == (False, 400)
    assert not found["IMAGES"]["isDefault"]
    assert found["IMAGES"]["updatedAt"] is not None
    assert found["EVENTS"]["isDefault"]
    await change(org.operator, "IMAGES")
    found = await rules(org.viewer)
    assert (found["IMAGES"]["keepDays"], found["IMAGES"]["isDefault"]) == (30, True)
    assert found["TELEMETRY"]["enabled"] is False


async def test_a_change_is_told_with_before_and_after(org: Organisation) -> None:
    await change(org.operator, "IMAGES", keepDays=30)  # what it was: nothing to tell
    await change(org.operator, "IMAGES", keepDays=9)
    (event,) = await logged(org.viewer, types=["retention.policy_updated"])
    assert event["subjectId"] == org.id
    assert event["data"] == {
        "before": {"IMAGES": {"enabled": True, "keepDays": 30}},
        "after": {"IMAGES": {"enabled": True, "keepDays": 9}},
    }


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ([{"kind": "IMAGES", "keepDays": 0}], "keepDays"),
        ([{"kind": "DELETED_IMAGES", "keepDays": -1}], "keepDays"),
        ([{"kind": "TELEMETRY", "keepDays": 30}], "keepDays"),
        ([{"kind": "IMAGES", "keepDays": 36_501}], "keepDays"),
        ([{"kind": "IMAGES", "keepDays": 5}, {"kind": "IMAGES", "keepDays": 6}], "changes"),
        ([{"kind": "EVENTS", "keepDays": 500}, {"kind": "IMAGES", "keepDays": 0}], "keepDays"),
        ([], "changes"),
    ],
)
async def test_what_makes_no_sense_is_refused_as_a_whole(
    org: Organisation, changes: list[dict[str, object]], argument: str
) -> None:
    error = await org.operator.refused(UPDATE, changes=changes)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"]["argument"] == argument
    assert all(rule["isDefault"] for rule in (await rules(org.viewer)).values())


async def test_only_an_admin_lets_events_go_earlier(org: Organisation) -> None:
    sooner = {"kind": "EVENTS", "keepDays": 100}
    assert await org.operator.code(UPDATE, changes=[sooner]) == "FORBIDDEN"
    await change(org.operator, "EVENTS", keepDays=500)
    await change(org.operator, "EVENTS", enabled=False)
    await change(org.admin, "EVENTS", client=org.id, keepDays=100)
    assert (await rules(org.viewer))["EVENTS"]["keepDays"] == 100


async def test_viewers_and_programs_change_nothing(org: Organisation) -> None:
    made = await org.operator.run("mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }", id=org.id)
    program = org.operator.with_token(made["regenerateClientToken"]["token"])
    for caller in (org.viewer, program):
        assert await caller.code(UPDATE, changes=[{"kind": "IMAGES", "keepDays": 3}]) == "FORBIDDEN"
    assert (await rules(program))["IMAGES"]["keepDays"] == 30


async def test_an_admin_names_the_client(admin: Api) -> None:
    error = await admin.refused(UPDATE, changes=[{"kind": "IMAGES", "keepDays": 3}])
    assert error["extensions"]["details"]["argument"] == "clientId"


@pytest.fixture
def own_stack(stack_of: StackOf) -> Iterator[Stack]:
    settings = {"QM_IMAGE_RETENTION_DAYS": "90", "QM_EVENTS_KEPT_DAYS": "60"}
    with stack_of(**settings, QM_KEPT_FOR_EVER="telemetry, deleted_images") as stack:
        yield stack


async def test_settings_are_the_defaults(own_stack: Stack) -> None:
    async with own_stack.signed_in() as admin:
        found = await rules(admin)
    assert {kind: (rule["enabled"], rule["keepDays"]) for kind, rule in found.items()} == {
        "IMAGES": (True, 90),
        "DELETED_IMAGES": (False, 7),
        "TELEMETRY": (False, 400),
        "EVENTS": (True, 60),
        "SCENES": (True, 7),
    }
