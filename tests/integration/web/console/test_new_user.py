"""A new user's first look: `up`, the console, a project, its event, NATS killed and back, a dead letter retried."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nats
from playwright.async_api import expect

from tests.integration.web.console.test_dead_letters import bury, registration
from tests.support.processes import run
from tests.support.servers.up import server_of, stop, up
from tests.support.web.browser import WAIT_MS, chromium, needs_chromium, sign_in, window
from tests.support.world import World

pytestmark = needs_chromium
expect.set_options(timeout=WAIT_MS)


async def test_what_happens_is_seen_and_what_is_wrong_is_said_with_what_to_do(state_dir: Path) -> None:
    with up(state_dir) as (process, endpoints):
        token = (state_dir / "http.token").read_text().strip()
        async with chromium() as browser, window(browser, endpoints["http_url"]) as page:
            # given who followed the link that up prints
            await sign_in(page, token)
            await page.get_by_role("link", name="Events", exact=True).click()
            await expect(page.locator("[data-live-state]")).to_have_text("live")

            # a project registered on the command line appears, and its event is looked at
            register = ["project", "register", "--name", "flume", "--origin", "git@github.com:a/flume.git"]
            done = await asyncio.to_thread(run, *register, IMI_STATE_DIR=str(state_dir))
            assert done.returncode == 0, done.stderr
            rows = page.locator("[data-live-rows]")
            await expect(rows.get_by_role("link", name="flume", exact=True)).to_be_visible()
            await rows.get_by_role("link", name="project.registered").click()
            inspector = page.get_by_role("complementary", name="Inspector")
            await expect(inspector.get_by_role("heading", name="Envelope")).to_be_visible()

            # NATS is killed: the page says so and what to do, and all goes on by itself
            await page.get_by_role("link", name="Overview", exact=True).click()
            await expect(page.locator("[data-live-state]")).to_have_text("live")
            server_of(state_dir, "nats-server").kill()
            checks = page.get_by_role("main")
            await expect(checks).to_contain_text("nats-server died at ")
            await expect(checks).to_contain_text("imi-registry up starts it again by itself")
            await expect(checks).to_contain_text("it was started again")
            await expect(page.get_by_text("Embedded servers to look at").first).to_be_visible()

            # a dead letter of before is retried from the page
            client = await nats.connect(endpoints["nats_url"])
            try:
                world = World(endpoints["database_url"], endpoints["nats_url"], "imi", client)
                await bury(world, registration("hookd"))
                await page.get_by_role("link", name="Dead letters", exact=True).click()
                await page.get_by_role("button", name="Retry dead letter 1").click()
                await expect(page.get_by_role("status").first).to_contain_text("Dead letter 1 sent once more")
                await world.commands_done()
                assert world.rows("SELECT name FROM projects ORDER BY name") == [("flume",), ("hookd",)]
            finally:
                await client.close()
            await page.get_by_role("link", name="Events", exact=True).click()
            await expect(page.get_by_role("link", name="hookd", exact=True).first).to_be_visible()
        assert stop(process) == 0
