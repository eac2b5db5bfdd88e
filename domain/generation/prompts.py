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
# Letters and marks by their categories, and yet nobody sees them: fillers of Hangul, marks without a look.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
# Those of Mongolian, of all scripts (in emoji), of Chinese characters.
_VARIATION_SELECTORS = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
_PASSED_OVER = dict.fromkeys((*map(ord, _JOINERS), *(one for some in _VARIATION_SELECTORS for one in some)))
# Scripts without spaces between words, in the forms that normalising leaves: Thai, Lao, Tibetan, Burmese; Khmer;
# Tai Le and New Tai Lue; Tai Tham; Balinese; Chinese and Japanese; Yi; Javanese, Burmese; Tai Viet; the rarer
# characters of Chinese, Tangut and old kana. Korean has spaces.
_SPACELESS = (
    "\u0e00-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\u2e80-\u312f\u3190-\ua4cf\ua980-\ua9ff"
    "\uaa60-\uaadf\uf900-\ufaff\U00016fe0-\U0001b2ff\U00020000-\U0003ffff"
)
_IN_A_WORD = rf"[^\W_{_SPACELESS}]"  # letters and digits whose next neighbour belongs to their word


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
        phrases = [_whole(phrase) for phrase in map(_as_seen, self.denied) if phrase]
        return re.compile("|".join(phrases)) if phrases else None

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
        if self._denied and (found := self._denied.search(_as_seen(prompt))):
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


def _as_seen(text: str) -> str:
    """Normalised, and without what only says how its neighbours are drawn."""
    return normalised(text.translate(_PASSED_OVER))


def _whole(phrase: str) -> str:
    """A pattern of a phrase as seen: not within a longer word, where its script tells words apart."""
    begin = f"(?<!{_IN_A_WORD})" if re.match(_IN_A_WORD, phrase[0]) else ""
    end = f"(?!{_IN_A_WORD})" if re.match(_IN_A_WORD, phrase[-1]) else ""
    return begin + re.escape(phrase) + end


def _is_refused(character: str) -> bool:
    if character in _ALLOWED_CONTROLS or character in _JOINERS:
        return False
    return character in _INVISIBLE or unicodedata.category(character) in _REFUSED_CATEGORIES
