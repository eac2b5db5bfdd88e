"""Alembic's migrations, and the two things the server asks of them: upgrade, and which revision is due."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


def alembic_config(database_url: str) -> Config:
    """Alembic's configuration, made here so that there is no ini file with a URL in it."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str) -> None:
    """Bring the database to the newest revision. Safe to run from several processes at once."""
    command.upgrade(alembic_config(database_url), "head")


def newest_revision() -> str:
    """The revision that this code needs."""
    revision = ScriptDirectory(str(Path(__file__).parent)).get_current_head()
    assert revision is not None
    return revision
