"""Links that an S3 server answers itself: SigV4 in the query, as its documentation lays down.

boto3 can sign links too, but only as of now, so that no two of its links are the same and no cache finds anything
again, and it takes a millisecond for each. These are dated back to the full hour.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, urlencode, urlsplit

from domain.kit.blobs.links import LINK_ROUNDING

_LONGEST = 7 * 24 * 3600  # seconds; no server takes more


@dataclass(frozen=True, slots=True)
class Credentials:
    access_key: str
    secret_key: str
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Presigner:
    """`base` is the bucket's own address, such as `https://host/bucket`, without a slash at its end."""

    base: str
    region: str

    def link(self, key: str, credentials: Credentials, *, now: float, expires_in: float, **answer: str) -> str:
        """A GET of one key. `answer` are headers that the server is to send (`content_type`, …). It works until
        `expires_in` seconds from now, and up to an hour longer.
        """
        signed = int(now // LINK_ROUNDING) * LINK_ROUNDING
        lifetime = min(int(expires_in + LINK_ROUNDING), _LONGEST)
        moment = datetime.fromtimestamp(signed, UTC)
        day = f"{moment:%Y%m%d}"
        place = f"{day}/{self.region}/s3/aws4_request"
        parameters = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{credentials.access_key}/{place}",
            "X-Amz-Date": f"{moment:%Y%m%dT%H%M%SZ}",
            "X-Amz-Expires": str(lifetime),
            "X-Amz-SignedHeaders": "host",
            **{f"response-{name.replace('_', '-')}": value for name, value in answer.items()},
        }
        if credentials.token:
            parameters["X-Amz-Security-Token"] = credentials.token
        query = urlencode(sorted(parameters.items()), quote_via=quote, safe="")
        address = urlsplit(self.base)
        path = f"{quote(address.path)}/{quote(key)}"
        request = "\n".join(("GET", path, query, f"host:{address.netloc}", "", "host", "UNSIGNED-PAYLOAD"))
        digest = hashlib.sha256(request.encode()).hexdigest()
        to_sign = "\n".join(("AWS4-HMAC-SHA256", parameters["X-Amz-Date"], place, digest))
        signature = _hmac(_signing_key(credentials.secret_key, day, self.region), to_sign).hex()
        return f"{address.scheme}://{address.netloc}{path}?{query}&X-Amz-Signature={signature}"


@lru_cache(maxsize=4)
def _signing_key(secret_key: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, message: str) -> bytes:
    return hmac.digest(key, message.encode(), "sha256")
