"""GraphiQL as a person uses it, in headless Chromium, from our own origin and nobody else's."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import ConsoleMessage, Page, Request, WebSocket, async_playwright, expect

from server.graphiql.page import DIST
from tests.support.api import Organisation
from tests.support.live import one_more_subscriber
from tests.support.people import Person
from tests.support.stack import Stack

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
RESPONSE = ".graphiql-response .view-lines"

pytestmark = [
    pytest.mark.skipif(
        not Path(CHROMIUM).exists(), reason="Chromium is not installed (Debian's package `chromium`)"
    ),
    pytest.mark.skipif(not (DIST / "manifest.json").exists(), reason="GraphiQL is not built: `make graphiql`"),
]


class Visit:
    """A page, and everything about it that would trouble its operator."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.problems: list[str] = []
        self.contacted: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("requestfailed", self._failed)
        page.on("request", self._requested)
        page.on("websocket", self._opened)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):  # violations of the policy are errors here
            self.problems.append(f"console {message.type}: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # which is what leaving the page does to what it still loads
            self.problems.append(f"failed: {request.url}: {request.failure}")

    def _requested(self, request: Request) -> None:
        self.contacted.append(request.url)

    def _opened(self, socket: WebSocket) -> None:
        self.contacted.append(socket.url.replace("ws", "http", 1))

    @property
    def elsewhere(self) -> list[str]:
        return [url for url in self.contacted if not url.startswith((f"{self.url}/", "data:", f"blob:{self.url}/"))]

    async def run(self, query: str) -> None:
        """Put an operation into the editor and press the button."""
        await self.page.evaluate(
            "query => window.__MONACO.editor.getModels()"
            ".find(model => model.uri.path.endsWith('operation.graphql')).setValue(query)",
            query,
        )
        await self.page.wait_for_function("query => localStorage.getItem('graphiql:query') === query", arg=query)
        await self.page.click(".graphiql-execute-button")

    async def sees(self, *words: str) -> None:
        for word in words:
            await expect(self.page.locator(RESPONSE)).to_contain_text(word)

    async def sign_in(self, person: Person) -> None:
        await self.page.fill("#qm-email", person.email)
        await self.page.fill("#qm-password", person.password)
        async with self.page.expect_response(lambda response: "__schema" in (response.request.post_data or "")):
            await self.page.click("#qm-sign-in")
        await expect(self.page.locator("#qm-status")).to_have_text(f"Signed in as {person.email}")


@pytest.fixture
async def visit(stack: Stack) -> AsyncIterator[Visit]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False, args=FLAGS)
        page = await browser.new_page()
        page.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        visit = Visit(page, stack.url)
        async with page.expect_response(lambda response: "__schema" in (response.request.post_data or "")):
            await page.goto(f"{stack.url}/graphql")
        yield visit
        await browser.close()


async def test_a_person_signs_in_queries_and_watches_a_device_live(visit: Visit, org: Organisation) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    device = await org.device(name="Bottom shelf")
    await expect(visit.page.locator("#qm-status")).to_have_text("Not signed in")
    await visit.sign_in(person)

    await visit.run("{ viewer { role client { name } } }")
    await visit.sees('"VIEWER"', org.name)

    query = 'subscription { deviceUpdates(ids: ["%s"]) { type device { name batteryV } } }'
    async with one_more_subscriber(org.viewer):
        await visit.run(query.replace("%s", device.id))
    assert (await device.heartbeat(headers={"X-Battery-V": "3.58"})).status_code == 200
    await visit.sees("device.checked_in", "Bottom shelf", "3.58")

    await visit.page.click("#qm-sign-out")
    await expect(visit.page.locator("#qm-status")).to_have_text("Not signed in")
    assert visit.problems == []
    assert visit.elsewhere == []
    assert any(url.endswith("/graphql") for url in visit.contacted)
    assert any("/graphiql/graphiql.js" in url for url in visit.contacted)


async def test_wrong_passwords_are_told_and_sign_nobody_in(visit: Visit, org: Organisation) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    await visit.page.fill("#qm-email", person.email)
    await visit.page.fill("#qm-password", "not the password")
    await visit.page.click("#qm-sign-in")
    await expect(visit.page.locator("#qm-error")).to_contain_text("wrong")
    await expect(visit.page.locator("#qm-status")).to_have_text("Not signed in")
    await visit.run("{ viewer { role } }")
    await visit.sees("UNAUTHENTICATED")
    assert visit.problems == []
    assert visit.elsewhere == []


async def test_the_session_survives_a_reload(visit: Visit, org: Organisation) -> None:
    person = await Person.made(org.admin, "OPERATOR", org.id)
    await visit.sign_in(person)
    await visit.page.reload()
    await expect(visit.page.locator("#qm-status")).to_have_text(f"Signed in as {person.email}")
    await visit.run("{ viewer { role } }")
    await visit.sees('"OPERATOR"')
    assert visit.problems == []
