"""`history audit`: the stream beside the outbox, with what is lost, doubled and reordered."""

from __future__ import annotations

import asyncio
import json

import psycopg
import pytest

from publisher.history.audit import Audit, audit
from tests.support.cli.forked import run
from tests.support.world import World

WINDOW_SECONDS = 0.1


async def published(world: World) -> None:
    """Some history in the stream, whose window for duplicates is short."""
    jetstream = world.nats.jetstream()
    async with world.relay(), asyncio.timeout(60):
        while not (found := [one for one in await jetstream.streams_info() if one.config.name == world.stream]):
            await asyncio.sleep(0.01)
        await jetstream.update_stream(found[0].config.evolve(duplicate_window=WINDOW_SECONDS))
        world.write(projects=2, worktrees=2, renames=3)
        await world.drained()


async def again(world: World, sequence: int) -> None:
    """Publish what stands at `sequence` once more, behind the end."""
    jetstream = world.nats.jetstream()
    message = await jetstream.get_msg(world.stream, sequence)
    headers = {name: str(value) for name, value in (message.headers or {}).items() if "Batch" not in name}
    headers = {name: value for name, value in headers.items() if not name.startswith("Nats-Expected")}
    last = (await jetstream.stream_info(world.stream)).state.last_seq
    while (await jetstream.stream_info(world.stream)).state.last_seq == last:  # until the window is over
        await jetstream.publish(message.subject or "", message.data or b"", headers=headers)


def counts(found: Audit) -> tuple[int, int, int]:
    return found.lost.count, found.doubled.count, found.reordered.count


async def test_what_the_relay_has_published_is_clean(world: World) -> None:
    await published(world)
    found = await audit(world.settings())
    (events,) = world.rows("SELECT count(*) FROM outbox")[0]
    assert counts(found) == (0, 0, 0)
    assert (found.events, found.messages, found.foreign, found.trimmed) == (events, events, 0, 0)
    assert found.is_clean
    assert await world.nats.jetstream().consumers_info(world.stream) == [], "what it read with is removed"


async def test_a_message_that_is_gone_is_told_with_its_time(world: World) -> None:
    await published(world)
    await world.nats.jetstream().delete_msg(world.stream, 3)
    found = await audit(world.settings())
    assert counts(found) == (1, 0, 0)
    ((event_id, time),) = world.rows("SELECT event_id::text, occurred_at::text FROM outbox WHERE id = 3")
    assert found.lost.first[0]._asdict() == {"outbox_id": 3, "event": event_id, "occurred_at": time, "sequence": 0}


async def test_a_message_that_is_there_twice_is_told(world: World) -> None:
    await published(world)
    await again(world, 2)
    found = await audit(world.settings())
    assert counts(found) == (0, 1, 0)
    assert found.doubled.first[0].outbox_id == 2


async def test_an_event_behind_a_later_one_of_its_row_is_told(world: World) -> None:
    await published(world)
    ((first,),) = world.rows("SELECT min(id) FROM outbox WHERE action = 'registered'")
    await again(world, first)
    await world.nats.jetstream().delete_msg(world.stream, first)
    found = await audit(world.settings())
    assert counts(found)[:2] == (0, 0)
    assert found.reordered.count > 0


HEARTBEAT = "SELECT registry_heartbeat('service')"
PLACE = """
INSERT INTO project_hosts (project_id, host_id, trunk_path)
SELECT id, register_host('{}'), '/srv' FROM projects
RETURNING 1
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [(HEARTBEAT, HEARTBEAT), (PLACE.format("here"), PLACE.format("there"))],
    ids=["beats", "places"],
)
async def test_what_is_of_no_row_or_of_two_has_no_order(world: World, first: str, second: str) -> None:
    world.write(projects=1, worktrees=0, renames=0)
    async with world.relay() as metrics:
        await world.drained()
        with psycopg.connect(world.database) as slow:
            slow.execute(first.encode())
            before = metrics.published
            world.rows(second)
            async with asyncio.timeout(20):
                while metrics.published == before:
                    await asyncio.sleep(0.01)
        await world.drained()
    ids = [int(message.headers["Imi-Outbox-Id"]) for message in await world.published()]
    assert ids != sorted(ids)
    assert counts(await audit(world.settings())) == (0, 0, 0)
    (await world.audit()).assert_clean()


async def test_what_the_limits_of_the_stream_removed_is_not_lost(world: World) -> None:
    await published(world)
    await world.trim(4)
    found = await audit(world.settings())
    assert counts(found) == (0, 0, 0)
    assert found.trimmed == 3


async def test_messages_of_somebody_else_and_of_another_database_are_foreign(world: World, second: World) -> None:
    await published(world)
    await world.nats.jetstream().publish(world.foreign_subject, b"{}")
    found = await audit(world.settings())
    assert (found.foreign, found.is_clean) == (1, True)


async def test_the_command_line_says_it_and_ends_with_one(world: World) -> None:
    await published(world)
    await world.nats.jetstream().delete_msg(world.stream, 3)
    variables = {"DATABASE_URL": world.database, "NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
    done = run("history", "audit", "--json", **variables)
    assert done.returncode == 1
    assert json.loads(done.stdout)["lost"]["count"] == 1
    told = run("history", "audit", **variables)
    assert "        1 lost\n" in told.stdout
    assert "lost: event 3" in told.stderr
