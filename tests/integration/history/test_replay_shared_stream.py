"""Replay, snapshot and rebuild on the pipeline's shared stream (profile bloodbank), among other producers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import nats as nats_py
import psycopg
import pytest
from nats.aio.client import Client

from publisher.embedded.nats_server import nats_server
from publisher.history.rebuild import rebuild
from publisher.settings import Settings
from registry.client import RegistryClient
from registry.errors import Conflict
from registry.history.pages import Replayed
from registry.position import After, FromStart, Last, Start
from registry.profiles.bloodbank import STREAM
from tests.integration.history.test_replay import write
from tests.integration.history.test_snapshot import comparable
from tests.support import services
from tests.support.histories import running_history
from tests.support.relays import running_relay, settings_for, until_drained
from tests.support.workload import writing


@pytest.fixture(scope="module")
def shared_url() -> Iterator[str]:
    """A nats-server of this module's own: the shared stream has one name."""
    with services.scratch_directory() as directory, nats_server(directory) as server:
        yield server.url


@pytest.fixture
async def shared(shared_url: str) -> AsyncIterator[Client]:
    """A client of it, and the shared stream."""
    client = await nats_py.connect(shared_url)
    await client.jetstream().add_stream(name=STREAM, subjects=["bloodbank.evt.>"])
    yield client
    await client.jetstream().delete_stream(STREAM)
    await client.close()


def settings_of(database: str, url: str, prefix: str) -> Settings:
    return settings_for(database, url, prefix, profile="bloodbank")


async def told(url: str, prefix: str, start: Start | None = None, **wanted: object) -> list[Replayed]:
    async with (
        asyncio.timeout(30),
        RegistryClient.connect(url, prefix=prefix, profile="bloodbank") as client,
        client.replay(start, **wanted) as events,  # type: ignore[arg-type]
    ):
        return [event async for event in events]


async def write_among_others(database: str, client: Client, times: int = 4) -> None:
    for _ in range(times):
        await client.jetstream().publish("bloodbank.evt.artifact.build.created", b"{}")
        await client.jetstream().publish("bloodbank.evt.workspace.project.updated", b"{}")
        await asyncio.to_thread(write, database, 1)
        await until_drained(database, "", stream=STREAM)


def payloads(events: list[Replayed]) -> list[bytes]:
    return [event.payload for event in events]


async def test_replay_tokens_and_filters_over_the_seam(
    database: str, shared_url: str, shared: Client, prefix: str
) -> None:
    async with (
        running_relay(database, shared_url, prefix, profile="bloodbank"),
        running_history(settings_of(database, shared_url, prefix)),
    ):
        await write_among_others(database, shared)
        before = await told(shared_url, prefix)
        with psycopg.connect(database) as conn:
            rows = conn.execute("SELECT count(*) FROM outbox").fetchone()
            (project,) = conn.execute("SELECT id FROM projects ORDER BY created_at LIMIT 1").fetchone() or ("",)
        assert (len(before),) == rows
        last = (await shared.jetstream().stream_info(STREAM)).state.last_seq
        for first in (1, last // 3, last // 2, last + 1):
            await shared.jetstream().purge_stream(STREAM, seq=first)
            everything = await told(shared_url, prefix)
            assert payloads(everything) == payloads(before)
            for index, event in enumerate(everything):
                assert (
                    payloads(await told(shared_url, prefix, After(str(event.position))))
                    == payloads(before)[index + 1 :]
                )
            assert payloads(await told(shared_url, prefix, Last(3))) == payloads(before)[-3:]
            ours = [one for one in payloads(before) if f'"partitionkey":"{project}"'.encode() in one]
            assert payloads(await told(shared_url, prefix, project_id=project)) == ours
            created = [one for one in payloads(before) if b'"change": "created"' in one]
            assert payloads(await told(shared_url, prefix, entity="worktree", action="created")) == created
            assert created


async def test_a_token_of_before_the_trim_goes_on_after_it(
    database: str, shared_url: str, shared: Client, prefix: str
) -> None:
    async with (
        running_relay(database, shared_url, prefix, profile="bloodbank"),
        running_history(settings_of(database, shared_url, prefix)),
    ):
        await write_among_others(database, shared)
        before = await told(shared_url, prefix)
        await shared.jetstream().purge_stream(STREAM, seq=before[-3].sequence)
        for index, event in enumerate(before):
            assert payloads(await told(shared_url, prefix, After(str(event.position)))) == payloads(before)[index + 1 :]


@pytest.mark.parametrize("switches", [3, pytest.param(100, marks=pytest.mark.long)])
async def test_switches_into_live_events_have_no_seam(
    database: str, shared_url: str, shared: Client, prefix: str, switches: int
) -> None:
    jetstream = shared.jetstream()
    followed: list[Replayed] = []
    async with (
        running_relay(database, shared_url, prefix, profile="bloodbank"),
        running_history(settings_of(database, shared_url, prefix)),
        RegistryClient.connect(shared_url, prefix=prefix, profile="bloodbank") as client,
    ):
        async with writing(database, seed=22) as load:
            await load.reach(commits=20)
            for _ in range(switches):
                await jetstream.publish("bloodbank.evt.workspace.project.updated", b"{}")
                last = (await jetstream.stream_info(STREAM)).state.last_seq
                await jetstream.purge_stream(STREAM, seq=last - 20)
                start = After(str(followed[-1].position)) if followed else FromStart()
                async with asyncio.timeout(25), client.replay(start, follow=True) as events:
                    async for event in events:
                        followed.append(event)
                        if event.sequence >= last + 40:  # live: was not there when the replay began
                            break
        await until_drained(database, "", stream=STREAM)
        everything = payloads(await told(shared_url, prefix))
    assert payloads(followed) == everything[: len(followed)]
    assert len(followed) >= 40 * switches // 2


async def test_snapshots_and_the_events_behind_them_are_the_tables(
    database: str, shared_url: str, shared: Client, prefix: str
) -> None:
    async with RegistryClient.connect(shared_url, prefix=prefix, profile="bloodbank") as client:
        snapshots = []
        async with (
            running_relay(database, shared_url, prefix, profile="bloodbank"),
            running_history(settings_of(database, shared_url, prefix)),
        ):
            async with writing(database, writers=4, seed=21) as load:
                for _ in range(6):
                    await load.reach(commits=8)
                    await shared.jetstream().publish("bloodbank.evt.artifact.build.created", b"{}")
                    snapshots.append(await client.snapshot())
            await until_drained(database, "", stream=STREAM)
            final = comparable(await client.snapshot())
            for snapshot in snapshots:
                async with client.replay(After(snapshot.position)) as events:
                    async for event in events:
                        snapshot.apply(event.payload)
                assert comparable(snapshot) == final


async def test_a_lost_shared_stream_gets_our_events_again_and_the_relay_goes_on(
    database: str, shared_url: str, shared: Client, prefix: str
) -> None:
    settings = settings_of(database, shared_url, prefix)
    async with running_relay(database, shared_url, prefix, profile="bloodbank"):
        await write_among_others(database, shared)
        before = await told(shared_url, prefix)
        with pytest.raises(Conflict, match="a publisher leads"):
            await rebuild(settings)
    with pytest.raises(Conflict, match="lacks nothing"):
        await rebuild(settings)
    await shared.jetstream().delete_stream(STREAM)
    await shared.jetstream().add_stream(name=STREAM, subjects=["bloodbank.evt.>"])
    await shared.jetstream().publish("bloodbank.evt.artifact.build.created", b"{}")
    done = await rebuild(settings)
    assert done.events == len(before)
    assert payloads(await told(shared_url, prefix)) == payloads(before)
    async with (
        running_relay(database, shared_url, prefix, profile="bloodbank"),
        running_history(settings),
    ):
        await write_among_others(database, shared, times=1)
        await shared.jetstream().purge_stream(STREAM)
        assert payloads(await told(shared_url, prefix, FromStart()))[: len(before)] == payloads(before)
