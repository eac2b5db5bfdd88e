"""People's images in tests: posting them, and finding them again."""

from typing import Any

import httpx

from tests.support.api import Api

CHANGE = "mutation ($id: ID!) { %s(id: $id) { id featured uses lastUsedAt deletedAt url } }"
BULK = "mutation ($ids: [ID!]!) { %s { changed failed results { id ok changed error { code } } } }"


async def post_image(
    api: Api, image: bytes, *, headers: dict[str, str] | None = None, content_type: str = "image/jpeg", **said: Any
) -> httpx.Response:
    """Post an image as a program does: the raw file, what is said of it in the query."""
    given = {**api.headers, "Content-Type": content_type, **(headers or {})}
    return await api.http.post("/v1/images", content=image, params=said, headers=given)


async def posted(api: Api, image: bytes, **said: Any) -> str:
    """The id of a new image."""
    answer = await post_image(api, image, **said)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["imageId"])


async def found(api: Api, **filter: Any) -> list[str]:
    """The ids of the images that match, the newest first; the count must agree."""
    query = "query ($filter: ImageFilter) { images(filter: $filter, first: 100) { nodes { id } totalCount } }"
    page = (await api.run(query, filter=filter))["images"]
    ids = [node["id"] for node in page["nodes"]]
    assert page["totalCount"] == len(ids)
    return ids


async def change(api: Api, operation: str, image_id: str) -> dict[str, Any]:
    """What an image is after a change by its id."""
    data: dict[str, Any] = (await api.run(CHANGE % operation, id=image_id))[operation]
    return data
