"""The commands `backup` and `restore` as operators run them, and what they are run with."""

import asyncio
import subprocess
import uuid
from pathlib import Path

import asyncpg

from tests.server.test_settings import quartermaster
from tests.support.api import Api, Organisation
from tests.support.images import settled
from tests.support.photos import photo
from tests.support.stack import Stack

_CONTENT = "SELECT md5(coalesce(string_agg(row::text, E'\\n' ORDER BY row::text), '')) FROM {} AS row"
_NAMES = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"


def settings_of(stack: Stack) -> dict[str, str]:
    return {name: value for name, value in stack.environment.items() if name.startswith("QM_")}


def command(stack: Stack, *arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    given = {**settings_of(stack), **environment}
    return quartermaster(*map(str, arguments), folder=stack.data_dir, **given)


async def new_database(stack: Stack) -> str:
    url = stack.environment["QM_DATABASE_URL"]
    name = f"restored_{uuid.uuid4().hex[:8]}"
    connection = await asyncpg.connect(url)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    return url.rpartition("/")[0] + "/" + name


async def content_of(url: str) -> dict[str, str]:
    """A hash of each table's rows."""
    connection = await asyncpg.connect(url)
    try:
        names = [row[0] for row in await connection.fetch(_NAMES)]
        return {name: await connection.fetchval(_CONTENT.format(f'"{name}"')) for name in names}
    finally:
        await connection.close()


async def filled(stack: Stack, admin: Api) -> tuple[Organisation, str]:
    """Some of what a system has; an image's id."""
    org = await Organisation.made(admin)
    device = await org.device("cam", name='ü "quoted" \\ back')
    for number in range(3):
        image_id = (await device.upload(photo(), headers={"X-Battery-V": f"3.{number}"})).json()["imageId"]
        await settled(org.viewer, image_id)
    return org, image_id


def backup_in(folder: Path) -> Path:
    (found,) = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return found


def stub_tool(folder: Path, name: str, major: int, body: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{name} (PostgreSQL) {major}.1"; exit; fi\n{body}\n'
    )
    path.chmod(0o755)


def major_of(stack: Stack) -> int:
    async def ask() -> int:
        connection = await asyncpg.connect(stack.environment["QM_DATABASE_URL"])
        try:
            return int(connection.get_server_version().major)
        finally:
            await connection.close()

    return asyncio.run(ask())
