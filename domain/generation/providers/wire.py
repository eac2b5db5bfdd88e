"""One question to a provider by HTTP: sent once, bounded in time and size, and every way it ends told as `Failed`.

What is sent twice may be paid twice. So only what certainly was not drawn is worth another attempt: a connection
that was never made, a refusal for now (429), an error that the server tells of itself (5xx). Silence is not, nor is
what somebody who stands before the server says of its silence (_SILENT).
"""

import asyncio
import binascii
import email.utils
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson

from domain.generation.models import FailureCode
from domain.generation.providers import Failed, Made
from domain.images.formats import Completeness, NotAnImage

_LONGEST_REASON = 300
_CONNECT = 10.0  # seconds
_MAX_ERROR_BYTES = 64 * 1024
# Told by proxies whose server did not answer, or not to the end: 520 and 524 are Cloudflare's, which waits for
# 100 s.
_SILENT = frozenset({408, 502, 504, 520, 524})
# What looks like a key, though it may not be ours: providers repeat it when they do not like it.
_LIKE_A_KEY = re.compile(r"\b(?:sk|AIza|Bearer\s)[\w*.-]{4,}")


@dataclass(frozen=True, slots=True)
class Account:
    """How a provider is reached. `timeout` is seconds for one picture in all; `cost_usd` what one costs, if
    known.
    """

    base_url: str
    key: str = field(repr=False)
    model: str
    timeout: float
    max_image_bytes: int
    cost_usd: float | None = None

    @property
    def max_answer_bytes(self) -> int:
        """A picture in base64, and some JSON around it."""
        return self.max_image_bytes * 4 // 3 + 1_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is {} where it was no JSON object."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any]


async def ask(account: Account, path: str, headers: Mapping[str, str], question: Mapping[str, Any]) -> Answer:
    """POST a question; the answer, whatever its status. Raises Failed."""
    try:
        async with asyncio.timeout(account.timeout):
            return await _ask(account, path, headers, question)
    except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout):
        message = f"The provider did not answer within {account.timeout:g} s."
        raise Failed(FailureCode.TIMEOUT, message) from None
    except (httpx.ConnectError, httpx.ConnectTimeout):
        raise Failed(FailureCode.PROVIDER_ERROR, "The provider cannot be reached.", retry=True) from None
    except (httpx.HTTPError, httpx.InvalidURL):
        raise Failed(FailureCode.PROVIDER_ERROR, "The connection to the provider ended too early.") from None


async def _ask(account: Account, path: str, headers: Mapping[str, str], question: Mapping[str, Any]) -> Answer:
    sent = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # a packed answer could be a thousand times as large as it looks
        **headers,
    }
    timeout = httpx.Timeout(account.timeout, connect=min(_CONNECT, account.timeout))
    # Not following redirects: the key goes where the operator said, and nowhere else.
    async with httpx.AsyncClient(timeout=timeout, follow_redirects=False) as http:
        url = account.base_url.rstrip("/") + path
        async with http.stream("POST", url, content=orjson.dumps(question), headers=sent) as response:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise Failed(FailureCode.PROVIDER_ERROR, "The provider's answer cannot be read.")
            return Answer(response.status_code, response.headers, _object(await _read(response, account)))


async def _read(response: httpx.Response, account: Account) -> bytearray:
    most = account.max_answer_bytes if response.status_code == 200 else _MAX_ERROR_BYTES
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > most:
            if response.status_code == 200:
                raise Failed(FailureCode.PROVIDER_ERROR, f"The provider's answer has more than {most} bytes.")
            return bytearray()  # its status says enough
    return body  # as it is: a copy would be one more of some megabytes


def _object(body: bytearray) -> Mapping[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def refused(account: Account, answer: Answer, *, exhausted: bool, retry_after: float | None) -> Failed:
    """The failure that a status says. `exhausted`: waiting a moment will not help, the quota is used up, and the
    wait that the provider names all the same is not told.
    """
    reason = _reason(account, answer)
    retry_after = retry_after if retry_after is not None else _retry_after(answer.headers)
    if answer.status == 429:
        message = f"The provider's quota is used up{reason}"
        if exhausted:
            return Failed(FailureCode.QUOTA_EXCEEDED, message)
        return Failed(FailureCode.QUOTA_EXCEEDED, message, retry=True, retry_after=retry_after)
    if answer.status in (401, 403):
        # Without the reason: it may hold a part of the key.
        return Failed(FailureCode.PROVIDER_ERROR, "The provider does not accept this server's key.")
    if answer.status in _SILENT:  # it may have been drawn, and paid, all the same
        return Failed(FailureCode.TIMEOUT, f"The provider did not answer in time ({answer.status}){reason}")
    if answer.status >= 500:
        message = f"The provider had an error ({answer.status}){reason}"
        return Failed(FailureCode.PROVIDER_ERROR, message, retry=True, retry_after=retry_after)
    return Failed(FailureCode.PROVIDER_ERROR, f"The provider did not take the request ({answer.status}){reason}")


def picture(account: Account, encoded: Any) -> Made:
    """The picture in base64. Raises Failed for what is none."""
    if not isinstance(encoded, str) or not encoded:
        raise Failed(FailureCode.PROVIDER_ERROR, "The provider's answer has no picture.")
    try:
        data = binascii.a2b_base64(encoded, strict_mode=True)  # `base64` would copy the text first
    except (binascii.Error, ValueError):
        raise Failed(FailureCode.PROVIDER_ERROR, "The provider's picture is not base64.") from None
    if len(data) > account.max_image_bytes:
        message = f"The provider's picture has more than {account.max_image_bytes} bytes."
        raise Failed(FailureCode.PROVIDER_ERROR, message)
    whole = Completeness()
    whole.feed(data)
    try:
        return Made(data, whole.finish())
    except NotAnImage as error:
        message = f"What the provider sent is no picture that can be used: {error.message}."
        raise Failed(FailureCode.PROVIDER_ERROR, message) from None


def _reason(account: Account, answer: Answer) -> str:
    """`: <what the provider says>.` in one line without secrets, or just the full stop."""
    error = answer.body.get("error")
    said = error.get("message") if isinstance(error, dict) else error
    if not isinstance(said, str) or not said.strip():
        return "."
    line = " ".join("".join(one if one.isprintable() else " " for one in said[: 4 * _LONGEST_REASON]).split())
    line = _LIKE_A_KEY.sub("…", line.replace(account.key, "…"))[:_LONGEST_REASON].rstrip(".")
    return f": {line}."


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, of a Retry-After header in either of its forms."""
    said = headers.get("retry-after", "").strip()
    try:
        return bounded_seconds(float(said))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(said)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return bounded_seconds(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def bounded_seconds(seconds: float) -> float | None:
    """The seconds, 30 days at most; None for what is no time to wait."""
    return min(seconds, 30 * 86_400.0) if math.isfinite(seconds) and seconds >= 0 else None
