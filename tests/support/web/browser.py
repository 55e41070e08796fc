"""A headless Chromium of this machine, driven as a person would use it; and a judge of what it met."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
WAIT_MS = 30_000
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}}


@dataclass
class Met:
    """What a page met that it should not: errors, refusals of its policy, addresses elsewhere."""

    origin: str
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Listen to a page."""
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("console", lambda said: self._said(said.type, said.text))
        page.on("request", lambda request: self._asked(request.url))

    def _said(self, kind: str, text: str) -> None:
        if kind == "error" and "Failed to load resource" not in text:  # those are for the test to look at
            self.complaints.append(f"console: {text}")

    def _asked(self, url: str) -> None:
        if not url.startswith((self.origin, "data:", "blob:")):
            self.complaints.append(f"asked for {url}")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running browser."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def window(browser: Browser, origin: str, *, width: int = 1280, **options: Any) -> AsyncIterator[Page]:
    """A page in a window of its own, which fails the test when it met what it should not."""
    met = Met(origin)
    context = await browser.new_context(viewport={"width": width, "height": 900}, base_url=origin, **options)
    try:
        page = await context.new_page()
        page.set_default_timeout(WAIT_MS)
        met.watch(page)
        yield page
    finally:
        await context.close()
    assert met.complaints == []


async def sign_in(page: Page, token: str, name: str = "") -> None:
    """Sign in by the link that `up` prints, or with a name by the form, and wait until the tab has its session."""
    if name:
        await page.goto("/sign-in")
        await page.get_by_label("Token").fill(token)
        await page.get_by_label("Your name").fill(name)
        await page.get_by_role("button", name="Sign in").click()
    else:
        await page.goto(f"/sign-in?token={token}", wait_until="commit")
    await page.wait_for_url(lambda url: "/sign-in" not in url)
    await page.get_by_role("button", name="Sign out").wait_for()


async def check_accessible(page: Page) -> None:
    """Fail with every violation that axe-core finds."""
    found = (await Axe().run(page, options=RULES)).response["violations"]
    told = [f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}" for one in found]
    assert told == [], f"{page.url}: {told}"


async def check_fits(page: Page) -> None:
    """Fail where the page is wider than its window."""
    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{page.url} is {wide} px wider than its window"
