"""A database that is not the one the relay left, or lost its cursor: that is told, new events are published once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import psycopg
import pytest
from structlog.testing import capture_logs

from publisher.doctor import examine
from tests.support.databases import Role, name_of, new_database
from tests.support.outbox.changes import rename_project
from tests.support.schema.migrations import MIGRATIONS, NAMES, psql
from tests.support.world import World

MADE_BY = "003_outbox.sql"
ANEW = "the cursor was gone: it begins anew from the record"


@pytest.fixture
async def restored(world: World, admin_url: str, owner: Role) -> AsyncIterator[World]:
    """A world whose database is as it was before the last five of the events that were published."""
    async with world.relay():
        rename_project(world.database, 9)
        await world.drained()
    with new_database(admin_url, owner, name_of(world.database)) as copy:
        async with world.relay():
            rename_project(world.database, 5)
            await world.drained()
        yield world.at(database=copy)


async def test_a_database_restored_to_an_older_state_is_reported_and_its_new_events_are_published(
    restored: World,
) -> None:
    rename_project(restored.database, 7)  # the same ids again, for other events
    with restored.process() as relay:
        await relay.ready()
        await restored.drained()
        code, body = await relay.readyz()
        logged = [line for line in relay.log() if line.get("level") == "error"]

    assert code == 503
    assert body["problems"] == [one.text for one in await examine(restored.settings()) if not one.is_well]
    assert body["problems"][0].startswith("the stream holds 5 events, sequences 11 to 15, that this database does not")
    assert [line["count"] for line in logged] == [5]
    await restored.assert_exactly_once(foreign=5, at_least=17)


async def test_events_of_a_lost_database_are_told_before_one_more_is_published_and_by_every_process(
    restored: World,
) -> None:
    async with restored.relay():  # it has recovered: the cursor stands behind what it found
        found = [one.text for one in await examine(restored.settings()) if not one.is_well]
    with restored.process() as later:
        await later.ready()
        code, body = await later.readyz()

    assert found[0].startswith("the stream holds 5 events, sequences 11 to 15, that this database does not")
    assert (code, body["problems"]) == (503, found)


def remove_row(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("DELETE FROM publisher_cursor")


def make_table_anew(database: str) -> None:
    """As `doctor` says, where there is no backup."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("DROP TABLE publisher_cursor CASCADE")
    for file in NAMES[NAMES.index(MADE_BY) :]:
        assert psql(database, MIGRATIONS / file).returncode == 0


async def publish(world: World) -> None:
    """Ten events, of which the stream has lost five to its limits, and an id that will never appear."""
    rename_project(world.database, 9)
    with psycopg.connect(world.database) as conn:
        conn.execute("UPDATE projects SET description = 'x'")
        conn.rollback()
    await world.drained()
    await world.trim(6)


@pytest.mark.parametrize(
    ("lose", "is_running"),
    [(remove_row, True), (remove_row, False), (make_table_anew, True)],
    ids=["row, while running", "row, while stopped", "table, while running"],
)
async def test_what_the_stream_no_longer_holds_is_not_published_again(
    world: World, lose: Callable[[str], None], is_running: bool
) -> None:
    # given
    with capture_logs() as logged:
        async with world.relay():
            await publish(world)
            # when
            if is_running:
                await asyncio.to_thread(lose, world.database)
                async with asyncio.timeout(60):
                    while all(line["event"] != ANEW for line in logged):
                        await asyncio.sleep(0.02)
        if not is_running:
            lose(world.database)
        async with world.relay(), world.history():
            rename_project(world.database, 3)
            await world.drained()
            found = await world.audit()
            told = await world.replayed()
    # then
    assert [line["stream_sequence"] for line in logged if line["event"] == ANEW] == [10]
    assert any("publisher_cursor" in line.get("reason", "") for line in logged) == is_running
    assert found.lost == [1, 2, 3, 4, 5]
    found._replace(lost=[]).assert_clean(at_least=13)
    assert [event.sequence for event in told] == list(range(1, 14))
