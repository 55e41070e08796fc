"""A projection over restarts and crashes of both servers: it reconnects by itself and is what the tables are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest
from nats.aio.client import Client

from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import postgres
from publisher.settings import load, profile_of
from registry.client.projection import projection
from registry.database import migrate
from tests.faults.test_relay_server_restarts import Restartable
from tests.integration.client.test_projection import assert_up_to_date
from tests.integration.history.test_replay import write
from tests.support.audit import connected
from tests.support.histories import create_shared_stream, running_history, stream_of
from tests.support.relays import running_relay, settings_for, until_drained


@pytest.mark.usefixtures("profile")
@pytest.mark.parametrize("is_crash", [False, True], ids=["restart", "SIGKILL"])
async def test_a_projection_outlasts_restarts_of_nats(
    database: str, prefix: str, state_dir: Path, is_crash: bool
) -> None:
    with Restartable(lambda: nats_server(state_dir)) as server:
        async with connected(server.url) as client:
            await create_shared_stream(client)
            async with (
                running_relay(database, server.url, prefix),
                running_history(settings_for(database, server.url, prefix)),
                projection(client, profile_of(load(prefix=prefix))) as one,
            ):
                for _ in range(2):
                    write(database, 1)
                    await server.stop(is_crash=is_crash)
                    write(database, 1)
                    await server.start()
                    write(database, 1)
                    await until_drained(database, prefix)
                await assert_up_to_date(one, client, prefix)
                assert len(one.projects) == 6


@pytest.mark.usefixtures("profile")
@pytest.mark.parametrize("is_crash", [False, True], ids=["restart", "SIGKILL"])
async def test_a_projection_outlasts_restarts_of_postgresql_though_it_needs_it(
    nats_url: str, nats: Client, prefix: str, state_dir: Path, is_crash: bool
) -> None:
    """The stream is emptied meanwhile: what it has not read, and at last a new snapshot, comes from the database."""
    with Restartable(lambda: postgres(state_dir)) as server:
        with psycopg.connect(server.url) as conn:
            migrate.apply(conn)
        async with (
            running_relay(server.url, nats_url, prefix),
            running_history(settings_for(server.url, nats_url, prefix)),
            projection(nats, profile_of(load(prefix=prefix))) as one,
        ):
            for _ in range(2):
                write(server.url, 1)
                await until_drained(server.url, prefix)
                await nats.jetstream().purge_stream(stream_of(prefix))
                await server.stop(is_crash=is_crash)
                await server.start()
                await asyncio.to_thread(write, server.url, 1)
                await until_drained(server.url, prefix)
            await assert_up_to_date(one, nats, prefix)
            assert len(one.projects) == 4
