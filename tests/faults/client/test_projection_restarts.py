"""A projection over restarts and crashes of both servers: it reconnects by itself and is what the tables are."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import psycopg
import pytest

from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import postgres
from registry.client.projection import projection
from registry.database import migrate
from tests.integration.client.test_projection import assert_up_to_date
from tests.support.histories import write
from tests.support.nats.reading import connected
from tests.support.servers.restartable import Restartable
from tests.support.world import World


@pytest.mark.usefixtures("profile")
@pytest.mark.parametrize("is_crash", [False, True], ids=["restart", "SIGKILL"])
async def test_a_projection_outlasts_restarts_of_nats(world: World, state_dir: Path, is_crash: bool) -> None:
    with Restartable(partial(nats_server, state_dir)) as server:
        there = world.at(nats_url=server.url)

        async with connected(server.url) as client:
            await world.at(nats=client).create_shared_stream()
            async with (
                there.relay(),
                there.history(),
                projection(client, world.profile) as one,
            ):
                for _ in range(2):
                    world.write(1)
                    await server.stop(is_crash=is_crash)
                    world.write(1)
                    await server.start()
                    world.write(1)
                    await world.drained()
                await assert_up_to_date(one, world.at(nats_url=server.url, nats=client))
                assert len(one.projects) == 6


@pytest.mark.usefixtures("profile")
@pytest.mark.parametrize("is_crash", [False, True], ids=["restart", "SIGKILL"])
async def test_a_projection_outlasts_restarts_of_postgresql_though_it_needs_it(
    world: World, state_dir: Path, is_crash: bool
) -> None:
    """The stream is emptied meanwhile: what it has not read, and at last a new snapshot, comes from the database.

    Where each event stood in the stream is on disk by then. The relay does not wait for that: it reads it out of the
    stream again, if that has it.
    """
    with Restartable(partial(postgres, state_dir)) as server:
        there = world.at(database=server.url)

        with psycopg.connect(server.url) as conn:
            migrate.apply(conn)

        async with (
            there.relay(),
            there.history(),
            projection(world.nats, world.profile) as one,
        ):
            for _ in range(2):
                write(server.url, 1)
                await there.drained()
                with psycopg.connect(server.url) as conn:
                    conn.execute("SELECT pg_logical_emit_message(true, 'test', 'what was committed before is on disk')")
                await world.nats.jetstream().purge_stream(world.stream)
                await server.stop(is_crash=is_crash)
                await server.start()
                await asyncio.to_thread(write, server.url, 1)
                await there.drained()
            await assert_up_to_date(one, world)
            assert len(one.projects) == 4
