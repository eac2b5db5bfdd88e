"""The list of columns that name blobs is whole: of what it leaves out, nobody would know whether it is garbage."""

import importlib
import pkgutil

import domain
from domain.kit.tables import metadata
from domain.storage.references import BLOB_REFERENCES, KINDS

# Columns whose names end like those of blobs' keys, and what they hold.
_OTHER_KEYS = {
    "images.idempotency_key": "what a device called its request",
    "scenes.cache_key": "a hash of what was asked for",
}


def _columns() -> set[str]:
    for found in pkgutil.walk_packages(domain.__path__, "domain."):
        if found.name.endswith(".models"):
            importlib.import_module(found.name)
    return {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if column.name.endswith("_key")
    }


def test_every_column_that_names_blobs_is_in_the_list() -> None:
    listed = {f"{one.key.table.name}.{one.key.name}" for one in BLOB_REFERENCES}
    assert _columns() - _OTHER_KEYS.keys() == listed


def test_kinds_are_told_apart() -> None:
    assert len(set(KINDS)) == len(KINDS)
