"""PostgreSQL fails over to a standby: with a synchronous one, what was published is there; with another, it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from publisher.doctor import examine
from publisher.doctor.findings import Finding
from publisher.history.audit import audit
from registry.database import migrate
from registry.events.message import OUTBOX_ID_HEADER
from registry.history.state import State
from tests.support.audit import Audit
from tests.support.processes import run
from tests.support.servers.replicas import Pair, multi_host, pair
from tests.support.world import World

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'imi-registry%' AND wait_event = 'SyncRep'"


@pytest.fixture
def servers(state_dir: Path) -> Iterator[Pair]:
    """A primary with the schema and one project; it has no standby yet."""
    with pair(state_dir, {}) as found:
        with psycopg.connect(found.url) as conn:
            migrate.apply(conn)
            conn.execute("SELECT register_project('p', 'git@github.com:owner/p.git')")
        yield found


@pytest.fixture
async def there(world: World, servers: Pair) -> AsyncIterator[World]:
    """The world with both servers, for whichever takes writes."""
    return world.at(database=multi_host(servers.urls))


async def describe(database: str, text: str, synchronous_commit: str = "on") -> None:
    """Change the project's description."""
    async with await psycopg.AsyncConnection.connect(database) as conn:
        await conn.execute(f"SET synchronous_commit = {synchronous_commit}")
        await conn.execute("UPDATE projects SET description = %s", [text])


async def told(world: World) -> list[str]:
    """The descriptions that the stream tells."""
    return [message.envelope["data"]["description"] for message in await world.published()]


async def test_what_a_synchronous_standby_lacks_is_not_published(there: World, servers: Pair) -> None:
    # given
    await servers.add_standby()
    async with there.relay() as metrics:
        await there.drained()
        await servers.stop_standby()

        # when: a writer that waits for the local disk alone
        await describe(servers.url, "on the primary alone", synchronous_commit="local")
        async with await psycopg.AsyncConnection.connect(servers.url, autocommit=True) as conn, asyncio.timeout(20):
            while await (await conn.execute(WAITING)).fetchone() == (0,):
                await asyncio.sleep(0.02)

        # then: a failover takes it back, and nobody was told
        await servers.stop(is_crash=True)
        await servers.start_standby()
        await servers.promote()
        await servers.add_standby()
        await describe(there.database, "on both")
        await there.assert_exactly_once(at_least=2)
        assert "on the primary alone" not in await told(there)
        assert metrics.unknown == 0


async def phantoms(world: World, *arguments: str) -> list[dict[str, Any]]:
    """What `imi-registry phantoms` tells."""
    places = {"DATABASE_URL": world.database, "NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
    ran = await asyncio.to_thread(run, "phantoms", "--json", *arguments, **places)
    assert ran.returncode == 0, ran.stderr
    found: list[dict[str, Any]] = orjson.loads(ran.stdout)
    return found


async def about_phantoms(world: World) -> list[Finding]:
    """What doctor says of them."""
    return [one for one in await examine(world.settings()) if "this database does not" in one.text]


async def test_ids_that_are_handed_out_again_are_told_apart_and_what_takes_a_phantom_back_has_a_higher_one(
    there: World, servers: Pair
) -> None:
    """PostgreSQL logs a sequence some ids ahead: more than these are lost."""
    await servers.add_standby(is_synchronous=False)
    async with there.relay():
        there.write(1, 0, 0)
        await there.drained()
        await servers.stop_standby()
        with psycopg.connect(servers.url) as conn:
            conn.execute(
                "SELECT register_project('p' || n, 'git@github.com:o/p' || n || '.git') FROM generate_series(1, 80) n"
            )
        await there.drained()
        await servers.stop(is_crash=True)
        await servers.start_standby()
        await servers.promote()
        with psycopg.connect(servers.url) as conn:
            conn.execute("SELECT register_project('q', 'git@github.com:o/q.git')")
        await there.drained()
        ids = [message.headers[OUTBOX_ID_HEADER] for message in await there.published()]
        assert len(ids) > len(set(ids)), "no id is that of two events"

        assert {one["compensated_by"] for one in await phantoms(there, "--compensate")} == {"project.deleted"}
        await there.drained()

    found = await audit(there.settings())
    assert (found.is_clean, found.foreign) == (True, 80)
    latest: dict[str, tuple[str, int]] = {}
    for message in await there.published():
        row = message.envelope["subject"]
        latest[row] = max(latest.get(row, ("", 0)), (message.envelope["sequence"], message.sequence))
        assert latest[row][1] == message.sequence, "an older event of the row has a higher sequence"


async def test_what_an_asynchronous_standby_lacked_is_told_and_can_be_taken_back(there: World, servers: Pair) -> None:
    # given: a standby that is away, and changes that nobody but the primary has
    await servers.add_standby(is_synchronous=False)
    async with there.relay() as metrics:
        await describe(there.database, "before")
        await there.drained()
        await servers.stop_standby()
        await describe(servers.url, "gone")
        with psycopg.connect(servers.url) as conn:
            conn.execute("SELECT register_project('q', 'git@github.com:owner/q.git')")
            conn.execute("UPDATE worktree_types SET description = 'gone' WHERE name = 'feat'")
        await there.drained()

        # when: it takes over
        await servers.stop(is_crash=True)
        await servers.start_standby()
        await servers.promote()
        await describe(there.database, "after")
        await there.drained()

        # then: the publisher goes on, says so, and doctor lists what was told and is not
        assert metrics.unknown == 3
        (found,) = await about_phantoms(there)
        assert not found.is_well
        assert "1 project.updated, 1 project.registered, 1 worktree_type.updated" in found.text
        listed = await phantoms(there)
        assert [(one["entity"], one["action"]) for one in listed] == [
            ("project", "updated"),
            ("project", "registered"),
            ("worktree_type", "updated"),
        ]

        # and a consumer that believed it is told how things are, once
        done = await phantoms(there, "--compensate")
        assert [one["compensated_by"] for one in done] == [
            "project.updated",
            "project.deleted",
            "worktree_type.updated",
        ]
        assert {one["compensated_by"] for one in await phantoms(there, "--compensate")} == {None}
        await there.drained()
        state = State()
        for message in await there.published():
            state.apply(orjson.dumps(message.envelope))
        assert [project.description for project in state.projects.values()] == ["after"]
        assert [kind.description for kind in state.types.values() if kind.name == "feat"] != ["gone"]
        (found,) = await about_phantoms(there)
        assert found.is_well
        assert (await there.audit())._replace(events=0) == Audit(0, [], [], [], 3, [], [])
