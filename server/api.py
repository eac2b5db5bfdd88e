"""Running the API under uvicorn."""

import uvicorn

from server.frames import HttpProtocol, WebSocketProtocol
from server.settings import Settings


def run(settings: Settings, workers: int) -> None:
    """Serve until SIGTERM or SIGINT; then let requests end, for at most 5 s."""
    uvicorn.run(
        "server.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=workers,
        log_config=None,
        access_log=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        server_header=False,
        timeout_graceful_shutdown=5,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=256 * 1024,
        ws_per_message_deflate=False,  # its memory, for each socket, is more than all the rest
        ws_ping_interval=20,
        ws_ping_timeout=20,
        h11_max_incomplete_event_size=64 * 1024,
    )
