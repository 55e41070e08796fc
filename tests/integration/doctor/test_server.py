"""What doctor says about the two servers and what surrounds them: each thing it names is made to happen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from publisher.doctor import examine, listening
from publisher.doctor import server as looked_at
from publisher.doctor.accounts import account_findings
from publisher.doctor.columns import column_findings
from publisher.doctor.server import server_findings
from publisher.embedded.postgres import postgres
from publisher.outbox.connection import connect
from registry.database import migrate
from registry.database.connection import connect_blocking
from tests.support.nats.process import nats_process
from tests.support.nats.reading import connected
from tests.support.pgbouncer import BINARY, pgbouncer
from tests.support.services import POSTGRES_SETTINGS, scratch_directory, wait_until
from tests.support.world import World

needs_pgbouncer = pytest.mark.skipif(BINARY is None, reason="needs Debian's package pgbouncer")


async def found(world: World, database: str | None = None) -> list[str]:
    """What is not well around the servers, or through another URL of the same database."""
    url = database or world.database
    async with connect(url, "test") as conn:
        findings = [*await server_findings(conn, world.nats), *await column_findings(conn)]
    first, *others = findings
    assert first.is_well
    assert re.fullmatch(r"PostgreSQL \d+\.\d+ and nats-server \d+\.\d+\.\d+", first.text)
    assert not any(finding.is_well for finding in others)
    return [finding.text for finding in others]


async def test_servers_that_are_well_give_their_versions_and_no_other_line(world: World) -> None:
    await world.nats.jetstream().account_info()
    assert await found(world) == []


async def test_a_column_that_no_event_tells_is_named(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("ALTER TABLE projects ADD COLUMN budget int, ADD COLUMN gone int")
        conn.execute("ALTER TABLE projects DROP COLUMN gone")
    (line,) = await found(world)
    assert line.startswith("column budget of table projects is not of this version: no event tells")


async def test_who_keeps_vacuum_back_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked_at, "LONG_SECONDS", 0.2)
    with psycopg.connect(world.database, application_name="the report") as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.execute("SELECT count(*) FROM projects")
        conn.execute("SELECT pg_sleep(0.3)")
        (line,) = await found(world)
        assert line.startswith(f'pid {conn.info.backend_pid} (application "the report", user ')
        assert "has read in one transaction for 0:00:0" in line
        assert line.endswith(f"SELECT pg_terminate_backend({conn.info.backend_pid})")
    assert await found(world) == []


@needs_pgbouncer
async def test_a_pooler_that_swallows_listen_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "HEARD_SECONDS", 0.5)
    with pgbouncer(world.database) as pooled:
        first, *_ = await examine(world.at(database=pooled).settings())
    assert first.text.startswith("LISTEN on the database's URL hears nothing: a pooler of transactions")
    assert await listening.listening_findings(world.database) == []


async def test_a_disk_that_fills_up_is_told_with_its_days(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(1)
    monkeypatch.setattr(looked_at, "LEAST_FREE", 1.1)
    monkeypatch.setattr(looked_at, "LEAST_AGE_SECONDS", 0.0)
    with scratch_directory() as directory, postgres(directory, settings=POSTGRES_SETTINGS) as server:
        with connect_blocking(server.url) as conn:
            migrate.apply(conn)
            conn.execute("SELECT registry_heartbeat('s')")
        (line,) = await found(world, server.url)
    assert line.startswith("the disk of PostgreSQL has ")
    assert " days as the outbox grew so far: without room nothing is written" in line


async def test_a_nats_account_that_is_nearly_full_is_told(world: World, state_dir: Path) -> None:
    accounts = {
        name: {"jetstream": limits, "users": [{"user": name, "password": "w"}]}
        for name, limits in {"A": {"max_file": 1_000_000, "max_memory": 0}, "B": "enabled"}.items()
    }
    with nats_process(state_dir, accounts=accounts) as broker:
        async with connected(broker.url("A:w")) as limited, connected(broker.url("B:w")) as unlimited:
            for client in (limited, unlimited):
                await client.jetstream().add_stream(name="HALF", subjects=["half"])
                await client.jetstream().publish("half", b"x" * 700_000)
            assert await found(world.at(nats=limited)) == []
            for client in (limited, unlimited):
                await client.jetstream().publish("half", b"x" * 200_000)
            (line,) = await found(world.at(nats=limited))
            assert await found(world.at(nats=unlimited)) == []
    assert line.startswith("the NATS account has used 1 of 1 MB of its storage: at the limit nothing is published")


@pytest.fixture
def archiving_server() -> Iterator[str]:
    """A migrated database on a server that cannot archive its WAL."""
    settings = POSTGRES_SETTINGS | {"archive_mode": "on", "archive_command": "false"}
    with scratch_directory() as directory, postgres(directory, settings=settings) as server:
        with connect_blocking(server.url) as conn:
            migrate.apply(conn)
        yield server.url


async def test_wal_that_cannot_be_archived_is_told(world: World, archiving_server: str) -> None:
    failed = "SELECT failed_count FROM pg_stat_archiver WHERE failed_count > 0"
    with psycopg.connect(archiving_server, autocommit=True) as conn:
        conn.execute("SELECT pg_switch_wal()")
        wait_until(lambda: conn.execute(failed).fetchone() is not None)
    (line,) = await found(world, archiving_server)
    assert line.startswith("PostgreSQL cannot archive its WAL: segment 0000")


async def test_an_account_that_lacks_a_right_of_its_role_is_told(world: World) -> None:
    with scratch_directory() as directory, postgres(directory, settings=POSTGRES_SETTINGS) as server:
        with connect_blocking(server.url) as conn:
            migrate.apply(conn)
            conn.autocommit = True
            conn.execute("CREATE ROLE watcher LOGIN PASSWORD 'w'")
            conn.execute("GRANT imi_reader TO watcher")
        watcher = psycopg.conninfo.make_conninfo(server.url, user="watcher", password="w")  # noqa: S106  # of a test
        before = account_findings(watcher)
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute("REVOKE SELECT ON outbox, projects FROM imi_reader")
        (after,) = account_findings(watcher)
        assert account_findings(server.url) == []  # a superuser
    assert before == []
    lacks = "role imi_reader lacks 2 rights in this database, SELECT ON outbox, SELECT ON projects"
    assert after.text == f"{lacks}: imi-registry roles setup"


async def test_doctor_looks_at_all_of_it_once_something_was_published(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("ALTER TABLE worktrees ADD COLUMN mood text")
    before = await examine(world.settings())
    async with world.relay():
        world.write(1)
        await world.drained()
        after = await examine(world.settings())
    assert not any("mood" in finding.text for finding in before)
    assert [finding.check for finding in after if "mood" in finding.text] == ["columns"]
    assert any(finding.check == "server" and finding.is_well for finding in after)
