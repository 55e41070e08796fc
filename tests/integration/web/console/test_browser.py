"""The console as a person uses it, in a browser: live, paused, hidden, inspected, acted in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from playwright.async_api import Page, Route, expect

from publisher.web.console import bounded
from publisher.web.console.sources import feed, ledger
from publisher.web.console.sources.database import Database
from tests.integration.web.console.test_dead_letters import bury, registration
from tests.support.web.browser import WAIT_MS, chromium, needs_chromium, sign_in, window
from tests.support.web.console import TOKEN, served
from tests.support.world import World

pytestmark = needs_chromium
expect.set_options(timeout=WAIT_MS)


@asynccontextmanager
async def opened(world: World, path: str) -> AsyncIterator[Page]:
    """A page of a console, in a browser."""
    async with (
        served(world) as (visitor, _),
        chromium() as browser,
        window(browser, f"http://127.0.0.1:{visitor.port}") as page,
    ):
        await page.goto(path)
        yield page


def register(world: World, name: str) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("SELECT register_project(%s, %s)", [name, f"git@github.com:a/{name}.git"])


async def hide(page: Page, *, hidden: bool) -> None:
    """Let the page believe that the reader looks at another tab, or at this one again: headless ones never hide."""
    await page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


async def test_events_come_by_themselves_unless_paused_or_hidden(world: World) -> None:
    async with opened(world, "/events") as page:
        rows = page.locator("[data-live-rows]")
        await expect(page.locator("[data-live-state]")).to_have_text("live")
        register(world, "first")
        await expect(rows.get_by_role("link", name="first", exact=True)).to_be_visible()

        await page.get_by_role("button", name="Pause").click()
        register(world, "second")
        await world.drained()
        await expect(page.locator("[data-live-state]")).to_have_text("paused")
        assert await rows.get_by_role("link", name="second", exact=True).count() == 0
        await page.get_by_role("button", name="Go on").click()
        await expect(rows.get_by_role("link", name="second", exact=True)).to_be_visible()

        await hide(page, hidden=True)
        await expect(page.locator("[data-live-state]")).to_have_text("paused while this page is hidden")
        register(world, "third")
        await world.drained()
        assert await rows.get_by_role("link", name="third", exact=True).count() == 0
        await hide(page, hidden=False)
        await expect(rows.get_by_role("link", name="third", exact=True)).to_be_visible()
        assert await rows.locator("tr").count() == 3  # none twice


@pytest.mark.parametrize("answer", ["503", "none"])
async def test_a_list_that_was_missed_while_a_server_is_away_comes_when_it_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(feed, "MOST_LINES", 5)
    asked = 0

    async def refuse(route: Route) -> None:
        nonlocal asked
        asked += 1
        if asked > 2:
            await route.continue_()
        elif answer == "none":
            await route.abort()
        else:
            await route.fulfill(status=503, body="the database does not answer")

    async with opened(world, "/events") as page:
        await expect(page.locator("[data-live-state]")).to_have_text("live")
        await page.route(lambda url: urlsplit(url).path == "/events", refuse)
        world.rows("SELECT register_project('p' || n, 'git@github.com:a/' || n) FROM generate_series(1, 20) AS n")
        await expect(page.locator("[data-live-rows] tr")).to_have_count(20)
        assert asked > 2


async def test_a_list_that_is_refused_is_not_asked_for_again_before_there_is_cause(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_LINES", 5)
    many = "SELECT register_project('p' || n, 'git@github.com:a/' || n) FROM generate_series(%s::int, %s::int) AS n"
    asked = 0

    async def refuse(route: Route) -> None:
        nonlocal asked
        asked += 1
        await route.fulfill(status=400, body="no such filter")

    async with opened(world, "/events") as page:
        await expect(page.locator("[data-live-state]")).to_have_text("live")
        await page.route(lambda url: urlsplit(url).path == "/events", refuse)
        async with page.expect_response(lambda answer: answer.status == 400):
            world.rows(many, 1, 20)
        register(world, "later")
        await expect(page.locator("[data-live-rows]").get_by_role("link", name="later", exact=True)).to_be_visible()
        async with page.expect_response(lambda answer: answer.status == 400):
            world.rows(many, 21, 40)
        assert asked == 2


async def test_filters_are_in_the_url_and_hold_for_what_comes(world: World) -> None:
    async with opened(world, "/events") as page:
        await page.get_by_label("Action").select_option("updated")
        await page.get_by_role("button", name="Show").click()
        assert "action=updated" in page.url
        await expect(page.locator("[data-live-state]")).to_have_text("live")
        register(world, "flume")
        with psycopg.connect(world.database, autocommit=True) as conn:
            conn.execute("UPDATE projects SET description = 'new'")
        await expect(page.locator("[data-live-rows] tr")).to_have_count(1)
        assert "project.updated" in await page.locator("[data-live-rows]").inner_text()


async def test_an_event_is_inspected_and_its_envelope_copied(world: World) -> None:
    register(world, "flume")
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("UPDATE projects SET description = 'new', metadata = '{\"team\": \"core\"}'")
    async with opened(world, "/events") as page:
        await world.drained()
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await page.get_by_role("link", name="project.updated").press("Enter")  # by keyboard
        inspector = page.get_by_role("complementary", name="Inspector")
        await expect(inspector.get_by_role("heading", name="Envelope")).to_be_visible()
        await expect(inspector.get_by_role("row", name="metadata.team")).to_contain_text('"core"')
        await inspector.get_by_role("button", name="Copy").click()
        await expect(inspector.get_by_role("button", name="Copied")).to_be_visible()
        copied = await page.evaluate("navigator.clipboard.readText()")
        (message,) = [event for event in await world.published() if ".updated." in event.subject]
        raw = await world.nats.jetstream().get_msg(world.stream, message.sequence)
        assert copied == (raw.data or b"").decode()


async def test_the_slider_shows_what_a_worktree_was_like(world: World) -> None:
    register(world, "flume")
    with psycopg.connect(world.database, autocommit=True) as conn:
        query = "SELECT register_worktree(id, 'feat', 'feat-x', 'feat/x', '/srv/x', 'ada') FROM projects"
        (worktree,) = conn.execute(query).fetchone() or ("",)
        for count in (3, 5):
            conn.execute("SELECT update_worktree_git_state(%s, true, %s)", [worktree, count])
    async with opened(world, f"/worktrees/{worktree}") as page:
        state = page.locator("#state").get_by_role("row", name="uncommitted_files_count")
        slider = page.get_by_role("slider")
        await expect(state).to_contain_text("5")
        await slider.press("ArrowLeft")
        await expect(state).not_to_contain_text("5")
        await expect(state).to_contain_text("3")
        await slider.press("Home")
        await expect(state).to_have_text("uncommitted_files_count\t0", use_inner_text=True)
        assert "event 1 of 3" in (await slider.get_attribute("aria-valuetext") or "")


async def test_a_dead_letter_is_retried_and_a_command_sent_by_clicks(world: World) -> None:
    await bury(world, registration("flume"), b"nonsense")
    async with opened(world, "/") as page:
        await sign_in(page, TOKEN)
        await page.get_by_role("link", name="Dead letters", exact=True).click()
        await page.get_by_role("button", name="Retry dead letter 1").click()
        await expect(page.get_by_role("status").first).to_contain_text("Dead letter 1 sent once more")
        await page.get_by_role("link", name="Drop … dead letter 2").click()
        await page.get_by_role("button", name="Drop for good").click()
        await expect(page.get_by_text("Dead letter 2 dropped.")).to_be_visible()
        await world.commands_done()
        assert world.rows("SELECT name FROM projects") == [("flume",)]

        await page.get_by_role("link", name="Commands", exact=True).click()
        await page.get_by_role("link", name="Send a command").click()
        await page.get_by_label("name required").fill("hookd")
        await page.get_by_label("remote_origin required").fill("https://github.com/a/hookd")
        await page.get_by_role("button", name="Send project.register").click()
        await expect(page.get_by_role("region", name="Outcome").or_(page.get_by_label("Outcome"))).to_contain_text(
            "applied"
        )
        await page.get_by_role("link", name="The command").click()
        await page.get_by_role("link", name="What it caused").click()
        await expect(page.locator(".tree")).to_contain_text("project.registered")


async def test_the_overview_shows_work_as_it_begins_with_charts(world: World) -> None:
    async with opened(world, "/") as page:
        await expect(page.locator("[data-live-state]")).to_have_text("live")
        register(world, "flume")
        with psycopg.connect(world.database, autocommit=True) as conn:
            query = "SELECT register_worktree(id, 'feat', 'feat-x', 'feat/x', '/srv/x', 'ada') FROM projects"
            (worktree,) = conn.execute(query).fetchone() or ("",)
            conn.execute("SELECT update_worktree_git_state(%s, true, 3)", [worktree])
        await expect(page.get_by_role("link", name="feat-x", exact=True)).to_be_visible()
        await expect(page.locator(".chart canvas").first).to_be_visible()
        await page.keyboard.press("/")
        assert await page.evaluate("document.activeElement.id") == "q"


async def test_what_is_refused_for_a_moment_is_asked_for_again_and_what_is_there_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PLACES": 1, "WAIT_SECONDS": 0.01, "AGAIN_SECONDS": 1}.items():
        monkeypatch.setattr(bounded, name, value)
    register(world, "flume")
    begun, go_on = asyncio.Event(), asyncio.Event()
    entry = ledger.entry

    async def held(database: Database, command: str) -> ledger.Entry:
        begun.set()
        await go_on.wait()
        return await entry(database, command)

    monkeypatch.setattr(ledger, "entry", held)
    async with (
        served(world) as (visitor, _),
        chromium() as browser,
        window(browser, f"http://127.0.0.1:{visitor.port}") as page,
    ):
        await page.goto("/events")
        inspector = page.get_by_role("complementary", name="Inspector")
        refused: list[str] = []
        page.on("response", lambda answer: refused.append(answer.url) if answer.status == 503 else None)
        holding = asyncio.ensure_future(visitor.get(f"/commands/{UUID(int=0)}"))  # the one place that there is
        await begun.wait()

        await page.get_by_role("link", name="project.registered").click()
        async with asyncio.timeout(20):
            while len(refused) < 2:
                await asyncio.sleep(0.05)
        assert "Choose an event" in await inspector.inner_text()
        other = await page.context.new_page()
        await other.goto("/projects")
        await expect(other.get_by_text("busy: others have asked for pages before")).to_be_visible()

        go_on.set()
        await expect(inspector.get_by_role("heading", name="Envelope")).to_be_visible()
        await expect(other.get_by_role("heading", name="Projects")).to_be_visible()
        await holding
