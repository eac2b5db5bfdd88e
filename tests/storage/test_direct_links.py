"""Links that lead to the S3 server itself, as the API gives them."""

from collections.abc import Iterator

import pytest

from tests.conftest import StackOf
from tests.support.api import Organisation
from tests.support.images import link_to, picture
from tests.support.photos import photo
from tests.support.stack import Stack
from tests.support.stores import keys_of
from tests.support.swift import S3Server


@pytest.fixture
def direct_stack(s3: S3Server, stack_of: StackOf) -> Iterator[Stack]:
    url = s3.url("direct-links/photos")
    with stack_of(QM_STORAGE_URL=url, QM_MEDIA_LINKS="direct", **keys_of(s3)) as stack:
        yield stack


async def test_images_are_fetched_from_the_s3_server_and_new_sizes_from_here(
    s3: S3Server, direct_stack: Stack
) -> None:
    async with direct_stack.signed_in() as admin:
        org = await Organisation.made(admin)
        image = photo()
        image_id = (await (await org.device()).upload(image)).json()["imageId"]
        for variant in ("ORIGINAL", "DISPLAY", "THUMBNAIL"):
            link = await link_to(org.viewer, image_id, variant)
            assert link.startswith(f"{s3.endpoint}/direct-links/photos/")
            answer = await admin.http.get(link)
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "private, max-age=3600, immutable"
            assert answer.headers["content-type"] == ("image/jpeg" if variant == "ORIGINAL" else "image/webp")
            assert picture(answer.content)
        preview = await admin.http.get(await link_to(org.viewer, image_id, "PREVIEW"))
        assert preview.status_code == 200
