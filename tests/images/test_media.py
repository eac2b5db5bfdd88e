"""`/media/…`: what a signed link opens, for whom, how long, and what it does not open."""

import time
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import pytest

from domain.kit.blobs import LinkSigner
from server.process import link_signer
from server.settings import load_settings
from tests.support.api import Api, Organisation
from tests.support.images import link_to, picture
from tests.support.photos import photo
from tests.support.problems import problem
from tests.support.stack import Stack
from tests.support.stores import lose
from tests.support.wire import answer_to, request_head

_VARIANTS = ["ORIGINAL", "DISPLAY", "THUMBNAIL"]


@pytest.fixture(scope="module")
def stack(either_stack: Stack) -> Stack:
    return either_stack


async def _uploaded(org: Organisation, kind: str = "JPEG") -> tuple[str, bytes]:
    image = photo(format=kind)
    answer = await (await org.device()).upload(image)
    return str(answer.json()["imageId"]), image


async def _link(org: Organisation, variant: str = "ORIGINAL") -> str:
    return await link_to(org.viewer, (await _uploaded(org))[0], variant)


def _changed(link: str, *, path: str | None = None, **query: str) -> str:
    """The link with another path, or other parameters."""
    parts = urlsplit(link)
    parameters = urlencode({**dict(parse_qsl(parts.query)), **query})
    return urlunsplit(parts._replace(path=path or parts.path, query=parameters))


def _signer(stack: Stack) -> LinkSigner:
    """The server's own: it makes the links that the server itself would never give."""
    environment = stack.environment
    return link_signer(load_settings(secret_key=environment["QM_SECRET_KEY"], public_url=stack.url))


async def _get(api: Api, link: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.http.get(link, headers=named)


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpeg"), ("PNG", "png"), ("WEBP", "webp")])
async def test_a_link_opens_without_any_credential(org: Organisation, kind: str, suffix: str) -> None:
    image_id, image = await _uploaded(org, kind)
    original = await _get(org.viewer, await link_to(org.viewer, image_id, "ORIGINAL"))
    assert (original.status_code, original.content) == (200, image)
    assert original.headers["content-type"] == f"image/{suffix}"
    for variant in ("DISPLAY", "THUMBNAIL"):
        shown = await _get(org.viewer, await link_to(org.viewer, image_id, variant))
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/webp")
        assert picture(shown.content).format == "WEBP"


@pytest.mark.parametrize("variant", _VARIANTS)
async def test_what_is_served_may_be_kept_and_can_do_nothing_in_a_browser(org: Organisation, variant: str) -> None:
    link = await _link(org, variant)
    headers = (await _get(org.viewer, link)).headers
    until = int(dict(parse_qsl(urlsplit(link).query))["until"])
    kept, age, immutable = headers["cache-control"].split(", ")
    assert (kept, immutable) == ("private", "immutable")
    assert abs(until - time.time() - int(age.removeprefix("max-age="))) < 10
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["etag"].startswith('"')
    assert "set-cookie" not in headers


async def test_a_link_lives_for_an_hour_or_two_and_stays_the_same_within_the_hour(org: Organisation) -> None:
    image_id, _ = await _uploaded(org)
    first, again = "", "other"
    for _ in range(2):  # the clock may pass the hour once
        if first != again:
            first, again = [await link_to(org.viewer, image_id, "DISPLAY") for _ in range(2)]
    assert first == again
    until = int(dict(parse_qsl(urlsplit(first).query))["until"])
    assert until % 3600 == 0
    assert 3590 <= until - time.time() <= 7200


async def test_each_variant_has_its_own_link(org: Organisation) -> None:
    image_id, _ = await _uploaded(org)
    links = [await link_to(org.viewer, image_id, variant) for variant in _VARIANTS]
    assert len(set(links)) == 3
    assert await link_to(org.viewer, image_id, "DISPLAY") == links[1]


async def test_a_link_of_another_blob_signature_or_time_is_refused(org: Organisation) -> None:
    link, other = await _link(org), await _link(org)
    later = str(int(time.time()) + 9_000_000)
    wrong = [
        _changed(link, path=urlsplit(other).path),
        _changed(link, signature="0" * 32),
        _changed(link, signature=""),
        _changed(link, signature="é"),
        _changed(link, until=later),
        _changed(link, until=""),
        _changed(link, until="-1"),
        _changed(link, until="²"),
        _changed(link, until="9" * 5000),
        link.partition("?")[0],
    ]
    for changed in wrong:
        answer = await _get(org.viewer, changed)
        problem(answer, 403, "LINK_EXPIRED")
        assert "cache-control" not in answer.headers or "no-store" in answer.headers["cache-control"]


async def test_being_signed_in_opens_no_link(org: Organisation) -> None:
    bare = (await _link(org)).partition("?")[0]
    answer = await org.admin.http.get(bare, headers=org.admin.headers)
    problem(answer, 403, "LINK_EXPIRED")


async def test_a_link_is_over_when_its_time_is(stack: Stack, org: Organisation) -> None:
    link = await _link(org)
    key = urlsplit(link).path.removeprefix("/media/")
    signer = _signer(stack)
    assert (await _get(org.viewer, signer.link(key, 60))).status_code == 200
    problem(await _get(org.viewer, signer.link(key, -7300)), 403, "LINK_EXPIRED")


async def test_a_known_etag_is_answered_with_304(org: Organisation) -> None:
    link = await _link(org, "DISPLAY")
    etag = (await _get(org.viewer, link)).headers["etag"]
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        answer = await _get(org.viewer, link, If_None_Match=known)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
        assert "immutable" in answer.headers["cache-control"]
    assert (await _get(org.viewer, link, If_None_Match='"another"')).status_code == 200


async def test_a_range_is_answered_with_that_part(org: Organisation) -> None:
    image_id, image = await _uploaded(org)
    link = await link_to(org.viewer, image_id, "ORIGINAL")
    whole = await _get(org.viewer, link)
    assert whole.headers["accept-ranges"] == "bytes"
    for asked, part in (
        ("0-0", image[:1]),
        ("100-199", image[100:200]),
        ("100-", image[100:]),
        ("-50", image[-50:]),
    ):
        answer = await _get(org.viewer, link, Range=f"bytes={asked}")
        assert (answer.status_code, answer.content) == (206, part), asked
        start = image.index(part) if asked != "0-0" else 0
        assert answer.headers["content-range"] == f"bytes {start}-{start + len(part) - 1}/{len(image)}"
    resumed = await _get(org.viewer, link, Range="bytes=100-", If_Range=whole.headers["etag"])
    assert (resumed.status_code, resumed.content) == (206, image[100:])
    changed = await _get(org.viewer, link, Range="bytes=100-", If_Range='"another"')
    assert (changed.status_code, changed.content) == (200, image)


async def test_a_range_beyond_the_end_is_416(org: Organisation) -> None:
    image_id, image = await _uploaded(org)
    link = await link_to(org.viewer, image_id, "ORIGINAL")
    answer = await _get(org.viewer, link, Range=f"bytes={len(image)}-")
    problem(answer, 416, "RANGE_NOT_SATISFIABLE")
    assert answer.headers["content-range"] == f"bytes */{len(image)}"


async def test_a_malformed_range_is_refused_in_words(org: Organisation) -> None:
    answer = await _get(org.viewer, await _link(org), Range="bytes=many")
    problem(answer, 400, "BAD_RANGE")


async def test_head_tells_all_but_the_bytes(org: Organisation) -> None:
    image_id, image = await _uploaded(org)
    link = await link_to(org.viewer, image_id, "ORIGINAL")
    head, whole = await org.viewer.http.head(link), await _get(org.viewer, link)
    assert (head.status_code, head.content) == (200, b"")
    names = ("content-length", "content-type", "etag", "cache-control")
    assert [head.headers[name] for name in names] == [whole.headers[name] for name in names]
    assert head.headers["content-length"] == str(len(image))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_is_changed_through_a_link(org: Organisation, method: str) -> None:
    link = await _link(org)
    problem(await org.viewer.http.request(method, link), 405, "METHOD_NOT_ALLOWED")
    assert (await _get(org.viewer, link)).status_code == 200


_OUTSIDE = [
    "../secret",
    "originals/../../../serve.log",
    "originals/..%2f..%2f..%2fserve.log",
    "%2e%2e/%2e%2e/serve.log",
    "/etc/passwd",
    "originals//etc/passwd",
    "originals/.hidden",
    "originals/x%00.webp",
    "..\\serve.log",
]


@pytest.mark.parametrize("key", _OUTSIDE)
async def test_no_path_leads_out_of_the_store(stack: Stack, key: str) -> None:
    # Sent as it is: clients would tidy the path before.
    status, body = await answer_to(stack.url, request_head("GET", f"/media/{key}?until=9999999999&signature=x"))
    assert status == 403
    assert b"LINK_EXPIRED" in body


@pytest.mark.parametrize(
    "key", ["originals/../../../serve.log", "../secret", "/etc/passwd", "originals/.hidden", "x"]
)
async def test_not_even_a_signature_leads_out_of_the_store(stack: Stack, key: str) -> None:
    link = urlsplit(_signer(stack).link(key, 60))
    status, body = await answer_to(stack.url, request_head("GET", f"/media/{key}?{link.query}"))
    assert status in (404, 422), body
    assert b"root:" not in body
    assert b'"process"' not in body


async def test_a_blob_that_is_gone_is_404(stack: Stack, org: Organisation) -> None:
    image_id, _ = await _uploaded(org)
    link = await link_to(org.viewer, image_id, "THUMBNAIL")
    key = urlsplit(link).path.removeprefix("/media/")
    await lose(stack, [key])
    problem(await _get(org.viewer, link), 404, "NOT_FOUND")
    never = _signer(stack).link("originals/2020/01/01/never-was.jpg", 60)
    problem(await _get(org.viewer, never), 404, "NOT_FOUND")
    folder = _signer(stack).link(key.rpartition("/")[0], 60)
    problem(await _get(org.viewer, folder), 404, "NOT_FOUND")


async def test_another_clients_images_have_no_link(org: Organisation, other_org: Organisation) -> None:
    image_id, _ = await _uploaded(org)
    query = "query ($id: ID!) { image(id: $id) { url } }"
    assert (await other_org.viewer.run(query, id=image_id))["image"] is None
