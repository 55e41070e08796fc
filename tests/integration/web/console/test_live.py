"""What a page gets by itself: events as they are published, and the overview."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import orjson
import psycopg
import pytest

from publisher.web import connections
from publisher.web.console import live
from publisher.web.console.health import checks
from publisher.web.console.pages import events as events_page
from publisher.web.console.pages.events import Told
from publisher.web.console.pages.overview import Shown
from publisher.web.console.render import fragment
from publisher.web.console.sources import feed
from publisher.web.console.sources.database import Database
from publisher.web.console.sources.feed import News
from publisher.web.console.sources.lines import Line
from publisher.web.console.sources.outbox import PAGE_LINES, page_of
from publisher.web.console.sources.wanted import Wanted
from registry.concurrency.tasks import end
from registry.errors import Unavailable
from tests.support.web.console import served
from tests.support.world import World


def register(world: World, *names: str) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        for name in names:
            conn.execute("SELECT register_project(%s, %s)", [name, f"git@github.com:a/{name}.git"])


async def test_an_event_appears_by_itself_in_the_order_of_the_stream(world: World) -> None:
    async with served(world) as (visitor, _), visitor.live("/live/events?after=0") as events:
        register(world, "one", "two", "three")
        found: list[str] = []
        async with asyncio.timeout(20):
            async for name, data in events:
                assert name == "rows"
                found = [*re.findall(r'href="/projects/[^"]*">(\w+)<', data), *found]
                if len(found) == 3:
                    break
        assert found == ["three", "two", "one"]


async def test_what_is_filtered_out_does_not_appear(world: World) -> None:
    async with served(world) as (visitor, _), visitor.live("/live/events?after=0&action=updated") as events:
        register(world, "one")
        with psycopg.connect(world.database, autocommit=True) as conn:
            conn.execute("UPDATE projects SET description = 'new'")
        async with asyncio.timeout(20):
            _, data = await anext(events)
        assert "project.updated" in data
        assert "project.registered" not in data


async def test_more_than_anybody_can_read_is_told_as_missed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MOST_LINES", 5)
    register(world, *(f"p{number}" for number in range(20)))
    async with served(world) as (visitor, _):
        await world.drained()
        async with visitor.live("/live/events?after=1") as events, asyncio.timeout(20):
            assert (await anext(events))[0] == "missed"


async def test_who_knows_more_than_there_is_is_told_so_and_silences_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_page, "NEWS_SECONDS", 0.5)
    monkeypatch.setattr(events_page, "MISSED_SECONDS", 0.0)
    async with (
        served(world) as (visitor, console),
        visitor.live("/live/events?after=9000000000000000000") as stranger,
        asyncio.timeout(40),
    ):
        while not console.feed.viewers:
            await asyncio.sleep(0.01)
        async with visitor.live("/live/events?after=0") as events:
            register(world, "one")
            name, data = await anext(events)
            assert (name, ">one<" in data) == ("rows", True)
            assert await anext(stranger) == ("missed", "")
            register(world, "two")
            name, data = await anext(events)
            assert (name, ">two<" in data) == ("rows", True)
            async for _, data in stranger:
                if ">two<" in data:
                    break


async def test_a_page_that_is_open_while_the_stream_begins_anew_is_told_to_look_again_and_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_page, "NEWS_SECONDS", 0.5)
    monkeypatch.setattr(events_page, "MISSED_SECONDS", 0.0)
    register(world, "one", "two", "three")
    async with served(world, works=False) as (visitor, _), asyncio.timeout(40):
        await visitor.until("/events", "project.registered")
        record_end(world, 100, outbox_id=1)
        async with visitor.live("/live/events?after=99") as events:
            name, data = await anext(events)
            assert (name, ">one<" in data) == ("rows", True)
            record_end(world, 7, outbox_id=2)
            assert await anext(events) == ("missed", "")
            record_end(world, 8, outbox_id=3)
            name, data = await anext(events)
            assert (name, ">three<" in data) == ("rows", True)


def record_end(world: World, sequence: int, outbox_id: int) -> None:
    """Let the record say, as a relay does, that the stream ends at `sequence`, with this event."""
    with psycopg.connect(world.database) as conn:
        conn.execute(
            "INSERT INTO publisher_cursor (stream, stream_sequence) VALUES (%s, %s)"
            " ON CONFLICT (stream) DO UPDATE SET stream_sequence = EXCLUDED.stream_sequence",
            [world.stream, sequence],
        )
        conn.execute("DELETE FROM published_batch WHERE last_sequence > %s", [sequence])
        conn.execute(
            "INSERT INTO published_batch (stream, last_sequence, ids) VALUES (%s, %s, ARRAY[int8range(%s, %s)])",
            [world.stream, sequence, outbox_id, outbox_id + 1],
        )


async def test_what_many_are_told_is_made_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(template: str, **values: object) -> str:
        made.append(template)
        return fragment(template, **values)

    monkeypatch.setattr(events_page, "fragment", counted)
    async with served(world) as (visitor, console), AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(visitor.live("/live/events?after=0")) for _ in range(20)]
        async with asyncio.timeout(40):
            while console.feed.viewers < len(pages):
                await asyncio.sleep(0.01)
            register(world, "one")
            told = {await anext(page) for page in pages}
    assert len(told) == 1
    assert made == ["events/event_row.html"]


async def test_what_pages_are_told_is_made_in_pieces_between_which_others_have_their_turn(world: World) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    world.write(projects=4, worktrees=10, renames=0)
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("UPDATE worktrees SET ahead_of_trunk = 1")
    async with served(world, works=False) as (visitor, console):
        await visitor.until("/", "40 <small>worktrees in flight")
        picture = await console.pictures.latest()
        lines = (await page_of(console.database, world.stream, Wanted.of({}), None)).lines
        others = asyncio.ensure_future(take_turns())
        try:
            rows = await Told(console).rows(Wanted.of({}), None, News(lines[::-1], missed=False, last=len(lines)))
            assert rows.count(b"<tr") == PAGE_LINES
            assert turns >= PAGE_LINES - 1, "one between two rows"
            turns = 0
            told = await Shown().of(console, (1,), picture=picture, checks=checks(console))
            assert told.count(b"<tr>") > len(picture.in_flight) == 40
            assert turns >= 20
        finally:
            await end([others])


async def test_an_event_with_the_number_of_an_earlier_one_is_told_as_itself(world: World) -> None:
    """As after the database was restored to an older state."""
    register(world, "one", "two")
    async with served(world, works=False) as (visitor, console):
        await visitor.until("/events", "project.registered")
        told = Told(console)
        for line in (await page_of(console.database, world.stream, Wanted.of({}), None)).lines:
            news = News([line._replace(id=1, sequence=1)], missed=False, last=1)
            assert f">{line.name}<".encode() in await told.rows(Wanted.of({}), 0, news)


async def test_nothing_is_read_while_nobody_looks(world: World) -> None:
    async with served(world) as (visitor, console):
        async with visitor.live("/live/events?after=0") as events:
            register(world, "one")
            async with asyncio.timeout(20):
                await anext(events)
        async with asyncio.timeout(20):
            while console.feed.viewers:
                await asyncio.sleep(0.01)


async def test_the_overview_comes_again_and_again_with_samples(world: World) -> None:
    async with served(world) as (visitor, _), visitor.live("/live/overview") as events:
        found = {}
        async with asyncio.timeout(20):
            async for name, data in events:
                found[name] = data
                if len(found) == 2:
                    break
        assert 'data-live="checks"' in found["live"]
        assert "data-samples" not in found["live"], "what a page has drawn it keeps; it is told the new sample"
        assert "<path" not in found["live"]
        assert len(orjson.loads(found["sample"])) == 5


async def test_an_answer_that_goes_on_ends_before_its_connection_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECTION_SECONDS", live.LEFT_SECONDS + 0.1)
    async with served(world) as (visitor, _), visitor.live("/live/overview") as events, asyncio.timeout(20):
        assert [name async for name, _ in events]


async def test_the_service_ends_at_once_although_pages_are_open(world: World) -> None:
    async with (
        served(world) as (visitor, _),
        visitor.live("/live/events") as _,
        visitor.live("/live/overview") as events,
    ):
        await anext(events)
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 4  # uvicorn would wait five for answers that do not end


def fail() -> None:
    raise ZeroDivisionError


async def test_a_bug_on_the_side_of_the_console_is_told_and_ends_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(world, works=False) as (visitor, console), asyncio.timeout(40):
        parts = {console.feed: "_poll", console.samples: "take", console.log: "_write"}
        async with visitor.live("/live/events"):
            with monkeypatch.context() as bug:
                for part, step in parts.items():
                    bug.setattr(part, step, fail)
                console.log.note("ada", "signed in", "", "done")
                for name in ("console_feed", "console_samples", "action_log"):
                    await visitor.until("/", f"the {name} failed, see the log: ZeroDivisionError")
            while any(part.quiet.reason() for part in parts) or console.log.is_behind:
                await asyncio.sleep(0.05)


async def test_a_bug_of_the_feed_is_told_as_long_as_somebody_looks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(world, works=False) as (visitor, console), asyncio.timeout(40):
        monkeypatch.setattr(console.feed, "_poll", fail)
        async with visitor.live("/live/events"):
            await visitor.until("/", "the console_feed failed, see the log: ZeroDivisionError")
        while console.feed.quiet.reason():
            await asyncio.sleep(0.05)


async def test_a_page_of_events_tells_by_itself_when_something_fails_and_when_it_is_well_again(world: World) -> None:
    async with served(world, works=False) as (visitor, console), asyncio.timeout(30):
        assert "/live/events?health=1" in (await visitor.get("/events")).text
        async with visitor.live("/live/events?health=1") as events:
            assert "fail" not in await badge(events)
            console.findings.failed(Unavailable("nobody answers"))
            assert "1 check fails" in await badge(events)
            console.findings.well()
            assert "fail" not in await badge(events)


async def badge(events: AsyncIterator[tuple[str, str]]) -> str:
    name, data = await anext(events)
    assert (name, 'data-live-into="health"' in data) == ("live", True)
    return data


async def test_what_many_look_at_is_read_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    read = feed.lines_of

    async def counted(database: Database, ids: list[int]) -> dict[int, Line]:
        asked.append(ids)
        return await read(database, ids)

    monkeypatch.setattr(feed, "lines_of", counted)
    async with served(world) as (visitor, _), AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(visitor.live("/live/events?after=0")) for _ in range(50)]
        register(world, "one")
        async with asyncio.timeout(30):
            found = [await anext(events) for events in pages]
    assert all(name == "rows" and ">one<" in data for name, data in found)
    assert len(asked) == 1
