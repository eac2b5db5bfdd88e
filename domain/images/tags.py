"""The words by which people find images: tags and prompts, and what they may be."""

from collections.abc import Iterable

from domain.kit.errors import Invalid

MOST_TAGS = 32
LONGEST_TAG = 64
LONGEST_PROMPT = 4_000


def checked_tags(tags: Iterable[str], *, argument: str = "tags") -> list[str]:
    """The tags in lower case, trimmed, sorted, each once. Raises Invalid for one that is none, or for too many."""
    checked = sorted({_checked_tag(tag, argument) for tag in tags})
    if len(checked) > MOST_TAGS:
        raise Invalid(f"An image has at most {MOST_TAGS} tags.", argument=argument, given=len(checked))
    return checked


def cut_tag(text: str) -> str | None:
    """Printable text as a tag, without what is too long of it; None when nothing is left."""
    # In lower case before it is cut: some letters are two characters then, such as İ.
    return " ".join(text.split()).lower()[:LONGEST_TAG].strip() or None


def _checked_tag(tag: str, argument: str) -> str:
    name = " ".join(tag.split()).lower()
    if not 1 <= len(name) <= LONGEST_TAG or not name.isprintable():
        raise Invalid(
            f"A tag has 1 to {LONGEST_TAG} printable characters.", argument=argument, given=tag[:LONGEST_TAG]
        )
    return name


def checked_prompt(prompt: str | None) -> str | None:
    """The prompt, trimmed; None for an empty one. Raises Invalid for one that is too long or holds controls."""
    prompt = (prompt or "").strip()
    if len(prompt) > LONGEST_PROMPT:
        raise Invalid(f"A prompt has at most {LONGEST_PROMPT} characters.", argument="prompt", given=len(prompt))
    if any(not one.isprintable() and one not in "\n\t\r" for one in prompt):
        raise Invalid("A prompt has no control characters.", argument="prompt")
    return prompt or None
