"""Each process of the system says that it lives: a key in Redis that ends by itself.

Redis may be emptied at any time; the next heartbeat brings everything back. A thread says it, so that a worker,
whose event loop belongs to its jobs, does it like everybody.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import orjson
import redis
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.kit.errors import Unavailable
from server import VERSION
from server.settings import Settings

EVERY = 3.0  # seconds
_LIVES = 30  # seconds that a process counts as there after its last word

_log = structlog.get_logger(__name__)


@contextmanager
def announced(settings: Settings, kind: str, details: Callable[[], dict[str, Any]] = dict) -> Iterator[None]:
    """Announce this process until the block ends. `details` are JSON values, asked for at each heartbeat."""
    assert settings.redis_url is not None
    client = redis.Redis.from_url(settings.redis_url, socket_connect_timeout=2, socket_timeout=5)
    stop = threading.Event()
    thread = threading.Thread(
        target=_announce, args=(client, settings.redis_namespace, kind, details, stop), name="announce", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(6)
        client.close()


def _announce(
    client: redis.Redis,
    namespace: str,
    kind: str,
    details: Callable[[], dict[str, Any]],
    stop: threading.Event,
) -> None:
    host, pid = socket.gethostname(), os.getpid()
    name = f"{kind}:{host}:{pid}"
    own = {"kind": kind, "host": host, "pid": pid, "version": VERSION, "started_at": time.time()}
    away = False
    while True:
        try:
            said = orjson.dumps({**own, **details(), "heartbeat_at": time.time()})
            with client.pipeline() as together:
                together.set(_key(namespace, name), said, ex=_LIVES)
                together.sadd(_index(namespace), name)
                together.execute()
            away = False
        except (RedisError, OSError) as error:
            if not away:
                _log.warning("this process cannot say that it lives: Redis is away", error=str(error))
            away = True
        if stop.wait(EVERY):
            break
    with suppress(RedisError, OSError):  # the key ends by itself
        client.delete(_key(namespace, name))


async def processes(client: Redis, namespace: str) -> list[dict[str, Any]]:
    """What every process said last, in the order of kind, host and number. Raises Unavailable."""
    try:
        names = sorted(map(_text, await client.smembers(_index(namespace))))
        said = await client.mget([_key(namespace, name) for name in names]) if names else []
        gone = [name for name, text in zip(names, said, strict=True) if text is None]
        if gone:
            await client.srem(_index(namespace), *gone)
    except (RedisError, OSError):
        raise Unavailable("Redis cannot be reached, and only there processes say that they live.") from None
    return [orjson.loads(text) for text in said if text is not None]


async def queue_depths(client: Redis, namespace: str, names: list[str]) -> dict[str, int]:
    """How many jobs wait in each of these queues. Raises Unavailable."""
    try:
        return {name: await client.llen(f"{namespace}:jobs:{name}") for name in names}
    except (RedisError, OSError):
        raise Unavailable("Redis cannot be reached, and the queues are there.") from None


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _key(namespace: str, name: str) -> str:
    return f"{namespace}:processes:{name}"


def _index(namespace: str) -> str:
    return f"{namespace}:processes"
