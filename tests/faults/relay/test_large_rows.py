"""Rows of any size: the memory of `serve`, the heartbeat, and the lead do not depend on what a row holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from publisher.outbox.connection import connect
from publisher.outbox.lead import end_if_hanging, holder_of_lead, try_lead
from registry.broker.connection import connect_nats
from registry.client.queries import QueryClient
from registry.client.replay import replay
from registry.client.snapshot import take_snapshot
from registry.errors import Invalid, Unavailable
from registry.events.envelope import parse_envelope
from registry.models import Project
from tests.support.nats.process import nats_process
from tests.support.processes import COMMAND, peak_mib
from tests.support.world import World

MOST_MIB = 150
"""The most memory that `serve` may take, whatever rows there are, with a max_payload of up to 8 MiB."""
PROC = Path("/proc/self/status")
STREAM = "IMI_EVENTS"

PROJECTS = """
INSERT INTO projects (name, remote_origin, trunk_path)
SELECT 'p' || n, 'git@github.com:owner/p' || n || '.git', '/srv/p' || n FROM generate_series(1, %s) AS n
"""
SEVEN_MIB = "UPDATE projects SET metadata = jsonb_build_object('blob', repeat('abcdefgh', 7 * 131072))"

# A control character has six characters in JSON, so that few bytes become much text.
GIANT = """
INSERT INTO outbox (entity, action, data)
SELECT 'project', 'updated', jsonb_build_object('blob', repeat(U&'\\0001', %s * 1000000 / 6))
"""
MANY = "INSERT INTO outbox (entity, action, data) SELECT 'project', 'updated', '{}' FROM generate_series(1, %s)"


LARGE, ONE_GIANT, ONE_TRANSACTION = (PROJECTS, SEVEN_MIB), (GIANT,), (MANY,)


@pytest.mark.skipif(not PROC.exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(
    ("statements", "count"),
    [
        pytest.param(LARGE, 12, id="rows of 7 MiB"),
        pytest.param(LARGE, 128, id="128 rows of 7 MiB", marks=pytest.mark.long),
        pytest.param(ONE_GIANT, 200, id="a row of 200 MB"),
        pytest.param(ONE_GIANT, 900, id="a row of 900 MB", marks=pytest.mark.long),
        pytest.param(ONE_TRANSACTION, 20_000, id="20,000 events in one transaction"),
        pytest.param(ONE_TRANSACTION, 1_000_000, id="a million events in one transaction", marks=pytest.mark.long),
    ],
)
async def test_the_memory_of_serve_depends_on_no_row(world: World, statements: tuple[str, ...], count: int) -> None:
    with psycopg.connect(world.database) as conn:
        for statement in statements:
            conn.execute(statement.encode(), [count] if "%s" in statement else None)

    with world.process(command=COMMAND) as process:
        await process.ready()
        found = await world.assert_exactly_once(timeout_seconds=600)
        await world.trim(min(found.events, 2000))
        async with asyncio.timeout(600), replay(world.nats, world.profile) as events:
            replayed = [event.sequence async for event in events]
        peak = peak_mib(process.pid)

    assert replayed == list(range(1, found.events + 1))
    print(f"peak of serve: {peak:.0f} MiB")
    assert peak < MOST_MIB


# The value of a project, not only of an event, is large: by one text, by many small values, by numbers of many digits.
ONE_PROJECT = """
INSERT INTO projects (name, remote_origin, trunk_path, description, metadata)
SELECT 'giant', 'git@github.com:owner/giant.git', '/srv/giant', {description}, {metadata}
"""
BLOB = ONE_PROJECT.format(
    description="'d'", metadata="jsonb_build_object('blob', repeat(U&'\\0001', %s * 1000000 / 6))"
)
TEXT = ONE_PROJECT.format(description="repeat(U&'\\0001', %s * 1000000 / 6)", metadata="'{}'")
EMPTY = "(SELECT jsonb_build_object('k', jsonb_agg('{}'::jsonb)) FROM generate_series(1, %s * 1000000 / 4))"
KEYS = "(SELECT jsonb_object_agg('key' || n, n) FROM generate_series(1, %s * 100000) AS n)"


@pytest.mark.skipif(not PROC.exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(
    ("statements", "count"),
    [
        pytest.param(LARGE, 12, id="rows of 7 MiB"),
        pytest.param(LARGE, 128, id="128 rows of 7 MiB", marks=pytest.mark.long),
        pytest.param((BLOB,), 80, id="metadata of 80 MB"),
        pytest.param((BLOB,), 900, id="metadata of 900 MB", marks=pytest.mark.long),
        pytest.param((TEXT,), 80, id="a description of 80 MB"),
        pytest.param((TEXT,), 1400, id="a description of 1,400 MB", marks=pytest.mark.long),
        pytest.param((ONE_PROJECT.format(description="'d'", metadata=EMPTY),), 4, id="a million empty objects"),
        pytest.param((ONE_PROJECT.format(description="'d'", metadata=KEYS),), 1, id="100,000 keys"),
    ],
)
async def test_the_memory_of_serve_depends_on_no_row_that_is_asked_for(
    world: World, statements: tuple[str, ...], count: int
) -> None:
    with psycopg.connect(world.database) as conn:
        for statement in statements:
            conn.execute(statement.encode(), [count] if "%s" in statement else None)
    queries = QueryClient(world.nats, world.names, timeout=30)

    with world.process(command=COMMAND) as process:
        await process.ready()
        await world.drained(600)
        async with asyncio.timeout(600):
            several = await asyncio.gather(*[take_snapshot(world.nats, world.profile) for _ in range(2)])
            listed = await every_project(queries)
            await asyncio.gather(
                *[refused_or(queries.project_by_id(project.id)) for project in listed[:3]],
                *[refused_or(queries.projects(after=project.id)) for project in listed[:3]],
            )
            for event in await world.replayed(entity="project", action="registered"):
                await refused_or(queries.event_data(parse_envelope(event.payload)))
        peak = peak_mib(process.pid)

    (rows,) = world.rows("SELECT count(*)::int FROM projects")[0]
    assert [len(snapshot.projects) for snapshot in several] == [rows, rows]
    assert len(listed) == rows
    print(f"peak of serve: {peak:.0f} MiB")
    assert peak < MOST_MIB


@pytest.mark.skipif(not PROC.exists(), reason="the peak of a process is read from /proc")
@pytest.mark.long
async def test_the_memory_of_serve_is_bounded_with_messages_of_8_mib(world: World, state_dir: Path) -> None:
    """Each row of 7 MiB goes out whole, and is a whole page of an answer.

    Few rows do not show it. What keeps the bound has short tests of its own: of the relay in test_waiting_bytes, of
    answers in test_large_answers.
    """
    count = 64
    with psycopg.connect(world.database) as conn:
        conn.execute(PROJECTS, [count])
        conn.execute(SEVEN_MIB)

    with nats_process(state_dir, max_payload=8 * 1024 * 1024) as server:
        async with connect_nats(server.url(), "test") as client:
            there = world.at(nats_url=server.url(), nats=client)
            queries = QueryClient(client, there.names, timeout=30)
            with there.process(command=COMMAND) as process:
                await process.ready()
                await there.drained(1200)
                listed = await every_project(queries)
                await asyncio.gather(
                    *[refused_or(queries.project_by_id(project.id)) for project in listed[:6]],
                    *[refused_or(queries.projects(after=project.id)) for project in listed[:6]],
                )
                peak = peak_mib(process.pid)

    assert len(listed) == count
    assert not any(project.is_shortened for project in listed)
    print(f"peak of serve: {peak:.0f} MiB")
    assert peak < MOST_MIB


async def every_project(queries: QueryClient) -> list[Project]:
    """All pages there are."""
    page = await queries.projects()
    found = page.projects
    while page.next is not None:
        page = await queries.projects(after=page.next)
        found += page.projects
    return found


async def refused_or(asked: Awaitable[Any]) -> None:
    """Ask for what may be too large for an answer, which is then refused, or must wait for too long."""
    with suppress(Invalid, Unavailable):
        await asked


@pytest.mark.parametrize("large_rows", [16, pytest.param(128, marks=pytest.mark.long)])
async def test_no_publisher_is_deposed_while_large_rows_are_published(world: World, large_rows: int) -> None:
    settings = {"heartbeat_seconds": 0.1, "stale_seconds": 2.0}
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute(PROJECTS, [large_rows])
        conn.execute(SEVEN_MIB)

    with world.process(**settings) as one, world.process(**settings) as other:
        await one.ready()
        await other.ready()
        await world.drained()
        with psycopg.connect(world.database, autocommit=True) as conn:
            conn.execute("UPDATE projects SET description = 'd'")
        await world.drained()

        assert len(one.logged("leading") + other.logged("leading")) == 1, [*one.log(), *other.log()]
        assert not one.logged("relay interrupted") + other.logged("relay interrupted")
    await world.assert_exactly_once(at_least=3 * large_rows)


async def test_a_leader_whose_page_takes_long_is_not_deposed(world: World) -> None:
    settings = {"heartbeat_seconds": 0.1, "stale_seconds": 0.5}
    age = "SELECT extract(epoch FROM clock_timestamp() - heartbeat_at)::float8, epoch FROM publisher_cursor"

    async with world.relay(**settings) as leader, world.relay(**settings) as standby:
        world.write()
        await world.drained()
        ((_, epoch),) = world.rows(age)
        async with await psycopg.AsyncConnection.connect(world.database) as conn:
            await conn.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")  # whoever reads it waits
            async with asyncio.timeout(20):
                while world.rows(age)[0][0] < 3:
                    await asyncio.sleep(0.05)
        world.write()
        await world.drained()

        assert (leader.role, standby.role, leader.interrupted) == ("leader", "standby", 0)
        assert world.rows(age)[0][1] == epoch
    await world.assert_exactly_once()


@pytest.mark.parametrize(
    ("does", "is_deposed"),
    [
        ("SELECT 1", True),
        ("SELECT pg_sleep(60)", False),
        ("SELECT repeat('x', 1000000) FROM generate_series(1, 1000)", True),
    ],
    ids=["nothing", "works", "waits for its client"],
)
async def test_a_leader_without_heartbeat_is_deposed_unless_its_backend_works(
    database: str, does: str, is_deposed: bool
) -> None:
    async with connect(database, "imi-registry holder") as holder, connect(database, "standby") as standby:
        assert await try_lead(holder, STREAM, "holder") is not None
        holder.pgconn.send_query(does.encode())
        holder.pgconn.flush()  # and no answer is read
        pid = holder.info.backend_pid
        await until_state(standby, pid, does)
        await standby.execute("UPDATE publisher_cursor SET heartbeat_at = '2000-01-01'")

        lead = None
        for _ in range(3):
            await asyncio.sleep(0.1)  # the age at which a leader is stale, and time for a backend to end
            await end_if_hanging(standby, await holder_of_lead(standby, STREAM, 0.05))
            lead = lead or await try_lead(standby, STREAM, "standby")

        assert (lead is not None) == is_deposed
        holder.pgconn.finish()
        await standby.execute("SELECT pg_terminate_backend(%s)", [pid])


async def until_state(conn: psycopg.AsyncConnection[Any], pid: int, query: str) -> None:
    """Wait until the backend has taken the query, and has ended it, or waits."""
    state = "SELECT query = %s AND (state = 'idle' OR wait_event IS NOT NULL) FROM pg_stat_activity WHERE pid = %s"
    async with asyncio.timeout(10):
        while await (await conn.execute(state, [query, pid])).fetchone() != (True,):
            await asyncio.sleep(0.01)
