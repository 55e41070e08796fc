"""A database that is not the one the relay left: what it lost is told, its new events are published."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from publisher.doctor import examine
from tests.support.databases import Role, name_of, new_database
from tests.support.outbox.changes import rename_project
from tests.support.world import World


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
