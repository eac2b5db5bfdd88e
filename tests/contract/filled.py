"""An organisation with several of everything that lists and relations can hold."""

from tests.configs.operations import new_mac, save, save_template
from tests.device_commands.operations import RESTART, SEND
from tests.firmware.operations import begun, uploaded
from tests.generation.operations import scene
from tests.retention.operations import cleaned
from tests.support.api import Organisation
from tests.support.live import Socket
from tests.support.people import Person
from tests.support.photos import photo
from tests.support.sql import execute as execute_sql
from tests.support.stack import Stack

MANY = 4

_SWEEPS = (
    "INSERT INTO storage_sweeps (id, status, dry_run, max_share, grace_seconds, actor_kind) "
    f"SELECT gen_random_uuid(), 'DONE', true, 0.1, 3600, 'SYSTEM' FROM generate_series(1, {MANY})"
)


async def filled_organisation(stack: Stack) -> Organisation:
    """With all events in the log and nothing that goes on."""
    async with stack.signed_in() as admin:
        org = await Organisation.made(admin)
        for _ in range(MANY):
            await Person.made(org.admin, "VIEWER", org.id)
        async with Socket.opened(stack.url, org.viewer.token) as socket:
            ready = await socket.subscribe('subscription { events(filter: {types: ["image.ready"]}) { id } }')
            await _fill(org)
            for _ in range(3 * MANY):
                await ready.next()
        for _ in range(MANY):
            await cleaned(org.operator, dry=True)
        await execute_sql(stack.environment["QM_DATABASE_URL"], _SWEEPS)
        return org


async def _fill(org: Organisation) -> None:
    """Four of each, and three images for each device to come."""
    await save_template(org.operator, "zero", {})
    for number in range(MANY):
        mac, template = new_mac(), f"template {number}"
        device = await org.device(mac=mac)
        await org.operator.run(SEND, device=device.id, command=RESTART)
        await save_template(org.operator, template, {"n": number}, extends="zero")
        await save(org.operator, mac, {}, extends=template)
        for _ in range(2):
            assert (await device.upload(photo())).status_code == 201
        await scene(org.operator, f"a mill {number}")
    for number in range(MANY):
        await begun(org.operator, await uploaded(org.operator, version=f"2.{number}"))
    for _ in range(MANY):
        await Organisation.made(org.admin)
