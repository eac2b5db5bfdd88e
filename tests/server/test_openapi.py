"""The REST routes as their own declarations describe them: complete, true (by schemathesis), and readable."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.conftest import StackOf
from tests.server.test_graphiql import CHROMIUM, FLAGS
from tests.support.api import Organisation
from tests.support.images import link_to
from tests.support.photos import photo
from tests.support.stack import Stack

in_chromium = pytest.mark.skipif(
    not Path(CHROMIUM).exists(), reason="Chromium is not installed (Debian's package `chromium`)"
)
ROUTES = """
import asyncio, json
from server.app import create_app

async def main():
    app = create_app().app
    async with app.router.lifespan_context(app):
        routes = [[route.path_format, *(getattr(route, "methods", None) or [])] for route in app.routes]
        print(json.dumps(routes))

asyncio.run(main())
"""
# What is refused in words of its own is tested where the feature is: firmware may send numbers as text, and a body
# that fits its schema may still be no picture. The checks of what was made and deleted need routes that do that.
CHECKS = ",".join(
    (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "ignored_auth",
        "unsupported_method",
    )
)


@pytest.fixture(scope="module")
def open_stack(stack_of: StackOf) -> Iterator[Stack]:
    """One that lets a device report as often as a fuzzer does."""
    with stack_of(QM_DEVICE_REPORTS_PER_MINUTE="1000000", QM_INTROSPECTION="true") as stack:
        yield stack


def test_every_route_but_graphql_is_described(stack: Stack) -> None:
    """Asked of the app itself: what it answers at, not what somebody remembered to list."""
    ran = subprocess.run(
        [sys.executable, "-c", ROUTES],
        env=stack.environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    served = {(path, *methods) for path, *methods in json.loads(ran.stdout.splitlines()[-1])}
    document = httpx.get(f"{stack.url}/v1/openapi.json").json()
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert {path for path, *_ in served} - {path for path, _ in described} == {"/graphql"}
    by_method = {(path, method) for path, *methods in served if path != "/graphql" for method in methods}
    assert by_method - {(path, "HEAD") for path, *_ in served} == described


async def test_the_words_of_a_report_are_the_ones_that_are_read(org: Organisation) -> None:
    """What the document says of limits is what a device meets."""
    document = (await org.admin.http.get("/v1/openapi.json")).json()
    report = document["components"]["schemas"]["Report"]["properties"]
    device = await org.device()
    for name, schema in report.items():
        if "maximum" not in schema:
            continue
        assert (await device.heartbeat(json={name: schema["maximum"]})).status_code == 200, name
        refused = await device.heartbeat(json={name: schema["maximum"] + 1})
        assert refused.json()["details"]["argument"] == name


def test_graphiql_is_described_only_where_it_is_served(stack_of: StackOf) -> None:
    with stack_of(QM_INTROSPECTION="false") as stack:
        document = httpx.get(f"{stack.url}/v1/openapi.json").json()
    assert "/graphiql/{name}" not in document["paths"]
    assert "/health" in document["paths"]


def fuzz(stack: Stack, token: str | None, folder: Path, config: str, *arguments: str) -> None:
    """Run schemathesis as its users do. Raises AssertionError with its report when it finds something."""
    settings = folder / "schemathesis.toml"
    settings.write_text(config)
    ran = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(settings)),
            *("run", f"{stack.url}/v1/openapi.json", "--header", f"Authorization: Bearer {token}"),
            *("--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-color"),
            *("--generation-database", "none", "--continue-on-failure", "--suppress-health-check", "all"),
            *arguments,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2_000:]


@pytest.fixture
async def open_org(open_stack: Stack) -> AsyncIterator[Organisation]:
    async with open_stack.signed_in() as admin:
        yield await Organisation.made(admin)


async def test_schemathesis_finds_no_undocumented_answer_to_a_device(
    open_stack: Stack, open_org: Organisation, tmp_path: Path
) -> None:
    device = await open_org.device()
    config = f'[parameters]\n"path.key" = "{device.key}"\n'
    fuzz(open_stack, device.token, tmp_path, config, "--include-tag", "Devices", "--max-examples", "25")


async def test_schemathesis_finds_no_undocumented_answer_to_who_brings_firmware(
    open_stack: Stack, open_org: Organisation, tmp_path: Path
) -> None:
    fuzz(open_stack, open_org.operator.token, tmp_path, "", "--include-tag", "Firmware", "--max-examples", "25")


async def test_schemathesis_finds_no_undocumented_answer_to_who_has_a_link(
    open_stack: Stack, open_org: Organisation, tmp_path: Path
) -> None:
    """Parts of a photo, and GraphiQL's files when they are built: what is there, asked for in every way."""
    image = (await (await open_org.device()).upload(photo())).json()["imageId"]
    link = urlsplit(await link_to(open_org.viewer, image, "ORIGINAL"))
    given = {"path.key": link.path.removeprefix("/media/")}
    given |= {f"query.{name}": value for name, value in parse_qsl(link.query)}
    config = _parameters("GET /media/{key}", given) + _parameters(
        "GET /graphiql/{name}", {"path.name": "graphiql.css"}
    )
    paths = ("--include-path", "/media/{key}", "--include-path", "/graphiql/{name}")
    fuzz(open_stack, "none", tmp_path, config, *paths, "--max-examples", "25")


def _parameters(operation: str, given: dict[str, str]) -> str:
    lines = "".join(f'"{name}" = "{value}"\n' for name, value in given.items())
    return f'[[operations]]\ninclude-name = "{operation}"\n[operations.parameters]\n{lines}'


async def test_schemathesis_finds_no_undocumented_answer_to_a_client(
    open_stack: Stack, open_org: Organisation, tmp_path: Path
) -> None:
    """Any key, any path: most of what it asks for does not exist."""
    made: Any = await open_org.operator.run(
        "mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }", id=open_org.id
    )
    fuzz(open_stack, made["regenerateClientToken"]["token"], tmp_path, "", "--max-examples", "10")


@pytest.fixture
async def browser_page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False, args=FLAGS)
        yield await browser.new_page(viewport={"width": 1200, "height": 800})
        await browser.close()


@in_chromium
async def test_a_person_reads_the_routes_in_a_browser(stack: Stack, browser_page: Page) -> None:
    problems: list[str] = []
    contacted: list[str] = []
    browser_page.on("console", lambda message: problems.append(message.text))
    browser_page.on("requestfailed", lambda request: problems.append(request.url))
    browser_page.on("request", lambda request: contacted.append(request.url))
    answer = await browser_page.goto(f"{stack.url}/v1/docs")
    assert answer is not None
    assert "script-src" not in answer.headers["content-security-policy"]  # nor anything else but our style
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'nonce-")

    await browser_page.click("nav a[href='#post_heartbeat']")
    article = browser_page.locator("article#post_heartbeat")
    await expect(article).to_be_in_viewport()
    for words in ("Say how it is, without a photo", "X-Battery-V", "number from 0.0 to 60.0", "DEVICE_DISABLED"):
        await expect(article).to_contain_text(words)
    await article.locator("a >> text=Told").click()
    await expect(browser_page.locator("#schema-Told")).to_be_in_viewport()
    colour = await browser_page.locator("article .method").first.evaluate("e => getComputedStyle(e).color")
    assert colour == "rgb(177, 2, 111)"  # the style was let in
    assert problems == []
    assert all(url.startswith((f"{stack.url}/", "data:")) for url in contacted)


@in_chromium
async def test_the_page_fits_a_telephone(stack: Stack, browser_page: Page) -> None:
    await browser_page.set_viewport_size({"width": 390, "height": 800})
    await browser_page.goto(f"{stack.url}/v1/docs")
    assert await browser_page.evaluate("document.documentElement.scrollWidth") <= 390
