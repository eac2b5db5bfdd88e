"""The blob store of a running server, looked into from outside as any process of it would."""

import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from domain.kit.blobs import BlobStore
from server.process import blob_store
from server.settings import Settings, load_settings
from tests.support.stack import Stack
from tests.support.swift import S3Server

_TOLD = ("STORAGE_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY", "SECRET_KEY", "MEDIA_LINKS")


def keys_of(s3: S3Server) -> dict[str, str]:
    """The settings beside QM_STORAGE_URL."""
    return {"QM_S3_ACCESS_KEY": s3.access_key, "QM_S3_SECRET_KEY": s3.secret_key}


def storage_settings(stack: Stack) -> Settings:
    environment = stack.environment
    given = {name.lower(): environment[f"QM_{name}"] for name in _TOLD if f"QM_{name}" in environment}
    return load_settings(data_dir=stack.data_dir, public_url=stack.url, **given)


@asynccontextmanager
async def store_of(stack: Stack) -> AsyncIterator[BlobStore]:
    """The store that this server uses."""
    store = blob_store(storage_settings(stack))
    try:
        yield store
    finally:
        await store.close()


async def keys_in(stack: Stack, prefix: str = "") -> set[str]:
    async with store_of(stack) as store:
        return {info.key async for info in store.scan(prefix)}


async def stored(stack: Stack, image: bytes) -> dict[str, bytes]:
    """What is kept under names made of these bytes, by kind (`originals`, `clean`, `display`, `thumbnails`)."""
    digest = hashlib.sha256(image).hexdigest()[:32]
    async with store_of(stack) as store:
        keys = [info.key async for info in store.scan("") if digest in info.key]
        found = {key.partition("/")[0]: await store.get(key) for key in keys}
    assert len(found) == len(keys), f"more than one image of these bytes: {keys}"
    return found


async def lose(stack: Stack, keys: Iterable[str]) -> None:
    """Take blobs away behind the server's back."""
    async with store_of(stack) as store:
        await store.delete_many(keys)


def folder_of(stack: Stack) -> Path:
    return stack.data_dir / "storage"
