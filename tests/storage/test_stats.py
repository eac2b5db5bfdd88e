"""`storageStats`: what is stored, for whom, as the database has it, and as a sweep found it."""

from tests.storage.operations import swept
from tests.support.api import Api, Organisation
from tests.support.images import settled
from tests.support.photos import padded, photo
from tests.support.stack import Stack
from tests.support.stores import stored

_STATS = """query ($largest: Int! = 20) { storageStats(largest: $largest) { store kinds { kind blobs bytes }
  clients { clientId blobs bytes client { name } kinds { kind blobs bytes } }
  swept { status found { kind blobs bytes } } } }"""


async def test_a_client_sees_what_it_stores_and_nothing_else(
    stack: Stack, org: Organisation, other_org: Organisation
) -> None:
    images = [padded(photo(), 30_000), photo(format="PNG")]
    for image in images:
        answer = await (await org.device()).upload(image)
        await settled(org.viewer, answer.json()["imageId"])
    stats = (await org.viewer.run(_STATS))["storageStats"]
    kinds = {kind["kind"]: (kind["blobs"], kind["bytes"]) for kind in stats["kinds"]}
    size = sum(map(len, images))
    cleaned = sum(["clean" in await stored(stack, image) for image in images])
    assert kinds == {
        "originals": (2, size),
        "clean": (cleaned, None),
        "display": (2, None),
        "thumbnails": (2, None),
        "variants": (0, 0),
        "firmware": (0, 0),
    }
    (client,) = stats["clients"]
    assert (client["clientId"], client["client"]) == (org.id, {"name": org.name})
    assert (client["blobs"], client["bytes"]) == (6 + cleaned, size)
    assert (stats["store"], stats["swept"]) == ("FOLDER", None)
    empty = (await other_org.viewer.run(_STATS))["storageStats"]
    assert (empty["clients"], {kind["blobs"] for kind in empty["kinds"]}) == ([], {0})


async def test_an_admin_sees_every_client_and_the_store(stack: Stack, admin: Api, org: Organisation) -> None:
    answer = await (await org.device()).upload(padded(photo(), 200_000))
    await settled(org.viewer, answer.json()["imageId"])
    await swept(admin)
    stats = (await admin.run(_STATS, largest=100))["storageStats"]
    assert org.id in {client["clientId"] for client in stats["clients"]}
    sizes = [client["bytes"] for client in stats["clients"]]
    assert sizes == sorted(sizes, reverse=True)
    found = {kind["kind"]: kind for kind in stats["swept"]["found"]}
    assert found["thumbnails"]["bytes"] > 0
    assert len((await admin.run(_STATS, largest=1))["storageStats"]["clients"]) == 1


async def test_so_many_clients_are_not_told(admin: Api) -> None:
    for largest in (0, 101):
        extensions = (await admin.refused(_STATS, largest=largest))["extensions"]
        assert (extensions["code"], extensions["details"]["argument"]) == ("BAD_USER_INPUT", "largest")
