"""Who signed in, in a browser: the tab that did, and nobody else, another port of the same host least of all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from playwright.async_api import expect

from tests.integration.web.console.test_dead_letters import bury, waiting
from tests.support.web.browser import WAIT_MS, chromium, needs_chromium, sign_in, window
from tests.support.web.console import TOKEN, served
from tests.support.world import World

pytestmark = needs_chromium
expect.set_options(timeout=WAIT_MS)


class Stranger(BaseHTTPRequestHandler):
    """Who listens on another port of 127.0.0.1, and notes all that a browser tells there."""

    heard: ClassVar[list[str]] = []
    victim: ClassVar[str] = ""

    def do_GET(self) -> None:
        self.heard.append(f"{self.path} {self.headers}")
        form = f'<form action="{self.victim}" method="post"><button>Win</button></form><p>Kept: <b></b></p>'
        script = "<script>document.querySelector('b').textContent = document.cookie + JSON.stringify(sessionStorage)"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(f"<!doctype html><title>x</title>{form}{script}</script>".encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[str]:
    """Where he is."""
    Stranger.heard.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def test_another_port_of_this_host_is_told_nothing_and_does_nothing(world: World, stranger: str) -> None:
    await bury(world, b"one")
    async with served(world, works=False) as (visitor, _), chromium() as browser:
        await visitor.until("/dead-letters", "it was tried in vain")
        ours = f"http://127.0.0.1:{visitor.port}"
        Stranger.victim = f"{ours}/dead-letters/.commands/1/drop"
        context = await browser.new_context(base_url=ours)
        page = await context.new_page()
        await sign_in(page, TOKEN, "ada")
        key = await page.evaluate("sessionStorage.session")
        assert "ada" in key
        assert await context.cookies() == []

        await page.goto(stranger)  # in the same tab
        await expect(page.locator("b")).to_have_text("{}")
        await page.get_by_role("button", name="Win").click()
        await expect(page.get_by_text("the form is in a page of somebody else")).to_be_visible()
        assert await waiting(world) == 1
        assert Stranger.heard
        assert not [line for line in Stranger.heard if "cookie" in line.lower() or "session" in line.lower()]

        await page.goto("/dead-letters")
        await page.get_by_role("link", name="Drop … dead letter 1").click()
        await page.get_by_role("button", name="Drop for good").click()
        await expect(page.get_by_text("Dead letter 1 dropped.")).to_be_visible()
        assert await waiting(world) == 0
        await context.close()


async def test_a_session_is_the_tabs_that_signed_in_until_it_signs_out(world: World) -> None:
    await bury(world, b"one")
    async with (
        served(world, works=False) as (visitor, _),
        chromium() as browser,
        window(browser, f"http://127.0.0.1:{visitor.port}") as page,
    ):
        await visitor.until("/dead-letters", "it was tried in vain")
        retry, read_only = page.get_by_role("button", name="Retry"), page.get_by_text("Read-only")
        await page.goto("/dead-letters")
        await expect(read_only).to_be_visible()
        await expect(retry).to_be_hidden()

        await page.get_by_role("link", name="Sign in").first.click()
        await page.get_by_label("Token").fill(TOKEN)
        await page.get_by_label("Your name").fill("ada <b>")
        await page.get_by_role("button", name="Sign in").click()
        await expect(retry).to_be_visible()
        assert page.url.endswith("/dead-letters"), "where they were"
        await expect(read_only).to_be_hidden()
        await page.get_by_role("link", name="ada <b>").click()
        await expect(page.get_by_role("table")).to_contain_text("signed in")

        other = await page.context.new_page()
        await other.goto("/log")
        await expect(other.get_by_text("The log is for those who may act")).to_be_visible()
        await expect(other.get_by_role("button", name="Sign out")).to_be_hidden()

        await page.get_by_role("button", name="Sign out").click()
        await expect(read_only).to_be_visible()
        assert not await page.evaluate("'session' in sessionStorage")
        await page.go_back()
        await expect(read_only).to_be_visible()


async def test_a_session_that_is_over_is_shown_as_none(world: World) -> None:
    async with (
        served(world, works=False) as (visitor, _),
        chromium() as browser,
        window(browser, f"http://127.0.0.1:{visitor.port}") as page,
    ):
        await sign_in(page, TOKEN)
        await page.evaluate(
            'sessionStorage.session = sessionStorage.session.replace(/"endsAt":[0-9]+/, \'"endsAt":1\')'
        )
        await page.goto("/")
        await expect(page.get_by_text("Read-only")).to_be_visible()
        await expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
