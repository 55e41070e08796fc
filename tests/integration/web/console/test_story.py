"""A new user's first hour: `up`, the link, a project from the command line, its event, `up` that ends, and back."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import expect

from registry.client import RegistryClient
from registry.subjects import Names
from tests.support.processes import run
from tests.support.servers.up import up
from tests.support.web.browser import WAIT_MS, chromium, needs_chromium, sign_in, window

pytestmark = needs_chromium
expect.set_options(timeout=WAIT_MS)


async def test_from_up_to_a_retried_dead_letter(state_dir: Path) -> None:
    state = ["--state-dir", str(state_dir)]
    async with chromium() as browser:
        with up(state_dir) as (process, endpoints):
            async with window(browser, endpoints["http_url"]) as page:
                # the console, by the link
                await sign_in(page, token(state_dir))
                assert "token" not in page.url
                await expect(page.locator("#health")).to_contain_text("All is well")

                # a project from the command line, without a reload
                await page.get_by_role("link", name="Events", exact=True).click()
                await expect(page.locator("[data-live-state]")).to_have_text("live")
                await page.evaluate("window.stillThere = true")
                done = run("project", "register", *state, "--origin", "git@github.com:33god/flume.git")
                assert done.returncode == 0, done.stderr
                await expect(page.get_by_role("link", name="flume", exact=True)).to_be_visible()
                await page.get_by_role("link", name="project.registered").click()
                await expect(page.locator("#inspector")).to_contain_text("git@github.com:33god/flume.git")
                assert await page.evaluate("window.stillThere")

                # something that cannot be carried out
                async with RegistryClient.connect(endpoints["nats_url"]) as client:
                    subject = Names("imi").commands.command_subject("project.register")
                    await client._client.jetstream().publish(subject, b"nonsense")

                # `up` ends: the page says so
                process.terminate()
                await expect(page.locator("#away")).to_be_visible()
                await expect(page.locator("#away")).to_contain_text("start it again")
                assert process.wait(60) == 0

        # and back, by its new link
        with up(state_dir) as (_, again):
            async with window(browser, again["http_url"]) as page:
                await sign_in(page, token(state_dir))
                await page.get_by_role("link", name="Dead letters", exact=True).click()
                await page.get_by_role("button", name=re.compile("Retry dead letter")).click()
                await expect(page.get_by_text("sent once more.")).to_be_visible()
                await page.goto("/log")
                await expect(page.get_by_role("table")).to_contain_text("dead letter: retry")


async def test_a_page_goes_on_by_itself_where_port_and_token_are_chosen(state_dir: Path) -> None:
    chosen = {"IMI_HTTP_TOKEN": "chosen-for-this-test"}
    async with chromium() as browser:
        with up(state_dir, **chosen) as (process, endpoints):
            origin = endpoints["http_url"]
            async with window(browser, origin) as page:
                await sign_in(page, chosen["IMI_HTTP_TOKEN"])
                await page.get_by_role("link", name="Events", exact=True).click()
                await expect(page.locator("[data-live-state]")).to_have_text("live")
                process.terminate()
                await expect(page.locator("#away")).to_be_visible()
                assert process.wait(60) == 0

                # the same page goes on, the same session holds
                with up(state_dir, "--http-port", origin.rpartition(":")[2], **chosen):
                    await expect(page.locator("#away")).to_be_hidden()
                    done = run(
                        "project", "register", "--state-dir", str(state_dir), "--origin", "git@github.com:o/p.git"
                    )
                    assert done.returncode == 0, done.stderr
                    await expect(page.get_by_role("link", name="project.registered")).to_be_visible()
                    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def token(state_dir: Path) -> str:
    """The one in the link that `up` printed."""
    return (state_dir / "http.token").read_text().strip()
