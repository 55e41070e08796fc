"""Gauges tell the truth about outbox, streams and consumers, also while nobody publishes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from nats.js.api import ConsumerConfig
from prometheus_client import CollectorRegistry

from publisher.gauges import measurement, streams
from publisher.gauges.level import Level
from publisher.gauges.measurement import Gauges, OutboxMeasurement, StreamMeasurement
from publisher.gauges.outbox import OutboxGauges, Size
from publisher.outbox.connection import connect
from publisher.outbox.known import known_stream
from registry.concurrency.tasks import end
from tests.support.proxy import nats_proxy
from tests.support.world import World, running

REGISTER = "SELECT register_project(%s, %s)"


async def measured(world: World) -> dict[str, float]:
    """The gauges of the outbox now."""
    async with connect(world.database, "test") as conn:
        return flat(await OutboxGauges(90).measure(conn, await known_stream(conn, world.stream)))


def flat(levels: list[Level]) -> dict[str, float]:
    return {
        f"{level.name}{{{label}}}" if label else level.name: value
        for level in levels
        for label, value in level.values.items()
    }


def register(conn: psycopg.Connection, number: int) -> None:
    conn.execute(REGISTER, (f"p{number}", f"https://github.com/org/p{number}"))


async def test_what_waits_is_counted_while_nobody_publishes_and_is_none_afterwards(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        before = await measured(world)
        for number in range(3):
            register(conn, number)
        conn.execute("SELECT pg_sleep(0.3)")
        during = await measured(world)
    async with world.relay():
        await world.drained()
    after = await measured(world)
    assert during["imi_outbox_waiting_events"] == before["imi_outbox_waiting_events"] + 3
    assert during["imi_outbox_oldest_waiting_seconds"] >= 0.3
    assert (after["imi_outbox_waiting_events"], after["imi_outbox_oldest_waiting_seconds"]) == (0, 0)
    assert during["imi_outbox_bytes"] > 8192
    assert after["imi_outbox_oldest_event_seconds"] > 0
    assert after["imi_outbox_retention_seconds"] == 90 * 86400
    assert "imi_publisher_heartbeat_age_seconds" not in during
    assert 0 <= after["imi_publisher_heartbeat_age_seconds"] < 60


async def test_an_event_that_becomes_visible_in_a_gap_counts_as_waiting(world: World) -> None:
    with psycopg.connect(world.database) as slow, psycopg.connect(world.database, autocommit=True) as conn:
        async with world.relay():
            register(slow, 1)  # takes an id, and does not commit
            register(conn, 2)
            while (await measured(world))["imi_outbox_waiting_events"]:
                await asyncio.sleep(0.02)
        slow.commit()
    assert (await measured(world))["imi_outbox_waiting_events"] > 0


async def test_an_event_whose_time_is_none_hinders_no_figure(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO outbox (entity, action, data, occurred_at) VALUES ('project', 'updated', '{}', '-infinity')"
        )
        register(conn, 1)
    found = await measured(world)
    assert found["imi_outbox_waiting_events"] == 2
    assert "imi_outbox_oldest_event_seconds" not in found


async def test_growth_is_told_after_ten_minutes_and_the_disk_lasts_as_long_as_that_says(world: World) -> None:
    async with connect(world.database, "test") as conn:
        gauges, known = OutboxGauges(0), await known_stream(conn, world.stream)
        first = flat(await gauges.measure(conn, known))
        assert "imi_outbox_growth_bytes_per_day" not in first
        assert "imi_outbox_retention_seconds" not in first
        now, size = gauges._sizes[-1]
        gauges._sizes.appendleft(Size(now - 43_200, size - 500_000))
        found = flat(await gauges.measure(conn, known))
    assert found["imi_outbox_growth_bytes_per_day"] == pytest.approx(1_000_000, rel=0.01)
    if "imi_database_disk_free_bytes" in found:  # over a socket, by one who may see where the data is
        days = found["imi_database_disk_free_bytes"] / found["imi_outbox_growth_bytes_per_day"]
        assert found["imi_database_disk_full_days"] == pytest.approx(days)


async def test_consumers_are_told_by_name_with_how_far_they_are_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_CONSUMERS", 2)
    js = world.nats.jetstream()
    with psycopg.connect(world.database, autocommit=True) as conn:
        async with world.relay():
            register(conn, 1)
            await world.drained()
            for name in ("behind", "done", "unlisted"):
                config = ConsumerConfig(durable_name=name, filter_subject=f"{world.prefix}.evt.v1.project.>")
                await js.add_consumer(world.stream, config)
            ephemeral = await js.add_consumer(world.stream, ConsumerConfig(name="passing", inactive_threshold=30))
            assert ephemeral.name == "passing"
            done = await js.pull_subscribe_bind("done", world.stream)
            for message in await done.fetch(100, timeout=0.5):
                await message.ack_sync()
            behind = await js.pull_subscribe_bind("behind", world.stream)
            await behind.fetch(1)  # and no acknowledgement
            register(conn, 2)
            await world.drained()
            found = flat(await streams.measure(world.nats, world.profile))
    assert found["imi_consumers"] == 3
    assert found["imi_consumer_unacknowledged_events{behind}"] == 1
    assert found["imi_consumer_pending_events{behind}"] >= 1
    assert found["imi_consumer_oldest_seconds{behind}"] > found["imi_consumer_oldest_seconds{done}"] > 0
    assert not [name for name in found if "unlisted" in name or "passing" in name]
    stream = f"imi_stream_messages{{{world.stream}}}"
    assert found[stream] == found[stream.replace("messages", "last_sequence")] == 2
    assert found["imi_jetstream_storage_bytes"] > 0


async def test_a_stream_that_is_deleted_while_it_is_measured_is_not_told_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.relay():
        world.write(1)
        await world.drained()
    listed = streams.durable_consumers

    async def too_late(*arguments: Any) -> Any:
        await world.delete_stream()
        return await listed(*arguments)

    monkeypatch.setattr(streams, "durable_consumers", too_late)
    found = flat(await streams.measure(world.nats, world.profile))
    assert "imi_jetstream_storage_bytes" in found
    assert "imi_consumers" not in found


async def test_a_figure_that_cannot_be_taken_is_absent_and_comes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement, "INTERVAL_SECONDS", 0.05)
    registry = CollectorRegistry()
    async with nats_proxy(world.nats_url) as (proxy, url):
        away = world.at(nats_url=url)
        gauges = Gauges("stream_measurement", registry)
        async with running(StreamMeasurement(away.settings(), gauges)):
            await until(lambda: registry.get_sample_value("imi_jetstream_storage_bytes") is not None)
            proxy.refuse()
            await until(lambda: registry.get_sample_value("imi_jetstream_storage_bytes") is None)
            assert gauges.problems() == []
            assert gauges.notes()[0].startswith("no figures: ")
            proxy.go_on()
            await until(lambda: registry.get_sample_value("imi_jetstream_storage_bytes") is not None)
            assert gauges.notes() == []


# The bug is put in, as in test_alerts.py.
async def test_a_figure_that_a_bug_keeps_from_being_taken_is_absent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> list[Level]:
        raise ZeroDivisionError

    monkeypatch.setattr(measurement, "INTERVAL_SECONDS", 0.05)
    registry = CollectorRegistry()
    measuring = StreamMeasurement(world.settings(), Gauges("stream_measurement", registry))
    task = asyncio.ensure_future(measuring.run())
    try:
        await until(lambda: registry.get_sample_value("imi_jetstream_storage_bytes") is not None)
        monkeypatch.setattr(streams, "measure", fail)
        await until(lambda: registry.get_sample_value("imi_jetstream_storage_bytes") is None)
    finally:
        await end([task])


async def test_a_figure_of_a_table_that_is_locked_is_absent_and_who_locked_it_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement, "INTERVAL_SECONDS", 0.05)
    registry = CollectorRegistry()
    gauges = Gauges("outbox_measurement", registry)
    async with running(OutboxMeasurement(world.settings(), gauges)):
        await until(lambda: registry.get_sample_value("imi_outbox_bytes") is not None)
        with psycopg.connect(world.database, application_name="psql") as stranger:
            stranger.execute("LOCK TABLE outbox")
            await until(lambda: registry.get_sample_value("imi_outbox_bytes") is None)
            (note,) = gauges.notes()
            assert note.startswith(f'no figures: pid {stranger.info.backend_pid} (application "psql", user ')
        await until(lambda: registry.get_sample_value("imi_outbox_bytes") is not None)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)
