"""A slot for which more WAL was written than may be kept: until some of that is removed, its replica may catch up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from prometheus_client import CollectorRegistry

from publisher.doctor.replica import slot_findings
from publisher.outbox.connection import connect
from publisher.replica.health import ReplicaHealth
from publisher.replica.look import look
from publisher.replica.publication import slots
from publisher.replica.watch import ReplicaWatch
from tests.support import histories
from tests.support.replica.commands import Commands
from tests.support.replica.pairs import PATIENCE_SECONDS, Pair, Sites
from tests.support.services import wait_until
from tests.support.world import World, running

STATUS = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s"
BOUND = {"max_slot_wal_keep_size": "1MB", "checkpoint_timeout": "1d"}


@contextmanager
def bound(servers: Sites) -> Iterator[psycopg.Connection[Any]]:
    """The source's server keeps nearly no WAL for its slots inside the block; yields a connection to it."""
    with psycopg.connect(servers.source.url, autocommit=True) as admin:
        try:
            for name, value in BOUND.items():
                admin.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
            admin.execute("SELECT pg_reload_conf()")
            yield admin
        finally:
            for name in BOUND:
                admin.execute(f"ALTER SYSTEM RESET {name}".encode())
            admin.execute("SELECT pg_reload_conf()")


async def told_at_the_source(following: Pair) -> str:
    async with connect(following.source, "test") as conn:
        (told,) = [one.text for one in await slot_findings(conn)]
    return told


async def test_a_slot_that_may_be_lost_soon_is_told_at_the_source_and_its_replica_goes_on(
    servers: Sites, following: Pair, world: World
) -> None:
    settings = world.at(database=following.replica).settings(replica_source_url=following.source)
    following.at_replica(f"ALTER SUBSCRIPTION {following.slot} DISABLE")
    with bound(servers) as admin:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while admin.execute(STATUS, [following.slot]).fetchone() != ("unreserved",):
                admin.execute("SELECT pg_logical_emit_message(false, 'test', ''), pg_switch_wal()")
                await asyncio.sleep(0.05)

        told = await told_at_the_source(following)
        async with connect(following.source, "test") as conn:
            assert [slot.is_lost for slot in await slots(conn)] == [False]
        assert told.startswith(f"replication slot {following.slot} is unreserved: ")
        assert not any("--replace" in reason for reason in [told, *(await look(settings)).reasons])

        following.at_replica(f"ALTER SUBSCRIPTION {following.slot} ENABLE")
        watch = ReplicaWatch(settings, ReplicaHealth(CollectorRegistry()))
        async with running(watch), asyncio.timeout(PATIENCE_SECONDS):
            while watch.health.age_seconds is None or watch.health.problems():
                await asyncio.sleep(0.05)


def test_a_replica_whose_slot_is_lost_is_made_anew_as_both_sides_say(
    servers: Sites, following: Pair, commands: Commands
) -> None:
    following.at_replica(f"ALTER SUBSCRIPTION {following.slot} DISABLE")
    with bound(servers) as admin:

        def is_lost() -> bool:
            admin.execute("SELECT pg_logical_emit_message(false, 'test', ''), pg_switch_wal()")
            admin.execute("CHECKPOINT")
            return admin.execute(STATUS, [following.slot]).fetchone() == ("lost",)

        wait_until(is_lost, PATIENCE_SECONDS)
        told = [asyncio.run(told_at_the_source(following)), str(commands.condition()["reasons"])]
    following.at_replica(f"ALTER SUBSCRIPTION {following.slot} ENABLE")
    histories.write(following.source)

    for text in told:
        assert re.findall(r"replica (drop|create --replace)", text) == ["drop", "create --replace"]
    done = commands.replica("drop", "--yes")
    assert done.code == 0, done.err
    done = commands.create("--replace", "--yes")
    assert done.code == 0, done.err
    following.assert_same()
