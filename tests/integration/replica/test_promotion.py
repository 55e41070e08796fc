"""A replica takes over, or follows no longer: ids go on above those of the source, and its history with them."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from psycopg.errors import ObjectNotInPrerequisiteState

from publisher.doctor import examine
from publisher.history.rebuild import rebuild
from publisher.replica.replication import promote
from registry.database import migrate
from registry.database.migration import Migration
from registry.errors import Conflict
from tests.support import histories
from tests.support.commandline import CommandLine
from tests.support.databases import Role, name_of, url_of, user_of
from tests.support.replica.commands import Commands
from tests.support.replica.pairs import Pair
from tests.support.world import World

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
READ_ONLY = "read-only replica of headquarters"


async def test_a_promoted_replica_goes_on_with_the_history_of_its_source_in_the_same_stream(
    world: World, following: Pair, commands: Commands
) -> None:
    # given
    before = world.at(database=following.source)
    async with before.relay():
        await asyncio.to_thread(histories.write, following.source, 3, 3, 2)
        await before.drained()
    await asyncio.to_thread(following.assert_same)
    (last_id,) = following.at_source("SELECT max(id) FROM outbox")[0]
    (registry_id,) = following.at_source("SELECT registry_id FROM registry_metadata")[0]

    # when
    was, epoch, left = await promote(following.replica, NOWHERE, is_forced=False)

    # then
    assert (was.source, epoch) == ("headquarters", 2)
    assert left is not None, "the slot is left to whoever finds the source again"
    assert following.at_replica("SELECT registry_id FROM registry_metadata") == [(registry_id,)]
    after = world.at(database=following.replica)
    async with after.relay(), after.applier():
        await asyncio.to_thread(histories.write, following.replica)
        following.at_replica("SELECT add_worktree_type('spike')")
        following.at_replica("SELECT log_activity('a', id, 'other', 'd') FROM worktrees")
        await after.drained()
        await after.assert_exactly_once()
        found = [int(event.envelope["sequence"]) for event in await after.published()]
        assert found == sorted(found)
        assert found[0] == 1
        assert min(number for number in found if number > last_id) > last_id + 1_000_000
        assert [one.text for one in await examine(after.settings()) if not one.is_well and one.is_hindrance] == []
    assert following.at_replica("SELECT * FROM differing_counts()") == []
    assert following.at_replica("SELECT tgname FROM pg_trigger WHERE tgenabled <> 'O'") == []


async def test_where_nats_of_the_site_has_no_stream_it_is_rebuilt_from_the_replica(
    world: World, following: Pair, commands: Commands
) -> None:
    before = world.at(database=following.source)
    async with before.relay():
        await asyncio.to_thread(histories.write, following.source)
        await before.drained()
    await asyncio.to_thread(following.assert_same)
    await promote(following.replica, NOWHERE, is_forced=False)

    await world.nats.jetstream().delete_stream(world.stream)
    after = world.at(database=following.replica)
    await rebuild(after.settings())
    async with after.relay():
        await asyncio.to_thread(histories.write, following.replica)
        await after.drained()
        await after.assert_exactly_once()


def test_nothing_is_promoted_while_the_source_answers_unless_it_is_forced(following: Pair, commands: Commands) -> None:
    refused = commands.replica("promote", "--yes")
    assert refused.code == 1
    assert "headquarters answers: stop it first" in refused.err
    with pytest.raises(ObjectNotInPrerequisiteState, match="is there: two would write"):
        following.at_replica("SELECT promote_replica()")
    histories.write(following.source)
    following.assert_same()

    done = commands.replica("promote", "--yes", "--force")
    assert done.code == 0, done.err
    slot = f"SELECT FROM pg_replication_slots WHERE slot_name = '{following.slot}'"
    assert following.at_source(slot) == []
    histories.write(following.replica)
    again = commands.replica("promote", "--yes")
    assert again.code == 1
    assert "was promoted already" in again.err


def test_new_projects_get_ids_as_at_the_source_once_a_replica_took_over(registries: Pair, commands: Commands) -> None:
    registries.at_source("SELECT derive_project_ids(true)")
    assert commands.source("publish").code == 0
    done = commands.create()
    assert done.code == 0, done.err
    assert commands.replica("promote", "--yes", "--force").code == 0
    registries.at_replica("SELECT register_project('engine', 'git@github.com:o/engine.git')")
    assert registries.at_replica("SELECT id = derived_project_id(remote_origin) FROM projects") == [(True,)]


@pytest.mark.parametrize("lacks", ["password", "database", "room"])
async def test_a_source_that_lets_nobody_in_is_not_taken_for_one_that_is_gone(following: Pair, lacks: str) -> None:
    name = name_of(following.source)
    if lacks == "room":
        following.rows(url_of(following.source, "postgres"), f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    there = {
        "password": url_of(following.source, name, Role(user_of(following.source), "another")),
        "database": url_of(following.source, "nothing"),
        "room": following.source,
    }
    try:
        with pytest.raises(Conflict, match=r"headquarters answers \(.+\): stop it first"):
            await promote(following.replica, there[lacks], is_forced=False)
    finally:
        following.rows(url_of(following.source, "postgres"), f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert following.at_replica("SELECT promoted_at FROM replica_source") == [(None,)]


async def test_nothing_is_promoted_while_it_is_not_known_whether_the_source_is_gone(following: Pair) -> None:
    with pytest.raises(Conflict, match=r"still takes writes is not known \(.+\): set IMI_REPLICA_SOURCE_URL"):
        await promote(following.replica, "postgresql://nobody@nowhere.invalid/nothing", is_forced=False)
    following.at_replica(f"ALTER SUBSCRIPTION {following.slot} CONNECTION '{NOWHERE}'")
    with pytest.raises(Conflict, match=r"still takes writes is not known \(.+\): set IMI_REPLICA_SOURCE_URL"):
        await promote(following.replica, None, is_forced=False)
    assert following.at_replica("SELECT promoted_at FROM replica_source") == [(None,)]


def test_a_dropped_replica_stays_as_it_was_until_it_follows_anew(following: Pair, commands: Commands) -> None:
    histories.write(following.source)
    following.assert_same()
    done = commands.replica("drop", "--yes")
    assert done.code == 0, done.err
    assert commands.source("status").out.strip() == "published, and no replica follows"
    histories.write(following.source)
    assert following.at_replica("SELECT count(*) FROM projects") == [(2,)]
    with pytest.raises(ObjectNotInPrerequisiteState, match=READ_ONLY):
        following.at_replica("UPDATE projects SET name = 'mine'")
    assert commands.condition()["condition"] == "dropped: read-only, and follows no longer"
    assert commands.replica("drop", "--yes").code == 1

    assert "would be gone" in commands.create().err
    done = commands.create("--replace", "--yes")
    assert done.code == 0, done.err
    following.assert_same()


def test_a_replica_is_migrated_once_it_is_dropped_and_not_while_it_follows(
    following: Pair, commands: Commands, cli: CommandLine
) -> None:
    histories.write(following.source)
    following.assert_same()
    text = "BEGIN;\nUPDATE public.projects SET description = 'migrated';\nCOMMIT;\n"
    packaged = migrate.load()
    later = [*packaged, Migration(packaged[-1].version + 1, "999_later.sql", text)]
    with psycopg.connect(following.replica) as conn:
        with pytest.raises(Conflict, match="is a replica of headquarters and follows it: imi-registry replica drop"):
            migrate.apply(conn, migrations=later)
        with pytest.raises(Conflict, match=r"is a replica of headquarters and follows it: .* drop here first"):
            migrate.rollback(conn)
        assert commands.replica("drop", "--yes").code == 0
        assert migrate.apply(conn, migrations=later) == ["999_later.sql"]
    assert following.at_replica("SELECT DISTINCT description FROM projects") == [("migrated",)]
    assert cli("migrate", "down", "--to", "12", "--yes", "--database-url", following.replica).code == 1
    with psycopg.connect(following.replica) as conn:
        migrate.rollback(conn)
    assert following.at_replica("SELECT to_regclass('projects')") == [(None,)]
