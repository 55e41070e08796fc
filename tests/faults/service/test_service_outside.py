"""What others do to the servers never ends a service: it says what is missing, and goes on when it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from publisher.applier.applier import Applier
from publisher.applier.metrics import ApplierMetrics
from publisher.health import Health
from publisher.history.service import HistoryService
from publisher.part import Part
from publisher.query_service import QueryService
from registry.concurrency.tasks import end
from tests.support.commands import envelope
from tests.support.databases import Role, name_of, plain_role, url_of
from tests.support.proxy import Direction, nats_proxy, postgres_proxy
from tests.support.relay_process import RelayProcess, status_of
from tests.support.world import World

GRANTS = """
GRANT USAGE ON SCHEMA public TO {role};
GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role};
"""
RIGHTS = [
    "SELECT ON outbox",
    "INSERT ON outbox",
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


def change(world: World, *statements: str) -> None:
    """What an administrator does."""
    with psycopg.connect(world.database, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


async def until_told(process: RelayProcess, *parts: str) -> None:
    """Wait until `/readyz` is red with a problem that has all of `parts`."""

    def is_told(code: int, problems: list[str]) -> bool:
        return code == 503 and any(all(part in problem for part in parts) for problem in problems)

    await until_ready_is(process, is_told)


async def until_well(process: RelayProcess) -> None:
    """Wait until `/readyz` is green."""
    await until_ready_is(process, lambda code, problems: code == 200 and not problems)


async def until_ready_is(process: RelayProcess, wanted: Callable[[int, list[str]], bool]) -> None:
    last: object = None
    try:
        async with asyncio.timeout(40):
            while True:
                assert process.is_running, process.log()
                code, body = await process.readyz()
                last = (code, body["problems"])
                if wanted(code, body["problems"]):
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"/readyz is {last}, the log: {process.log()[-6:]}") from None


async def use(world: World, number: int) -> None:
    """A command, and an event of somebody else's."""
    origin = f"git@github.com:o/p{number}.git"
    await world.send("project.register", envelope("project.register", {"name": "p", "remote_origin": origin}))
    change(world, f"SELECT register_project('q', 'git@github.com:o/q{number}.git')")


async def assert_all_done(world: World, commands: int) -> None:
    """Fail unless every command was applied, none rejected, none a dead letter, and each event was published once."""
    await world.commands_done()
    assert world.rows("SELECT verdict, count(*) FROM command_ledger GROUP BY verdict") == [("applied", commands)]
    await world.assert_exactly_once(at_least=3 * commands)


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
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{service_role.name}'"  # noqa: S608

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
        await until_told(process, "waits for", holder, "which holds a lock that it needs")
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


PARTS = {"relay": World.relay, "applier": World.applier, "queries": World.queries, "history": World.history}
"""What each of them needs to settle comes through the proxies."""


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("server", ["PostgreSQL", "NATS"])
@pytest.mark.parametrize("part", PARTS)
async def test_a_connection_cut_at_any_step_of_a_parts_start_only_delays_it(
    world: World, part: str, server: str, every: int
) -> None:
    async with (
        postgres_proxy(world.database) as (database, database_url),
        nats_proxy(world.nats_url) as (nats, nats_url),
    ):
        there = world.at(database=database_url, nats_url=nats_url)
        proxy = database if server == "PostgreSQL" else nats

        def cut() -> None:
            proxy.cut()
            proxy.go_on()
            cuts.append(step)

        cuts: list[int] = []
        for step in range(every // 2 + 1, 200, every):
            proxy.stop_at(step, "before", cut)
            async with PARTS[part](there):
                pass
            proxy.go_on()
            if step not in cuts:  # it has settled in fewer steps
                break
    assert step < 199
    if server == "NATS":
        assert len(cuts) * every >= 7


async def test_a_nats_that_stalls_after_the_first_contact_only_delays_queries_and_history(world: World) -> None:
    async with nats_proxy(world.nats_url) as (proxy, url):
        settings = world.at(nats_url=url).settings()

        def swallow_once_greeted(direction: Direction, data: bytes) -> bool:
            is_swallowed = is_greeted and direction == "to_server"
            is_greeted.extend([True] if b"PONG" in data else [])
            return bool(is_swallowed)

        is_greeted: list[bool] = []
        proxy.swallow = swallow_once_greeted
        parts: list[Part] = [
            QueryService(settings, Health("queries", CollectorRegistry())),
            HistoryService(settings, Health("history", CollectorRegistry())),
        ]
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(part.run()) for part in parts]
            async with asyncio.timeout(30):
                while not all(part.health.problems() for part in parts):
                    await asyncio.sleep(0.01)
                assert not any(part.settled.is_set() for part in parts)
                proxy.go_on()
                for part in parts:
                    await part.settled.wait()
            await end(running)
        assert [(part.health.problems(), part.health.crashed) for part in parts] == [([], 0), ([], 0)]


async def test_an_applier_that_ends_while_nats_is_silent_says_why_and_ends_in_time(world: World) -> None:
    async with nats_proxy(world.nats_url) as (proxy, url):
        metrics = ApplierMetrics(CollectorRegistry())
        applier = Applier(world.at(nats_url=url).settings(), metrics)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(applier.run())
            await applier.settled.wait()
            proxy.black_hole()
            async with asyncio.timeout(30):
                while not metrics.problems():
                    await asyncio.sleep(0.01)
            said = metrics.problems()
            await end([task])

    assert task.cancelled()
    assert "commands wait: NATS is silent" in said[-1]


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
