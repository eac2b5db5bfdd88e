"""The same by Strawberry as its documentation shows it: its view and execution, SQLAlchemy's ORM, a DataLoader."""

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import strawberry
import uvicorn
from sqlalchemy import Uuid, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader

_Id = Uuid(as_uuid=False)


class Base(DeclarativeBase):
    """Read from the tables that are there."""


class DeviceRow(Base):
    __tablename__ = "devices"
    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    client_id: Mapped[str] = mapped_column(_Id)
    key: Mapped[str]
    name: Mapped[str]
    enabled: Mapped[bool]
    wake_interval_seconds: Mapped[int]
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime | None]
    battery_pct: Mapped[float | None]
    rssi: Mapped[int | None]
    firmware: Mapped[str | None]
    deregistered_at: Mapped[datetime | None]


class ImageRow(Base):
    __tablename__ = "images"
    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    device_id: Mapped[str] = mapped_column(_Id)
    status: Mapped[str]
    content_type: Mapped[str]
    size_bytes: Mapped[int]
    received_at: Mapped[datetime]
    captured_at: Mapped[datetime | None]


@strawberry.type
class Image:
    id: strawberry.ID
    status: str
    content_type: str
    size_bytes: int
    received_at: datetime
    captured_at: datetime | None


@strawberry.type
class Images:
    nodes: list[Image]


@strawberry.type
class Device:
    id: strawberry.ID
    key: str
    name: str
    enabled: bool
    wake_interval_seconds: int
    created_at: datetime
    last_seen_at: datetime | None
    battery_pct: float | None
    rssi: int | None
    firmware: str | None

    @strawberry.field
    async def images(self, info: strawberry.Info, first: int = 3) -> Images:
        rows = await info.context["images"].load((self.id, first))
        return Images(nodes=rows)


@strawberry.type
class Devices:
    nodes: list[Device]


@strawberry.type
class Query:
    @strawberry.field
    async def device(self, info: strawberry.Info, id: strawberry.ID) -> Device | None:
        async with info.context["sessions"]() as session:
            row = await session.scalar(select(DeviceRow).where(DeviceRow.id == id))
        found: Device | None = row and _as(Device, row)
        return found

    @strawberry.field
    async def devices(self, info: strawberry.Info, first: int = 20) -> Devices:
        query = select(DeviceRow).where(
            DeviceRow.client_id == info.context["client"], DeviceRow.deregistered_at.is_(None)
        )
        async with info.context["sessions"]() as session:
            rows = await session.scalars(query.order_by(DeviceRow.key).limit(first))
        return Devices(nodes=[_as(Device, row) for row in rows])


def _as(type_: Any, row: Any) -> Any:
    values = {field.python_name: getattr(row, field.python_name, None) for field in _fields(type_)}
    return type_(**values)


def _fields(type_: Any) -> list[Any]:
    return [field for field in type_.__strawberry_definition__.fields if field.base_resolver is None]


class App(GraphQL[Any, None]):
    def __init__(self, url: str, client: str) -> None:
        super().__init__(strawberry.Schema(Query))
        engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=10)
        self._sessions = async_sessionmaker(engine, class_=AsyncSession)
        self._client = client

    async def get_context(self, request: Any, response: Any) -> Any:
        loader = DataLoader(load_fn=self._images)
        return {"sessions": self._sessions, "client": self._client, "images": loader}

    async def _images(self, keys: list[tuple[str, int]]) -> Sequence[list[Image]]:
        rank = func.row_number().over(partition_by=ImageRow.device_id, order_by=ImageRow.id.desc())
        ids = [key for key, _ in keys]
        ranked = select(ImageRow, rank.label("rank")).where(ImageRow.device_id.in_(ids)).subquery()
        row = aliased(ImageRow, ranked)
        query = select(row).where(ranked.c.rank <= keys[0][1]).order_by(ranked.c.rank)
        found: dict[str, list[Image]] = {}
        async with self._sessions() as session:
            for image in await session.scalars(query):
                found.setdefault(str(image.device_id), []).append(_as(Image, image))
        return [found.get(key, []) for key in ids]


if __name__ == "__main__":
    url, port, client = sys.argv[1:]
    uvicorn.run(App(url, client), host="127.0.0.1", port=int(port), log_level="error", access_log=False)
