"""Events that wait and do not move are told by every process: what waits, for how long, and what the relay said."""

from __future__ import annotations

import asyncio
import dataclasses

import psycopg
import pytest
from nats.js.api import DiscardPolicy

from publisher.doctor import examine
from publisher.outbox.connection import connect
from publisher.outbox.known import known_stream
from tests.support.servers.readiness import until_told, until_well
from tests.support.world import World

REFUSED = "maximum messages exceeded"
QUICK = {"heartbeat_seconds": 0.2, "stale_seconds": 2}


async def let_nats_refuse(world: World, *, refuses: bool) -> None:
    """Let the server take no further event, as a full disk or a limit does; or take them again."""
    jetstream = world.nats.jetstream()
    info = await jetstream.stream_info(world.stream)
    most = max(info.state.messages, 1) if refuses else -1
    discard = DiscardPolicy.NEW if refuses else DiscardPolicy.OLD
    await jetstream.update_stream(dataclasses.replace(info.config, max_msgs=most, discard=discard))


async def until_doctor_says(world: World, *parts: str) -> str:
    """Wait until doctor finds something that is not well and says all of `parts`; returns that."""
    told: list[str] = []
    try:
        async with asyncio.timeout(40):
            while True:
                told = [one.text for one in await examine(world.settings(**QUICK)) if not one.is_well]
                for text in told:
                    if all(part in text for part in parts):
                        return text
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"doctor says {told}, not {parts}") from None


async def test_a_nats_that_refuses_events_is_told_by_leader_standby_doctor_and_after_a_restart(world: World) -> None:
    with world.process(**QUICK) as leader:
        await leader.ready()
        with world.process(**QUICK) as standby:
            await standby.ready()
            world.write(projects=1, worktrees=1, renames=1)
            await world.drained()
            await until_well(standby)

            # when
            await let_nats_refuse(world, refuses=True)
            world.write(projects=1, worktrees=1, renames=1)

            # then
            text = await until_doctor_says(world, "events wait, the oldest for 0:00:", "publishes none", REFUSED)
            assert f" {leader.pid} publishes none; it said last: cannot publish to stream {world.stream}: " in text
            for process in (leader, standby):
                await until_told(process, "events wait, the oldest for", REFUSED)
            leader.kill()
            await leader.exit_code()
            await until_told(standby, "events wait, the oldest for", REFUSED)

    # when nobody is there any more
    await until_doctor_says(world, "no publisher", "it said last: cannot publish to stream", REFUSED)

    # when one is started again, and then the server takes them again
    with world.process(**QUICK) as again:
        await until_told(again, "events wait, the oldest for", REFUSED)
        await let_nats_refuse(world, refuses=False)
        await until_well(again)
        await world.assert_exactly_once()
        assert [one.text for one in await examine(world.settings()) if not one.is_well] == []
    assert world.rows("SELECT hindrance FROM publisher_cursor") == [(None,)]


async def test_a_publisher_that_lives_and_moves_nothing_is_told_although_it_says_nothing(world: World) -> None:
    """As one with a fault of its own would: its heartbeat is fresh, and what waits stays where it is."""
    async with world.relay():
        world.write(projects=1)
        await world.drained()
    world.write(projects=1)
    beat = "UPDATE publisher_cursor SET heartbeat_at = clock_timestamp()"
    world.rows(beat + " RETURNING 1")
    settings = world.settings(stale_seconds=0.5)
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("UPDATE published_batch SET published_at = now() - interval '1 hour'")
        async with asyncio.timeout(20):
            while True:
                conn.execute(beat)
                found = [one.text for one in await examine(settings) if not one.is_well]
                if any("events wait, the oldest for 0:00:0" in text and "publishes none" in text for text in found):
                    return
                await asyncio.sleep(0.05)


async def test_events_that_are_old_when_they_are_committed_are_no_sign_that_nothing_moves(world: World) -> None:
    async with world.relay(heartbeat_seconds=0.1):
        with psycopg.connect(world.database, autocommit=True) as conn:
            conn.execute("UPDATE published_batch SET published_at = now() - interval '1 hour'")
            for _ in range(5):
                conn.execute(
                    "INSERT INTO outbox (entity, action, data, occurred_at)"
                    " VALUES ('project', 'updated', '{}', now() - interval '1 day')"
                )
                found = await examine(world.settings())
                assert not [one.text for one in found if "publishes none" in one.text]
        await world.drained()


@pytest.mark.parametrize("occurred_at", ["infinity", "-infinity", "0044-03-15 BC", "10001-01-01"])
async def test_a_time_that_is_none_hinders_no_look(world: World, occurred_at: str) -> None:
    async with world.relay():
        world.write(projects=1)
        await world.drained()
    with psycopg.connect(world.database) as conn:
        conn.execute(
            "INSERT INTO outbox (entity, action, data, occurred_at) VALUES ('project', 'updated', '{}', %s)",
            [occurred_at],
        )
    async with connect(world.database, "test") as reader:
        known = await known_stream(reader, world.stream)
    assert known is not None
    assert known.waiting == 1


async def test_what_waits_below_what_is_published_is_counted(world: World) -> None:
    """A transaction that was open for long commits ids below others that are published by then."""
    async with world.relay():
        with psycopg.connect(world.database) as slow:
            slow.execute("SELECT register_project('slow', 'git@github.com:o/slow.git')")
            world.write(projects=1)
            async with asyncio.timeout(20):
                while not world.rows("SELECT 1 FROM publisher_cursor WHERE upper(published_ids(publisher_cursor)) > 2"):
                    await asyncio.sleep(0.02)
            await let_nats_refuse(world, refuses=True)
            slow.commit()
        await until_doctor_says(world, "1 event waits, the oldest for", "publishes none")
        await let_nats_refuse(world, refuses=False)
        await world.drained()
