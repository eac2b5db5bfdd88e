"""Whether two addresses are of two stores that have nothing in common.

Addresses do not say it: a link, a bind mount, a host of two names or an option that changes nothing make two of
one. So something is put into one store and looked for in the other.
"""

import secrets

from domain.kit.blobs import BlobStore, is_key
from domain.kit.blobs.places import Place, S3Place
from domain.kit.errors import Invalid

_KIND = "probe"
"""No row names blobs of this kind, so that no sweep and no `verify` minds one that was left behind."""


async def check_apart(source: Place, target: Place, stores: tuple[BlobStore, BlobStore]) -> None:
    """Raises Invalid when the places are one and the same, or one lies in the other; Unavailable."""
    probe = f"{_KIND}/{secrets.token_hex(16)}"
    if await _shows(stores, probe, probe):
        raise Invalid("These are one and the same store, under two addresses.")
    # Where one lies in the other, blobs of the one would be taken for the other's: copied twice, and deleted as the
    # source's although they are the target's. Keys that are none are seen by neither.
    above, below = _root(source), _root(target)
    if below.startswith(above):
        inside = await _shows(stores, probe, below.removeprefix(above) + probe)
    else:
        inside = above.startswith(below) and await _shows(stores, above.removeprefix(below) + probe, probe)
    if inside:
        raise Invalid("One of these stores lies in the other: move the blobs by way of a third place.")


def looks_like(one: Place, other: Place) -> bool:
    """Whether two addresses seem to be of one store, by what they say alone."""
    if isinstance(one, S3Place) and isinstance(other, S3Place):
        return (one.bucket, one.prefix) == (other.bucket, other.prefix)
    return type(one) is type(other) and _root(one) == _root(other)


async def _shows(stores: tuple[BlobStore, BlobStore], there: str, here: str) -> bool:
    """Whether what is put into the target under one key is in the source under another; it is taken away again."""
    source, target = stores
    if not is_key(there) or not is_key(here):
        return False
    try:
        await target.put(there, b"probe")
        return await source.exists(here)
    finally:
        await target.delete_many([there])


def _root(place: Place) -> str:
    """What the keys of a place follow: a prefix in its bucket, or a folder."""
    return place.prefix if isinstance(place, S3Place) else f"{place.folder.resolve()}/blobs/"
