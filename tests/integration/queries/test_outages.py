"""Queries while the service, or its database, is away, slow or silent; and after that."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from publisher.query_service import OUTAGE_SECONDS
from registry.client.queries import QueryClient
from registry.errors import Unavailable
from tests.support.client.queries import ask
from tests.support.processes import COMMAND, environment
from tests.support.proxy import postgres_proxy
from tests.support.world import World


async def test_without_a_service_a_query_is_unavailable_at_once(world: World) -> None:
    with pytest.raises(Unavailable, match="is imi-registry serve running"):
        await QueryClient(world.nats, world.names).stats()


async def test_a_query_that_takes_too_long_does_not_put_others_out(queries: QueryClient, world: World) -> None:
    with psycopg.connect(world.database, application_name="psql of Ada") as conn:
        conn.execute("LOCK TABLE projects")
        holder = f'pid {conn.info.backend_pid} \\(application "psql of Ada", user .*\\) holds or asks for a lock'

        with pytest.raises(Unavailable, match=f"did not answer within 3 s: {holder} that it needs; end that session"):
            await queries.projects()

        assert len(await queries.worktree_types()) > 0


async def test_many_slow_queries_do_not_put_others_out(queries: QueryClient, world: World) -> None:
    with psycopg.connect(world.database) as conn:
        conn.execute("LOCK TABLE projects")
        slow = [
            asyncio.ensure_future(query)
            for query in (queries.projects(), queries.search_projects("x"), queries.inflight_work(), queries.stats())
        ]
        await asyncio.sleep(0)

        while not any(query.done() for query in slow):
            assert len(await queries.worktree_types()) > 0
            await asyncio.sleep(0.05)

    refused = await asyncio.gather(*slow, return_exceptions=True)
    assert any(isinstance(error, Unavailable) for error in refused)


async def test_a_database_outage_is_503_for_everybody_and_then_over(world: World) -> None:
    async with postgres_proxy(world.database) as (proxy, url), world.at(database=url).queries():
        await ask(world, "stats")

        # when
        proxy.refuse()
        answers = await asyncio.gather(*[ask(world, "stats") for _ in range(20)])

        # then nobody waited for the end of the outage, and nobody hung behind the others
        assert {(answer.headers or {}).get("Nats-Service-Error-Code") for answer in answers} == {"503"}

        # when
        proxy.go_on()

        # then
        async with asyncio.timeout(20 * OUTAGE_SECONDS):
            while (await ask(world, "stats")).headers:
                pass


async def test_a_database_that_falls_silent_is_503_not_a_hang(world: World) -> None:
    async with postgres_proxy(world.database) as (proxy, url), world.at(database=url).queries():
        await ask(world, "stats")

        # when
        proxy.black_hole()
        answers = await asyncio.gather(*[ask(world, "stats") for _ in range(5)])

        # then
        assert {(answer.headers or {}).get("Nats-Service-Error-Code") for answer in answers} == {"503"}

        # when
        proxy.go_on()

        # then
        async with asyncio.timeout(20 * OUTAGE_SECONDS):
            while (await ask(world, "stats")).headers:
                pass


async def test_serve_answers_queries(world: World) -> None:
    # when
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        env=environment(DATABASE_URL=world.database, NATS_URL=world.nats_url, IMI_PREFIX=world.prefix),
    )
    try:
        # then
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await QueryClient(world.nats, world.names).stats() is not None
                    break
                except Unavailable:
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
    finally:
        process.terminate()
        await process.wait()
