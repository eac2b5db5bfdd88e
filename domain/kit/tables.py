"""The metadata that every table belongs to, and the column types and shorthands they share.

Constraints are named by convention from the first day, so that a migration can always name one.
"""

from sqlalchemy import Column, ColumnElement, DateTime, ForeignKey, MetaData, Text, TextClause, literal_column, text
from sqlalchemy.types import UserDefinedType

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Id(UserDefinedType[str]):
    """A UUID column that is a string in Python; the connection's codec does the rest."""

    cache_ok = True
    render_bind_cast = True
    python_type = str

    def get_col_spec(self, **_: object) -> str:
        return "UUID"


class Json(UserDefinedType[object]):
    """A JSONB column of plain Python values; the connection's codec does the rest."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: object) -> str:
        return "JSONB"


class OrderedJson(UserDefinedType[object]):
    """A JSON column, which keeps the text: its keys stay in the order in which somebody wrote them.

    JSONB sorts them. For documents that people write and read again; nothing is searched inside.
    """

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: object) -> str:
        return "JSON"


Moment = DateTime(timezone=True)
NOW = text("now()")
NEW_ID: ColumnElement[str] = literal_column(
    "encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send((extract(epoch FROM "
    "clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid"
)
"""A UUIDv7 made by the database, for rows that never come here; PostgreSQL before 18 has no function for it."""


def id_column() -> Column[str]:
    return Column("id", Id, primary_key=True)


def client_column(*, nullable: bool = False) -> Column[str]:
    """The owner. Every row belongs to a client; None is the platform itself."""
    return Column("client_id", Id, ForeignKey("clients.id"), nullable=nullable)


def one_of(column: str, values: type) -> str:
    """The text of a CHECK that holds a column to the values of a StrEnum."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"  # type: ignore[attr-defined]


def text_column(name: str, *, nullable: bool = False, server_default: TextClause | None = None) -> Column[str]:
    return Column(name, Text, nullable=nullable, server_default=server_default)
