"""One simulated pantry camera: it sleeps, wakes, photographs its shelf, sends, is told when to wake, sleeps.

Its battery drains until somebody swaps it; its signal wanders and is lost at times. A photo that did not
get through is kept and sent again at the next wake, under the same idempotency key, as firmware does.
"""

# ruff: noqa: S311 - simulated luck, not secrets

import asyncio
import base64
import hashlib
import random
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from server.demo.darkroom import Darkroom
from server.demo.shelf import Shelf

_FIRMWARES = ("2.4.1", "2.4.1", "2.5.0-rc1")
_HEARTBEAT, _DAMAGED, _CUT_OFF, _NO_SIGNAL = 0.15, 0.02, 0.03, 0.04  # how likely each is at a wake
_KEEP = (401, 429, 500, 503)  # answers after which a photo is kept for the next wake
_CHUNK = 16 * 1024


class _SignalLost(Exception):
    """In the middle of an upload."""


@dataclass(frozen=True)
class Photo:
    """`key` makes sending it twice harmless."""

    jpeg: bytes
    captured_at: datetime
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass
class Camera:
    """`pace` is how much faster than told it lives. Of the photos `sent`, some are `accepted`; of these each is
    `processed` or `rejected` in the end, and `delays` are the seconds that the processed ones took."""

    key: str
    token: str
    pace: float
    rng: random.Random
    shelf: Shelf
    firmware: str
    battery: float
    rssi: float
    doing: str = "asleep"
    asleep_until: float = 0.0
    last: str = ""
    sent: int = 0
    accepted: int = 0
    processed: int = 0
    rejected: int = 0
    delays: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    waiting: dict[str, float] = field(default_factory=dict)
    _early: dict[str, str] = field(default_factory=dict)
    _unsent: Photo | None = None
    _config_version: int = 0
    _results: list[dict[str, str]] = field(default_factory=list)
    _wakes_without_signal: int = 0

    @classmethod
    def made(cls, key: str, token: str, pace: float) -> "Camera":
        """A camera with luck and a shelf of its own, the same for the same key."""
        rng = random.Random(key)
        shelf, firmware = Shelf(rng.getrandbits(32)), rng.choice(_FIRMWARES)
        return cls(key, token, pace, rng, shelf, firmware, rng.uniform(8, 100), rng.uniform(-82, -48))

    @property
    def voltage(self) -> float:
        """Of a lithium cell, roughly."""
        return round(3.3 + 0.9 * self.battery / 100, 2)

    async def live(self, http: httpx.AsyncClient, darkroom: Darkroom, wake_interval: float) -> None:
        """Until cancelled. The first wake comes at any moment of the interval, so that not all come at once."""
        await self._sleep(self.rng.uniform(0, wake_interval))
        while True:
            await self._sleep(await self._wake(http, darkroom, wake_interval))

    async def _sleep(self, seconds: float) -> None:
        seconds = seconds * self.rng.uniform(0.7, 1.3) / self.pace
        self.doing, self.asleep_until = "asleep", time.monotonic() + seconds
        await asyncio.sleep(seconds)

    async def _wake(self, http: httpx.AsyncClient, darkroom: Darkroom, wake_interval: float) -> float:
        """Do what there is to do; returns the seconds to sleep."""
        self._age()
        if self.battery <= 0:
            self.last = "battery empty"
            return wake_interval
        if not self._has_signal():
            self.last = "no signal"
            return wake_interval
        try:
            response = await self._report(http, darkroom)
        except _SignalLost:
            self.last = "cut off, will send it again"
            return wake_interval
        except httpx.TransportError:
            self.last = "server away"
            return wake_interval
        return self._told(response, wake_interval)

    def _age(self) -> None:
        """What happened to the battery and the signal since the last wake."""
        self.battery = max(0.0, self.battery - self.rng.uniform(0.3, 1.5))
        if self.battery < 6 and self.rng.random() < 0.3:
            self.battery = 100.0
        self.rssi = min(-45.0, max(-92.0, self.rssi + self.rng.gauss(0, 2.5)))

    def _has_signal(self) -> bool:
        if self._wakes_without_signal == 0 and self.rng.random() < _NO_SIGNAL:
            self._wakes_without_signal = self.rng.randint(1, 3)
        elif self._wakes_without_signal:
            self._wakes_without_signal -= 1
        return self._wakes_without_signal == 0

    async def _report(self, http: httpx.AsyncClient, darkroom: Darkroom) -> httpx.Response:
        """A photo; a heartbeat when there is nothing new to see or the darkroom is full."""
        if self._results or (self._unsent is None and (self.rng.random() < _HEARTBEAT or darkroom.is_full)):
            self.doing = "saying hello"
            told = {"commands": self._results}
            return await http.post(f"/v1/devices/{self.key}/heartbeat", headers=self._headers(), json=told)
        if self._unsent is None:
            self.doing = "looking"
            self._unsent = await self._photo(darkroom)
        self.doing = "sending"
        return await self._send(http, self._unsent)

    async def _photo(self, darkroom: Darkroom) -> Photo:
        self.shelf.consume(self.rng)
        if self.rng.random() < 0.12:
            self.shelf.restock(self.rng)
        at = datetime.now(UTC)
        jpeg = await darkroom.photograph(self.shelf, at=at, battery_pct=self.battery, signal=self.rssi)
        if self.rng.random() < _DAMAGED:
            jpeg = jpeg[: len(jpeg) // 2]  # the camera's memory was full
        return Photo(jpeg, at)

    async def _send(self, http: httpx.AsyncClient, photo: Photo) -> httpx.Response:
        digest = base64.b64encode(hashlib.sha256(photo.jpeg).digest()).decode()
        headers = {
            **self._headers(),
            "Content-Type": "image/jpeg",
            "Content-Length": str(len(photo.jpeg)),
            "Content-Digest": f"sha-256=:{digest}:",
            "X-Captured-At": photo.captured_at.isoformat(),
            "Idempotency-Key": photo.key,
        }
        self.sent += 1
        breaks_at = len(photo.jpeg) // 2 if self.rng.random() < _CUT_OFF else None
        body = _chunks(photo.jpeg, breaks_at)
        return await http.post(f"/v1/devices/{self.key}/images", headers=headers, content=body)

    def _headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.token}",
            "X-Battery-V": f"{self.voltage:.2f}",
            "X-Battery-Pct": f"{self.battery:.0f}",
            "X-RSSI": f"{self.rssi:.0f}",
            "X-Firmware": self.firmware,
            "X-Config-Version": str(self._config_version),
        }

    def _told(self, response: httpx.Response, wake_interval: float) -> float:
        """Take note of the answer; returns the seconds to sleep."""
        status, answer = response.status_code, _object(response)
        self.last = f"{status} {answer.get('code', 'heartbeat')}"
        if status in _KEEP:
            return float(response.headers.get("Retry-After", wake_interval)) * self.pace  # not ours to hurry
        if "duplicate" not in answer and response.is_success:
            return self._next(answer["next"])  # a heartbeat: a photo that is still unsent stays
        photo, self._unsent = self._unsent, None
        if not response.is_success:
            self.rejected += photo is not None
            return wake_interval
        if photo is not None:
            self.last = f"{status} photo of {len(photo.jpeg) / 1000:.0f} kB"
            self._accepted(answer["imageId"])
        return self._next(answer["next"])

    def _next(self, told: dict[str, Any]) -> float:
        """Do what it is told until it wakes again; returns the seconds to sleep."""
        self._config_version = told["configVersion"] or self._config_version
        self._results = [{"id": command["id"], "status": "DONE"} for command in told["commands"]]
        return float(told["wakeInSeconds"])

    def _accepted(self, image_id: str) -> None:
        self.accepted += 1
        self.waiting[image_id] = time.monotonic()
        if status := self._early.pop(image_id, None):
            self.saw(image_id, status)

    def saw(self, image_id: str, status: str) -> None:
        """Take note of what became of a photo. The news may be faster than the answer to its upload."""
        if status not in ("READY", "REJECTED"):
            return
        accepted_at = self.waiting.pop(image_id, None)
        if accepted_at is None:
            self._early[image_id] = status
        elif status == "READY":
            self.processed += 1
            self.delays.append(time.monotonic() - accepted_at)
        else:
            self.rejected += 1


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        value = response.json()
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


async def _chunks(jpeg: bytes, breaks_at: int | None) -> AsyncIterator[bytes]:
    """The bytes as a slow radio sends them; `breaks_at` is where it loses the network."""
    for start in range(0, len(jpeg), _CHUNK):
        if breaks_at is not None and start >= breaks_at:
            raise _SignalLost
        yield jpeg[start : start + _CHUNK]
