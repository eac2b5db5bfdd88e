"""Google's Gemini API, by its one endpoint that draws: `POST /v1/models/{model}:generateContent`.

Its SDK is 26 packages and 60 MB for this. A safety block is a 200 without parts, with a `blockReason` or a
`finishReason`; 429 carries a RetryInfo, which is short even when the quota of the whole day is gone.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from domain.generation.models import FailureCode, ImageShape
from domain.generation.providers import Failed, Made, Wanted
from domain.generation.providers.wire import Account, Answer, ask, bounded_seconds, picture, refused

BASE_URL = "https://generativelanguage.googleapis.com"
_RATIOS = {ImageShape.LANDSCAPE: "3:2", ImageShape.PORTRAIT: "2:3"}  # a square is what it draws by itself
_BLOCKED = frozenset(
    {
        *("SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "BLOCKLIST", "SPII"),
        *("RECITATION", "IMAGE_RECITATION"),
    }
)
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


class Gemini:
    """Asks Gemini."""

    name = "gemini"

    def __init__(self, account: Account) -> None:
        self._account = account
        self.model = account.model
        self.cost_usd = account.cost_usd

    async def generate(self, wanted: Wanted) -> Made:
        config: dict[str, Any] = {"responseModalities": ["IMAGE"]}
        if ratio := _RATIOS.get(wanted.shape):
            config["imageConfig"] = {"aspectRatio": ratio}
        question = {"contents": [{"role": "user", "parts": [{"text": wanted.prompt}]}], "generationConfig": config}
        path = f"/v1/models/{quote(self.model, safe='')}:generateContent"
        answer = await ask(self._account, path, {"x-goog-api-key": self._account.key}, question)
        if answer.status != 200:
            raise refused(self._account, answer, exhausted=_is_of_the_day(answer), retry_after=_retry_delay(answer))
        for part in _parts(answer.body):
            data = part.get("inlineData")
            if isinstance(data, dict):
                return picture(self._account, data.get("data"))
        raise _without_picture(answer.body)


def _without_picture(body: Mapping[str, Any]) -> Failed:
    feedback = body.get("promptFeedback")
    if isinstance(feedback, dict) and feedback.get("blockReason"):
        return _refusal(feedback["blockReason"])
    for candidate in _dicts(body.get("candidates")):
        reason = candidate.get("finishReason")
        if isinstance(reason, str) and reason in _BLOCKED:
            return _refusal(reason)
    return Failed(FailureCode.PROVIDER_ERROR, "The provider's answer has no picture.")


def _refusal(reason: Any) -> Failed:
    told = reason if isinstance(reason, str) and re.fullmatch("[A-Z_]{1,50}", reason) else "no reason given"
    return Failed(FailureCode.REFUSED, f"The provider does not want to draw this ({told}).")


def _parts(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for candidate in _dicts(body.get("candidates")):
        content = candidate.get("content")
        yield from _dicts(content.get("parts") if isinstance(content, dict) else None)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _details(answer: Answer, type_name: str) -> Iterator[dict[str, Any]]:
    error = answer.body.get("error")
    for detail in _dicts(error.get("details") if isinstance(error, dict) else None):
        if str(detail.get("@type")).endswith(f"google.rpc.{type_name}"):
            yield detail


def _retry_delay(answer: Answer) -> float | None:
    for detail in _details(answer, "RetryInfo"):
        if found := _SECONDS.fullmatch(str(detail.get("retryDelay"))):
            return bounded_seconds(float(found[1]))
    return None


def _is_of_the_day(answer: Answer) -> bool:
    return any(
        "PerDay" in str(violation.get("quotaId"))
        for failure in _details(answer, "QuotaFailure")
        for violation in _dicts(failure.get("violations"))
    )
