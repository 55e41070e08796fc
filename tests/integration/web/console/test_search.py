"""The search box: names, also misspelt, paths, agents, ids of all kinds, and texts in the latest events."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest

from registry.client import RegistryClient, Sending
from tests.integration.web.console.test_reading import registered
from tests.support.web.console import Visitor, served
from tests.support.world import World


async def found(visitor: Visitor, text: str) -> str:
    answer = await visitor.get(f"/search?q={quote(text)}")
    assert answer.status == 200
    return answer.text


async def test_whatever_is_known_of_a_thing_leads_to_it(world: World) -> None:
    project, worktree = registered(world)
    with psycopg.connect(world.database) as conn:
        query = "SELECT event_id::text, id FROM outbox WHERE action = 'logged'"
        event, number = conn.execute(query).fetchone() or ("", 0)
    async with served(world) as (visitor, _):
        await visitor.until("/events", "activity.logged")
        for text in ("flume", "FLUMe", "flumme", "a/flume", project):
            assert f'href="/projects/{project}"' in await found(visitor, text), text
        for text in ("feat-x", "feat/x", "/srv/flume/feat", worktree):
            assert f'href="/worktrees/{worktree}"' in await found(visitor, text), text
        assert 'href="/events?agent=ada"' in await found(visitor, "ad")
        for text in (event, "Half of it", "src/a.py", str(number)):
            assert f'href="/events/{number}"' in await found(visitor, text), text
        assert "No project, worktree or agent is called so." in await found(visitor, "nothing-like-it")


async def test_a_command_and_its_conversation_are_found_by_their_ids(world: World) -> None:
    command, conversation = uuid4(), uuid4()
    async with served(world) as (visitor, _):
        async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
            data = {"name": "flume", "remote_origin": "git@github.com:a/flume.git"}
            await client.send("project.register", data, Sending(command_id=command, correlation_id=conversation))
        assert f'href="/commands/{command}"' in await found(visitor, str(command))
        assert "project.registered" in await found(visitor, str(conversation))


@pytest.mark.parametrize(
    ("projects", "worktrees", "shown", "is_told"),
    [(19, 0, 19, False), (21, 0, 20, True), (16, 14, 30, False), (16, 15, 30, True)],
)
async def test_that_there_may_be_more_than_is_shown_is_told(
    world: World, projects: int, worktrees: int, shown: int, is_told: bool
) -> None:
    for number in range(projects):
        world.rows("SELECT register_project(%s, %s)", f"flume-{number}", f"git@github.com:a/{number}.git")
    for number in range(worktrees):
        values = f"flume-{number}", f"feat/{number}", f"/w/{number}"
        world.rows("SELECT register_worktree((SELECT id FROM projects LIMIT 1), 'feat', %s, %s, %s)", *values)
    async with served(world, works=False) as (visitor, _):
        text = await visitor.until("/search?q=flume", "flume-1")
    things = re.findall('<span class="badge (?:project|worktree)"', text)
    assert (len(things), "There may be more" in text) == (shown, is_told)


async def test_a_search_is_bounded(world: World) -> None:
    async with served(world, works=False) as (visitor, _):
        answer = await visitor.get(f"/search?q={'a' * 201}")
        assert answer.status == 400
        assert "at most 200 are allowed" in answer.text


async def test_as_much_as_a_box_takes_is_looked_for_in_any_script(world: World) -> None:
    async with served(world) as (visitor, _):
        text = quote("\u8a9e" * 200)
        for path in ("/search?q=", "/commands?text=", "/dead-letters?q=", "/events?agent="):
            assert (await visitor.get(path + text)).status == 200, path
        back = quote(f"/dead-letters?q={text}", safe="")
        assert (await visitor.get(f"/sign-in?to={back}")).status == 200


async def test_an_agent_leads_to_its_events_however_long_its_id_is(world: World) -> None:
    agent = "\u0436" * 255 + "xx"
    world.rows("SELECT register_project('flume', 'git@github.com:a/flume.git')")
    ((worktree,),) = world.rows("SELECT register_worktree(id, 'feat', 'f', 'f', '/w', %s)::text FROM projects", agent)
    async with served(world) as (visitor, _):
        await visitor.until("/events", "worktree.created")
        for path in ("/", f"/worktrees/{worktree}", f"/search?q={quote(agent[:200])}"):
            text = await visitor.until(path, 'href="/events?agent=')
            for link in set(re.findall(r'href="(/events\?agent=[^"]*)"', text)):
                assert "data-select>worktree.created</a>" in (await visitor.get(unescape(link))).text, path
