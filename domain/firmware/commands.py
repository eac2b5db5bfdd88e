"""Artifacts: taking one in whose bytes are stored already, noting something of it, deleting it."""

import re
from dataclasses import dataclass

import asyncpg
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import TEXT

from domain.clients.queries import clients_by_ids
from domain.devices.commands import checked_board
from domain.firmware.models import FirmwareRow, firmwares, rollouts
from domain.kit.errors import Conflict, Invalid, NotFound
from domain.kit.scope import Scope, visible
from domain.kit.sql import Statement, insertion
from domain.kit.transactions import Transaction

ESP32_MAGIC = 0xE9
"""The first byte of an application image of the ESP32 family."""
_VERSION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,98}[A-Za-z0-9])?")
_LONGEST_NOTE = 2_000

_COLUMNS = [firmwares.c[name] for name in FirmwareRow.__annotations__]
_INSERT = Statement(
    insertion(
        firmwares,
        *("id", "client_id", "version", "board", "note", "sha256", "size_bytes", "is_esp32_image", "blob_key"),
        *("uploader_kind", "uploader_id"),
    ).returning(*_COLUMNS),
    FirmwareRow,
)
_SAME_VERSION = Statement(
    select(*_COLUMNS).where(
        firmwares.c.client_id == bindparam("owner"),
        firmwares.c.version == bindparam("version"),
        firmwares.c.board.is_not_distinct_from(bindparam("board", type_=TEXT)),
        firmwares.c.deleted_at.is_(None),
    ),
    FirmwareRow,
)
_HOLD = Statement(
    select(*_COLUMNS)
    .where(
        firmwares.c.id == bindparam("firmware"),
        firmwares.c.deleted_at.is_(None),
        visible(firmwares.c.client_id),
    )
    .with_for_update(),
    FirmwareRow,
)
_NOTE = Statement(
    update(firmwares)
    .where(firmwares.c.id == bindparam("firmware"))
    .values(note=bindparam("new_note", type_=TEXT), updated_at=func.now())
)
_DELETE = Statement(update(firmwares).where(firmwares.c.id == bindparam("firmware")).values(deleted_at=func.now()))
_IN_USE = Statement(
    select(rollouts.c.id)
    .where(
        rollouts.c.firmware_id == bindparam("firmware"),
        rollouts.c.finished_at.is_(None),
    )
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """What the uploader says of an artifact, checked. `board` None is for any board."""

    client_id: str
    version: str
    board: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Artifact:
    """Bytes that are in the blob store. `sha256` is hex, `size` bytes."""

    id: str
    blob_key: str
    sha256: str
    size: int
    is_esp32_image: bool


def blob_key(firmware_id: str, sha256: str) -> str:
    """Where an artifact's bytes are. The name says the hash, so that whoever serves it knows."""
    return f"firmware/{firmware_id}/{sha256}.bin"


async def checked_label(
    tx: Transaction, scope: Scope, *, client_id: str | None, version: str, board: str | None, note: str | None
) -> Labelled:
    """Whether an artifact may be called so; asked before its bytes are taken. Raises Invalid, NotFound."""
    if not _VERSION.fullmatch(version):
        raise Invalid("A version has 1 to 100 letters, digits and any of . _ + - between them.", argument="version")
    owner = scope.owner(client_id)
    if (await clients_by_ids(tx, scope, [owner]))[0] is None:
        raise NotFound("There is no such client.", clientId=owner)
    return Labelled(
        owner, version, None if board is None else checked_board(board), None if note is None else _checked(note)
    )


async def add_firmware(
    tx: Transaction, scope: Scope, label: Labelled, artifact: Artifact
) -> tuple[FirmwareRow, bool]:
    """Make an artifact known; says whether it was so already: the same version, board and bytes.

    Raises Conflict (VERSION_TAKEN) when other bytes have this version and board.
    """
    known = await tx.one(_SAME_VERSION, owner=label.client_id, version=label.version, board=label.board)
    if known is not None:
        if known.sha256 == artifact.sha256:
            return known, True
        raise _taken()
    try:
        row = await tx.one(
            _INSERT,
            id=artifact.id,
            client_id=label.client_id,
            version=label.version,
            board=label.board,
            note=label.note,
            sha256=artifact.sha256,
            size_bytes=artifact.size,
            is_esp32_image=artifact.is_esp32_image,
            blob_key=artifact.blob_key,
            uploader_kind=scope.actor_kind.value,
            uploader_id=scope.actor_id,
        )
    except asyncpg.UniqueViolationError:
        raise _taken() from None
    assert row is not None
    tx.emit(
        scope,
        "firmware.uploaded",
        client_id=row.client_id,
        subject=("Firmware", row.id),
        version=row.version,
        board=row.board,
        sha256=row.sha256,
        sizeBytes=row.size_bytes,
    )
    return row, False


async def update_firmware(tx: Transaction, scope: Scope, firmware_id: str, note: str | None) -> None:
    """Note something of an artifact, or nothing any more."""
    held = await hold_firmware(tx, scope, firmware_id)
    new = None if note is None else _checked(note)
    if new == held.note:
        return
    await tx.all(_NOTE, firmware=firmware_id, new_note=new)
    subject = ("Firmware", firmware_id)
    change = {"before": {"note": held.note}, "after": {"note": new}}
    tx.emit(scope, "firmware.updated", client_id=held.client_id, subject=subject, **change)


async def delete_firmware(tx: Transaction, scope: Scope, firmware_id: str) -> str:
    """Forget an artifact; returns the key of its bytes, which are to be deleted once this is committed.

    Raises Conflict (FIRMWARE_IN_USE) while a rollout that is not over uses it.
    """
    held = await hold_firmware(tx, scope, firmware_id)
    if (rollout_id := await tx.value(_IN_USE, firmware=firmware_id)) is not None:
        raise Conflict(
            "A rollout that is not over uses this firmware.", code="FIRMWARE_IN_USE", rolloutId=rollout_id
        )
    await tx.all(_DELETE, firmware=firmware_id)
    subject = ("Firmware", firmware_id)
    tx.emit(scope, "firmware.deleted", client_id=held.client_id, subject=subject, version=held.version)
    return held.blob_key


async def hold_firmware(tx: Transaction, scope: Scope, firmware_id: str) -> FirmwareRow:
    """The artifact, locked. Raises NotFound, for one that was deleted too."""
    held = await tx.one(_HOLD, firmware=firmware_id, scope=scope.client_id)
    if held is None:
        raise NotFound("There is no such firmware.", firmwareId=firmware_id)
    return held


def _checked(note: str) -> str:
    if len(note) > _LONGEST_NOTE:
        raise Invalid(f"A note has at most {_LONGEST_NOTE} characters.", argument="note")
    return note


def _taken() -> Conflict:
    return Conflict(
        "There is other firmware of this version for this board.", code="VERSION_TAKEN", argument="version"
    )
