"""What every change of a config or template does beside itself: its place in the queue, and its version."""

from sqlalchemy import Integer, Text, bindparam, cast, func, literal, select

from domain.clients.queries import clients_by_ids
from domain.configs.content import Content
from domain.configs.models import config_versions
from domain.kit.errors import Conflict, Invalid, NotFound
from domain.kit.ids import new_id
from domain.kit.scope import Scope
from domain.kit.sql import Statement, insertion
from domain.kit.tables import OrderedJson
from domain.kit.transactions import Transaction

_CLASS = 1_668_246_118  # "conf": keeps these locks apart from all other advisory locks

_key = func.hashtext(bindparam("client", type_=Text))
_class = cast(literal(_CLASS, literal_execute=False), Integer)
_TURN = {
    True: Statement(select(func.pg_advisory_xact_lock(_class, _key))),
    False: Statement(select(func.pg_advisory_xact_lock_shared(_class, _key))),
}
_APPEND = Statement(
    insertion(
        config_versions,
        *("id", "client_id", "document_id", "number", "template_id", "restores"),
        *("note", "author_kind", "author_id"),
    ).values(content=cast(bindparam("text", type_=Text), OrderedJson))
)


async def take_turn(tx: Transaction, scope: Scope, client_id: str | None, *, alone: bool) -> str:
    """Wait until this client's configs may be changed in this transaction; returns the client's id.

    Changes of single configs go on beside each other. A template's is `alone`: it changes configs that it finds,
    and none may come to it unseen. Taken before any row is locked, so that nobody waits in a circle. Raises
    NotFound when there is no such client.
    """
    owner = scope.owner(client_id)
    if (await clients_by_ids(tx, scope, [owner]))[0] is None:
        raise NotFound("There is no such client.", clientId=owner)
    await tx.all(_TURN[alone], client=owner)
    return owner


async def append_version(
    tx: Transaction,
    scope: Scope,
    *,
    client_id: str,
    document_id: str,
    number: int,
    content: Content,
    template_id: str | None,
    note: str | None,
    restores: int | None = None,
) -> None:
    """Keep a version of a config or template for ever."""
    await tx.all(
        _APPEND,
        id=new_id(),
        client_id=client_id,
        document_id=document_id,
        number=number,
        text=content.text,
        template_id=template_id,
        note=note,
        restores=restores,
        author_kind=scope.actor_kind.value,
        author_id=scope.actor_id,
    )


def checked_note(note: str | None) -> str | None:
    """The note of a version, trimmed; None for an empty one."""
    note = (note or "").strip()
    if len(note) > 500 or any(not character.isprintable() and character != "\n" for character in note):
        raise Invalid("A note has at most 500 printable characters.", argument="note")
    return note or None


def check_expected(expected: int | None, actual: int, noun: str) -> None:
    """Raises Conflict when the caller expected another version than there is; 0 is one that does not exist."""
    if expected is not None and expected != actual:
        message = f"This {noun} is at version {actual}." if actual else f"There is no such {noun}."
        raise Conflict(message, argument="expectedVersion", expectedVersion=expected, actualVersion=actual)
