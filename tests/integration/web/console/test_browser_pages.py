"""Every page in a browser: at 375 and 1600 px, light and dark, with hostile values, without a script."""

from __future__ import annotations

import pytest

from tests.integration.web.console.test_dead_letters import bury
from tests.support.web.browser import check_accessible, check_fits, chromium, needs_chromium, sign_in, window
from tests.support.web.console import TOKEN, served
from tests.support.web.hostile import TEXT, fill
from tests.support.world import World

pytestmark = needs_chromium


def paths_of(ids: dict[str, str]) -> list[str]:
    """One of each page."""
    return [
        "/",
        "/events",
        "/events?entity=worktree",
        "/events/3",
        "/events/3/causes",
        "/projects",
        f"/projects/{ids['project']}",
        f"/worktrees/{ids['worktree']}",
        f"/worktrees/{ids['worktree']}/history",
        "/commands",
        f"/commands/{ids['command']}",
        "/commands/send?name=worktree.register",
        "/dead-letters",
        "/dead-letters/.commands/1",
        "/dead-letters/.commands/1/drop",
        "/streams",
        "/health",
        "/proof",
        "/search?q=script",
        "/sign-in",
        "/log",
        "/nowhere",
    ]


@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (1600, "dark")])
async def test_every_page_fits_is_accessible_and_keeps_its_policy(world: World, width: int, scheme: str) -> None:
    ids = fill(world.database)
    await bury(world, TEXT.encode())
    async with served(world) as (visitor, _), chromium() as browser:
        await world.drained()
        origin = f"http://127.0.0.1:{visitor.port}"
        async with window(browser, origin, width=width, color_scheme=scheme) as page:
            await sign_in(page, TOKEN, "ada")
            for path in paths_of(ids):
                await page.goto(path)
                if "/worktrees/" in path or path.startswith("/projects/"):
                    await page.locator(".timeline li").first.wait_for()
                if path == "/log":
                    await page.get_by_role("table").wait_for()
                assert await page.get_by_role("searchbox").count() == 1, path
                await check_fits(page)
                await check_accessible(page)


async def test_everything_can_be_read_without_a_script(world: World) -> None:
    ids = fill(world.database)
    async with served(world) as (visitor, _), chromium() as browser:
        await world.drained()
        await visitor.until("/", "worktrees in flight")
        origin = f"http://127.0.0.1:{visitor.port}"
        async with window(browser, origin, java_script_enabled=False) as page:
            await page.goto("/")
            assert await page.get_by_role("heading", name="In flight now").is_visible()
            assert await page.locator("svg.spark path").count() > 0
            await page.goto("/events?entity=worktree")
            await page.locator("tbody tr").first.get_by_role("link", name="worktree.").first.click()
            assert await page.get_by_role("heading", name="Envelope").is_visible()
            await page.get_by_role("link", name="What caused what").click()
            assert await page.locator(".tree li").count() > 0
            await page.goto(f"/worktrees/{ids['worktree']}")
            await page.get_by_role("link", name="Open it by itself").click()
            await page.get_by_role("link", name="as it was then").last.click()
            assert "State at" in await page.locator("#state").inner_text()
            await page.get_by_role("searchbox").fill("script")
            await page.get_by_role("searchbox").press("Enter")
            assert await page.get_by_role("link", name="<script>").count() > 0


async def test_the_keyboard_leads_past_the_head_and_through_the_page(world: World) -> None:
    fill(world.database)
    async with served(world) as (visitor, _), chromium() as browser:
        await world.drained()
        async with window(browser, f"http://127.0.0.1:{visitor.port}") as page:
            await page.goto("/events")
            await page.keyboard.press("Tab")
            assert await page.evaluate("document.activeElement.className") == "skip"
            await page.keyboard.press("Enter")
            for _ in range(60):  # past the filters, to the first event
                await page.keyboard.press("Tab")
                if await page.evaluate("document.activeElement.matches('main tbody [data-select]')"):
                    break
            await page.keyboard.press("Enter")
            await page.locator("#inspector").get_by_role("heading", name="Envelope").wait_for()
