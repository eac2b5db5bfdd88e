"""What is the S3 store's own: buckets, keys that are wrong, servers that are away or silent, direct links."""

import asyncio
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from domain.kit.blobs import LinkSigner
from domain.kit.blobs.places import S3Place
from domain.kit.blobs.presigned import Credentials, Presigner
from domain.kit.blobs.s3 import S3Store
from domain.kit.errors import NotFound, Unavailable
from tests.storage.conftest import StoreOf
from tests.support.stack import free_port
from tests.support.swift import S3Server

_KEY = "display/2026/01/02/030405-abc.webp"
_MEGABYTE = 1 << 20


# Buckets.


async def test_the_bucket_is_made_on_first_use_by_whoever_comes_first(s3_store_of: StoreOf) -> None:
    stores = [s3_store_of("first-use/x") for _ in range(4)]
    await asyncio.gather(*(store.put(f"some/{number}", b"x") for number, store in enumerate(stores)))
    assert await stores[0].delete_many([f"some/{number}" for number in range(4)]) == 4


async def test_reading_makes_it_too_and_finds_nothing(s3_store_of: StoreOf) -> None:
    store = s3_store_of()
    with pytest.raises(NotFound):
        await store.get(_KEY)
    assert [info async for info in s3_store_of().scan("")] == []


async def test_a_bucket_that_vanished_is_not_made_again(s3_store_of: StoreOf) -> None:
    store = s3_store_of()
    await store.put(_KEY, b"x")
    await store.delete_many([_KEY])
    store.client.delete_bucket(Bucket=store.place.bucket)
    for question in (store.put(_KEY, b"x"), store.check(), store.get(_KEY)):
        with pytest.raises(Unavailable, match="NoSuchBucket"):
            await question


async def test_prefixes_keep_stores_in_one_bucket_apart(s3_store_of: StoreOf) -> None:
    stores = [s3_store_of(f"shared-bucket{prefix}") for prefix in ("/a", "/ab", "")]
    for number, store in enumerate(stores):
        await store.put(_KEY, str(number).encode())
    assert [await store.get(_KEY) for store in stores] == [b"0", b"1", b"2"]
    assert [info.key async for info in stores[0].scan("")] == [_KEY]
    await stores[0].delete_many([_KEY])
    assert await stores[1].exists(_KEY)


async def test_large_blobs_go_in_parts_and_photos_do_not(s3_store_of: StoreOf) -> None:
    store = s3_store_of()
    for name, size in (("a", 7 * _MEGABYTE), ("b", 20 * _MEGABYTE)):
        staged = store.stage()
        for _ in range(size // _MEGABYTE):
            await staged.write(os.urandom(_MEGABYTE))
        await staged.commit(f"some/{name}")
    heads = [store.client.head_object(Bucket=store.place.bucket, Key=store.name(f"some/{name}")) for name in "ab"]
    parts = [re.search(r"-(\d+)\"$", head["ETag"]) for head in heads]
    assert [part and part[1] for part in parts] == [None, "3"]


async def test_objects_say_what_they_are(s3_store_of: StoreOf) -> None:
    store = s3_store_of()
    expected = {"a.webp": "image/webp", "a.jpg": "image/jpeg", "a.bin": "application/octet-stream"}
    for name in expected:
        await store.put(f"some/{name}", b"x")
    heads = {
        name: store.client.head_object(Bucket=store.place.bucket, Key=store.name(f"some/{name}"))
        for name in expected
    }
    assert {name: head["ContentType"] for name, head in heads.items()} == expected


async def test_what_is_no_key_of_ours_is_passed_over(s3_store_of: StoreOf) -> None:
    store = s3_store_of()
    await store.put(_KEY, b"x")
    for name in ("a/prefix/README", "a/prefix/Some/Thing", "elsewhere/some/thing"):
        store.client.put_object(Bucket=store.place.bucket, Key=name, Body=b"x")
    assert [info.key async for info in store.scan("")] == [_KEY]


# What goes wrong.


async def _outcomes(store: S3Store) -> dict[str, Unavailable]:
    async def staged() -> None:
        one = store.stage()
        await one.write(bytes(10 * _MEGABYTE))
        await one.commit(_KEY)

    questions = {
        "put": store.put(_KEY, b"x"),
        "in parts": staged(),
        "get": store.get(_KEY),
        "size": store.size(_KEY),
        "delete_many": store.delete_many([_KEY]),
        "stream": anext(store.stream(_KEY)),
        "scan": anext(store.scan("")),
        "clear_unfinished": store.clear_unfinished(0),
        "check": store.check(),
    }
    found: dict[str, Any] = dict(
        zip(questions, await asyncio.gather(*questions.values(), return_exceptions=True), strict=True)
    )
    assert {name: type(error) for name, error in found.items()} == dict.fromkeys(questions, Unavailable)
    return found


async def test_wrong_keys_are_refused_in_words_without_them(s3: S3Server, s3_store_of: StoreOf) -> None:
    await s3_store_of("with-wrong-keys").check()
    for error in (await _outcomes(s3_store_of("with-wrong-keys", "a wrong secret"))).values():
        assert error.retry_after > 0
        assert not any(secret in error.message for secret in (s3.access_key, s3.endpoint, "wrong secret"))


async def test_a_server_that_is_not_there_is_unavailable(signer: LinkSigner) -> None:
    place = S3Place("bucket", endpoint=f"http://127.0.0.1:{free_port()}", region="us-east-1")
    store = S3Store(place, signer, credentials=Credentials("a", "b"))
    errors = await _outcomes(store)
    assert {error.message for error in errors.values()} == {
        "The blob store cannot be used: it cannot be reached, or does not answer."
    }
    await store.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_the_event_loop_goes_on_while_a_server_is_silent(silent: str, signer: LinkSigner) -> None:
    place = S3Place("bucket", endpoint=silent, region="us-east-1")
    store = S3Store(place, signer, credentials=Credentials("a", "b"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await store.put(_KEY, b"x")
    slowest, before = 0.0, time.perf_counter()
    waiting = [asyncio.create_task(store.put(f"some/{number}", b"x")) for number in range(8)]
    for _ in range(100):
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        slowest, before = max(slowest, now - before), now
    assert slowest < 1, "something blocked"
    for task in waiting:
        task.cancel()


async def test_without_any_keys_that_is_what_is_said(
    s3: S3Server, signer: LinkSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    store = S3Store(S3Place("bucket", endpoint=s3.endpoint, region=s3.region), signer, direct=True)
    with pytest.raises(Unavailable, match="there are no keys for it"):
        await store.check()
    with pytest.raises(Unavailable, match="there are no keys for it"):
        store.signed_url(_KEY, expires_in=60)
    await store.close()


# Links that the S3 server answers.


async def test_a_direct_link_opens_the_blob_and_says_how_to_keep_it(s3: S3Server, s3_store_of: StoreOf) -> None:
    store = s3_store_of(direct=True)
    await store.put(_KEY, b"bytes")
    link = store.signed_url(_KEY, expires_in=3600)
    assert link.startswith(s3.endpoint)
    async with httpx.AsyncClient() as http:
        answer = await http.get(link)
        assert (answer.status_code, answer.content) == (200, b"bytes")
        assert answer.headers["content-type"] == "image/webp"
        assert answer.headers["cache-control"] == "private, max-age=3600, immutable"
        part = await http.get(link, headers={"Range": "bytes=1-2"})
        assert (part.status_code, part.content) == (206, b"yt")
        for changed in (link.replace("display", "other"), link[:-1] + ("0" if link[-1] != "0" else "1")):
            assert (await http.get(changed)).status_code == 403


async def test_a_direct_link_is_over_when_its_time_is(s3: S3Server, s3_store_of: StoreOf) -> None:
    store = s3_store_of(direct=True)
    await store.put(_KEY, b"bytes")
    signer = Presigner(f"{s3.endpoint}/{store.place.bucket}", s3.region)
    keys = Credentials(s3.access_key, s3.secret_key)
    async with httpx.AsyncClient() as http:
        over = signer.link(store.name(_KEY), keys, now=time.time() - 7300, expires_in=60)
        assert (await http.get(over)).status_code == 403
        works = signer.link(store.name(_KEY), keys, now=time.time() - 3500, expires_in=3600)
        assert (await http.get(works)).status_code == 200


async def test_a_direct_link_stays_the_same_within_the_hour(s3_store_of: StoreOf) -> None:
    store, another = s3_store_of("same-links", direct=True), s3_store_of("same-links", direct=True)
    first, again = "", "other"
    for _ in range(2):  # the clock may pass the hour once
        if first != again:
            first, again = [one.signed_url(_KEY, expires_in=3600) for one in (store, another)]
    assert first == again


async def test_links_are_signed_as_boto3_signs_them(s3_store_of: StoreOf) -> None:
    store = s3_store_of()
    name, answer = store.name("some/a-b_c.d"), "private, max-age=60, immutable; ü/+&="
    theirs = store.client.generate_presigned_url(
        "get_object",
        Params={"Bucket": store.place.bucket, "Key": name, "ResponseCacheControl": answer},
        ExpiresIn=3660,
    )
    asked = parse_qs(urlsplit(theirs).query)
    signed_at = datetime.strptime(asked["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    hour = signed_at.replace(minute=0, second=0)
    ours = Presigner(f"{store.place.endpoint}/{store.place.bucket}", "us-east-1").link(
        name, Credentials("test:tester", "testing"), now=hour.timestamp(), expires_in=60, cache_control=answer
    )
    expected = {**asked, "X-Amz-Date": [f"{hour:%Y%m%dT%H%M%SZ}"]}
    found = parse_qs(urlsplit(ours).query)
    assert {**found, "X-Amz-Signature": None} == {**expected, "X-Amz-Signature": None}
    # That the signature is right, the S3 server says above.


def test_links_lead_where_the_outside_reaches_the_server() -> None:
    base = "s3.eu-central-1.amazonaws.com"
    keys = Credentials("key", "secret", "a token")
    link = urlsplit(Presigner(f"https://bucket.{base}", "eu-central-1").link("a/b", keys, now=0, expires_in=60))
    assert (link.netloc, link.path) == (f"bucket.{base}", "/a/b")
    assert parse_qs(link.query)["X-Amz-Security-Token"] == ["a token"]
    assert parse_qs(link.query)["X-Amz-Expires"] == ["3660"]


async def test_a_public_endpoint_is_what_links_name(s3: S3Server, s3_store_of: StoreOf) -> None:
    store = s3_store_of(direct=True, public_endpoint="https://photos.example.com")
    link = store.signed_url(_KEY, expires_in=60)
    assert link.startswith(f"https://photos.example.com/{store.place.bucket}/a/prefix/{_KEY}?")


async def test_without_direct_links_lead_here(s3_store_of: StoreOf) -> None:
    link = s3_store_of().signed_url(_KEY, expires_in=60)
    assert link.startswith(f"http://quartermaster.test/media/{_KEY}?")


async def test_the_bytes_that_arrive_are_those_that_were_sent(s3_store_of: StoreOf) -> None:
    store, sums = s3_store_of(), {}

    async def one(number: int) -> None:
        data = os.urandom(100_000 + number)
        sums[f"some/{number}"] = hashlib.sha256(data).digest()
        await store.put(f"some/{number}", data)

    await asyncio.gather(*(one(number) for number in range(40)))
    for key, digest in sums.items():
        assert hashlib.sha256(await store.get(key)).digest() == digest
