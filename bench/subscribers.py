"""Many subscribers in a process of their own, which cost as little as can be: they share the server's cores.

Each is a WebSocket that looks for the number of the last event in what it receives and decodes nothing. Reads
one JSON object from standard input. Writes `ready` in JSON when all are subscribed, and what they saw after a
line on standard input says how many events there were.
"""

import asyncio
import base64
import json
import os
import re
import resource
import struct
import sys
import time
import uuid
from typing import Any

import uvloop

from bench.report import percentile

_NUMBER = re.compile(rb'"n":(\d+)')
_AT_ONCE = 50
_PATIENCE = 60.0


def text_frame(message: dict[str, Any]) -> bytes:
    """A client's frame, masked with zeros."""
    text = json.dumps(message).encode()
    length = struct.pack("!B", 0x80 | len(text)) if len(text) < 126 else struct.pack("!BH", 0x80 | 126, len(text))
    return b"\x81" + length + bytes(4) + text


class Subscriber(asyncio.Protocol):
    """One socket. `last[n]` is when the last of all sockets had event `n`."""

    last: dict[int, float]

    def __init__(self, spec: dict[str, Any], variables: dict[str, Any]) -> None:
        self.spec = spec
        self.variables = variables
        self.subscribed = asyncio.get_running_loop().create_future()
        self.seen = -1
        self._begun = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            "GET /graphql HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if self._begun:
            if (at := data.rfind(b'"n":')) >= 0 and (found := _NUMBER.match(data, at)):
                number, now = int(found[1]), time.monotonic()
                for one in range(self.seen + 1, number + 1):
                    self.last[one] = now
                self.seen = number
        elif data.startswith(b"HTTP/1.1 101"):
            payload: dict[str, Any] = {"authorization": f"Bearer {self.spec['token']}"}
            self.transport.write(text_frame({"type": "connection_init", "payload": payload}))
        elif b"connection_ack" in data:
            self._begun = True
            payload = {"query": self.spec["query"], "variables": self.variables}
            self.transport.write(text_frame({"type": "subscribe", "id": str(uuid.uuid4()), "payload": payload}))
            self.subscribed.set_result(None)


async def main() -> None:
    spec = json.loads(sys.stdin.readline())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = asyncio.get_running_loop()
    Subscriber.last = {}
    subscribers: list[Subscriber] = []
    for begin in range(0, spec["count"], _AT_ONCE):
        made = await asyncio.gather(
            *(
                loop.create_connection(lambda: Subscriber(spec, spec["variables"]), "127.0.0.1", spec["port"])
                for _ in range(min(_AT_ONCE, spec["count"] - begin))
            )
        )
        subscribers += [subscriber for _, subscriber in made]
        await asyncio.gather(*(subscriber.subscribed for _, subscriber in made))
    print(json.dumps("ready"), flush=True)
    used = _cpu()
    committed: list[float] = json.loads(await asyncio.to_thread(sys.stdin.readline))
    deadline = time.monotonic() + _PATIENCE
    while min(one.seen for one in subscribers) < len(committed) - 1 and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    late = [Subscriber.last[number] - at for number, at in enumerate(committed) if number in Subscriber.last]
    result = {
        "complete": sum(one.seen == len(committed) - 1 for one in subscribers),
        "p50": percentile(late, 0.5),
        "p99": percentile(late, 0.99),
        "max": max(late),
        "cpu": _cpu() - used,
    }
    print(json.dumps(result), flush=True)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    uvloop.run(main())
