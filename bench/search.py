"""Search over a million images of one client, beside another client's: what a page of each filter takes.

Alone with an embedded PostgreSQL, through the product's own statements, words and devices drawn anew each time.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bench.report import Report, percentile, typical
from domain.images.queries import list_images
from domain.kit.ids import new_id
from domain.kit.scope import ActorKind, Scope
from domain.kit.sql import Database, Row, Statement
from migrations import upgrade
from server.embedded import running

IMAGES = 1_000_000
OTHERS = 100_000
DEVICES = 1_000
TIMES = 300
GOAL = 20.0
# Word w<n> is in one image out of n, or in a few more by chance: from every second to one in 100,000.
SHARES = (2, 10, 100, 1_000, 10_000, 100_000)
_WORDS = " || ' ' || ".join(f"CASE WHEN n % {share} = 0 THEN 'w{share}' ELSE 'x{share}' END" for share in SHARES)
# Kinds of tags: some that half of the images have, some that hardly any has.
_TAGS = "ARRAY['room ' || n % 7, 'shelf ' || n % 500, 'item ' || n % 50000]"


async def measure() -> Report:
    report = Report("search")
    async with _database() as database:
        client, other = new_id(), new_id()
        async with _without_indexes(database):
            for owner, count in ((client, IMAGES), (other, OTHERS)):
                await _fill(database, owner, count)
        await _run(database, "VACUUM ANALYZE images")
        some: Any = await database.all(Statement(text("SELECT id FROM devices ORDER BY id"), Row))
        looked = Statement(
            text(f"SELECT id FROM images WHERE client_id = '{client}' ORDER BY sha256 LIMIT 100"), Row
        )
        photos = [row["id"] for row in await database.all(looked)]
        drawn = random.Random(1)
        for what, filters, goal in _cases([row["id"] for row in some], photos, drawn):
            await _time(database, client, report, what, filters, goal=goal)
    return report


Filters = Callable[[], dict[str, Any]]


def _cases(devices: list[str], photos: list[str], drawn: random.Random) -> list[tuple[str, Filters, bool]]:
    def time_range() -> dict[str, Any]:
        since = datetime.now(UTC) - timedelta(seconds=drawn.randrange(900_000))
        return {"captured_since": since, "captured_until": since + timedelta(hours=6)}

    def item() -> int:
        return drawn.randrange(50_000)

    return [
        ("a word, common or rare", lambda: {"search": f"w{drawn.choice(SHARES)}"}, True),
        ("two words", lambda: {"search": " ".join(f"w{one}" for one in drawn.sample(SHARES, 2))}, True),
        # The planner takes words for independent, and looks for a quarter of all images where there is none.
        ("two common words that never meet", lambda: {"search": "w2 x2"}, False),
        ("a tag, common or rare", lambda: {"tags": [drawn.choice(["room 3", "shelf 77", f"item {item()}"])]}, True),
        ("a device's, of six hours", lambda: {"device_id": drawn.choice(devices), **time_range()}, True),
        ("featured", lambda: {"featured": True}, True),
        ("a source of one in a thousand", lambda: {"sources": ["GENERATED"]}, True),
        ("deleted", lambda: {"deleted": "ONLY"}, True),
        ("similar, distance 8", lambda: {"similar_to": drawn.choice(photos), "distance": 8}, False),
    ]


async def _time(
    database: Database, client: str, report: Report, what: str, filters: Filters, *, goal: bool
) -> None:
    scope, took = Scope(ActorKind.USER, None, client), list[float]()
    rounds = TIMES if goal else TIMES // 10
    for number in range(rounds + 10):
        given = filters()
        order = "CAPTURED_AT_DESC" if "captured_since" in given else "RECEIVED_AT_DESC"
        begun = time.perf_counter()
        await list_images(database, scope, order=order, first=20, after=None, **given)
        if number >= 10:
            took.append((time.perf_counter() - begun) * 1000)
    p99 = percentile(took, 0.99)
    report.add(
        f"{what}: p99",
        p99,
        "ms",
        goal=f"≤ {GOAL:.0f}" if goal else "",
        met=p99 <= GOAL if goal else None,
        note=f"median {typical(took):.1f} ms",
    )


@asynccontextmanager
async def _database() -> AsyncIterator[Database]:
    with tempfile.TemporaryDirectory(prefix="qm-bench-") as folder:
        with running(Path(folder) / "data", redis=False) as services:
            await asyncio.to_thread(upgrade, services.database_url)
            database = await Database.connect(services.database_url, pool_size=2, statement_timeout=900)
            yield database
            await database.close()


@asynccontextmanager
async def _without_indexes(database: Database) -> AsyncIterator[None]:
    """The indexes of images are made at the end, which takes a fraction of the time."""
    found = await database.all(
        Statement(
            text(
                "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'images' AND indexname NOT LIKE 'pk%'"
            )
        )
    )
    for index in found:
        await _run(database, f"DROP INDEX {index['indexname']}")
    yield
    for index in found:
        await _run(database, index["indexdef"])


async def _run(database: Database, statement: str) -> None:
    await database.all(Statement(text(statement)))


async def _fill(database: Database, client: str, count: int) -> None:
    """Images of three weeks; ids in the order of arrival, as they have it."""
    await _run(database, f"INSERT INTO clients (id, name) VALUES ('{client}', '{client}')")
    await _run(
        database,
        "INSERT INTO devices (id, client_id, key, name) "
        f"SELECT gen_random_uuid(), '{client}', 'cam-' || n, 'Shelf ' || n "
        f"FROM generate_series(0, {DEVICES - 1}) AS n",
    )
    await _run(database, _INSERT.format(client=client, count=count, devices=DEVICES, words=_WORDS, tags=_TAGS))


_INSERT = """
INSERT INTO images (id, client_id, device_id, source, status, content_type, size_bytes, sha256, original_key,
    clean_key, display_key, thumbnail_key, width, height, phash, captured_at, received_at, featured, deleted_at,
    prompt, tags)
SELECT (substr(made, 1, 8) || '-' || substr(made, 9, 4) || '-7' || substr(md5(n || '{client}'), 1, 3) || '-8'
        || substr(md5(n || '{client}'), 4, 3) || '-' || substr(md5(n || '{client}'), 7, 12))::uuid,
    '{client}', device.id, CASE WHEN n % 1000 = 7 THEN 'GENERATED' ELSE 'DEVICE' END, 'READY', 'image/jpeg', 200000,
    md5(n::text) || md5(n || 'x'), 'originals/2026/01/01/' || md5(n::text), 'clean/2026/01/01/' || md5(n::text),
    'display/2026/01/01/' || md5(n::text), 'thumbnails/2026/01/01/' || md5(n::text), 1600, 1200,
    ('x' || md5(n || 'hash'))::bit(64)::bigint, now() - ({count} - n) * interval '1 s',
    now() - ({count} - n) * interval '1 s', n % 5000 = 3, CASE WHEN n % 1000 = 11 THEN now() END,
    {words}, {tags}
FROM generate_series(1, {count}) AS n
CROSS JOIN LATERAL (SELECT lpad(to_hex(1790000000000 + n * 1000), 12, '0') AS made) AS times
JOIN (SELECT id, substr(key, 5)::int AS number FROM devices WHERE client_id = '{client}') AS device
    ON device.number = n % {devices}
"""
