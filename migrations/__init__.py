"""Alembic's migrations, and the two things the server asks of them: upgrade, and which revision is due."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Alembic takes 9 MB, and the API, which asks for the revision alone, does without it
    from alembic.config import Config

_SAID = re.compile(r'^(revision|down_revision)\b.*= "(\w+)"$', re.MULTILINE)


def alembic_config(database_url: str) -> Config:
    """Alembic's configuration, made here so that there is no ini file with a URL in it."""
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str) -> None:
    """Bring the database to the newest revision. Safe to run from several processes at once."""
    from alembic import command  # noqa: PLC0415 - see above

    command.upgrade(alembic_config(database_url), "head")


def revisions() -> set[str]:
    """Every revision that this code knows."""
    return _said()["revision"]


def newest_revision() -> str:
    """The revision that this code needs: the one that no other is built on."""
    said = _said()
    (newest,) = said["revision"] - said["down_revision"]
    return newest


def _said() -> dict[str, set[str]]:
    """What the migrations say of themselves, by the name under which they say it.

    Read out of their text: Alembic would import them all.
    """
    said: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    for path in (Path(__file__).parent / "versions").glob("*.py"):
        for key, name in _SAID.findall(path.read_text()):
            said[key].add(name)
    return said
