"""OpenAI's images API, and whoever speaks it: `POST /v1/images/generations`, the picture as base64 in the answer.

An address of a picture is never followed, wherever it points.
"""

from typing import Any

from domain.generation.models import FailureCode, ImageShape
from domain.generation.providers import Failed, Made, Wanted
from domain.generation.providers.wire import Account, Answer, ask, picture, refused

BASE_URL = "https://api.openai.com"
_SIZES = {
    ImageShape.SQUARE: "1024x1024",
    ImageShape.LANDSCAPE: "1536x1024",
    ImageShape.PORTRAIT: "1024x1536",
}
_DALL_E_3_SIZES = {
    ImageShape.SQUARE: "1024x1024",
    ImageShape.LANDSCAPE: "1792x1024",
    ImageShape.PORTRAIT: "1024x1792",
}
_REFUSALS = frozenset({"content_policy_violation", "moderation_blocked"})
_EXHAUSTED = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


class OpenAI:
    """Asks OpenAI."""

    name = "openai"

    def __init__(self, account: Account) -> None:
        self._account = account
        self.model = account.model
        self.cost_usd = account.cost_usd

    async def generate(self, wanted: Wanted) -> Made:
        headers = {"Authorization": f"Bearer {self._account.key}"}
        answer = await ask(self._account, "/v1/images/generations", headers, self._question(wanted))
        if answer.status != 200:
            raise self._refused(answer)
        data = answer.body.get("data")
        first = data[0] if isinstance(data, list) and data else None
        return picture(self._account, first.get("b64_json") if isinstance(first, dict) else None)

    def _question(self, wanted: Wanted) -> dict[str, Any]:
        sizes = _DALL_E_3_SIZES if self.model == "dall-e-3" else _SIZES
        question = {"model": self.model, "prompt": wanted.prompt, "n": 1, "size": sizes[wanted.shape]}
        if self.model.startswith("dall-e"):  # it would send an address; newer models do not know the word
            question["response_format"] = "b64_json"
        return question

    def _refused(self, answer: Answer) -> Failed:
        error = answer.body.get("error")
        code = error.get("code") if isinstance(error, dict) else None
        if isinstance(code, str) and code in _REFUSALS:
            return Failed(FailureCode.REFUSED, f"The provider does not want to draw this ({code}).")
        exhausted = isinstance(code, str) and code in _EXHAUSTED
        if exhausted and answer.status != 429:  # the hard limit of an account is a 400
            return Failed(FailureCode.QUOTA_EXCEEDED, "The provider's quota is used up.")
        return refused(self._account, answer, exhausted=exhausted, retry_after=None)
