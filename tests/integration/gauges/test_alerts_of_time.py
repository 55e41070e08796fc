"""Alerts of what lasts, or grows: the clock of PostgreSQL, or of a whole service, is set forward, and time goes by.

What they measure is real: events that wait, an outbox that fills a small disk, a heartbeat that a frozen nats-server
does not give back. The hours alone are not: no test waits three days, and no process could tell them from these.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import NamedTuple

import psycopg
import pytest
from nats.js.api import ConsumerConfig

from publisher.embedded.postgres import postgres
from publisher.gauges import measurement
from registry.database import migrate
from registry.database.connection import connect_blocking
from tests.support.metrics.alerts import firing, needs_promtool
from tests.support.metrics.exported import exporting, scraped_until
from tests.support.nats.process import NatsProcess, nats_process
from tests.support.nats.reading import connected
from tests.support.processes import COMMAND
from tests.support.relay_process import ServiceProcess
from tests.support.servers.clock import Clock, needs_faketime
from tests.support.servers.disks import can_mount, disk
from tests.support.services import POSTGRES_SETTINGS, scratch_directory
from tests.support.world import World

pytestmark = [needs_promtool, needs_faketime]

MINUTE_SECONDS, DAY_SECONDS = 60, 86_400
DISK = "300m"
SMALL = {"min_wal_size": "32MB", "max_wal_size": "48MB", "shared_buffers": "16MB", "wal_recycle": "off"}
ROWS = """
INSERT INTO outbox (entity, action, data)
SELECT 'project', 'updated', jsonb_build_object('a', repeat(md5(n::text), 32))
FROM generate_series(1, %s) AS n
"""


class Aging(NamedTuple):
    """A registry whose PostgreSQL has a clock of its own, and where one can be mounted a small disk."""

    database: str
    clock: Clock


@pytest.fixture(scope="module")
def aging() -> Iterator[Aging]:
    """One for all tests, each of which finds the time later, and the outbox published."""
    with scratch_directory() as directory, ExitStack() as stack:
        place = stack.enter_context(disk(directory / "disk", DISK)).folder if can_mount() else directory
        clock = Clock(directory)
        server = stack.enter_context(postgres(place, bin_dir=clock.binaries, settings=POSTGRES_SETTINGS | SMALL))
        with connect_blocking(server.url) as conn:
            migrate.apply(conn)
        yield Aging(server.url, clock)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "INTERVAL_SECONDS", 0.05)


def insert(database: str, rows: int = 1) -> None:
    """Events of a kilobyte each."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(ROWS, [rows])


async def test_an_event_that_nobody_publishes_is_late(world: World, aging: Aging) -> None:
    there = world.at(database=aging.database)
    insert(aging.database)
    async with exporting(there, relays=False, applies=False) as exported:
        aging.clock.go_on(40)
        text = await exported.until(lambda seconds: seconds > 30, "imi_outbox_oldest_waiting_seconds")
        assert "ImiEventsLate" in await firing(text)
        async with there.relay():
            await there.drained()


async def test_an_outbox_that_nobody_cleans_keeps_events_too_long(world: World, aging: Aging) -> None:
    there = world.at(database=aging.database)
    insert(aging.database)
    async with exporting(there, applies=False, outbox_retention_days=1) as exported:
        await there.drained()
        aging.clock.go_on(3 * DAY_SECONDS)
        await exported.until(lambda seconds: seconds > 2 * DAY_SECONDS, "imi_outbox_oldest_event_seconds")
        text = await exported.until(lambda events: events == 0, "imi_outbox_waiting_events")
        assert exported.value("imi_outbox_retention_seconds") == DAY_SECONDS
    assert await firing(text) == {"ImiRetentionStands"}


async def test_a_disk_that_is_full_in_some_days_is_told(world: World, aging: Aging) -> None:
    if not can_mount():
        pytest.skip("a file system cannot be mounted here, and that of PostgreSQL is too large to be filled in days")
    there = world.at(database=aging.database)
    async with exporting(there, applies=False) as exported:
        insert(aging.database, 4000)
        await there.drained()
        assert exported.value("imi_database_disk_full_days") is None, "ten minutes have not gone by"
        aging.clock.go_on(10 * MINUTE_SECONDS)
        text = await exported.until(lambda days: 0 < days < 7, "imi_database_disk_full_days")
    assert await firing(text) == {"ImiDatabaseDiskFull"}


class Late(NamedTuple):
    """A service that exports at `url`, for which time goes by as its clock says, and its NATS."""

    world: World
    url: str
    clock: Clock
    broker: NatsProcess


@asynccontextmanager
async def late_service(world: World, folder: Path) -> AsyncIterator[Late]:
    """The service, with a canary, and its NATS for the block."""
    clock = Clock(folder, is_for_durations=True)
    with nats_process(folder) as broker:
        async with connected(broker.url()) as client:
            there = world.at(nats_url=broker.url(), nats=client)
            places = {"DATABASE_URL": world.database, "NATS_URL": broker.url(), "IMI_PREFIX": world.prefix}
            process = ServiceProcess([*COMMAND, "serve"], places | {"IMI_CANARY_SECONDS": "1"} | clock.variables)
            try:
                yield Late(there, (await process.ready(120))["http_url"], clock, broker)
            finally:
                process.close()
                broker.signal(SIGCONT)


async def test_a_consumer_that_nobody_reads_is_behind_and_a_heartbeat_that_does_not_come_back_is_missed(
    world: World, state_dir: Path
) -> None:
    async with late_service(world, state_dir) as late:
        # given: heartbeats come, and a consumer is there that nobody reads
        await scraped_until(lambda heartbeats: heartbeats > 0, late.url, "imi_canary_seconds_count")
        await late.world.nats.jetstream().add_consumer(late.world.stream, ConsumerConfig(durable_name="slow"))

        # when
        late.clock.go_on(11 * MINUTE_SECONDS)
        # then
        text = await scraped_until(
            lambda seconds: seconds > 600, late.url, "imi_consumer_oldest_seconds", consumer="slow"
        )
        assert "ImiConsumerBehind" in await firing(text)

        # when
        late.broker.signal(SIGSTOP)
        await scraped_until(lambda seconds: seconds > 2, late.url, "imi_canary_waiting_seconds")
        late.clock.go_on(MINUTE_SECONDS + 1)
        # then
        text = await scraped_until(lambda seconds: seconds > 60, late.url, "imi_canary_waiting_seconds")
        assert "ImiHeartbeatMissing" in await firing(text)
