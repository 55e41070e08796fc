"""What others do to the servers never ends a service: it says what is missing, and goes on when it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.support.commands import envelope
from tests.support.databases import Role, name_of, plain_role, url_of
from tests.support.proxy import nats_proxy, postgres_proxy
from tests.support.relay_process import status_of
from tests.support.servers.readiness import assert_all_done, change, until_told, until_well, use
from tests.support.world import World

GRANTS = """
GRANT USAGE ON SCHEMA public TO {role};
GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {role};
"""
RIGHTS = [
    "SELECT ON outbox",
    "UPDATE ON publisher_cursor",
    "INSERT ON published_batch",
    "UPDATE ON SEQUENCE publisher_doorbell",
    "INSERT ON command_ledger",
    "INSERT ON projects",
    "SELECT ON projects",
]
"""Of each relation that the service writes, or reads, one right that it cannot do without."""
AWAY = {
    "a table": ("ALTER TABLE outbox RENAME TO away", "ALTER TABLE away RENAME TO outbox"),
    "a column": (
        "ALTER TABLE published_batch RENAME ids TO away",
        "ALTER TABLE published_batch RENAME away TO ids",
    ),
    "a function": ("ALTER FUNCTION run_command RENAME TO away", "ALTER FUNCTION away RENAME TO run_command"),
    "the schema": ("ALTER SCHEMA public RENAME TO away", "ALTER SCHEMA away RENAME TO public"),
}


@pytest.fixture
def service_role(world: World, admin_url: str) -> Iterator[Role]:
    """A role that may do what a service does, and owns nothing."""
    with plain_role(admin_url, world.database) as role:
        with psycopg.connect(world.database, autocommit=True) as conn:
            conn.execute(sql.SQL(GRANTS).format(role=sql.Identifier(role.name)))
        yield role


@pytest.mark.superuser
async def test_a_right_that_is_missing_is_waited_for_and_named(world: World, service_role: Role) -> None:
    name = service_role.name
    as_role = world.at(database=url_of(world.database, name_of(world.database), service_role))

    with as_role.process() as process:
        await until_well(process)
        for number, right in enumerate(RIGHTS):
            change(world, f"REVOKE {right} FROM {name}")
            await use(world, number)
            await until_told(process, f"permission denied for {_relation(right)}")
            change(world, f"GRANT {right} TO {name}")
            await until_well(process)
        await assert_all_done(world, len(RIGHTS))


def _relation(right: str) -> str:
    target = right.partition(" ON ")[2]
    return target.replace("SEQUENCE", "sequence") if "SEQUENCE" in target else f"table {target}"


@pytest.mark.superuser
async def test_a_command_that_lacks_a_right_holds_up_no_other(world: World, service_role: Role) -> None:
    as_role = world.at(database=url_of(world.database, name_of(world.database), service_role))

    async with as_role.applier() as metrics:
        change(world, f"REVOKE INSERT ON worktrees FROM {service_role.name}")
        (project,) = world.rows("SELECT register_project('p', 'git@github.com:o/p.git')")[0]
        lacking = {"project_id": str(project), "type_name": "feat", "name": "w", "branch_name": "feat/w", "path": "/w"}
        await world.send("worktree.register", envelope("worktree.register", lacking))
        for number in range(20):
            origin = f"git@github.com:o/other{number}.git"
            outcome = await world.ask(
                "project.register", envelope("project.register", {"name": "p", "remote_origin": origin})
            )
            assert outcome["verdict"] == "applied"
        assert metrics.problems() == ["commands wait: permission denied for table worktrees (SQLSTATE 42501)"]
        change(world, f"GRANT INSERT ON worktrees TO {service_role.name}")
        await world.commands_done()
        assert metrics.problems() == []
    assert world.rows("SELECT DISTINCT verdict FROM command_ledger") == [("applied",)]


@pytest.mark.superuser
async def test_a_database_that_may_only_be_read_is_waited_for(world: World, service_role: Role) -> None:
    as_role = world.at(database=url_of(world.database, name_of(world.database), service_role))
    database = name_of(world.database)
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{service_role.name}'"  # noqa: S608  # of constants

    with as_role.process() as process:
        await until_well(process)
        change(
            world, f"ALTER ROLE {service_role.name} IN DATABASE {database} SET default_transaction_read_only = on", cut
        )
        await use(world, 1)
        await until_told(process, "in a read-only transaction")
        change(world, f"ALTER ROLE {service_role.name} IN DATABASE {database} RESET ALL", cut)
        await until_well(process)
        await assert_all_done(world, 1)


async def test_a_schema_that_is_away_for_a_while_is_waited_for(world: World) -> None:
    with world.process() as process:
        await until_well(process)
        for number, (take, give) in enumerate(AWAY.values()):
            change(world, take)
            await world.send(
                "project.register",
                envelope("project.register", {"name": "p", "remote_origin": f"git@github.com:o/p{number}.git"}),
            )
            await until_told(process, "does not exist")
            change(world, give, f"SELECT register_project('q', 'git@github.com:o/q{number}.git')")
            await until_well(process)
        await assert_all_done(world, len(AWAY))


@contextmanager
def lock_held(database: str, stream: str, application: str) -> Iterator[int]:
    """The lock of the stream's publisher in the hands of another session; yields its pid."""
    with psycopg.connect(database, autocommit=True, application_name=application) as conn:
        conn.execute("SELECT pg_advisory_lock(hashtextextended('imi publisher ' || %s, 0))", [stream])
        yield conn.info.backend_pid


async def test_a_stranger_who_holds_the_lock_is_named_and_left_alone(world: World) -> None:
    settings = {"heartbeat_seconds": 0.1, "stale_seconds": 0.2}
    user = conninfo_to_dict(world.database)["user"]

    with world.process(**settings) as first:  # so that there is a heartbeat to be stale
        await first.ready()
    with lock_held(world.database, world.stream, "psql") as pid, world.process(**settings) as process:
        change(world, "SELECT register_project('q', 'git@github.com:o/q.git')")
        await until_told(process, f'pid {pid} (application "psql", user {user})', "end that session")
        assert [line["reason"] for line in process.logged("standing by behind a stranger")] != []
        assert world.rows("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid) == [(1,)]
        change(world, f"SELECT pg_terminate_backend({pid})")
        await until_well(process)
        await world.assert_exactly_once()


async def test_a_table_that_somebody_has_locked_is_waited_for_and_the_holder_named(world: World) -> None:
    with world.process() as process, psycopg.connect(world.database, application_name="psql") as stranger:
        await until_well(process)
        change(world, "SELECT register_project('q', 'git@github.com:o/q.git')")
        stranger.execute("LOCK TABLE outbox, command_ledger IN ACCESS EXCLUSIVE MODE")
        origin = "git@github.com:o/p.git"
        await world.send("project.register", envelope("project.register", {"name": "p", "remote_origin": origin}))
        holder = f'pid {stranger.info.backend_pid} (application "psql", user '
        await until_told(process, "waits for", holder, "which holds or asks for a lock that it needs")
        await until_told(process, "imi-registry applier", holder)

        stranger.rollback()

        await until_well(process)
        await assert_all_done(world, 1)


@pytest.mark.parametrize("away", ["PostgreSQL", "NATS"])
async def test_serve_waits_in_its_first_second_as_in_its_last(world: World, away: str) -> None:
    async with (
        postgres_proxy(world.database) as (database, database_url),
        nats_proxy(world.nats_url) as (nats, nats_url),
    ):
        proxy = database if away == "PostgreSQL" else nats
        proxy.refuse()
        with world.at(database=database_url, nats_url=nats_url).process() as process:
            waiting = await process.until_logged("start interrupted")
            proxy.go_on()
            await until_well(process)
            await use(world, 1)
            await until_well(process)
            await assert_all_done(world, 1)
    assert waiting["reason"]


async def test_serve_waits_for_a_database_that_is_not_there_yet_and_for_its_password(
    world: World, service_role: Role
) -> None:
    wrong = world.at(database=url_of(world.database, "imi_no_such_database", service_role))
    with wrong.process() as process:
        line = await process.until_logged("start interrupted")
        assert 'database "imi_no_such_database" does not exist' in line["reason"]
        assert process.is_running


async def test_the_url_of_the_status_page_is_logged_while_a_server_is_waited_for(world: World) -> None:
    async with nats_proxy(world.nats_url) as (proxy, url):
        proxy.refuse()
        with world.at(nats_url=url).process() as process:
            http_url = (await process.until_logged("listening"))["http_url"]
            code, body = await asyncio.to_thread(status_of, f"{http_url}/readyz")
            assert code == 503
            assert any("nothing is started: " in problem for problem in body["problems"])
            assert not process.logged("ready")
            proxy.go_on()
            assert (await process.ready())["http_url"] == http_url
