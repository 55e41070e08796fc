"""A replica that was dropped becomes a mirror, and one that was made by month before 026 ends like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import psycopg
import pytest

from publisher.replica.publication import publish
from publisher.replica.replication import copied, create, drop, promote
from publisher.replica.source import connect_source
from registry.database import migrate, months
from registry.database.stepping import back
from registry.errors import NotFound, RegistryError
from tests.support import histories
from tests.support.mirror.mirrors import Mirror
from tests.support.replica.pairs import Pair
from tests.support.schema.migrations import MIGRATIONS, NAMES, psql
from tests.support.world import World

BEFORE = 25
MENDED = NAMES[BEFORE]
ID = "SELECT registry_id FROM registry_metadata"
REFUSING = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'mirror_refuses' ORDER BY 1"
COUNTING = "SELECT tgname, tgenabled FROM pg_trigger WHERE tgname = 'replica_counts' OR tgenabled <> 'O'"


async def test_a_dropped_replica_becomes_a_mirror_and_takes_over_with_an_id_of_its_own(
    world: World, following: Pair
) -> None:
    # given
    source = world.at(database=following.source)
    await asyncio.to_thread(histories.write, following.source)
    await asyncio.to_thread(following.assert_same)
    assert following.at_replica(ID) == following.at_source(ID)
    await drop(following.replica, following.source)

    # when
    mirror = Mirror(source, following.replica, is_set_up=False)
    done = await mirror.command("setup", "headquarters", "--replace", "--yes")
    assert done.returncode == 0, done.stderr
    with pytest.raises(NotFound, match="this registry is no replica"):
        await promote(following.replica, following.source, is_forced=True)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is no replica"):
        following.at_replica("SELECT promote_replica()")
    async with source.relay(), source.history(), source.queries(), mirror.following():
        await asyncio.to_thread(histories.write, following.source)
        await mirror.assert_same()
    done = await mirror.command("promote", "--yes")
    assert done.returncode == 0, done.stderr

    # then
    assert following.at_replica(ID) != following.at_source(ID)
    site = source.at(database=following.replica, prefix=mirror.prefix)
    async with site.relay(), site.applier():
        await asyncio.to_thread(histories.write, following.replica)
        await site.drained()
        await site.assert_exactly_once()
    assert following.at_replica(REFUSING) == []


@pytest.mark.parametrize("is_promoted", [False, True], ids=["still a mirror", "promoted"])
def test_what_became_a_mirror_so_before_is_mended_and_what_did_not_stays(database: str, is_promoted: bool) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        back.down(conn, to=BEFORE)
        of_source = uuid4()
        begin = "SELECT begin_replica('headquarters', 'slot', %s, 1, true)"
        conn.execute(begin, [of_source])
        conn.execute("SELECT stop_replica()")
        conn.execute("SELECT begin_mirror('headquarters', 's', true)")
        refusing = {table for (table,) in conn.execute(REFUSING)}
        if is_promoted:
            conn.execute("UPDATE mirror_source SET snapshots = 1")
            conn.execute("SELECT promote_mirror()")

        migrate.apply(conn)

        ours = {"outbox_fault", "publisher_cursor", "published_batch"}
        assert {table for (table,) in conn.execute(REFUSING)} == (set() if is_promoted else refusing - ours)
        assert conn.execute("SELECT FROM replica_source").fetchall() == []
        assert conn.execute(ID).fetchone() != (of_source,)

        if is_promoted:  # it became a replica once more, later
            back.down(conn, to=BEFORE)
            conn.execute(begin, [of_source])
            conn.execute("SELECT stop_replica()")
            migrate.apply(conn)
            assert conn.execute("SELECT name FROM replica_source").fetchall() == [("headquarters",)]
            assert {table for (table,) in conn.execute(REFUSING)} == refusing
            assert conn.execute(ID).fetchone() == (of_source,)


@pytest.mark.parametrize("end", [drop, lambda *urls: promote(*urls, is_forced=True)], ids=["dropped", "promoted"])
async def test_a_replica_that_was_made_by_month_before_ends_like_any_other(
    registries: Pair, end: Callable[[str, str], Awaitable[object]]
) -> None:
    for url in (registries.source, registries.replica):
        with psycopg.connect(url, autocommit=True) as conn:
            back.down(conn, to=BEFORE)
    with psycopg.connect(registries.replica, autocommit=True) as conn:
        months.move(conn, by_month=True)
        conn.execute("CREATE FUNCTION count_mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        conn.execute("CREATE TABLE mine (n integer)")
        conn.execute("CREATE TRIGGER mine AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION count_mine()")
        conn.execute("ALTER TABLE mine ENABLE ALWAYS TRIGGER mine")
    async with connect_source(registries.source) as conn:
        await publish(conn, None)
    histories.write(registries.source)
    registries.at_source("SELECT log_activity('a', id, 'other', 'd') FROM worktrees")
    await create(registries.replica, "headquarters", registries.slot, registries.source, None, may_replace=True)
    await copied(registries.replica, registries.source, lambda *_: None)
    await asyncio.to_thread(registries.assert_same)
    with pytest.raises(RegistryError, match="replica_counts"):
        await end(registries.replica, registries.source)

    assert psql(registries.replica, MIGRATIONS / MENDED).returncode == 0
    await end(registries.replica, registries.source)

    assert registries.at_replica(COUNTING) == [("mine", "A")]
    assert registries.at_replica("SELECT * FROM differing_counts()") == []
