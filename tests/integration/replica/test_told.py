"""How old a replica is, and why it does not follow, is told by status, doctor, health, pages and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from publisher.doctor import examine
from publisher.doctor.replica import slot_findings
from publisher.gauges import replicas
from publisher.outbox.connection import connect
from publisher.replica.health import ReplicaHealth
from publisher.replica.look import Look, look
from publisher.replica.publication import publish
from publisher.replica.reason import last_error
from publisher.replica.replication import copied, create, drop
from publisher.replica.source import connect_source
from publisher.replica.subscription import read_subscription
from publisher.replica.watch import BEHIND, ReplicaWatch
from publisher.settings import Settings
from registry.client.queries import QueryClient
from registry.errors import Conflict, Unprepared
from tests.support import histories
from tests.support.databases import name_of, plain_role, url_of
from tests.support.metrics.alerts import HAS_PROMTOOL, firing
from tests.support.metrics.exported import exported_slots
from tests.support.relay_process import relay_process
from tests.support.replica.pairs import PATIENCE_SECONDS, Pair, Sites
from tests.support.world import World, running

KNOWN = "SELECT known_at IS NOT NULL AND known_at > now() - interval '10 min' FROM replica_source"


@pytest.fixture
def settings(world: World, following: Pair) -> Settings:
    """Of a service at the replica."""
    return world.at(database=following.replica).settings(replica_source_url=following.source)


@asynccontextmanager
async def watched(settings: Settings) -> AsyncIterator[ReplicaHealth]:
    watch = ReplicaWatch(settings, ReplicaHealth(CollectorRegistry()))
    async with running(watch):
        yield watch.health


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.05)


async def status_until(settings: Settings, condition: Callable[[Look], bool]) -> Look:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition(found := await look(settings)):
            await asyncio.sleep(0.05)
    return found


async def doctor(settings: Settings) -> tuple[bool, str]:
    (found,) = [one for one in await examine(settings) if one.check == "replica"]
    return found.is_well, found.text


async def test_a_replica_that_is_watched_knows_how_old_it_is(following: Pair, settings: Settings) -> None:
    assert (await doctor(settings))[1].endswith("nobody has looked: imi-registry replica run does")
    assert (await look(settings)).condition == "follows"
    await asyncio.to_thread(histories.write, following.source)
    async with watched(settings) as health:
        await until(lambda: health.age_seconds is not None)
        assert health.problems() == []
        assert health.facts()["Replica of"] == "headquarters"
        sample = health.registry.get_sample_value
        assert (sample("imi_replica_age_seconds") or -1) >= 0
        assert sample("imi_replica_running") == 1
        assert sample("imi_replica_uncopied_tables") == 0
        assert sample("imi_replica_behind_bytes") == 0
        assert (sample("imi_replica_lag_seconds_count") or 0) >= 1
    assert (await doctor(settings))[0]
    details = (await look(settings)).details()
    assert str(details["age"]).endswith(" s")
    assert details["behind"] == "0 bytes of WAL"
    unasked = (await look(settings.model_copy(update={"replica_source_url": None}))).details()
    assert unasked["behind"] is None  # what was known of it may be hours old
    (state, what) = following.at_replica("SELECT state, what FROM registry_health() WHERE name = 'source'")[0]
    assert (state, what.startswith("a replica of headquarters, which had everything ")) == ("ok", True)

    following.at_replica("UPDATE replica_source SET known_at = now() - interval '3 days'")
    is_well, text = await doctor(settings)
    assert not is_well
    assert "3 days" in text
    assert following.at_replica("SELECT state FROM registry_health() WHERE name = 'source'") == [("bad",)]
    following.at_replica("UPDATE replica_source SET stopped_at = now()")
    assert following.at_replica("SELECT state FROM registry_health() WHERE name = 'source'") == [("ok",)]


async def test_a_replica_is_never_told_younger_than_its_rows(following: Pair, settings: Settings) -> None:
    async with watched(settings) as health:
        await until(lambda: health.age_seconds is not None)
        with psycopg.connect(following.replica) as reader:
            reader.execute("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")  # who applies waits
            await asyncio.to_thread(histories.write, following.source)
            (before,) = following.at_source("SELECT clock_timestamp()")[0]
            older, younger = (f"SELECT known_at {sign} '{before}' FROM replica_source" for sign in "<>")  # noqa: S608  # what PostgreSQL told
            await until(lambda: (health.registry.get_sample_value("imi_replica_behind_bytes") or 0) > 0)
            await until(lambda: (health.age_seconds or 0) > 2)
            assert following.at_replica(older) == [(True,)]
            reader.rollback()
        await until(lambda: following.at_replica(younger) == [(True,)])
        assert following.at_replica("SELECT count(*) FROM projects") == [(2,)]


async def test_why_it_does_not_follow_is_told_in_the_words_of_postgresql(following: Pair, settings: Settings) -> None:
    following.as_applied(
        "INSERT INTO projects (id, name, remote_origin, trunk_path)"
        " VALUES ('00000000-0000-0000-0000-00000000000a', 'mine', 'git@github.com:o/mine.git', '/mine')"
    )
    following.at_source(
        "INSERT INTO projects (id, name, remote_origin, trunk_path)"
        " VALUES ('00000000-0000-0000-0000-00000000000a', 'theirs', 'git@github.com:o/theirs.git', '/theirs')"
    )
    why = "projects_pkey"  # in the error of PostgreSQL before 18, and in the detail of that since
    async with watched(settings) as health:
        await until(lambda: any(why in problem for problem in health.problems()))
        await until(lambda: (health.registry.get_sample_value("imi_replica_errors") or 0) > 0)
        found = await status_until(settings, lambda seen: any(why in reason for reason in seen.reasons))
        assert found.condition == "does not follow"
        assert "errors while applying" in str(found.details()["errors"])
        async with asyncio.timeout(PATIENCE_SECONDS):
            while why not in (await doctor(settings))[1]:  # between two tries its worker is there
                await asyncio.sleep(0.05)

        following.as_applied("DELETE FROM projects")
        await asyncio.to_thread(following.assert_same)
        await until(lambda: not health.problems())


async def test_what_somebody_did_to_subscription_slot_or_schema_is_told_by_name(
    following: Pair, settings: Settings
) -> None:
    name = following.slot

    async def reason(text: str, condition: str = "does not follow") -> None:
        found = await status_until(settings, lambda seen: any(text in one for one in seen.reasons))
        assert found.condition == condition

    async with watched(settings) as health:
        following.at_replica(f"ALTER SUBSCRIPTION {name} DISABLE")
        await reason(f"subscription {name} is disabled; ALTER SUBSCRIPTION {name} ENABLE")
        await until(lambda: any("is disabled" in problem for problem in health.problems()))
        following.at_replica(f"ALTER SUBSCRIPTION {name} ENABLE")
        await until(lambda: not health.problems())

        following.at_source("UPDATE registry_metadata SET migration = migration + 1")
        await reason("has schema migration")
        await until(lambda: any("has schema migration" in problem for problem in health.problems()))
        following.at_source("UPDATE registry_metadata SET migration = migration - 1")
        await until(lambda: not health.problems())

        following.at_source("UPDATE registry_metadata SET registry_id = gen_random_uuid()")
        await reason("the registry that answers for headquarters has the id")


async def test_a_copy_that_postgresql_cannot_complete_is_told_and_made_anew(
    following: Pair, settings: Settings
) -> None:
    """Killed between two steps of its own, PostgreSQL goes on with a slot that it has dropped, again and again."""
    name = following.slot
    await drop(following.replica, following.source)
    await asyncio.to_thread(histories.write, following.source)
    await create(following.replica, "headquarters", name, following.source, None, may_replace=True)
    half = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r' AND srsubid = %s"
    (oid,) = following.rows(following.replica, "SELECT oid FROM pg_subscription WHERE subname = %s", [name])[0]
    await until(lambda: following.rows(following.replica, half, [oid]) == [(0,)])
    following.at_replica(f"ALTER SUBSCRIPTION {name} DISABLE")
    following.at_replica(
        "UPDATE pg_subscription_rel SET srsubstate = 'f', srsublsn = NULL WHERE srrelid = 'projects'::regclass"
    )
    following.at_replica(f"ALTER SUBSCRIPTION {name} ENABLE")
    why = "the copy of projects was cut off where PostgreSQL cannot go on with it: imi-registry replica drop"

    async with watched(settings) as health:
        await until(lambda: any(why in problem for problem in health.problems()))
    assert any(why in reason for reason in (await look(settings)).reasons)
    with pytest.raises(Unprepared, match="the copy of projects was cut off"):
        await copied(following.replica, following.source, lambda _done, _all: None)

    await drop(following.replica, following.source)
    await create(following.replica, "headquarters", name, following.source, None, may_replace=True)
    await copied(following.replica, following.source, lambda _done, _all: None)
    await asyncio.to_thread(following.assert_same)


async def test_a_lost_slot_is_told_at_both_sides_and_one_that_nothing_bounds_at_the_source(
    servers: Sites, following: Pair, settings: Settings
) -> None:
    async def findings() -> list[str]:
        async with connect(following.source, "test") as conn:
            return [one.text for one in await slot_findings(conn)]

    (unbounded,) = await findings()
    assert unbounded.startswith(f"nothing bounds the WAL that is kept for {following.slot} ")
    assert "max_slot_wal_keep_size" in unbounded
    following.at_replica(f"ALTER SUBSCRIPTION {following.slot} DISABLE")
    with psycopg.connect(servers.source.url, autocommit=True) as admin:
        try:
            admin.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
            admin.execute("SELECT pg_reload_conf()")
            lost = "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = %s"
            async with asyncio.timeout(PATIENCE_SECONDS):
                while admin.execute(lost, [following.slot]).fetchone() != (True,):
                    admin.execute("SELECT pg_logical_emit_message(false, 'test', '')")
                    admin.execute("SELECT pg_switch_wal()")
                    admin.execute("CHECKPOINT")
                    await asyncio.sleep(0.05)
            (told,) = await findings()
            assert told.startswith(f"replication slot {following.slot} is lost")
            if HAS_PROMTOOL:
                assert "ImiReplicaLost" in await firing(await exported_slots(following.source))
            found = await look(settings)
            assert any(f"slot {following.slot} of headquarters is lost" in reason for reason in found.reasons)
            health = "SELECT state, what FROM registry_health() WHERE name = 'replication slots'"
            ((state, what),) = following.at_source(health)
            assert (state, following.slot in what) == ("bad", True)
        finally:
            admin.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
            admin.execute("SELECT pg_reload_conf()")


async def test_the_source_tells_what_each_slot_keeps(following: Pair, settings: Settings) -> None:
    source = settings.model_copy(update={"database_url": following.source, "replica_source_url": None})
    async with connect(following.source, "test") as conn:
        levels = {level.name: level.values for level in await replicas.measure(conn)}
    assert levels["imi_replica_slot_active"] == {following.slot: 1.0}
    assert levels["imi_replica_slot_lost"] == {following.slot: 0.0}
    assert set(levels["imi_replica_slot_kept_bytes"]) == {following.slot}
    assert levels["imi_replica_slot_left_bytes"] == {}
    assert set(levels["imi_replica_slot_behind_bytes"]) == {following.slot}
    assert set(levels["imi_replica_slot_lag_seconds"]) <= {following.slot}  # of an idle one there is none
    found = await look(source)
    assert (found.state, [slot.name for slot in found.slots]) == (None, [following.slot])


async def test_a_replica_is_watched_with_the_rights_of_a_publisher(
    servers: Sites, registries: Pair, world: World
) -> None:
    assert (await asyncio.to_thread(histories.write, registries.source)) != []
    async with connect_source(registries.source) as conn:
        await publish(conn, None)
    await create(registries.replica, "headquarters", registries.slot, registries.source, None, may_replace=False)
    with plain_role(servers.replica.url, registries.replica) as role, plain_role(servers.source.url) as there:
        registries.at_replica(f"GRANT imi_publisher TO {role.name}")
        registries.at_source(f"ALTER ROLE {there.name} REPLICATION")
        async with connect_source(registries.source) as conn:
            await publish(conn, there.name)
        settings = world.at(database=url_of(servers.replica.url, name_of(registries.replica), role)).settings(
            replica_source_url=url_of(servers.source.url, name_of(registries.source), there)
        )
        async with watched(settings) as health:
            await until(lambda: health.age_seconds is not None and not health.problems())
            assert registries.at_replica("SELECT copied_at IS NOT NULL FROM replica_source") == [(True,)]
            registries.at_replica(f"ALTER SUBSCRIPTION {registries.slot} DISABLE")
            await until(lambda: any("is disabled" in problem for problem in health.problems()))
            assert any("may not read (pg_read_server_files)" in problem for problem in health.problems())
        registries.at_source(f"DROP OWNED BY {there.name}")


async def test_who_asks_for_the_reason_undoes_nothing_that_another_task_writes_meanwhile(
    servers: Sites, following: Pair
) -> None:
    with plain_role(servers.replica.url, following.replica) as role:
        following.at_replica(f"GRANT imi_publisher TO {role.name}")
        async with connect(url_of(servers.replica.url, name_of(following.replica), role), "test") as conn:
            found = await read_subscription(conn, following.slot)
            assert found is not None
            told, _ = await asyncio.gather(last_error(conn, found), conn.execute(BEHIND, [42]))
    assert "may not read" in str(told)
    assert following.at_replica("SELECT behind_bytes FROM replica_source") == [(42,)]


async def test_a_service_at_the_replica_answers_shows_pages_and_ends_where_there_is_none(
    world: World, following: Pair, settings: Settings
) -> None:
    await asyncio.to_thread(histories.write, following.source)
    await asyncio.to_thread(following.assert_same)
    with relay_process(following.replica, world.nats_url, world.prefix, replica_source_url=following.source) as process:
        await process.ready()
        await until(lambda: following.at_replica(KNOWN) == [(True,)])
        assert (await process.readyz())[0] == 200
        assert (await QueryClient(world.nats, world.names).stats()).total_projects == 2
    other = settings.model_copy(update={"database_url": following.source, "replica_source_url": following.replica})
    with pytest.raises(Conflict, match="is no replica; imi-registry replica create"):
        await ReplicaWatch(other, ReplicaHealth(CollectorRegistry())).run()
