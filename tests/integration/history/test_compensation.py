"""Phantoms are taken back: consumers are told how things are, once, by events that stand behind what they told."""

from __future__ import annotations

from uuid import uuid4

import orjson
import pytest

from publisher.history import compensation
from registry.events import parse
from registry.history.state import State
from tests.support.outbox.phantoms import ID, OF_A_TYPE, about_phantoms, publish
from tests.support.world import World

PLACE = "SELECT use_host('laptop'), place_project(%s, caller_host_id(), '/laptop/trunk-main')"


async def test_of_a_row_that_is_not_here_what_was_too_large_for_a_message_is_told_and_hinders_nothing(
    world: World,
) -> None:
    async with world.relay():
        world.write(1)
        await world.drained()
    await publish(world, {"type": "imi.project.registered.v1", "dataref": "urn:x"})

    _, written = await compensation.run(world.settings(), compensate=True)

    assert [one.event for one in written] == [""]
    finding = await about_phantoms(world)
    assert not finding.is_well
    assert not finding.is_hindrance
    assert f"consumers believe of project {ID} what was too large for a message" in finding.text


async def test_a_phantom_whose_ids_are_in_capitals_is_taken_back_once(world: World) -> None:
    async with world.relay():
        world.write(1)
        await world.drained()
    await publish(world, {"id": str(uuid4()).upper(), "subject": f"project/{ID.upper()}"})

    for times in (1, 0):
        found, written = await compensation.run(world.settings(), compensate=True)
        assert [phantom.row for phantom in found] == [ID]
        assert [one.event for one in written] == ["project.deleted"] * times
    assert (await about_phantoms(world)).is_well


async def test_a_phantom_that_deleted_a_row_needs_to_be_taken_back_only_where_the_row_is_there(world: World) -> None:
    async with world.relay():
        world.write(1)
        await world.drained()
    removed = {**OF_A_TYPE, "type": "imi.worktree_type.removed.v1", "data": {"type_id": 999}}
    await publish(world, {"type": "imi.project.deleted.v1"}, removed)

    found, written = await compensation.run(world.settings(), compensate=True)
    assert ([phantom.row for phantom in found], written) == ([ID, "999"], [])
    assert (await about_phantoms(world)).is_well

    ((project,), *_) = world.rows("SELECT id FROM projects")
    await publish(world, {"type": "imi.project.deleted.v1", "subject": f"project/{project}"})
    assert not (await about_phantoms(world)).is_well
    _, written = await compensation.run(world.settings(), compensate=True)
    assert [one.event for one in written] == ["project.registered"]
    assert (await about_phantoms(world)).is_well


async def test_what_takes_a_phantom_of_a_worktree_back_is_of_its_host(world: World) -> None:
    async with world.relay():
        (project,) = world.write(1, 0, 0)
        world.rows("SELECT use_host('laptop'), register_worktree(%s, 'feat', 'w', 'feat/w', '/w')", project)
        await world.drained()
    ((worktree, host),) = world.rows("SELECT id, host_id FROM worktrees")
    told = {"type": "imi.worktree.updated.v1", "hostid": str(host), "data": {"host_id": str(host)}}
    await publish(world, {**told, "subject": f"worktree/{worktree}"}, {**told, "subject": f"worktree/{ID}"})

    await compensation.run(world.settings(), compensate=True)

    written = world.rows("SELECT action, host_id FROM outbox WHERE actor = %s ORDER BY id", compensation.ACTOR)
    assert written == [("updated", host), ("deleted", host)]


async def test_after_a_truncate_that_is_a_phantom_each_row_is_told_again(world: World) -> None:
    async with world.relay():
        (project,) = world.write(1, 1, 0)
        world.rows(PLACE, project)
        await world.drained()
    truncated = {"type": "imi.registry.truncated.v1", "subject": "registry"}
    tables = ("worktrees", "projects", "worktree_types", "agent_activities")
    await publish(world, *({**truncated, "data": {"table": table}} for table in tables))
    assert not (await about_phantoms(world)).is_well

    _, written = await compensation.run(world.settings(), compensate=True)

    assert [one.event for one in written] == ["worktree_type.added", "project.registered", "worktree.created"]
    counts = dict(
        world.rows("SELECT entity, count(*) FROM outbox WHERE actor = %s GROUP BY entity", compensation.ACTOR)
    )
    assert counts == {"worktree_type": 6, "project": 1, "project_host": 1, "worktree": 1}
    assert (await about_phantoms(world)).is_well
    assert (await compensation.run(world.settings(), compensate=True))[1] == []
    async with world.relay():
        await world.drained()
    state = State()
    for message in await world.published():
        state.apply(orjson.dumps(message.envelope))
    assert [len(rows) for rows in (state.types, state.projects, state.worktrees)] == [6, 1, 1]


async def test_phantoms_of_hosts_and_places_are_taken_back(world: World) -> None:
    # given: what is there and was told to be gone, and the other way round; a project takes its places along
    async with world.relay():
        (project,) = world.write(1, 0, 0)
        world.rows(PLACE, project)
        await world.drained()
    ((host,),) = world.rows("SELECT host_id::text FROM project_hosts")
    place = {"subject": f"project_host/{project}"}
    there, gone = ({"hostid": id_, "data": {"host_id": id_, "trunk_path": "/other"}} for id_ in (host, ID))
    await publish(
        world,
        {**gone, "type": "imi.host.registered.v1", "subject": f"host/{ID}"},
        {**there, "type": "imi.host.removed.v1", "subject": f"host/{host}"},
        {**gone, **place, "type": "imi.project_host.added.v1"},
        {**there, **place, "type": "imi.project_host.updated.v1"},
        {"type": "imi.project.deleted.v1", "subject": f"project/{project}"},
    )

    await compensation.run(world.settings(), compensate=True)
    async with world.relay():
        await world.drained()

    *told, place_removed, host_removed = (await world.published())[-6:]
    for message in told:
        parse(orjson.dumps(message.envelope))
    assert [(message.envelope["type"], message.envelope.get("hostid")) for message in told] == [
        ("imi.host.registered.v1", host),
        ("imi.project.registered.v1", None),
        ("imi.project_host.added.v1", host),
        ("imi.project_host.updated.v1", host),
    ]
    assert told[-1].envelope["data"]["changed"] == {"trunk_path": "/other"}
    assert [message.envelope["type"] for message in (place_removed, host_removed)] == [
        "imi.project_host.removed.v1",
        "imi.host.removed.v1",
    ]
    assert {place_removed.envelope["hostid"], host_removed.envelope["hostid"]} == {ID}
    assert (await about_phantoms(world)).is_well


@pytest.mark.parametrize("profile", ["bloodbank"], indirect=True)
@pytest.mark.usefixtures("profile")
async def test_what_takes_a_phantom_of_the_shared_stream_back_says_what_happens_now(world: World) -> None:
    async with world.relay():
        world.write(1)
        await world.drained()
    told = {"type": "bloodbank.workspace.project.updated", "subject": world.foreign_subject}
    await publish(world, {**told, "ordering_key": f"project:{ID}", "data": {"change": "updated", "name": "p"}})

    _, written = await compensation.run(world.settings(), compensate=True)
    async with world.relay():
        await world.drained()

    assert [one.event for one in written] == ["project.deleted"]
    assert (await world.published())[-1].envelope["data"]["change"] == "deleted"
