"""The blob store that is a bucket of an S3 server: Amazon's, or one that speaks like it.

boto3 blocks, so it works in threads of its own. What it raises becomes the domain's errors here. Bytes go in under
their key at once, in one request or, when they are large, in parts; a key exists when all of them are there.
"""

import asyncio
import hashlib
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO, Any, TypeVar

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from domain.kit.blobs.links import LinkSigner
from domain.kit.blobs.places import S3Place
from domain.kit.blobs.presigned import Credentials, Presigner
from domain.kit.blobs.store import (
    OTHER_TYPE,
    STREAMED,
    BlobInfo,
    Key,
    StoreStats,
    check_key,
    content_type_of,
    is_key,
)
from domain.kit.errors import NotFound, Refusal, Unavailable

_HELD_BYTES = 1 << 20  # of one upload in memory; more waits in a temporary file
_PART_BYTES = 8 << 20
_DELETED_AT_ONCE = 250  # S3 allows 1,000, with which small servers are busy for longer than we wait
_CHECKED = ".check"  # no key, so that it is never taken for a blob
_CONNECT, _READ, _ATTEMPTS = 3, 15, 3  # seconds, seconds, tries
_GONE = {"404", "NoSuchKey", "NotFound"}
_CUT = (ResponseStreamingError, IncompleteReadError, ReadTimeoutError)
_UNREACHED = (EndpointConnectionError, ConnectTimeoutError, ConnectionClosedError, ReadTimeoutError)

_THREADS = ThreadPoolExecutor(32, thread_name_prefix="s3")
_IN_PARTS = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, use_threads=False)

T = TypeVar("T")


class S3Store:
    """Blobs as objects. Safe for many processes on many machines.

    Keys come from `credentials`, or where boto3 looks for them. With `direct`, links lead to the S3 server itself.
    Without `make` the bucket is not made on first use.
    """

    def __init__(
        self,
        place: S3Place,
        signer: LinkSigner,
        *,
        credentials: Credentials | None = None,
        direct: bool = False,
        make: bool = True,
    ) -> None:
        self.place = place
        given = credentials or Credentials("", "")
        session = boto3.Session(
            aws_access_key_id=given.access_key or None,
            aws_secret_access_key=given.secret_key or None,
            aws_session_token=given.token,
            region_name=place.region,
        )
        self._session, self._signer = session, signer
        self._region = session.region_name or "us-east-1"
        self.client: Any = session.client(
            "s3", endpoint_url=place.endpoint, region_name=self._region, config=_config(place)
        )
        self._presigner = Presigner(_base(place, self._region), self._region) if direct else None
        self._bucket_seen = not make
        self._making_bucket = threading.Lock()

    def name(self, key: str) -> str:
        """The object's name in the bucket."""
        return self.place.prefix + check_key(key)

    def stage(self) -> "S3Staged":
        return S3Staged(self)

    async def put(self, key: str, data: bytes) -> None:
        await self._do(self.send, self.name(key), data, key)

    async def get(self, key: str) -> bytes:
        return await self._do(self._read, self.name(key), key=key)

    async def stream(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        if length == 0:
            return
        end = "" if length is None else start + length - 1
        wanted = {"Range": f"bytes={start}-{end}"} if start or length is not None else {}
        try:
            body = (await self._do(self._object, self.name(key), wanted, key=key))["Body"]
        except _PastTheEnd:
            return
        try:
            while chunk := await self._do(body.read, STREAMED):
                yield chunk
        finally:
            body.close()

    async def delete_many(self, keys: Iterable[str]) -> int:
        names = [self.name(key) for key in dict.fromkeys(keys)]
        for start in range(0, len(names), _DELETED_AT_ONCE):
            await self._do(self._delete, names[start : start + _DELETED_AT_ONCE])
        return len(names)

    async def exists(self, key: str) -> bool:
        try:
            await self.size(key)
        except NotFound:
            return False
        return True

    async def size(self, key: str) -> int:
        name = self.name(key)
        head = await self._do(lambda: self.client.head_object(Bucket=self.place.bucket, Key=name), key=key)
        return int(head["ContentLength"])

    async def copy(self, source: str, target: str) -> None:
        origin, name = {"Bucket": self.place.bucket, "Key": self.name(source)}, self.name(target)
        await self._do(
            lambda: self.client.copy_object(Bucket=self.place.bucket, Key=name, CopySource=origin), key=source
        )

    async def scan(self, prefix: str) -> AsyncIterator[BlobInfo]:
        token: dict[str, str] = {}
        while True:
            page = await self._do(self._page, self.place.prefix + prefix, token)
            for found in page.get("Contents", ()):
                key = found["Key"].removeprefix(self.place.prefix)
                if is_key(key):
                    yield BlobInfo(key, found["Size"], found["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def signed_url(self, key: str, *, expires_in: float) -> str:
        if self._presigner is None:
            return self._signer.link(check_key(key), expires_in)
        content_type = content_type_of(key)
        attached = {"content_disposition": "attachment"} if content_type == OTHER_TYPE else {}
        return self._presigner.link(
            self.name(key),
            self._credentials(),
            now=time.time(),
            expires_in=expires_in,
            cache_control=f"private, max-age={int(expires_in)}, immutable",
            content_type=content_type,
            **attached,
        )

    async def stats(self) -> StoreStats:
        blobs = size = 0
        async for info in self.scan(""):
            blobs += 1
            size += info.size
        return StoreStats(blobs, size, None)

    async def clear_unfinished(self, before: float) -> int:
        return await self._do(self._abort_older, before)

    async def check(self) -> None:
        await self._do(self.send, self.place.prefix + _CHECKED, b"ok", _CHECKED)

    async def close(self) -> None:
        self.client.close()

    # What follows runs in threads.

    def run(self, key: str | None, function: Callable[..., T], *arguments: Any) -> T:
        """The function's result, or the domain's error; `key` where one blob is asked for."""
        with _store_errors(key):
            self._make_bucket_once()
            return function(*arguments)

    def send(self, name: str, body: bytes | IO[bytes], key: str, size: int = 0) -> None:
        """Write an object. `size` is that of a file."""
        kept = {"ContentType": content_type_of(key)}
        if size <= _PART_BYTES:
            self.client.put_object(Bucket=self.place.bucket, Key=name, Body=body, **kept)
        else:
            self.client.upload_fileobj(body, self.place.bucket, name, ExtraArgs=kept, Config=_IN_PARTS)

    def _object(self, name: str, wanted: dict[str, str]) -> Any:
        return self.client.get_object(Bucket=self.place.bucket, Key=name, **wanted)

    def _read(self, name: str) -> bytes:
        # boto3 tries requests again, but not the reading of an answer that was cut off.
        for left in range(_ATTEMPTS - 1, -1, -1):
            body = self._object(name, {})["Body"]
            try:
                data: bytes = body.read()
                return data
            except _CUT:
                if not left:
                    raise
            finally:
                body.close()
        raise AssertionError("the last try returns or raises")

    def _delete(self, names: Iterable[str]) -> None:
        wanted = {"Objects": [{"Key": name} for name in names], "Quiet": True}
        answer = self.client.delete_objects(Bucket=self.place.bucket, Delete=wanted)
        failed = [error for error in answer.get("Errors", ()) if error.get("Code") not in _GONE]
        if failed:
            raise Unavailable(f"The blob store did not delete {len(failed)} blobs: {failed[0].get('Code')}.")

    def _page(self, prefix: str, token: dict[str, str]) -> Any:
        return self.client.list_objects_v2(Bucket=self.place.bucket, Prefix=prefix, **token)

    def _abort_older(self, before: float) -> int:
        aborted = 0
        pages = self.client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self.place.bucket, Prefix=self.place.prefix):
            for upload in page.get("Uploads", ()):
                if upload["Initiated"].timestamp() < before:
                    named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                    self.client.abort_multipart_upload(Bucket=self.place.bucket, **named)
                    aborted += 1
        return aborted

    def _make_bucket_once(self) -> None:
        """Only before the first use: a bucket that vanishes later is for a person to look at, not to be hidden."""
        if self._bucket_seen:
            return
        with self._making_bucket:
            if self._bucket_seen:
                return
            try:
                self.client.head_bucket(Bucket=self.place.bucket)
            except ClientError as error:
                if _code(error) in {*_GONE, "NoSuchBucket"}:
                    self._make_bucket()
                elif _code(error) not in {"403", "AccessDenied"}:  # who may not look may still write
                    raise
            self._bucket_seen = True

    def _make_bucket(self) -> None:
        where = {} if self._region == "us-east-1" else {"LocationConstraint": self._region}
        more = {"CreateBucketConfiguration": where} if where else {}
        try:
            self.client.create_bucket(Bucket=self.place.bucket, **more)
        except ClientError as error:
            if _code(error) != "BucketAlreadyOwnedByYou":  # another process was quicker
                raise

    def _credentials(self) -> Credentials:
        found = self._session.get_credentials()
        if found is None:
            raise _unavailable(NoCredentialsError())
        frozen = found.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    async def _do(self, function: Callable[..., T], *arguments: Any, key: str | None = None) -> T:
        return await in_thread(self.run, key, function, *arguments)


class S3Staged:
    """Bytes are gathered up to 1 MB, then in a temporary file without a name, which no crash leaves behind."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._chunks: list[bytes] = []
        self._waiting = 0
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self.size = 0

    async def write(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._waiting += len(chunk)
        self.size += len(chunk)
        if self._waiting >= _HELD_BYTES:
            await in_thread(self._store.run, None, self._spill)

    async def commit(self, key: Key) -> None:
        await in_thread(self._store.run, None, self._finish, key)

    async def discard(self) -> None:
        self._chunks.clear()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _spill(self) -> None:
        self._file = self._file or tempfile.TemporaryFile(prefix="quartermaster-")  # noqa: SIM115
        self._file.writelines(self._take())

    def _finish(self, key: Key) -> None:
        if self._file is None:
            body: bytes | IO[bytes] = b"".join(self._take())
        else:
            self._spill()
            body = self._file
            body.seek(0)
        target = key if isinstance(key, str) else key(self._digest.hexdigest())
        self._store.send(self._store.name(target), body, target, self.size)
        if self._file is not None:
            self._file.close()

    def _take(self) -> list[bytes]:
        # Hashed here and not as it arrives: this is a thread, and the event loop has one core.
        chunks, self._chunks, self._waiting = self._chunks, [], 0
        for chunk in chunks:
            self._digest.update(chunk)
        return chunks


class _PastTheEnd(Refusal):
    """A range begins where the blob has ended."""


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, function, *arguments)


@contextmanager
def _store_errors(key: str | None) -> Iterator[None]:
    """What boto3 raises as Unavailable; where one blob is asked for, its absence as NotFound."""
    try:
        yield
    except ClientError as error:
        if key is not None and _code(error) in _GONE:
            raise NotFound("There is no such blob.", key=key) from None
        if _code(error) in {"InvalidRange", "416"}:
            raise _PastTheEnd("The blob has ended before.") from None
        raise _unavailable(error) from error
    except (BotoCoreError, OSError) as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> Unavailable:
    """In words that hold no address and no key."""
    if isinstance(error, ClientError):
        why = f"it refused with {_code(error)}"
    elif isinstance(error, NoCredentialsError):
        why = "there are no keys for it"
    elif isinstance(error, _UNREACHED):
        why = "it cannot be reached, or does not answer"
    else:
        why = type(error).__name__ if isinstance(error, BotoCoreError) else str(getattr(error, "strerror", error))
    return Unavailable(f"The blob store cannot be used: {why}.", retry_after=10)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "?"))


def _config(place: S3Place) -> Config:
    return Config(
        connect_timeout=_CONNECT,
        read_timeout=_READ,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=32,
        # The server compares what it got with the SHA-256 in the signature, over TLS too; other checksums are
        # Amazon's alone.
        s3={"addressing_style": "path" if place.by_path else "virtual", "payload_signing_enabled": True},
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _base(place: S3Place, region: str) -> str:
    """The bucket's address for those who follow links."""
    scheme, _, host = (place.public_endpoint or place.endpoint or f"https://s3.{region}.amazonaws.com").partition(
        "://"
    )
    return f"{scheme}://{host}/{place.bucket}" if place.by_path else f"{scheme}://{place.bucket}.{host}"
