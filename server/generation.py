"""The provider that workers draw with, as the settings say. Not for the API: one of them decodes images."""

from datetime import timedelta

from domain.generation.providers import DEFAULT_MODELS, Provider, gemini, openai
from domain.generation.providers.gemini import Gemini
from domain.generation.providers.local import Local
from domain.generation.providers.openai import OpenAI
from domain.generation.providers.wire import Account
from server.settings import Settings

_LEASE_BEYOND_TIMEOUT = 60.0  # seconds, for storing what came: see `workers/generation.py`


def generation_provider(settings: Settings) -> Provider:
    if settings.generation_provider == "local":
        return Local()
    is_gemini = settings.generation_provider == "gemini"
    assert settings.generation_api_key is not None  # the settings do not go without
    account = Account(
        base_url=settings.generation_base_url or (gemini.BASE_URL if is_gemini else openai.BASE_URL),
        key=settings.generation_api_key,
        model=settings.generation_model or DEFAULT_MODELS[settings.generation_provider],
        timeout=settings.generation_timeout,
        max_image_bytes=settings.upload_max_bytes,
        cost_usd=settings.generation_cost_usd,
    )
    return Gemini(account) if is_gemini else OpenAI(account)


def generation_lease(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.generation_timeout + _LEASE_BEYOND_TIMEOUT)
