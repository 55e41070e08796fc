"""A stream that was lost comes back out of the outbox: the same events, order and sequences, while writers go on."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import psycopg
import pytest
from nats.aio.client import Client

from publisher.embedded.nats_server import nats_server
from publisher.history.rebuild import rebuild
from registry.errors import Conflict, NotFound
from registry.position import Last
from registry.subjects import Names
from tests.integration.history.test_replay import row, write, write_disorderly
from tests.support.audit import assert_exactly_once, connected
from tests.support.histories import replayed, running_history
from tests.support.relays import running_relay, settings_for, until_drained
from tests.support.workload import writing


async def lose(nats: Client, prefix: str) -> None:
    await nats.jetstream().delete_stream(Names(prefix).event_stream)


@pytest.mark.parametrize("is_recreated_by_a_relay", [False, True])
async def test_a_lost_stream_comes_back_with_the_same_bytes_order_and_sequences(
    database: str, nats_url: str, prefix: str, nats: Client, is_recreated_by_a_relay: bool
) -> None:
    settings = settings_for(database, nats_url, prefix)
    async with running_relay(database, nats_url, prefix):
        await write_disorderly(database, prefix)
        before = await replayed(nats, prefix)
    await lose(nats, prefix)
    if is_recreated_by_a_relay:
        with pytest.raises(ExceptionGroup, match="unhandled"):  # the relay ends: the stream lost what was published
            async with running_relay(database, nats_url, prefix):
                await asyncio.Event().wait()
    write(database, 1)
    done = await rebuild(settings)
    assert (done.events, done.first_sequence, done.last_sequence) == (len(before), 1, len(before))
    assert row(await replayed(nats, prefix)) == row(before)
    async with running_relay(database, nats_url, prefix):
        await assert_exactly_once(database, nats_url, prefix, at_least=len(before) + 1)


async def test_a_rebuild_while_writers_go_on_and_the_relay_waits(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with writing(database, writers=4, seed=5) as load:
        async with running_relay(database, nats_url, prefix):
            await load.reach(commits=150)
        await lose(nats, prefix)
        await rebuild(settings_for(database, nats_url, prefix))
        async with running_relay(database, nats_url, prefix):
            await load.reach(commits=100)
    async with running_relay(database, nats_url, prefix):
        await assert_exactly_once(database, nats_url, prefix, at_least=200)


async def test_an_interrupted_rebuild_goes_on_where_it_stopped(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    settings = settings_for(database, nats_url, prefix)

    class Interrupted(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        raise Interrupted

    async with running_relay(database, nats_url, prefix, batch_size=1):
        write(database)
        await until_drained(database, prefix)
        before = await replayed(nats, prefix)
    await lose(nats, prefix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("publisher.outbox.record.SCAN", 3)
        with pytest.raises(Interrupted):
            await rebuild(settings, interrupt)
    assert 0 < len(await replayed(nats, prefix)) < len(before)
    await rebuild(settings)
    assert row(await replayed(nats, prefix)) == row(before)


async def test_messages_of_others_leave_their_sequences_empty(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_relay(database, nats_url, prefix):
        for _ in range(3):
            write(database, 1)
            await until_drained(database, prefix)
            await nats.jetstream().publish(f"{prefix}.evt.v1.project.updated.-", b"{}")
        write(database, 1)
        await until_drained(database, prefix)
        before = await replayed(nats, prefix)
    await lose(nats, prefix)
    await rebuild(settings_for(database, nats_url, prefix))
    assert row(await replayed(nats, prefix)) == row(before)
    assert before[-1].sequence == len(before) + 3


async def test_what_retention_removed_stays_away_and_sequences_stay(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_relay(database, nats_url, prefix, batch_size=3):
        write(database)
        await until_drained(database, prefix)
        before = await replayed(nats, prefix)
    with psycopg.connect(database) as conn:
        (forgotten,) = conn.execute("SELECT min(last_sequence) FROM published_batch").fetchone() or (0,)
        conn.execute("DELETE FROM published_batch WHERE last_sequence = %s", [forgotten])
        conn.execute("UPDATE publisher_cursor SET forgotten_sequence = %s", [forgotten])
    await lose(nats, prefix)
    done = await rebuild(settings_for(database, nats_url, prefix))
    assert done.first_sequence == forgotten + 1
    async with running_history(settings_for(database, nats_url, prefix)):
        assert row(await replayed(nats, prefix)) == row(before)[forgotten:]
    async with running_relay(database, nats_url, prefix):
        write(database, 1)
        await until_drained(database, prefix)
        assert (await replayed(nats, prefix, Last(1)))[0].sequence > len(before)


async def test_a_stream_restored_from_an_older_backup_gets_only_what_it_lacks(
    database: str, prefix: str, state_dir: Path
) -> None:
    with nats_server(state_dir) as server:
        async with running_relay(database, server.url, prefix):
            write(database, 1)
            await until_drained(database, prefix)
    backup = state_dir / "backup"
    shutil.copytree(state_dir / "nats", backup)
    with nats_server(state_dir) as server:
        async with running_relay(database, server.url, prefix), connected(server.url) as client:
            write(database)
            await until_drained(database, prefix)
            before = await replayed(client, prefix)
    shutil.rmtree(state_dir / "nats")
    backup.rename(state_dir / "nats")
    with nats_server(state_dir) as server:
        async with connected(server.url) as client:
            held = len(await replayed(client, prefix))
            done = await rebuild(settings_for(database, server.url, prefix))
            assert (done.events, row(await replayed(client, prefix))) == (len(before) - held, row(before))


async def test_a_rebuild_is_refused_where_it_would_do_harm(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    settings = settings_for(database, nats_url, prefix)
    with pytest.raises(NotFound, match="published nothing"):
        await rebuild(settings)
    async with running_relay(database, nats_url, prefix):
        write(database)
        await until_drained(database, prefix)
        with pytest.raises(Conflict, match="a publisher leads"):
            await rebuild(settings)
    with pytest.raises(Conflict, match="lacks nothing"):
        await rebuild(settings)
    await nats.jetstream().purge_stream(Names(prefix).event_stream)
    with pytest.raises(Conflict, match="lacks nothing that was published; if it was emptied"):
        await rebuild(settings)
    config = (await nats.jetstream().stream_info(Names(prefix).event_stream)).config
    await lose(nats, prefix)
    await nats.jetstream().add_stream(config)
    await nats.jetstream().publish(f"{prefix}.evt.v1.project.updated.-", b"{}")
    with pytest.raises(Conflict, match="another message than was published there"):
        await rebuild(settings)
