"""The load generator, a process of its own: keep-alive connections that send requests one after another.

Blocking sockets in threads and bytes that were built before, because what it costs is taken from the
server's own cores. Reads one JSON object from standard input, writes one to standard output.
"""

import itertools
import json
import re
import resource
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.report import percentile

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)

Parts = list[bytes]


class Connection:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, parts: Parts) -> int:
        """Send a request, read the whole answer; returns its status."""
        sent = self._socket.sendmsg(parts)
        if sent < sum(map(len, parts)):
            self._socket.sendall(b"".join(parts)[sent:])
        head, _, body = self._until_blank_line()
        found = _LENGTH.search(head)
        left = int(found[1]) - len(body) if found else 0
        while left > 0:
            left -= len(self._receive())
        return int(head[9:12])

    def _until_blank_line(self) -> tuple[bytes, bytes, bytes]:
        data = self._receive()
        while b"\r\n\r\n" not in data:
            data += self._receive()
        return data.partition(b"\r\n\r\n")

    def _receive(self) -> bytes:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def uploads(spec: dict[str, Any]) -> Callable[[int], Parts]:
    """Requests that post photographs, each in bytes that nobody sent before."""
    images = [Path(path).read_bytes() for path in spec["images"]]
    heads = [
        f"POST /v1/devices/{device['key']}/images HTTP/1.1\r\nHost: bench\r\nContent-Type: image/jpeg\r\n"
        f"Authorization: Bearer {device['token']}\r\nX-Battery-V: 3.9\r\nX-RSSI: -61\r\nContent-Length: "
        for device in spec["devices"]
    ]

    def request(number: int) -> Parts:
        image = images[number % len(images)]
        head = f"{heads[number % len(heads)]}{len(image) + 36}\r\n\r\n".encode()
        return [head, b"\xff\xd8\xff\xfe\x00\x22" + uuid.uuid4().hex.encode(), image[2:]]

    return request


def post(spec: dict[str, Any]) -> Callable[[int], Parts]:
    """JSON: each of the bodies in its turn."""
    authorization = f"Authorization: Bearer {spec['token']}\r\n" if spec["token"] else ""
    head = (
        f"POST {spec['path']} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"{authorization}Content-Length: "
    )
    whole = [[f"{head}{len(body)}\r\n\r\n{body}".encode()] for body in spec["bodies"]]  # `json` escapes to ASCII
    return lambda number: whole[number % len(whole)]


def check_ins(spec: dict[str, Any]) -> Callable[[int], Parts]:
    """Heartbeats, each of another device: `key` and `token` are patterns with a number."""
    body = b'{"batteryV":3.91,"batteryPct":81,"rssi":-61,"firmware":"1.4.0","bootCount":7,"sleepSeconds":3600}'
    head = (
        f"POST /v1/devices/{spec['key']}/heartbeat HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {spec['token']}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    # A step that is prime to the count goes once around before a device comes again.
    return lambda number: [head.format(number=(number * 7919 + spec["start"]) % spec["devices"]).encode() + body]


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Send until the time is over or the count is reached."""
    request = {"uploads": uploads, "post": post, "check_ins": check_ins}[spec["kind"]](spec)
    connections = [Connection(spec["port"]) for _ in range(spec["connections"])]
    numbers, count = itertools.count(), spec.get("count", sys.maxsize)
    times: list[float] = []
    statuses: Counter[int] = Counter()
    cpu, started = _cpu(), time.perf_counter()
    deadline = started + spec.get("seconds", 600)

    def work(connection: Connection) -> None:
        while (number := next(numbers)) < count and (begun := time.perf_counter()) < deadline:
            statuses[connection.ask(request(number))] += 1
            times.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=work, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "count": len(times),
        "seconds": time.perf_counter() - started,
        "cpu": _cpu() - cpu,
        "statuses": statuses,
        "p50": percentile(times, 0.5),
        "p99": percentile(times, 0.99),
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
