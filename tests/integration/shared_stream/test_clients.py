"""Who reads the shared stream while not everything is in it: told what is not there, and right about the rest."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import orjson
import psycopg
import pytest

from publisher.history import archive
from publisher.history.verification import verify
from publisher.outbox.connection import connect as database_connection
from registry.client import Delivery, RegistryClient
from registry.concurrency.tasks import end
from registry.errors import Invalid, Unusable
from registry.history.pages import Replayed
from registry.position import After
from registry.profiles.bloodbank import STREAM
from tests.integration.history.test_snapshot import comparable
from tests.support.world import World


def connect(world: World) -> AbstractAsyncContextManager[RegistryClient]:
    return RegistryClient.connect(world.nats_url, prefix=world.prefix, profile="bloodbank")


async def replayed(client: RegistryClient, **wanted: object) -> list[Replayed]:
    async with asyncio.timeout(30), client.replay(**wanted) as events:  # type: ignore[arg-type]
        return [event async for event in events]


def changes(events: list[Replayed]) -> list[str]:
    return [orjson.loads(event.payload)["data"]["change"] for event in events]


@pytest.mark.parametrize("grammar", ["plain"], indirect=True)
@pytest.mark.parametrize(
    "wanted", [{"entity": "project"}, {"entity": "registry"}, {"action": "registered"}, {"entity": "command"}]
)
async def test_who_wants_what_is_not_there_is_told_rather_than_kept_waiting(
    pipeline: World, wanted: dict[str, str]
) -> None:
    async def handle(_: Delivery) -> None:
        raise AssertionError

    told = "stream BLOODBANK_EVENTS has none of these, its contract has no name for them; it has those of worktree"
    async with connect(pipeline) as client:
        with pytest.raises(Invalid, match=told):
            await client.subscribe(handle, durable="d", **wanted)  # type: ignore[arg-type]
        with pytest.raises(Invalid, match=told):
            await replayed(client, **wanted)
        with pytest.raises(Invalid, match=told):
            async with client.tail(**wanted):  # type: ignore[arg-type]
                pass
        with pytest.raises(Unusable, match="projects and types would be those of long ago"):
            async with client.projection():
                pass


async def test_a_replay_tells_the_same_from_the_stream_and_from_the_outbox(pipeline: World) -> None:
    async with pipeline.relay(), pipeline.history(), connect(pipeline) as client:
        pipeline.write(projects=2, worktrees=2, renames=3)
        with psycopg.connect(pipeline.database) as conn:
            conn.execute("UPDATE worktrees SET agent_id = 'ada'")
            conn.execute("UPDATE worktrees SET active = false")
            conn.execute("UPDATE worktrees SET active = true")
        await pipeline.drained()
        from_stream = await replayed(client)
        claimed = await replayed(client, entity="worktree", action="claimed")
        await pipeline.trim(from_stream[-2].sequence)
        from_outbox = await replayed(client)

    assert changes(from_stream) == ["created"] * 4 + ["claimed"] * 4 + ["removed"] * 4 + ["reactivated"] * 4
    assert changes(claimed) == ["claimed"] * 4
    assert [event.payload for event in from_outbox] == [event.payload for event in from_stream]


async def test_a_snapshot_and_the_events_behind_it_are_the_worktrees_of_now(pipeline: World) -> None:
    async with pipeline.relay(), pipeline.history(), connect(pipeline) as client:
        pipeline.write(projects=2, worktrees=2, renames=1)
        snapshot = await client.snapshot()  # of what is published, and of what waits
        with psycopg.connect(pipeline.database) as conn:
            conn.execute("UPDATE worktrees SET agent_id = 'ada', branch_name = 'feat/other-' || name")
            conn.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('t', 't/', 't-')")
        await pipeline.drained()
        async with asyncio.timeout(30), client.replay(After(snapshot.position)) as events:
            async for event in events:
                snapshot.apply(event.payload)
        now = await client.snapshot()

    assert comparable(snapshot)["worktrees"] == comparable(now)["worktrees"]
    assert len(now.types) == len(snapshot.types) + 1  # of which the stream says nothing


async def test_a_subscriber_of_everything_gets_the_worktrees_and_goes_on(pipeline: World) -> None:
    seen: list[str] = []
    is_there = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        seen.append(orjson.loads(delivery.payload)["data"]["change"])
        if len(seen) == 3:
            is_there.set()

    async with pipeline.relay(), connect(pipeline) as client, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(client.subscribe(handle, durable="d", from_start=True))
        for _ in range(3):
            await asyncio.to_thread(pipeline.write, 1, 1, 1)
        async with asyncio.timeout(30):
            await is_there.wait()
        await end([running])
    assert seen == ["created"] * 3


@pytest.mark.parametrize("grammar", ["v1"], indirect=True)
async def test_an_export_has_what_was_withheld_and_an_import_withholds_it_again(
    pipeline: World, second: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pipeline.relay():
        pipeline.write()
        await pipeline.drained()
    lines: list[bytes] = []
    async with database_connection(pipeline.database, "test") as conn:
        count = await archive.export_history(conn, pipeline.settings(), lines.append)
    assert count == len(lines) == len(pipeline.rows("SELECT FROM outbox"))

    async with database_connection(second.database, "test") as conn:
        assert await archive.import_history(conn, second.settings(), lines) == count

    assert second.rows("SELECT withheld FROM publisher_cursor") == pipeline.rows(
        "SELECT withheld FROM publisher_cursor"
    )
    assert second.rows("SELECT id, name FROM projects ORDER BY id") == pipeline.rows(
        "SELECT id, name FROM projects ORDER BY id"
    )
    assert (await verify(second.settings())).differences == []
    assert (await pipeline.nats.jetstream().stream_info(STREAM)).state.messages > 0
