"""What may be asked for: the rules of prompts, and the form in which two of them are the same."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import orjson
from limits import RateLimitItem

from domain.generation.models import ImageShape
from domain.kit.errors import Invalid

_ALLOWED_CONTROLS = "\n\t"
# Control, format (invisible, or turning the direction of text), unassigned and private characters, and halves of
# pairs.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs"})
_JOINERS = "\u200c\u200d"  # of the format characters those that writing needs: in Persian, in emoji
_WITHOUT_JOINERS = dict.fromkeys(map(ord, _JOINERS))


@dataclass(frozen=True)
class GenerationPolicy:
    """What the settings say of generation. `provider` and `model` are those of new pictures; limits are those of
    one principal; `denied` are words and phrases that no prompt may hold; `scene_lifetime` is how long a scene is
    kept.
    """

    provider: str
    model: str
    longest_prompt: int
    denied: Sequence[str]
    images_limit: RateLimitItem
    scenes_limit: RateLimitItem
    scene_lifetime: timedelta

    @cached_property
    def _denied(self) -> re.Pattern[str] | None:
        phrases = [re.escape(phrase) for phrase in map(normalised, self.denied) if phrase]
        return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)") if phrases else None

    def checked_prompt(self, prompt: str) -> str:
        """The prompt, trimmed. Raises Invalid for one that is empty, too long, or has control characters; and with
        PROMPT_DENIED for one that holds what the operator does not want drawn.
        """
        prompt = prompt.replace("\r\n", "\n").strip()
        if not prompt:
            raise Invalid("Say what the picture is to show.", argument="prompt")
        if len(prompt) > self.longest_prompt:
            raise Invalid(
                f"A prompt has at most {self.longest_prompt} characters.", argument="prompt", given=len(prompt)
            )
        if refused := next((one for one in prompt if _is_refused(one)), None):
            raise Invalid(
                "A prompt has no control or invisible characters.",
                argument="prompt",
                character=f"U+{ord(refused):04X}",
                position=prompt.index(refused),
            )
        seen = normalised(prompt.translate(_WITHOUT_JOINERS))
        if self._denied and (found := self._denied.search(seen)):
            # What was found is told: it is the caller's own word.
            raise Invalid(
                "This server does not draw this.", code="PROMPT_DENIED", argument="prompt", word=found.group()
            )
        return prompt

    def scene_key(self, prompt: str, shape: ImageShape) -> str:
        """SHA-256 in hex of what decides how a scene looks: equal for requests that are answered by one picture."""
        parts = [normalised(prompt), shape.value, self.provider, self.model]
        return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def normalised(prompt: str) -> str:
    """The prompt without what does not change its meaning: case, kinds and number of spaces, forms of letters."""
    return " ".join(unicodedata.normalize("NFKC", prompt).casefold().split())


def _is_refused(character: str) -> bool:
    if character in _ALLOWED_CONTROLS or character in _JOINERS:
        return False
    return unicodedata.category(character) in _REFUSED_CATEGORIES
