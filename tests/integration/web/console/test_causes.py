"""Command, outcome, events and what they caused, as one tree from any of them."""

from __future__ import annotations

import re
from uuid import uuid4

import psycopg

from registry.client import RegistryClient, Sending
from tests.support.web.console import Visitor, served
from tests.support.world import World


def tree_in(text: str) -> list[tuple[int, str]]:
    """Level and words of each line."""
    lines = re.findall(
        r'<li class="level-(\d+)[^>]*>.*?(?:<a class="badge[^>]*>|<span class="badge">)([^<]+)<', text, re.S
    )
    return [(int(level), words) for level, words in lines]


async def conversation(world: World) -> tuple[str, dict[str, int]]:
    """A command, what it did, and what somebody wrote because of that: the command's id, and events by kind."""
    command, correlation = uuid4(), uuid4()
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        data = {"name": "flume", "remote_origin": "git@github.com:a/flume.git"}
        await client.send("project.register", data, Sending(command_id=command, correlation_id=correlation))
    with psycopg.connect(world.database) as conn:
        (cause,) = conn.execute("SELECT event_id FROM outbox WHERE action = 'registered'").fetchone() or ("",)
        conn.execute("SELECT set_config('imi.causation_id', %s, true)", [str(cause)])
        conn.execute("UPDATE projects SET description = 'because'")
    with psycopg.connect(world.database) as conn:  # of somebody else
        conn.execute("SELECT register_project('other', 'git@github.com:a/other.git')")
        found = conn.execute("SELECT entity || '.' || action || ' ' || coalesce(data ->> 'name', ''), id FROM outbox")
        return str(command), dict(found.fetchall())


async def test_the_tree_is_the_same_from_each_of_its_nodes(world: World) -> None:
    async with served(world) as (visitor, _):
        command, numbers = await conversation(world)
        expected = [
            (0, "command project.register"),
            (1, "project.registered"),
            (2, "project.updated"),
            (1, "command.applied"),
        ]
        numbers.pop("project.registered other")
        paths = [f"/commands/{command}/causes", *(f"/events/{number}/causes" for number in numbers.values())]
        assert len(paths) == 4
        for path in paths:
            text = (await visitor.get(path)).text
            assert sorted(tree_in(text)) == sorted(expected), path
            assert tree_in(text)[0] == expected[0]
            assert text.count('aria-current="true"') == 1
            assert "there may be more" not in text


async def test_what_lies_far_away_is_looked_for_on_demand(world: World) -> None:
    async with served(world) as (visitor, _):
        await conversation(world)
        with psycopg.connect(world.database, autocommit=True) as conn:
            (number, event_id) = conn.execute("SELECT id, event_id FROM outbox ORDER BY id LIMIT 1").fetchone() or (
                0,
                "",
            )
            conn.execute(
                "INSERT INTO outbox (entity, action, data)"
                " SELECT 'project', 'updated', '{}' FROM generate_series(1, 6000)"
            )
            conn.execute(
                "INSERT INTO outbox (entity, action, data, causation_id) VALUES ('project', 'deactivated', '{}', %s)",
                [event_id],
            )
        near = await visitor.get(f"/events/{number}/causes")
        far = await visitor.get(f"/events/{number}/causes?look=further")
        assert "project.deactivated" not in near.text
        assert "project.deactivated" in far.text


async def test_a_chain_that_is_not_followed_to_its_end_is_told_as_cut(world: World) -> None:
    events = [uuid4() for _ in range(8)]
    with psycopg.connect(world.database, autocommit=True) as conn:
        for event, cause in zip(events, [None, *events], strict=False):
            conn.execute(
                "INSERT INTO outbox (event_id, entity, action, data, causation_id, correlation_id)"
                " VALUES (%s, 'project', 'updated', '{}', %s, %s)",
                [event, cause, uuid4()],
            )
    async with served(world, works=False) as (visitor, _):
        await reached(visitor)
        text = (await visitor.get("/events/1/causes")).text
        assert 1 < len(tree_in(text)) < len(events)
        assert "and there may be more" in text


async def test_causes_that_go_in_a_circle_are_shown_once_each(world: World) -> None:
    first, second = uuid4(), uuid4()
    with psycopg.connect(world.database, autocommit=True) as conn:
        for event, cause in ((first, second), (second, first)):
            conn.execute(
                "INSERT INTO outbox (event_id, entity, action, data, causation_id)"
                " VALUES (%s, 'project', 'updated', '{}', %s)",
                [event, cause],
            )
    async with served(world, works=False) as (visitor, _):
        await reached(visitor)
        assert len(tree_in((await visitor.get("/events/1/causes")).text)) == 2


async def reached(visitor: Visitor) -> None:
    await visitor.until("/events", "project.updated")
