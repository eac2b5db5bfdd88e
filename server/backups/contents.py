"""What is in a backup: reading, checking, listing, thinning out. Nothing here touches the system itself."""

import gzip
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from domain.kit.errors import Invalid

FORMAT = 1
PREFIX = "quartermaster-"
ABOUT, DATABASE, MANIFEST, BLOBS = "backup.json", "database.dump", "blobs.jsonl.gz", "blobs.tar"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileCheck:
    """Bytes, and SHA-256 in hex."""

    bytes: int
    sha256: str


@dataclass(slots=True)
class About:
    """`tables` are the rows of each, `key_id` tells secret keys apart without telling one."""

    format: int
    made_at: str
    version: str
    revision: str
    postgres: int
    key_id: str
    tables: dict[str, int]
    blobs: int
    blob_bytes: int
    with_blobs: bool
    files: dict[str, FileCheck] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(check.bytes for check in self.files.values())


@dataclass(frozen=True, slots=True)
class Listed:
    """A backup of a folder; `problem` says what is wrong with it, if it was looked at and something is."""

    path: Path
    about: About | None
    problem: str | None


def check_file(path: Path) -> FileCheck:
    """Read it whole."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileCheck(size, digest.hexdigest())


def write_about(folder: Path, about: About) -> None:
    """Say what it is: the last that is written into a backup."""
    (folder / ABOUT).write_bytes(
        orjson.dumps(asdict(about), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    )


def read_about(folder: Path) -> About:
    """What a backup is. Raises Invalid for a folder that is none, or one of a later format."""
    try:
        said: dict[str, Any] = orjson.loads((folder / ABOUT).read_bytes())
        files = {name: FileCheck(**check) for name, check in said.pop("files").items()}
        about = About(**said, files=files)
    except FileNotFoundError:
        raise Invalid(f"{folder} is no backup: it has no {ABOUT}.") from None
    except OSError as error:
        raise Invalid(f"{folder} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Invalid(f"{folder / ABOUT} is damaged, or of a later version.") from None
    if about.format != FORMAT:
        raise Invalid(f"{folder} has the format {about.format}, and this version reads {FORMAT}.")
    return about


def verify(folder: Path) -> About:
    """What a backup is, after reading all of it. Raises Invalid when a file is missing or not as it was."""
    about = read_about(folder)
    for name, expected in about.files.items():
        path = folder / name
        if not path.is_file():
            raise Invalid(f"{folder} is damaged: {name} is missing.")
        if path.stat().st_size != expected.bytes or check_file(path) != expected:
            raise Invalid(f"{folder} is damaged: {name} is not as it was written.")
    return about


def manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """A dictionary for each blob: key, size in bytes, modified (seconds since the epoch), sha256."""
    with gzip.open(folder / MANIFEST, "rb") as lines:
        for line in lines:
            yield orjson.loads(line)


def backups_in(folder: Path) -> list[Path]:
    """The backups that a folder has, the newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.startswith(PREFIX) and (path / ABOUT).is_file()]
    return sorted(found, key=lambda path: path.name, reverse=True)


def listed(folder: Path, *, verified: bool) -> list[Listed]:
    """The backups of a folder, the newest first, with what is wrong with each."""
    result = []
    for path in backups_in(folder):
        try:
            result.append(Listed(path, verify(path) if verified else read_about(path), None))
        except Invalid as error:
            result.append(Listed(path, None, error.message))
    return result


def thin_out(folder: Path, kept: int) -> list[Path]:
    """Remove all but the newest; returns those. What is cut off in between goes when the next backup is made."""
    gone = backups_in(folder)[kept:]
    for path in gone:
        leaving = path.with_name(f".{path.name}.gone")
        path.rename(leaving)  # so that no half of it ever has the name
        shutil.rmtree(leaving, ignore_errors=True)
    return gone


def sync(path: Path) -> None:
    """So that a file, or the names in a folder, outlast a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def name_at(moment: datetime) -> str:
    return f"{PREFIX}{moment:%Y%m%dT%H%M%SZ}"
