"""What a frontend asks most: a page of devices, and the same with the newest images of each."""

from bench.fleet import Fleet
from bench.report import Report, typical

ROUNDS = 3
SECONDS = 3.0
DEVICES, IMAGES_EACH = 2_000, 20
_FIELDS = "id key name enabled status wakeIntervalSeconds createdAt lastSeenAt batteryPct rssi"
PLAIN = f"{{ devices(first: 50) {{ nodes {{ {_FIELDS} }} }} }}"
WITH_IMAGES = (
    f"{{ devices(first: 50) {{ nodes {{ {_FIELDS} "
    "images(first: 3) { nodes { id status contentType sizeBytes receivedAt capturedAt } } } } }"
)

# Ids as the product makes them: they begin with a time, and so they fill an index from left to right.
_ID = "(lpad(to_hex({milliseconds}), 12, '0') || '70008' || substr(md5(random()::text), 1, 15))::uuid"
_START = 1_700_000_000_000
_DEVICES = f"""INSERT INTO devices (id, client_id, key, name, last_seen_at, battery_pct, rssi)
    SELECT {_ID.format(milliseconds=f"{_START}::bigint + n")}, $1, 'shelf-' || lpad(n::text, 5, '0'),
        'Shelf ' || n, now() - n * interval '1 minute', n % 100, -40 - n % 50
    FROM generate_series(1, {DEVICES}) n"""
_IMAGES = f"""INSERT INTO images (id, client_id, device_id, source, status, content_type, size_bytes, sha256,
        original_key, width, height, captured_at, received_at)
    SELECT {_ID.format(milliseconds=f"{_START}::bigint + n * {DEVICES} + row_number() OVER ()")},
        d.client_id, d.id, 'DEVICE', 'READY', 'image/jpeg', 200000 + n, md5(d.id::text || n),
        'originals/' || d.id || n, 1600, 1200, now() - n * interval '1 hour', now() - n * interval '1 hour'
    FROM devices d, generate_series(1, {IMAGES_EACH}) n WHERE d.key LIKE 'shelf-%'"""


async def measure(fleet: Fleet) -> Report:
    await fleet.settled()
    if not await fleet.database.fetchval("SELECT 1 FROM devices WHERE key = 'shelf-00001'"):
        await fleet.database.execute(_DEVICES, fleet.org.id)
        await fleet.database.execute(_IMAGES)
        await fleet.database.execute("VACUUM ANALYZE")
    queries = {"50 devices × 10 fields": PLAIN, "the same, each with 3 images × 6 fields": WITH_IMAGES}
    rates: dict[str, list[float]] = {name: [] for name in queries}
    costs: dict[str, list[float]] = {name: [] for name in queries}
    database_costs: dict[str, list[float]] = {name: [] for name in queries}
    for _ in range(ROUNDS):
        for name, query in queries.items():
            before = fleet.processes.cpu()
            result = await _load(fleet, query)
            after = fleet.processes.cpu()
            rates[name].append(result["count"] / result["seconds"])
            costs[name].append((after["api"] - before["api"]) * 1e6 / result["count"])
            database_costs[name].append((after["postgres"] - before["postgres"]) * 1e6 / result["count"])
    report = Report("reads")
    for name in queries:
        report.add(name, typical(rates[name]), "/s")
        report.add("… CPU of api", typical(costs[name]), "µs")
        report.add("… CPU of postgres", typical(database_costs[name]), "µs")
    return report


async def _load(fleet: Fleet, query: str) -> dict[str, float]:
    await fleet.org.viewer.run(query)  # raises on errors, which a load generator would count as answers
    token = fleet.org.viewer.token
    return await fleet.load(kind="graphql", token=token, query=query, connections=8, seconds=SECONDS)
