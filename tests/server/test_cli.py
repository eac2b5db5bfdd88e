"""The `quartermaster` command, as an operator types it."""

import os
import re
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.test_settings import quartermaster
from tests.support.api import Api
from tests.support.stack import Stack

COMMANDS = (
    *("serve", "api", "worker", "relay", "migrate", "create-admin", "export-schema", "settings", "demo"),
    *("import-configs", "export-configs", "backup", "backups", "restore", "storage"),
)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The embedded default, with nothing set: a newcomer's first start."""
    folder = tmp_path_factory.mktemp("embedded")
    with Stack.started(folder, QM_ADMIN_PASSWORD="", QM_ADMIN_EMAIL="first@example.com") as stack:
        yield stack


def environment_of(stack: Stack) -> dict[str, str]:
    return {name: value for name, value in stack.environment.items() if name.startswith("QM_")}


def test_help_lists_every_command(tmp_path: Path) -> None:
    shown = quartermaster("--help", folder=tmp_path)
    assert shown.returncode == 0
    listed = set(re.findall(r"^[│|]? *([a-z-]+)  +\w", shown.stdout, re.MULTILINE))
    assert set(COMMANDS) <= listed


def test_the_schema_is_printed_or_written(tmp_path: Path) -> None:
    printed = quartermaster("export-schema", folder=tmp_path)
    written = quartermaster("export-schema", "here.graphql", folder=tmp_path)
    assert (printed.returncode, written.returncode) == (0, 0)
    assert "type Mutation" in printed.stdout
    assert (tmp_path / "here.graphql").read_text() == printed.stdout


async def test_an_admin_is_made_and_can_sign_in(stack: Stack, api: Api, tmp_path: Path) -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    made = quartermaster("create-admin", "--email", email, folder=tmp_path, **given_password(stack))
    assert made.returncode == 0, made.stderr
    assert made.stdout == f"Admin {email} was made.\n"
    signed_in = await api.login(email, "a password from the environment")
    assert (await signed_in.run("{ viewer { role } }"))["viewer"] == {"role": "ADMIN"}
    again = quartermaster("create-admin", "--email", email, folder=tmp_path, **given_password(stack))
    assert again.returncode == 1
    assert again.stderr == "Refused. There is already a user with that e-mail.\n"


def given_password(stack: Stack) -> dict[str, str]:
    return {**environment_of(stack), "QM_ADMIN_PASSWORD": "a password from the environment"}


async def test_an_admin_without_a_password_is_given_one_that_works(stack: Stack, api: Api, tmp_path: Path) -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    environment = environment_of(stack)
    del environment["QM_ADMIN_PASSWORD"]
    made = quartermaster("create-admin", "--email", email, folder=tmp_path, **environment)
    password = re.search(r"^Its password, shown this once: (\S+)$", made.stdout, re.MULTILINE)
    assert password, made.stdout + made.stderr
    assert (await api.login(email, password[1])).token


@pytest.mark.parametrize(
    ("variable", "value", "right"),
    [
        ("QM_ADMIN_EMAIL", "nobody", "not an e-mail address"),
        ("QM_ADMIN_PASSWORD", "short", "12 to 200 characters"),
    ],
)
def test_an_admin_that_cannot_be_is_refused(
    stack: Stack, tmp_path: Path, variable: str, value: str, right: str
) -> None:
    refused = quartermaster("create-admin", folder=tmp_path, **{**environment_of(stack), variable: value})
    assert refused.returncode == 78
    assert f"{variable} is wrong" in refused.stderr
    assert right in refused.stderr


def test_migrating_what_is_migrated_changes_nothing(stack: Stack, tmp_path: Path) -> None:
    migrated = quartermaster("migrate", folder=tmp_path, **environment_of(stack))
    assert migrated.returncode == 0, migrated.stderr
    assert re.fullmatch(r"The database is at revision \w+\.\n", migrated.stdout)


async def test_the_first_start_generates_a_password_that_works_and_later_ones_print_none(embedded: Stack) -> None:
    (password,) = re.findall(r"^Password, shown this once: (\S+)$", embedded.output(), re.MULTILINE)
    assert f"Admin: first@example.com\nPassword, shown this once: {password}\n" in embedded.output()
    embedded.stop()
    embedded.restart()
    assert embedded.output().count(password) == 1
    assert "Admin: first@example.com (made earlier)" in embedded.output()
    async with httpx.AsyncClient(base_url=embedded.url) as http:
        assert (await Api(http).login("first@example.com", password)).token


def test_the_generated_secret_key_is_the_owners_alone_to_read(embedded: Stack) -> None:
    path = embedded.data_dir / "secret-key"
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_uid == os.getuid()
    assert len(path.read_text()) >= 32
    assert path.read_text() not in embedded.output()


def test_a_second_server_on_the_same_folder_is_refused_and_the_first_goes_on(
    embedded: Stack, tmp_path: Path
) -> None:
    second = quartermaster("serve", folder=tmp_path, QM_DATA_DIR=str(embedded.data_dir), QM_PORT="1")
    assert second.returncode == 78
    assert str(embedded.data_dir) in second.stderr
    assert "Traceback" not in second.stderr
    assert embedded.is_healthy()


def test_other_commands_find_the_services_of_the_server_that_runs(embedded: Stack, tmp_path: Path) -> None:
    data_dir = str(embedded.data_dir)
    migrated = quartermaster("migrate", folder=tmp_path, QM_DATA_DIR=data_dir)
    assert migrated.returncode == 0, migrated.stderr
    made = quartermaster("create-admin", "--email", "second@example.com", folder=tmp_path, QM_DATA_DIR=data_dir)
    assert "Admin second@example.com was made." in made.stdout
