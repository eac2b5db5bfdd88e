"""The blob store that is a folder, on a real one: what is durable, what is refused, and what is left behind."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from domain.kit.blobs import BlobInfo, LinkSigner
from domain.kit.blobs.folder import FolderStore
from domain.kit.errors import Refusal, Unavailable

_KEY = "originals/2026/01/02/030405-abc.jpg"
_MEGABYTE = 1 << 20


@pytest.fixture
def store(tmp_path: Path, signer: LinkSigner) -> FolderStore:
    return FolderStore(tmp_path / "storage", signer)


def _files(store: FolderStore) -> list[str]:
    """Everything below the folder, finished or not."""
    return sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file())


async def _all(blobs: AsyncIterator[BlobInfo]) -> list[BlobInfo]:
    return [info async for info in blobs]


async def test_another_process_finds_it(store: FolderStore, signer: LinkSigner) -> None:
    await store.put(_KEY, b"bytes")
    assert await FolderStore(store.root, signer).get(_KEY) == b"bytes"


async def test_deleting_counts_what_was_there(store: FolderStore) -> None:
    for name in ("a", "b", "c"):
        await store.put(f"some/{name}", b"x")
    assert await store.delete_many(["some/a", "some/never", "some/b", "some/a"]) == 2
    assert _files(store) == ["blobs/some/c"]
    assert await store.delete_many([]) == 0


# Looking around.


async def test_a_scan_passes_over_a_name_that_leads_nowhere(store: FolderStore) -> None:
    await store.put("images/a", b"x")
    (store.root / "blobs/images/gone").symlink_to(store.root / "nowhere")
    assert [info.key for info in await _all(store.scan(""))] == ["images/a"]


# Links.


def _query(link: str) -> tuple[str, str]:
    query = parse_qs(urlsplit(link).query)
    return query["until"][0], query["signature"][0]


async def test_a_link_names_the_blob_and_is_signed_for_it_alone(store: FolderStore, signer: LinkSigner) -> None:
    link = store.signed_url(_KEY, expires_in=3600)
    assert link.startswith(f"http://quartermaster.test/media/{_KEY}?")
    until, signature = _query(link)
    assert 3600 - 5 <= signer.seconds_left(_KEY, until, signature) <= 7200
    assert signer.seconds_left("originals/other.jpg", until, signature) == 0
    assert signer.seconds_left(_KEY, str(int(until) + 3600), signature) == 0
    assert signer.seconds_left(_KEY, until, signature[:-1]) == 0
    stranger = LinkSigner(b"j" * 32, "http://quartermaster.test")
    assert stranger.seconds_left(_KEY, until, signature) == 0


async def test_a_link_that_is_over_has_no_time_left(store: FolderStore, signer: LinkSigner) -> None:
    until, signature = _query(store.signed_url(_KEY, expires_in=-7200))
    assert signer.seconds_left(_KEY, until, signature) < 0


# A folder that cannot be used. As root nothing is forbidden, so a file stands where a folder should be.


def _questions(store: FolderStore) -> list[tuple[str, object]]:
    return [
        ("put", store.put(_KEY, b"x")),
        ("put large", store.put(_KEY, bytes(2 * _MEGABYTE))),
        ("get", store.get(_KEY)),
        ("size", store.size(_KEY)),
        ("delete_many", store.delete_many([_KEY])),
        ("check", store.check()),
    ]


async def _outcomes(store: FolderStore) -> dict[str, type[BaseException] | None]:
    outcomes: dict[str, type[BaseException] | None] = {}
    for name, question in _questions(store):
        try:
            await question  # type: ignore[misc]
            outcomes[name] = None
        except Exception as error:  # noqa: BLE001 - what it is, is what is asked
            outcomes[name] = type(error)
    return outcomes


async def test_a_file_in_place_of_the_folder_is_unavailable(store: FolderStore) -> None:
    if store.root.exists():
        store.root.rmdir()
    store.root.write_bytes(b"")
    assert set((await _outcomes(store)).values()) == {Unavailable}
    with pytest.raises(Unavailable):
        await store.stats()


async def test_a_file_in_place_of_the_incoming_folder_is_unavailable_for_writing(store: FolderStore) -> None:
    await store.put(_KEY, b"before")
    (store.root / "incoming").rmdir()
    (store.root / "incoming").write_bytes(b"")
    for question in (store.put("a/b", b"x"), store.put("a/b", bytes(2 * _MEGABYTE)), store.check()):
        with pytest.raises(Unavailable) as caught:
            await question
        assert caught.value.retry_after > 0
        assert str(store.root) not in caught.value.message
    assert await store.get(_KEY) == b"before"


async def test_a_file_in_place_of_the_blobs_loses_nothing_that_was_acknowledged(store: FolderStore) -> None:
    store.root.mkdir(exist_ok=True)
    (store.root / "blobs").write_bytes(b"")
    for size in (1, 2 * _MEGABYTE):
        with pytest.raises(Unavailable):
            await store.put(_KEY, bytes(size))
    assert _files(store) == ["blobs"]


async def test_a_write_that_fails_in_the_middle_leaves_nothing_but_the_refusal(store: FolderStore) -> None:
    staged = store.stage()
    await staged.write(bytes(_MEGABYTE))
    (incoming,) = (store.root / "incoming").iterdir()
    incoming.unlink()
    incoming.mkdir()  # the next write finds no file it could go on with
    with pytest.raises(Refusal) as caught:
        await staged.write(bytes(_MEGABYTE))
    assert isinstance(caught.value, Unavailable)
    await staged.discard()
    assert not await store.exists(_KEY)
