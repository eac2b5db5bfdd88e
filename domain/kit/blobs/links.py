"""Links to blobs that this server answers itself, under `/media/`: made, and checked when one is used."""

import time
from urllib.parse import quote, urlencode

from domain.kit.secrets import is_signed, sign

LINK_ROUNDING = 3600  # seconds


class LinkSigner:
    """Makes and checks links under `base_url` that open one blob until a time.

    Expiries are rounded up to the hour so that the same blob keeps the same link, and caches keep working.
    """

    def __init__(self, key: bytes, base_url: str) -> None:
        self._key = key
        self.base_url = base_url.rstrip("/")

    def link(self, key: str, expires_in: float) -> str:
        until = int((time.time() + expires_in) // LINK_ROUNDING + 1) * LINK_ROUNDING
        query = urlencode({"until": until, "signature": sign(self._key, key, str(until))})
        return f"{self.base_url}/media/{quote(key)}?{query}"

    def seconds_left(self, key: str, until: str, signature: str) -> int:
        """Seconds for which the link still works; 0 or less when it is over or was never signed here."""
        if not until.isascii() or not until.isdigit() or not is_signed(self._key, signature, key, until):
            return 0
        return int(until) - int(time.time())
