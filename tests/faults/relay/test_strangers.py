"""Who may connect to the database, and has no right in it, can neither hold up nor forge nor suppress an event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from publisher.doctor import examine
from publisher.outbox.connection import LEADER, connect
from publisher.outbox.lead import try_lead
from tests.support.databases import Role, name_of, plain_role, url_of
from tests.support.proxy import nats_proxy
from tests.support.world import World

KEY = "hashtextextended('imi publisher ' || %s, 0)"


@pytest.fixture
def stranger(world: World, admin_url: str) -> Iterator[str]:
    """The database as somebody who may log in and nothing else."""
    with plain_role(admin_url) as role:
        yield url_of(world.database, name_of(world.database), role)


def held(url: str) -> list[tuple[int, int]]:
    """Keys of the advisory locks in this database, which anybody may see."""
    with psycopg.connect(url, autocommit=True) as conn:
        return conn.execute(
            "SELECT classid::bigint, objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND objsubid = 1"
        ).fetchall()


@asynccontextmanager
async def waiting_at_the_lock(world: World, stranger: str) -> AsyncIterator[None]:
    """The stranger waits in front of everybody else for the lock that the publisher holds; he has it in the end."""
    (key,) = held(world.database)
    with psycopg.connect(stranger, autocommit=True) as conn:
        question = "SELECT pg_advisory_lock((%s::bigint << 32) | %s)"
        waiting = asyncio.create_task(asyncio.to_thread(conn.execute, question, list(key)))
        async with asyncio.timeout(20):
            while not world.rows("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
                await asyncio.sleep(0.01)
        yield
        await waiting


async def test_a_stranger_who_holds_the_lock_of_the_publisher_keeps_nothing_back(world: World, stranger: str) -> None:
    with psycopg.connect(stranger, autocommit=True, application_name="imi-registry forged") as conn:
        conn.execute(f"SELECT pg_advisory_lock({KEY})".encode(), [world.stream])
        world.write()
        async with world.relay():
            await world.assert_exactly_once()
            assert conn.execute("SELECT 1").fetchone() == (1,), "it is let be"


async def test_a_stranger_who_waits_for_it_does_not_keep_a_standby_from_the_lead_of_one_that_is_cut_off(
    world: World, stranger: str
) -> None:
    async with nats_proxy(world.nats_url) as (proxy, url), world.at(nats_url=url).relay():
        world.write(1, 0, 0)
        await world.drained()
        async with world.relay() as standby, waiting_at_the_lock(world, stranger):
            proxy.refuse()
            world.write(1, 0, 0)
            await world.assert_exactly_once()
            assert (standby.role, world.rows("SELECT epoch FROM publisher_cursor")) == ("leader", [(2,)])


async def test_a_stranger_who_holds_it_is_named_whatever_he_calls_himself(world: World, stranger: str) -> None:
    with psycopg.connect(stranger, autocommit=True, application_name="imi-registry forged") as conn:
        conn.execute(f"SELECT pg_advisory_lock({KEY})".encode(), [world.stream])
        (told,) = [one.text for one in await examine(world.settings()) if "holds the lock of the publisher" in one.text]
        assert told.startswith(f'pid {conn.info.backend_pid} (application "imi-registry forged", user ')


async def test_a_stranger_who_waits_for_each_lock_of_the_publisher_keeps_nothing_back(
    world: World, stranger: str
) -> None:
    async with world.relay():
        world.write()
        await world.drained()
        async with waiting_at_the_lock(world, stranger):
            world.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            world.rows("SELECT register_project('late', 'git@github.com:o/late.git')")
            await world.assert_exactly_once()


async def test_a_publisher_that_hangs_and_cannot_be_ended_by_the_next_one_is_left_behind(
    world: World, admin_url: str
) -> None:
    """Two users of the role of publishers: neither may end the other's sessions."""
    world.write()
    with plain_role(admin_url, world.database) as first, plain_role(admin_url, world.database) as second:
        with psycopg.connect(world.database, autocommit=True) as conn:
            for role in (first, second):
                conn.execute(
                    sql.SQL(
                        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {0};"
                        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {0}"
                    ).format(sql.Identifier(role.name))
                )
        async with connect(as_role(world, first), "imi-registry hanging", LEADER) as hanging:
            cursor = await try_lead(hanging, world.stream, "hanging")
            assert cursor is not None
            world.rows("UPDATE publisher_cursor SET heartbeat_at = now() - interval '1 hour' RETURNING 1")
            async with world.at(database=as_role(world, second)).relay(stale_seconds=0.2):
                await world.assert_exactly_once()


def as_role(world: World, role: Role) -> str:
    return url_of(world.database, name_of(world.database), role)


async def test_a_forged_doorbell_changes_nothing(world: World, stranger: str) -> None:
    async with world.relay():
        with psycopg.connect(stranger, autocommit=True) as conn:
            for payload in ["", "forged", "x" * 7000] * 100:
                conn.execute("SELECT pg_notify('imi_outbox', %s)", [payload])
            world.write()
            for _ in range(100):
                conn.execute("NOTIFY imi_outbox")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute("SELECT setval('publisher_doorbell', 0)")
        found = await world.assert_exactly_once()
        assert found is not None


async def test_what_everybody_may_see_tells_nothing_of_the_registry(world: World, stranger: str) -> None:
    """Sessions, locks and notifications are the server's: whoever may connect sees that there is a publisher."""
    told: list[str] = []
    async with world.relay(), world.applier():
        with psycopg.connect(stranger, autocommit=True) as conn:
            conn.execute("LISTEN imi_outbox")
            world.write()
            world.rows("SELECT register_project('s3cret', 'git@github.com:o/s3cret.git')")
            await world.assert_exactly_once()
            told += [notify.payload for notify in conn.notifies(timeout=1)]
            assert told, "the doorbell is heard by everybody"
            told += conn.execute("SELECT s::text FROM pg_stat_activity AS s WHERE usename <> current_user").fetchall()
            told += conn.execute("SELECT l::text FROM pg_locks AS l").fetchall()
            told += conn.execute("SELECT s::text FROM pg_stats AS s WHERE schemaname = 'public'").fetchall()
            told += conn.execute("SELECT s::text FROM pg_settings AS s").fetchall()
    assert len(told) > 20
    secrets = ("s3cret", conninfo_to_dict(world.database)["password"], world.nats_url, "register_project")
    assert [one for one in told if any(str(secret) in str(one) for secret in secrets)] == []


async def test_a_stranger_who_takes_every_connection_keeps_nothing_back(world: World, stranger: str) -> None:
    async with world.relay(), world.applier():
        with psycopg.connect(world.database, autocommit=True) as writer, ExitStack() as taken:
            database = sql.Identifier(name_of(world.database))
            writer.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 20").format(database))
            with suppress(psycopg.OperationalError):
                while True:
                    taken.enter_context(psycopg.connect(stranger))
            with pytest.raises(psycopg.OperationalError, match="too many connections"):
                psycopg.connect(world.database)
            before = (await world.nats.jetstream().stream_info(world.stream)).state.last_seq
            writer.execute("SELECT register_project('p', 'git@github.com:o/p.git')")
            async with asyncio.timeout(60):
                while (await world.nats.jetstream().stream_info(world.stream)).state.last_seq == before:
                    await asyncio.sleep(0.02)
        await world.assert_exactly_once()


@pytest.mark.parametrize(
    "attack",
    [
        "SELECT FROM projects",
        "SELECT FROM outbox",
        "SELECT register_project('x', 'git@github.com:o/x.git')",
        "LOCK TABLE projects IN ACCESS SHARE MODE",
        "LOCK TABLE outbox IN ACCESS SHARE MODE",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
        "CREATE TABLE public.mine ()",
        "CREATE FUNCTION public.lower_case(text, text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
        "CREATE TRIGGER t AFTER INSERT ON projects EXECUTE FUNCTION outbox_ring()",
        "ALTER TABLE outbox DISABLE TRIGGER ALL",
        "DROP TABLE outbox",
        "CREATE EXTENSION dblink",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ],
)
def test_a_stranger_is_refused(world: World, stranger: str, attack: str) -> None:
    if attack.startswith(("CREATE TABLE public", "CREATE FUNCTION")) and world.rows(
        "SELECT FROM pg_namespace WHERE nspname = 'public' AND has_schema_privilege('public', oid, 'CREATE')"
    ):
        pytest.skip("PostgreSQL 14, whose schema public is open until imi-registry roles setup closes it")
    with psycopg.connect(stranger, autocommit=True) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(f"BEGIN; {attack}".encode())
