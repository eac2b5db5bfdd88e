"""Servers that draw by a provider on this machine, which the tests play."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from tests.conftest import StackOf
from tests.generation.provider import KEY, FakeProvider
from tests.support.api import Organisation
from tests.support.stack import Stack

_SETTINGS = {
    "QM_GENERATION_API_KEY": KEY,
    "QM_GENERATION_TIMEOUT": "2",
    "QM_GENERATION_COST_USD": "0.039",
    "QM_GENERATIONS_PER_MINUTE": "1000",
    "QM_UPLOAD_MAX_BYTES": "500000",
    "QM_LOG_LEVEL": "debug",
}


@dataclass(frozen=True)
class Drawing:
    """A stack and who draws for it."""

    stack: Stack
    provider: FakeProvider


@pytest.fixture(scope="module")
def gemini(stack_of: StackOf) -> Iterator[Drawing]:
    with FakeProvider.started() as provider:
        settings = {"QM_GENERATION_PROVIDER": "gemini", "QM_GENERATION_BASE_URL": provider.url}
        with stack_of(**_SETTINGS, **settings) as stack:
            yield Drawing(stack, provider)


@pytest.fixture(scope="module")
def openai(stack_of: StackOf) -> Iterator[Drawing]:
    with FakeProvider.started() as provider:
        settings = {"QM_GENERATION_PROVIDER": "openai", "QM_GENERATION_BASE_URL": f"{provider.url}/"}
        with stack_of(**_SETTINGS, **settings) as stack:
            yield Drawing(stack, provider)


@pytest.fixture
async def gemini_org(gemini: Drawing) -> AsyncIterator[Organisation]:
    async with gemini.stack.signed_in() as admin:
        yield await Organisation.made(admin)


@pytest.fixture
async def openai_org(openai: Drawing) -> AsyncIterator[Organisation]:
    async with openai.stack.signed_in() as admin:
        yield await Organisation.made(admin)
