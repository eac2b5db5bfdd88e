"""The stores by themselves, each empty at the start of a test."""

import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from domain.kit.blobs import BlobStore, LinkSigner
from domain.kit.blobs.folder import FolderStore
from domain.kit.blobs.places import S3Place, read_place
from domain.kit.blobs.presigned import Credentials
from domain.kit.blobs.s3 import S3Store
from tests.support.swift import S3Server

StoreOf = Callable[..., S3Store]


@pytest.fixture
def signer() -> LinkSigner:
    return LinkSigner(b"k" * 32, "http://quartermaster.test/")


@pytest.fixture
async def s3_store_of(s3: S3Server, signer: LinkSigner) -> AsyncIterator[StoreOf]:
    """Makes a store on the S3 server: by default in a new bucket, with the right keys."""
    made = []

    def make(
        place: str | None = None, secret: str | None = None, *, direct: bool = False, **options: str
    ) -> S3Store:
        read = read_place(s3.url(place or f"bucket-{uuid.uuid4().hex[:12]}/a/prefix", **options))
        assert isinstance(read, S3Place)
        keys = Credentials(s3.access_key, secret or s3.secret_key)
        made.append(S3Store(read, signer, credentials=keys, direct=direct))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, signer: LinkSigner) -> BlobStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "storage", signer)
    make: StoreOf = request.getfixturevalue("s3_store_of")
    return make()
