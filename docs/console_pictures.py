"""Takes the pictures of the console that the documentation shows, of a service with an invented registry.

`python docs/console_pictures.py` writes docs/console*.png; `--all FOLDER` takes every page, light, dark and narrow, and
some with NATS away, for somebody to look at. Needs Chromium, as the console's tests do, and some minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from playwright.async_api import Browser, Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from publisher.embedded.postgres import postgres
from publisher.logs import configure
from registry.concurrency.tasks import end
from registry.database import migrate
from registry.database.connection import connect_blocking
from tests.support.nats.process import NatsProcess, nats_process
from tests.support.processes import COMMAND, environment
from tests.support.web.browser import chromium, sign_in, window
from tests.support.web.invented import Invented

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 1200, 760
LIVED_SECONDS, AWAY_SECONDS = 100, 25
"""Long enough for the lines of the overview to show something."""
RECORDING = {"shared_preload_libraries": "pg_stat_statements"}
"""So that the page Health has statements."""
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"width": 1280, "color_scheme": "light"},
    "dark": {"width": 1280, "color_scheme": "dark"},
    "narrow": {"width": 375, "color_scheme": "light"},
}


class Scene(NamedTuple):
    """A console with something to see, and who looks at it."""

    browser: Browser
    url: str
    token: str
    there: Invented

    @asynccontextmanager
    async def page(self, path: str, *, signed: bool = False, **look: Any) -> AsyncIterator[Page]:
        """A window on a page, which has all that comes to it by itself."""
        async with window(self.browser, self.url, **{"width": WIDTH} | look) as page:
            await page.set_viewport_size({"width": look.get("width", WIDTH), "height": HEIGHT})
            if signed:
                await sign_in(page, self.token)
            await page.goto(path)
            await self._settled(page)
            yield page

    @staticmethod
    async def _settled(page: Page) -> None:
        if await page.locator("[data-live-source]").count():
            await page.locator("[data-live-state]").get_by_text("live", exact=True).wait_for()
        if await page.locator("#history[hx-trigger=load]").count():
            await page.locator(".timeline li").first.wait_for()
        if page.url.endswith("/log"):
            await page.get_by_role("table").wait_for()

    async def overview(self, to: Path) -> None:
        """What is in flight, how it goes, and that all is well."""
        async with self.page("/", signed=True) as page:
            await page.locator(".chart[data-drawn]").first.wait_for()
            await page.screenshot(path=to)

    async def events(self, to: Path) -> None:
        """The list, and one event with what changed."""
        async with self.page("/events", color_scheme="dark") as page:
            await page.get_by_role("button", name="Pause").click()
            await page.get_by_role("link", name="worktree.git_state_updated").nth(2).click()
            await page.get_by_role("heading", name="What changed").wait_for()
            await page.screenshot(path=to)

    async def worktree(self, to: Path) -> None:
        """One as it was, by the slider."""
        async with self.page(f"/worktrees/{self.there.worktrees[0]}") as page:
            slider = page.get_by_role("slider")
            await slider.fill(str(int(await slider.get_attribute("max") or 0) // 2))
            await page.locator("#state ins").first.wait_for()
            await slider.blur()
            await page.screenshot(path=to)

    async def broken(self, to: Path) -> None:
        """NATS away: what is wrong, and what to do."""
        async with self.page("/", color_scheme="dark") as page:
            await page.get_by_role("region", name="What is wrong").wait_for()
            await page.locator(".chart[data-drawn]").first.wait_for()
            await page.screenshot(path=to)

    async def every_page(self, folder: Path, paths: Sequence[str], suffix: str = "") -> None:
        """All of them in each look, whole."""
        for look, options in LOOKS.items():
            for path in paths:
                name = path.strip("/").replace("/", "-").partition("?")[0] or "overview"
                async with self.page(path, signed=True, **options) as page:
                    await page.screenshot(path=folder / f"{name}-{look}{suffix}.png", full_page=True)

    def paths(self) -> list[str]:
        """One of each page."""
        there = self.there
        return [
            *("/", "/events", "/events/40", "/events/40/causes", "/projects", f"/projects/{there.projects['imi']}"),
            *(f"/worktrees/{there.worktrees[-1]}", f"/worktrees/{there.worktrees[0]}/history", "/commands"),
            *("/commands/send?name=worktree.register", "/dead-letters", "/dead-letters/.commands/1"),
            *("/dead-letters/.commands/1/drop", "/streams", "/health", "/proof", "/search?q=flume", "/sign-in", "/log"),
            "/nowhere",
        ]


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[tuple[Scene, NatsProcess]]:
    """A service on servers of its own, in which somebody works all the time; and its NATS, to be killed."""
    token = secrets.token_urlsafe()
    async with AsyncExitStack() as stack:
        database = stack.enter_context(postgres(folder, settings=RECORDING))
        broker = stack.enter_context(nats_process(folder))
        with connect_blocking(database.url) as conn:
            migrate.apply(conn)
            conn.execute("CREATE EXTENSION pg_stat_statements")
        there = Invented(database.url, broker.url())
        there.fill()
        url = await stack.enter_async_context(serving(database.url, broker.url(), token))
        working = asyncio.ensure_future(there.live())
        stack.push_async_callback(end, [working])
        browser = await stack.enter_async_context(chromium())
        yield Scene(browser, url, token, there), broker


@asynccontextmanager
async def serving(database_url: str, nats_url: str, token: str) -> AsyncIterator[str]:
    """`imi-registry serve` once it is ready; yields where its pages are."""
    servers = {"DATABASE_URL": database_url, "NATS_URL": nats_url}
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "serve", "--http-port", "0"),
        env=environment(**servers, IMI_HTTP_TOKEN=token, IMI_LOG_LEVEL="info"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None  # noqa: S101  # it was asked for
    try:
        async for line in process.stderr:
            if b'"ready"' in line:
                break
        else:
            raise RuntimeError("serve ended before it was ready")
        reading = asyncio.ensure_future(process.stderr.read())
        yield orjson.loads(line)["http_url"]
    finally:
        process.terminate()
        await process.wait()
    await reading


async def main(everything: Path | None) -> None:
    """Take them all."""
    with tempfile.TemporaryDirectory(prefix="imi-pictures-") as folder:
        async with scene(Path(folder)) as (found, broker), AsyncExitStack() as followed:
            await asyncio.sleep(LIVED_SECONDS)
            if everything is None:
                await found.overview(HERE / "console.png")
            await found.there.command()
            await followed.enter_async_context(found.there.followed())
            if everything is not None:
                await found.every_page(everything, found.paths())
            else:
                await found.events(HERE / "console-events.png")
                await found.worktree(HERE / "console-worktree.png")
            broker.end()
            await asyncio.sleep(AWAY_SECONDS)
            if everything is not None:
                await found.every_page(everything, ["/", "/events", "/streams", "/health", "/dead-letters"], "-broken")
            else:
                await found.broken(HERE / "console-broken.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="take every page instead")
    given = parser.parse_args().all
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
    configure("critical")  # the subscriptions of the scene have much to say
    asyncio.run(main(given))
