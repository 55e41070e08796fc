"""What doctor says about the database: each thing it names is made to happen."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import psycopg
import pytest

from publisher.doctor import database as looked_at
from publisher.doctor.database import database_findings
from publisher.embedded.postgres import postgres
from publisher.outbox.connection import connect
from registry.database import migrate
from registry.database.connection import connect_blocking
from tests.support.servers.clock import Clock, needs_faketime
from tests.support.services import scratch_directory
from tests.support.world import World

REGISTER = "SELECT register_project('p', 'https://github.com/o/p')"


async def found(world: World) -> list[str]:
    async with connect(world.database, "test") as conn:
        findings = await database_findings(conn, world.stream)
    assert not any(finding.is_well for finding in findings)
    return [finding.text for finding in findings]


async def test_a_database_that_is_well_gives_no_line(world: World) -> None:
    assert await found(world) == []


@pytest.mark.parametrize(
    ("table", "trigger"),
    [
        ("worktrees", "worktrees_outbox_update"),
        ("hosts", "hosts_outbox"),
        ("project_hosts", "project_hosts_outbox"),
        ("command_ledger", "command_ledger_outbox"),
    ],
)
async def test_a_trigger_that_is_off_is_named_with_how_to_switch_it_on(world: World, table: str, trigger: str) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}".encode())
        (line,) = await found(world)
        assert line.startswith(f"trigger {trigger} of table {table} is switched off")
        conn.execute(line.split("; ")[-1].split(", then")[0])
    assert await found(world) == []


async def test_who_keeps_outbox_ids_open_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked_at, "OLD_SECONDS", 0.2)
    with psycopg.connect(world.database, application_name="the janitor") as conn:
        conn.execute(REGISTER)
        conn.execute("SELECT pg_sleep(0.3)")
        (line,) = await found(world)
        assert line.startswith(f'pid {conn.info.backend_pid} (application "the janitor", user ')
        assert "idle in transaction) has been in a transaction for 0:00:0" in line
        assert "1 outbox id waits for such" in line
    assert await found(world) == []


async def test_a_reader_keeps_nothing_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked_at, "OLD_SECONDS", 0.0)
    with psycopg.connect(world.database) as conn:
        conn.execute("SELECT count(*) FROM projects")
        assert await found(world) == []


async def test_connections_that_run_out_are_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked_at, "FULL", 0.0)
    (line,) = await found(world)
    assert "connections of PostgreSQL are in use" in line


class OwnServer(NamedTuple):
    """A migrated database on a server of these tests alone, and its clock."""

    url: str
    clock: Clock


@pytest.fixture(scope="module")
def own_server() -> Iterator[OwnServer]:
    """Slots, prepared transactions and the time are the server's."""
    settings = {"max_prepared_transactions": "2", "fsync": "off"}
    with scratch_directory() as directory:
        clock = Clock(directory)
        with postgres(directory, bin_dir=clock.binaries, settings=settings) as server:
            with connect_blocking(server.url) as conn:
                migrate.apply(conn)
            yield OwnServer(server.url, clock)


@needs_faketime
@pytest.mark.parametrize(("seconds", "where"), [(3600, "ahead of"), (-3600, "behind")], ids=["ahead", "behind"])
async def test_a_clock_that_is_off_is_told(world: World, own_server: OwnServer, seconds: int, where: str) -> None:
    async def until(is_so: Callable[[list[str]], bool]) -> list[str]:
        async with asyncio.timeout(60):
            while not is_so(lines := await found(world.at(database=own_server.url))):
                await asyncio.sleep(0.1)
        return lines

    own_server.clock.jump(seconds)
    try:
        (line,) = await until(lambda lines: len(lines) == 1)
    finally:
        own_server.clock.jump(0)
    assert re.match(rf"the clock of PostgreSQL is 3,[56]\d\d s {where} this host's: ages of events", line)
    await until(lambda lines: lines == [])


async def test_a_prepared_transaction_and_a_slot_that_nobody_uses_are_named(
    world: World, own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looked_at, "OLD_SECONDS", 0.0)
    there = world.at(database=own_server.url)
    with psycopg.connect(own_server.url, autocommit=True) as conn:
        conn.execute("BEGIN")
        conn.execute(REGISTER)
        conn.execute("PREPARE TRANSACTION 'forgotten'")
        conn.execute("SELECT pg_create_physical_replication_slot('replica', true)")
        prepared, slot = await found(there)
        assert prepared.startswith('transaction "forgotten" of ')
        assert "1 outbox id waits for such; COMMIT PREPARED or ROLLBACK PREPARED" in prepared
        assert slot.startswith("replication slot replica is used by nobody and keeps ")
        conn.execute("ROLLBACK PREPARED 'forgotten'")
        conn.execute("SELECT pg_drop_replication_slot('replica')")
    assert await found(there) == []
