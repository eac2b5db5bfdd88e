"""The link that a device is given: it needs no token, and an interrupted download goes on where it stopped."""

import base64
import hashlib
import random

import pytest

from tests.firmware.operations import begun, sha256, uploaded, wake
from tests.support.api import Organisation
from tests.support.problems import problem

_IMAGE = b"\xe9" + random.Random(7).randbytes(300_000)


@pytest.fixture
async def url(org: Organisation) -> str:
    """A link as a device is given it."""
    device = await org.device()
    await begun(org.operator, await uploaded(org.operator, _IMAGE))
    offered = await wake(device)
    assert offered is not None
    assert (offered["sha256"], offered["sizeBytes"]) == (sha256(_IMAGE), len(_IMAGE))
    return str(offered["url"])


async def test_it_opens_without_a_token(org: Organisation, url: str) -> None:
    answer = await org.operator.http.get(url)
    assert (answer.status_code, answer.content) == (200, _IMAGE)
    assert answer.headers["content-length"] == str(len(_IMAGE))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"] == "application/octet-stream"
    digest = base64.b64encode(hashlib.sha256(_IMAGE).digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"


async def test_a_head_tells_all_but_the_bytes(org: Organisation, url: str) -> None:
    head, got = await org.operator.http.head(url), await org.operator.http.get(url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "etag", "repr-digest", "accept-ranges"):
        assert head.headers[name] == got.headers[name]


async def test_an_interrupted_download_goes_on_where_it_stopped(org: Organisation, url: str) -> None:
    http, received, etag = org.operator.http, b"", ""
    async with http.stream("GET", url) as answer:
        etag = answer.headers["etag"]
        async for chunk in answer.aiter_raw(50_000):
            received += chunk
            break  # the radio fails
    assert 0 < len(received) < len(_IMAGE)
    rest = await http.get(url, headers={"Range": f"bytes={len(received)}-", "If-Range": etag})
    assert rest.status_code == 206
    assert rest.headers["content-range"] == f"bytes {len(received)}-{len(_IMAGE) - 1}/{len(_IMAGE)}"
    assert rest.headers["content-length"] == str(len(_IMAGE) - len(received))
    assert received + rest.content == _IMAGE


async def test_pieces_make_the_whole(org: Organisation, url: str) -> None:
    pieces = []
    for begin in range(0, len(_IMAGE), 65_536):
        answer = await org.operator.http.get(url, headers={"Range": f"bytes={begin}-{begin + 65_535}"})
        assert answer.status_code == 206
        pieces.append(answer.content)
    assert b"".join(pieces) == _IMAGE
    last = await org.operator.http.get(url, headers={"Range": "bytes=-100"})
    assert (last.status_code, last.content) == (206, _IMAGE[-100:])


async def test_a_range_of_something_else_gets_everything(org: Organisation, url: str) -> None:
    answer = await org.operator.http.get(url, headers={"Range": "bytes=100-", "If-Range": '"of another version"'})
    assert (answer.status_code, answer.content) == (200, _IMAGE)


async def test_a_range_behind_the_end_is_refused(org: Organisation, url: str) -> None:
    answer = await org.operator.http.get(url, headers={"Range": f"bytes={len(_IMAGE)}-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(_IMAGE)}")


async def test_what_is_there_already_is_not_sent(org: Organisation, url: str) -> None:
    etag = (await org.operator.http.head(url)).headers["etag"]
    assert (await org.operator.http.get(url, headers={"If-None-Match": etag})).status_code == 304


async def test_a_link_opens_one_artifact_only(org: Organisation, url: str) -> None:
    problem(await org.operator.http.get(url.partition("?")[0]), 403, "LINK_EXPIRED")
    problem(await org.operator.http.get(url[:-1] + ("0" if url[-1] != "0" else "1")), 403, "LINK_EXPIRED")
    other = await uploaded(org.operator, _IMAGE, version="3.0.0")
    path, _, query = url.partition("?")
    parts = path.split("/")
    parts[-2] = other
    problem(await org.operator.http.get("/".join(parts) + "?" + query), 403, "LINK_EXPIRED")
