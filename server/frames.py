"""What uvicorn's protocols lack: writing ready-made frames, answers in one piece, and an end that comes for sure.

Through ASGI every message to every socket is a dict, a coroutine and a frame of its own. A subscription's
events go to thousands of sockets, so here the application writes finished frames, as many as it has, with one
call that never waits. It finds these functions in `scope["extensions"][CONNECTION]`.

Closing a connection waits until the other side has read what was sent before, which a dead or hostile one
never does: after some seconds such a connection is cut.
"""

import asyncio
import struct
from asyncio.transports import BaseTransport
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State

CONNECTION = "quartermaster.connection"

# Bytes that may wait for the other side: above the first nothing more is written, below the second it goes on.
FULL, ROOM = 256 * 1024, 64 * 1024
_COPIED = 64 * 1024  # bytes of a body; above, copying takes longer than a system call
_GRACE = 5.0  # seconds in which what was sent may still be read after the end
_GRACE_AT_SHUTDOWN = 2.0  # less than uvicorn waits for connections


class Frames(Protocol):
    """An accepted WebSocket. All but `writable.wait()` return at once; after the end they do nothing."""

    writable: asyncio.Event
    """Set while the other side keeps up."""

    def write_frames(self, frames: bytes) -> None:
        """Send whole messages, as `text_header` and payload each."""

    def unsent(self) -> int:
        """Bytes that wait until the other side reads."""

    def hang_up(self, code: int, reason: str) -> None:
        """Close."""


class Stream(Protocol):
    """The connection of an HTTP response that lasts. `on_shutdown` is called when the server stops."""

    on_shutdown: Callable[[], None] | None

    def cut_soon(self) -> None:
        """End the connection in some seconds, whatever the other side does."""


def text_header(length: int) -> bytes:
    """What precedes the payload of a text message from a server (RFC 6455, 5.2)."""
    if length < 126:
        return bytes((0x81, length))
    if length < 1 << 16:
        return struct.pack("!BBH", 0x81, 126, length)
    return struct.pack("!BBQ", 0x81, 127, length)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, as `Frames`."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=FULL, low=ROOM)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:  # it would be, were it refused
            self.scope["extensions"][CONNECTION] = cast(Any, self)

    def start_keepalive(self) -> None:
        super().start_keepalive()
        del self.request, self.response  # the handshake is over, and most sockets live long

    def write_frames(self, frames: bytes) -> None:
        # The state machine is told of no outgoing messages: it minds them only while one is in fragments.
        if self._is_open():
            self.transport.write(frames)

    def unsent(self) -> int:
        return 0 if self.disconnected else self.transport.get_write_buffer_size()

    def hang_up(self, code: int, reason: str) -> None:
        if not self._is_open():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:  # for the other side's half of the handshake
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(_GRACE, self.transport.abort)

    def _is_open(self) -> bool:
        return self.conn.state is State.OPEN and not self.disconnected and not self.transport.is_closing()

    def handle_close(self, event: Frame) -> None:
        super().handle_close(event)
        self._cut_in(_GRACE)

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._cut_in(_GRACE)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._cut_in(_GRACE)

    def shutdown(self) -> None:
        super().shutdown()
        self._cut_in(_GRACE_AT_SHUTDOWN)

    def _cut_in(self, seconds: float) -> None:
        if self.unsent():
            self.loop.call_later(seconds, self.transport.abort)


class _Joined:
    """The transport of one response, whose head waits here for the body: one packet and one system call, not two.

    Only where the length is known: the head of a stream goes at once, for its first event may be far away.
    """

    __slots__ = ("_cycle", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport, cycle: RequestResponseCycle) -> None:
        self._transport = transport
        self._cycle: RequestResponseCycle | None = cycle  # until the head came, or they would hold each other
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head is not None:
            if len(data) > _COPIED:
                self._flush()
            else:
                data, self._head = self._head + data, None
        elif self._cycle is not None and self._cycle.response_started:  # before it comes `100 Continue`
            is_sized, self._cycle = self._cycle.chunked_encoding is False, None
            if is_sized:
                self._head = data
                return
        self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._head is not None:
            self._transport.write(self._head)
            self._head = None


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's, as `Stream`."""

    on_shutdown: Callable[[], None] | None = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: cast(Any, self)}

    def on_headers_complete(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and self.scope["method"] != "HEAD":  # which has no body to wait for
            self.cycle.transport = cast(Any, _Joined(self.transport, self.cycle))

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self.parser = cast(Any, None)  # each holds the other, and thousands would wait for the garbage collector

    def cut_soon(self) -> None:
        self.loop.call_later(_GRACE, self.transport.abort)

    def shutdown(self) -> None:
        super().shutdown()
        if self.on_shutdown is not None:
            self.on_shutdown()
            self.loop.call_later(_GRACE_AT_SHUTDOWN, self.transport.abort)
