"""Each alert fires on what a real service exports when that happens of which it tells, and none when all is well.

That each is silent near its limit, and waits its time, is for `alerts_test.yml`; `ImiReplicaMissing` is with the
cluster that has replicas, in tests/faults/client/test_cluster.py.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.request import urlopen

import psycopg
import pytest
from nats.js.api import ConsumerConfig
from prometheus_client import CollectorRegistry

from publisher.canary import Canary, CanaryHealth
from publisher.canary import health as canary_health
from publisher.doctor.server import server_findings
from publisher.gauges import measurement
from publisher.gauges.level import Level
from publisher.gauges.measurement import Gauges
from publisher.gauges.outbox import OutboxGauges, Size
from publisher.outbox.connection import connect
from publisher.outbox.known import known_stream
from publisher.stream import consumers
from registry.client import Delivery, RegistryClient
from tests.support.client.subscriptions import change_projects, subscribed
from tests.support.databases import Role, name_of, new_database
from tests.support.metrics.alerts import firing, needs_promtool
from tests.support.metrics.exported import Exported, exported_levels, exporting
from tests.support.nats.process import nats_process
from tests.support.nats.reading import connected
from tests.support.proxy import postgres_proxy
from tests.support.world import World, running

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
        async with asyncio.timeout(60):
            while "imi_stream_bytes" not in (text := await asyncio.to_thread(_read, f"{url}/metrics")):
                await asyncio.sleep(0.1)
        assert await firing(text) == set()
        process.kill()
    with pytest.raises(OSError, match="refused"):
        _read(f"{url}/metrics")
    assert await firing(text, "") == {"ImiServiceDown"}


def _read(url: str) -> str:
    with urlopen(url, timeout=10) as answer:  # noqa: S310  # the service's own page
        return str(answer.read().decode())


async def test_an_event_that_nobody_publishes_is_late(world: World) -> None:
    insert(world, occurred_at="now() - interval '40 s'")
    async with exporting(world, relays=False, applies=False) as exported:
        text = await exported.until(lambda seconds: seconds > 30, "imi_outbox_oldest_waiting_seconds")
    assert "ImiEventsLate" in await firing(text)


async def test_a_heartbeat_that_does_not_come_back_is_missed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told, after = CanaryHealth(CollectorRegistry()), asyncio.Event()
    exported = Exported(told.registry)
    after.set()
    async with running(Canary(world.settings(canary_seconds=1), told, after)):  # and no relay
        await exported.until(lambda seconds: seconds > 0, "imi_canary_waiting_seconds")
        monkeypatch.setattr(canary_health, "monotonic", lambda: monotonic() + 61)
        assert "ImiHeartbeatMissing" in await firing(exported.text())


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


async def test_a_consumer_that_nobody_reads_is_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(minutes=11)

    monkeypatch.setattr(consumers, "datetime", Later)
    async with exporting(world, applies=False) as exported:
        world.write(1)
        await world.drained()
        await world.nats.jetstream().add_consumer(world.stream, ConsumerConfig(durable_name="slow"))
        text = await exported.until(lambda seconds: seconds > 600, "imi_consumer_oldest_seconds", consumer="slow")
    assert await firing(text) == {"ImiConsumerBehind"}


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


async def test_an_outbox_that_nobody_cleans_keeps_events_too_long(world: World) -> None:
    insert(world, occurred_at="now() - interval '3 days'")
    async with exporting(world, applies=False, outbox_retention_days=1) as exported:
        await world.drained()
        await exported.until(lambda events: events == 0, "imi_outbox_waiting_events")
        text = await exported.until(lambda seconds: seconds > 2 * DAY_SECONDS, "imi_outbox_oldest_event_seconds")
        assert exported.value("imi_outbox_retention_seconds") == DAY_SECONDS
    assert await firing(text) == {"ImiRetentionStands"}


@pytest.mark.superuser  # who may see where PostgreSQL keeps its data
async def test_a_disk_that_is_full_in_some_days_is_told(world: World) -> None:
    async with connect(world.database, "test") as conn:
        gauges, known = OutboxGauges(0), await known_stream(conn, world.stream)
        levels = await gauges.measure(conn, known)
        free = next(level.values.get("", 0) for level in levels if level.name == "imi_database_disk_free_bytes")
        if not free:
            pytest.skip("the disk of PostgreSQL cannot be seen from here")
        now, size = gauges._sizes[-1]
        gauges._sizes.appendleft(Size(now - DAY_SECONDS, size - int(free / 6)))
        text = exported_levels(await gauges.measure(conn, known))
    assert "ImiDatabaseDiskFull" in await firing(text)


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
