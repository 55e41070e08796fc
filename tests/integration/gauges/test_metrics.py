"""Each metric tells what happened: made to happen on real servers, and read as it is exported."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from publisher.canary import Canary, CanaryHealth
from publisher.gauges import measurement
from publisher.outbox.page import Page
from publisher.relay import pages
from registry.client import RegistryClient
from registry.errors import Conflict
from tests.support.commands import PROJECT, envelope
from tests.support.metrics.exported import Exported, exporting
from tests.support.outbox.changes import rename_project
from tests.support.proxy import postgres_proxy
from tests.support.world import World, running

STAGES = ("read", "sent", "stored")
SLOW_SECONDS = 0.5


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "INTERVAL_SECONDS", 0.05)


async def test_what_is_published_how_old_it_was_and_in_which_batches(world: World) -> None:
    rename_project(world.database, 9)
    async with exporting(world, applies=False) as exported:
        text = await exported.until(lambda events: events == 10, "imi_relay_events_total")
        await exported.until(lambda messages: messages == 10, "imi_stream_messages", stream=world.stream)
        await exported.until(lambda bytes_: bytes_ > 1000, "imi_stream_bytes", stream=world.stream)
        await exported.until(lambda last: last == 10, "imi_stream_last_sequence", stream=world.stream)
        value = exported.value
        assert [value("imi_relay_event_age_seconds_count", stage=stage) for stage in STAGES] == [10, 10, 10]
        ages = [value("imi_relay_event_age_seconds_sum", stage=stage) or 0 for stage in STAGES]
        assert 0 < ages[0] <= ages[1] <= ages[2]
        assert value("imi_relay_batch_events_sum") == 10
        assert 1 <= (value("imi_relay_batch_events_count") or 0) <= 10
        assert [value(f"imi_relay_{name}") for name in ("leader", "epoch", "terms_total")] == [1, 1, 1]
        assert (value("imi_relay_cursor_ranges"), value("imi_relay_waiting_ids"), value("imi_relay_gaps")) == (1, 0, 0)
        assert (value("imi_relay_last_publish_timestamp_seconds") or 0) > 1_700_000_000
        assert "imi_relay_stream_moved_total 0.0" in text


async def test_what_a_page_takes_to_come_is_part_of_the_age_of_its_events(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = pages.next_page

    async def late(*arguments: Any) -> Page:
        page = await read(*arguments)
        await asyncio.sleep(SLOW_SECONDS)
        return page

    monkeypatch.setattr(pages, "next_page", late)
    async with exporting(world, applies=False, measures=False) as exported:
        rename_project(world.database, 9)
        await exported.until(lambda events: events == 10, "imi_relay_events_total")
        for stage in STAGES:
            assert (exported.value("imi_relay_event_age_seconds_sum", stage=stage) or 0) > 10 * SLOW_SECONDS


async def test_for_how_long_the_oldest_command_has_waited(world: World) -> None:
    name, stream = "imi_commands_oldest_seconds", world.names.commands.stream
    async with exporting(world) as exported:
        await world.ask("project.register", envelope("project.register", PROJECT))
        await exported.until(lambda seconds: seconds == 0, name, stream=stream)
        with psycopg.connect(world.database) as conn:
            conn.execute("SELECT FROM projects FOR UPDATE")  # until the block ends
            await world.send("project.register", envelope("project.register", PROJECT | {"name": "other"}))
            await exported.until(lambda seconds: 1 < seconds < 60, name, stream=stream)
        await world.commands_done()
        await exported.until(lambda seconds: seconds == 0, name, stream=stream)


async def test_ids_in_flight_are_a_gap_and_those_that_were_rolled_back_are_dead(world: World) -> None:
    async with exporting(world, applies=False, measures=False) as exported:
        with psycopg.connect(world.database) as slow:
            for name in ("one", "two"):
                slow.execute("SELECT register_project(%s, %s)", [name, f"git@github.com:a/{name}.git"])
            rename_project(world.database, 1)
            await exported.until(lambda gaps: gaps == 1, "imi_relay_gaps")
            assert exported.value("imi_relay_waiting_ids") == 2
            await exported.until(lambda ranges: ranges == 1, "imi_relay_cursor_ranges")
            slow.rollback()
        await exported.until(lambda ids: ids == 2, "imi_relay_dead_ids_total")
        await exported.until(lambda gaps: gaps == 0, "imi_relay_gaps")


async def test_a_relay_that_leads_no_longer_shows_nothing_of_what_it_saw_as_the_leader(world: World) -> None:
    async with (
        postgres_proxy(world.database) as (proxy, url),
        exporting(world.at(database=url), applies=False, measures=False) as exported,
    ):
        with psycopg.connect(world.database) as slow:
            slow.execute("SELECT register_project('slow', 'git@github.com:a/slow.git')")
            rename_project(world.database, 1)
            await exported.until(lambda gaps: gaps == 1, "imi_relay_gaps")
            proxy.refuse()
            await exported.until(lambda gaps: gaps == 0, "imi_relay_gaps")
            names = ("leader", "waiting_ids", "cursor_ranges")
            assert [exported.value(f"imi_relay_{name}") for name in names] == [0, 0, 0]
            proxy.go_on()
            await exported.until(lambda gaps: gaps == 1, "imi_relay_gaps")


async def test_a_takeover_after_a_crash_tells_what_it_found_beyond_the_cursor(world: World) -> None:
    async with world.relay():
        rename_project(world.database, 4)
        await world.drained()
    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("CREATE TABLE before AS SELECT * FROM publisher_cursor")
        async with world.relay():
            rename_project(world.database, 3)
            await world.drained()
        # a publisher that dies before it stores how far it is
        conn.execute("DELETE FROM publisher_cursor")
        conn.execute("INSERT INTO publisher_cursor SELECT * FROM before")
        conn.execute("DELETE FROM published_batch WHERE last_sequence > 5")
    async with exporting(world, applies=False, measures=False) as exported:
        await exported.until(lambda events: events == 3, "imi_relay_recovered_events_total")
        assert (exported.value("imi_relay_epoch") or 0) >= 2
    await world.assert_exactly_once()


async def test_messages_of_somebody_else_are_counted_and_the_fence_holds(world: World) -> None:
    async with exporting(world, applies=False, measures=False) as exported:
        rename_project(world.database, 1)
        await exported.until(lambda events: events == 2, "imi_relay_events_total")
        await world.nats.jetstream().publish(world.foreign_subject, b"not ours")
        rename_project(world.database, 1)
        await exported.until(lambda messages: messages == 1, "imi_relay_foreign_messages_total")
        await exported.until(lambda times: times >= 1, "imi_relay_stream_moved_total")
        await world.assert_exactly_once(foreign=1)


async def test_a_leader_that_is_deposed_says_so(world: World) -> None:
    async with exporting(world, applies=False, measures=False) as exported:
        rename_project(world.database, 1)
        await exported.until(lambda events: events == 2, "imi_relay_events_total")
        with psycopg.connect(world.database, autocommit=True) as conn:  # as somebody who takes the lead does
            conn.execute("UPDATE publisher_cursor SET epoch = epoch + 1")
        rename_project(world.database, 1)
        await exported.until(lambda times: times == 1, "imi_relay_deposed_total")
        await exported.until(lambda terms: terms == 2, "imi_relay_terms_total")
        await world.assert_exactly_once()


async def test_commands_are_counted_by_verdict_and_timed(world: World) -> None:
    given = {"name": "p", "remote_origin": "git@github.com:a/p.git"}
    async with exporting(world, relays=False, measures=False) as exported:
        async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
            project = await client.register_project(**given)
            await client.register_project(**given)
            worktree = {"type_name": "feat", "branch_name": "feat/w", "path": "/p/w", "project_id": project}
            await client.register_worktree(name="w", **worktree)
            with pytest.raises(Conflict):
                await client.register_worktree(name="v", **worktree)
        commands = {
            (command, verdict): exported.value("imi_applier_commands_total", command=command, verdict=verdict)
            for command in ("project.register", "worktree.register")
            for verdict in ("applied", "idempotent", "rejected")
        }
        assert commands["project.register", "applied"] == commands["worktree.register", "applied"] == 1
        assert commands["project.register", "idempotent"] == commands["worktree.register", "rejected"] == 1
        for command in ("project.register", "worktree.register"):
            assert exported.value("imi_applier_command_seconds_count", command=command) == 2
            assert 0 < (exported.value("imi_applier_command_seconds_sum", command=command) or 0) < 60
        assert exported.value("imi_applier_leader") == 1


async def test_heartbeats_that_come_back_are_timed(world: World) -> None:
    told, after = CanaryHealth(CollectorRegistry()), asyncio.Event()
    after.set()
    exported = Exported(told.registry)
    async with world.relay(), running(Canary(world.settings(canary_seconds=0.05), told, after)):
        await exported.until(lambda heartbeats: heartbeats >= 2, "imi_canary_seconds_count")
        await exported.until(lambda seconds: seconds == 0, "imi_canary_waiting_seconds")
