"""The platform: root operations for those who run it. Where the answers come from is `server/platform.py`."""

import strawberry

from domain.users.principals import Permission
from resolvers.context import Info
from resolvers.operation import operation
from schema.platform import CacheStats, DatabaseStats, Diagnostics, Workers


@strawberry.type
class PlatformQuery:
    @operation(Permission.PLATFORM_READ, Diagnostics)
    async def diagnostics(self, info: Info) -> Diagnostics:
        """How the system is: health with latencies, settings, disks, clocks, and warnings with what to do."""
        return await info.context.services.platform.diagnostics(info.context.scope)

    @operation(Permission.PLATFORM_READ, DatabaseStats)
    async def database_stats(self, info: Info) -> DatabaseStats:
        """Sizes, dead rows, connections and the oldest transaction of the database."""
        return await info.context.services.platform.database_stats(info.context.scope)

    @operation(Permission.PLATFORM_READ, Workers)
    async def workers(self, info: Info) -> Workers:
        """Every process of the system that lives, and how many jobs wait."""
        return await info.context.services.platform.workers()

    @operation(Permission.PLATFORM_READ, list[CacheStats])
    async def cache_stats(self, info: Info) -> list[CacheStats]:
        """What each API process keeps, some seconds old at most."""
        return await info.context.services.platform.cache_stats()
