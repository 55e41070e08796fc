"""Each alert fires on what a real service exports when that happens of which it tells, and none when all is well.

That each is silent near its limit, and waits its time, is for `alerts_test.yml`. Those of time that goes by are in
test_alerts_of_time.py, `ImiReplicaMissing` is with the cluster that has replicas: tests/faults/client/test_cluster.py.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from publisher.doctor.server import server_findings
from publisher.gauges import measurement
from publisher.gauges.level import Level
from publisher.gauges.measurement import Gauges
from publisher.outbox.connection import connect
from registry.client import Delivery, RegistryClient
from tests.support.client.subscriptions import change_projects, subscribed
from tests.support.databases import Role, name_of, new_database, plain_role, url_of
from tests.support.metrics.alerts import firing, needs_promtool
from tests.support.metrics.exported import Exported, exporting, scraped, scraped_until
from tests.support.nats.process import nats_process
from tests.support.nats.reading import connected
from tests.support.postgres.in_front import in_front
from tests.support.proxy import postgres_proxy
from tests.support.world import World

pytestmark = needs_promtool
DAY_SECONDS = 86_400


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "INTERVAL_SECONDS", 0.05)


def insert(world: World, **columns: str) -> None:
    """A row of the outbox; values are SQL."""
    given = {"entity": "'project'", "action": "'updated'", "data": "'{\"a\": 1}'"} | columns
    text = f"INSERT INTO outbox ({', '.join(given)}) VALUES ({', '.join(given.values())})"  # noqa: S608  # of constants
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute(text.encode())


async def test_none_fires_while_all_is_well_and_a_service_that_is_killed_is_missed(world: World) -> None:
    with world.process() as process:
        url = (await process.ready())["http_url"]
        world.write()
        text = await scraped_until(lambda found: found > 0, url, "imi_stream_bytes", stream=world.stream)
        assert await firing(text) == set()
        process.kill()
    with pytest.raises(OSError, match="refused"):
        scraped(url)
    assert await firing(text, "") == {"ImiServiceDown"}


async def test_without_its_database_nobody_leads_and_nothing_is_measured(world: World) -> None:
    async with postgres_proxy(world.database) as (proxy, url), exporting(world.at(database=url)) as exported:
        await exported.until(lambda leads: leads == 1, "imi_relay_leader")
        await exported.until(lambda events: events == 0, "imi_outbox_waiting_events")
        proxy.refuse()
        await exported.until(lambda leads: leads == 0, "imi_relay_leader")
        text = await exported.until_absent("imi_outbox_waiting_events")
    assert await firing(text) == {"ImiNoPublisher", "ImiNotMeasured"}


async def test_a_transaction_that_stays_open_holds_a_gap(world: World) -> None:
    async with exporting(world, applies=False) as exported:
        with psycopg.connect(world.database) as conn:
            conn.execute("SELECT register_project('slow', 'git@github.com:a/slow.git')")
            world.write(1)
            text = await exported.until(lambda gaps: gaps == 1, "imi_relay_gaps")
            conn.rollback()
        after = await exported.until(lambda gaps: gaps == 0, "imi_relay_gaps")
    assert await firing(text) == {"ImiGapHeldOpen"}
    assert await firing(text, after) == set()


async def test_who_stands_in_front_of_a_table_keeps_others_waiting(world: World, admin_url: str) -> None:
    with plain_role(admin_url) as role, world.process() as process:
        url = (await process.ready())["http_url"]
        with in_front(url_of(world.database, name_of(world.database), role), "public.projects"):
            text = await scraped_until(lambda found: found > 0, url, "imi_examination_lock_waits")
        after = await scraped_until(lambda found: found == 0, url, "imi_examination_lock_waits")
    assert await firing(text) == {"ImiLockWaits"}
    assert await firing(text, after) == set()


async def test_a_stream_with_events_of_a_lost_database_is_told_by_the_next_process(
    world: World, admin_url: str, owner: Role
) -> None:
    async with world.relay():
        world.write(1)
        await world.drained()
    with new_database(admin_url, owner, name_of(world.database)) as copy:
        async with world.relay():
            world.write(projects=1, worktrees=1, renames=5)
            await world.drained()
        async with exporting(world.at(database=copy), applies=False) as exported:
            text = await exported.until(lambda events: events > 0, "imi_relay_unknown_events_total")
    assert await firing(text) == {"ImiStreamOfAnotherState"}, "it was so before anybody scraped the new process"


async def test_an_event_without_its_data_is_told(world: World) -> None:
    async with exporting(world, applies=False) as exported:
        before = exported.text()
        insert(world, data="'[1]'")
        text = await exported.until(lambda events: events == 1, "imi_relay_faulty_events_total")
    assert await firing(before, text) == await firing(text) == {"ImiEventsWithoutData"}


async def test_dead_letters_of_commands_and_of_subscriptions_are_told(world: World) -> None:
    async def refuse(_: Delivery) -> None:
        raise ValueError("cannot take it")

    change_projects(world.database, 1)
    async with exporting(world) as exported:
        await world.drained()
        await world.send("project.register", b"nonsense")
        await exported.until(
            lambda letters: letters == 1, "imi_stream_messages", stream=world.names.commands.dead_letter_stream
        )
        async with (
            RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
            subscribed(client, refuse, durable="d", from_start=True, max_attempts=1),
        ):
            text = await exported.until(lambda letters: letters == 1, "imi_event_dead_letters", durable="d")
        assert exported.value("imi_applier_dead_letters_total") == 1
    assert await firing(text) == {"ImiDeadLetters", "ImiEventDeadLetters"}


async def test_commands_that_nobody_carries_out_wait(world: World) -> None:
    async with world.applier():  # who makes their stream
        pass
    subject, stream = world.names.commands.command_subject("project.register"), world.names.commands.stream
    for number in range(1001):
        await world.nats.publish(subject, b"%d" % number)
    async with exporting(world, applies=False) as exported:
        text = await exported.until(lambda commands: commands == 1001, "imi_stream_messages", stream=stream)
    assert await firing(text) == {"ImiCommandsWait"}


# The bug is put in: one that is known would be mended, and there is no other way to have one. What becomes of it, and
# what is exported, is the service's own doing.
async def test_a_part_that_fails_over_a_bug_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def measure(*_: object) -> list[Level]:
        raise ZeroDivisionError

    monkeypatch.setattr("publisher.gauges.streams.measure", measure)
    gauges = Gauges("stream_measurement", CollectorRegistry())
    exported = Exported(gauges.registry)
    task = asyncio.ensure_future(measurement.StreamMeasurement(world.settings(), gauges).run())
    try:
        text = await exported.until(lambda crashes: crashes > 0, "imi_stream_measurement_crashes_total")
    finally:
        task.cancel()
    assert "ImiPartCrashes" in await firing(text), "also of a process that was never scraped before"


async def test_a_nats_account_that_is_nearly_full_is_told(world: World, state_dir: Path) -> None:
    accounts = {"A": {"jetstream": {"max_file": 1_000_000, "max_memory": 0}, "users": [{"user": "u", "password": "w"}]}}
    with nats_process(state_dir, accounts=accounts) as broker:
        async with connected(broker.url("u:w")) as client:
            there = world.at(nats_url=broker.url("u:w"), nats=client)
            await client.jetstream().add_stream(name="FULL", subjects=["full"])
            await client.jetstream().publish("full", b"x" * 900_000)
            async with exporting(there, relays=False, applies=False) as exported:
                text = await exported.until(lambda limit: limit == 1_000_000, "imi_jetstream_storage_limit_bytes")
            async with connect(world.database, "test") as conn:
                told = [finding.text for finding in await server_findings(conn, client)]
    assert "ImiJetStreamFull" in await firing(text)
    assert [one for one in told if one.startswith("the NATS account has used 1 of 1 MB of its storage")]
