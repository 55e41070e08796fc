"""Who waits in front of a table keeps others off it, whatever he may: he is named, and all goes on when he ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from publisher.embedded.postgres import postgres
from registry.database import migrate
from registry.database.connection import connect_blocking
from tests.support.databases import Role, name_of, plain_role, url_of
from tests.support.postgres.in_front import MODES, RULE, TRIGGER, InFront, in_front
from tests.support.processes import run
from tests.support.relay_process import RelayProcess, status_of
from tests.support.servers.readiness import until_ready_is, until_told, until_well
from tests.support.services import scratch_directory
from tests.support.threads import in_thread
from tests.support.world import World

REGISTER = "SELECT register_project('p', 'git@github.com:o/p.git')"


@pytest.fixture
def stranger(world: World, admin_url: str) -> Iterator[str]:
    """The database as somebody who may log in and nothing else."""
    with plain_role(admin_url) as role:
        yield url_of(world.database, name_of(world.database), role)


def named(front: InFront, table: str, asks: str = RULE) -> tuple[str, str, str]:
    """Parts of the sentence about the two."""
    return (
        f'pid {front.asking} (application "", user imi_test_',
        f"has waited for {MODES[asks]} on {table} since ",
        f"Z, behind pid {front.holding} (",
    )


async def until_noted(process: RelayProcess, *parts: str) -> None:
    """Wait until `/readyz` is green and says so all the same."""
    await until_ready_is(
        process, lambda code, told: code == 200 and any(all(part in one for part in parts) for one in told)
    )


@pytest.mark.parametrize(
    ("table", "asks", "waits"),
    [
        ("outbox", RULE, True),
        pytest.param("publisher_cursor", RULE, True, marks=pytest.mark.long),
        ("publisher_cursor", TRIGGER, True),
        ("projects", RULE, False),
        pytest.param("projects", TRIGGER, False, marks=pytest.mark.long),
        pytest.param("agent_activities", TRIGGER, False, marks=pytest.mark.long),
        pytest.param("outbox_id_seq", RULE, True, marks=pytest.mark.long),
    ],
)
async def test_who_stands_in_front_is_told_by_service_and_doctor_and_all_goes_on_without_him(
    world: World, stranger: str, table: str, asks: str, waits: bool
) -> None:
    """`waits`: whether the relay does, so that nothing is published."""
    with world.process() as process:
        await until_well(process)
        with in_front(stranger, f"public.{table}", asks) as front:
            sentence = named(front, table, asks)
            if waits:
                await until_told(process, "imi-registry ", f" waits for pid {front.asking} (", "asks for a lock")
                await until_told(process, *sentence)
            else:
                await until_noted(process, *sentence)
            places = {"DATABASE_URL": world.database, "NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
            doctor = await in_thread(run, "doctor", **places)
            assert doctor.returncode == 1, doctor.stderr
            assert any(all(part in line for part in sentence) for line in doctor.stdout.splitlines())
            assert [line["reason"] for line in process.logged("a lock keeps others waiting")] != []

        await until_well(process)
        with psycopg.connect(world.database, autocommit=True) as writer:
            writer.execute(REGISTER)
        await world.assert_exactly_once()
        assert process.logged("what a lock kept waiting goes on") != []


@pytest.mark.parametrize("table", ["publisher_cursor", "schema_migrations"])
async def test_a_service_that_starts_behind_one_says_so_and_goes_on(world: World, stranger: str, table: str) -> None:
    with ExitStack() as started:
        with in_front(stranger, f"public.{table}") as front:
            with world.process() as first:
                await until_says(first, *named(front, table))
                first.stop()
                assert await first.exit_code() == 0
            process = started.enter_context(world.process())
            await until_says(process, *named(front, table))

        await until_well(process)
        with psycopg.connect(world.database, autocommit=True) as writer:
            writer.execute(REGISTER)
        await world.assert_exactly_once()


async def until_says(process: RelayProcess, *parts: str) -> None:
    """Wait until a service that has not started is red and says this."""
    url = (await process.until_logged("listening"))["http_url"]
    async with asyncio.timeout(40):
        while True:
            code, body = await asyncio.to_thread(status_of, f"{url}/readyz")
            if code == 503 and any(all(part in problem for part in parts) for problem in body["problems"]):
                return
            await asyncio.sleep(0.05)


async def test_who_keeps_new_connections_off_from_another_database_keeps_no_event_back_and_is_named(
    world: World,
) -> None:
    """A login of the server may have its catalogs kept, also one that may not connect to the registry's database."""
    with scratch_directory() as directory, postgres(directory, settings={"fsync": "off"}) as server:
        with connect_blocking(server.url) as own:
            migrate.apply(own)
            own.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")
            own.execute("CREATE DATABASE elsewhere")
        there = world.at(database=server.url)
        with there.process() as process, psycopg.connect(server.url, autocommit=True) as writer:
            await until_well(process)
            elsewhere = url_of(server.url, "elsewhere", Role("stranger", "x"))
            with in_front(elsewhere, "pg_catalog.pg_authid") as front:
                with pytest.raises(psycopg.OperationalError):
                    psycopg.connect(server.url, connect_timeout=2)
                writer.execute(REGISTER)
                async with asyncio.timeout(20):
                    while not (await world.nats.jetstream().stream_info(world.stream)).state.last_seq:
                        await asyncio.sleep(0.01)
                await until_told(process, f"pid {front.asking} (", " has waited for AccessExclusiveLock on ")
            await until_well(process)
        await there.assert_exactly_once()
