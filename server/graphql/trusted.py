"""Trusted documents: a folder of what may be executed by id."""

from pathlib import Path
from typing import Any

import orjson

from server.settings import PREFIX, SettingsError


def trusted_documents(folder: Path | None) -> dict[str, str]:
    """The documents of a folder by their ids: `<id>.graphql` files, and JSON manifests.

    A manifest maps ids to documents (as Relay's compiler writes it), or is Apollo's persisted query manifest.
    Raises SettingsError, naming the file, for what is neither.
    """
    if folder is None:
        return {}
    if not folder.is_dir():
        raise SettingsError(f"{PREFIX}TRUSTED_DOCUMENTS: {folder} is not a folder.")
    documents: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".graphql":
            found = {path.stem: path.read_text()}
        elif path.suffix == ".json":
            found = _manifest(path)
        else:
            continue
        if twice := documents.keys() & found.keys():
            raise SettingsError(
                f"{PREFIX}TRUSTED_DOCUMENTS: {path.name} has an id for a second time: {min(twice)}."
            )
        documents |= found
    return documents


def _manifest(path: Path) -> dict[str, str]:
    try:
        content: Any = orjson.loads(path.read_bytes())
        if content.get("format") == "apollo-persisted-query-manifest":
            content = {operation["id"]: operation["body"] for operation in content["operations"]}
    except (ValueError, AttributeError, KeyError, TypeError):
        content = None
    if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
        raise SettingsError(f"{PREFIX}TRUSTED_DOCUMENTS: {path.name} is no manifest: it maps no ids to documents.")
    return content
