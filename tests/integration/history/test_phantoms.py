"""Messages that the record does not name are looked at, but not those that a publisher at work is about to record."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest
from nats.aio.msg import Msg

from publisher.doctor import examine
from publisher.doctor.findings import Finding
from publisher.history import compensation, phantoms
from publisher.outbox.known import known_stream
from registry.events import parse
from registry.history.state import State
from tests.support.cli.forked import run
from tests.support.world import World

BEYOND = 2**62
PLACE = "SELECT use_host('laptop'), place_project(%s, caller_host_id(), '/laptop/trunk-main')"
ID = "0f6e1f0c-5a59-4f08-8f5c-0f1f6a1e2b3c"
OF_A_TYPE = {"type": "imi.worktree_type.updated.v1", "subject": "worktree_type"}
NO_EVENTS: list[dict[str, Any]] = [
    {"id": "x"},
    {"id": 5},
    {"subject": "project/p"},
    {"subject": f"project/{ID}\0"},
    {"partitionkey": "p"},
    {"hostid": "h"},
    {"data": {"name": "a\0b"}},
    *({**OF_A_TYPE, "data": {"type_id": type_id}} for type_id in ("x", None, True, 1.5, -1, 2**31)),
    {**OF_A_TYPE, "data": {"name": "feat"}},
]
"""What somebody wrote who says that it is an event of ours, in words that PostgreSQL does not take."""


async def publish(world: World, *told: dict[str, Any]) -> None:
    """Messages that are marked as events of ours, and tell of a project that there is not, unless they tell of else."""
    for attributes in told:
        event = {"id": str(uuid4()), "type": "imi.project.updated.v1", "subject": f"project/{ID}"}
        event |= {"time": "2026-01-01T00:00:00Z", "data": {"name": "p"}, **attributes}
        headers = {"Imi-Outbox-Id": "999999999", "Nats-Msg-Id": str(uuid4())}
        headers |= {"Imi-Source": world.profile.source} if world.profile.is_shared else {}
        await world.nats.jetstream().publish(world.foreign_subject, orjson.dumps(event), headers=headers)


async def about_phantoms(world: World) -> Finding:
    """What doctor says of them."""
    (found,) = [one for one in await examine(world.settings()) if "this database does not" in one.text]
    return found


@pytest.mark.parametrize("is_at_work", [True, False], ids=["at work", "at rest"])
async def test_what_is_not_recorded_is_looked_at_once_the_record_stands_still(
    world: World, monkeypatch: pytest.MonkeyPatch, is_at_work: bool
) -> None:
    # given three events in the stream, of which the cursor does not tell the last two yet
    async with world.relay():
        for number in range(3):
            world.rows("SELECT register_project(%s, %s)", f"p{number}", f"git@github.com:a/p{number}.git")
            await world.drained()
    world.rows("UPDATE publisher_cursor SET stream_sequence = 1 RETURNING 1")
    looked_at: list[Msg] = []

    async def look(request: Msg) -> None:
        looked_at.append(request)

    await world.nats.subscribe(f"$JS.API.STREAM.MSG.GET.{world.stream}", cb=look)

    async def recorded(conn: psycopg.AsyncConnection, stream: str) -> int:
        last = await as_it_is(conn, stream)
        if is_at_work:
            world.rows("UPDATE publisher_cursor SET stream_sequence = stream_sequence + 1 RETURNING 1")
        return last

    as_it_is = phantoms._recorded
    monkeypatch.setattr(phantoms, "_recorded", recorded)
    # when
    async with await psycopg.AsyncConnection.connect(world.database, autocommit=True) as conn:
        state = (await world.nats.jetstream().stream_info(world.stream)).state
        known = await known_stream(conn, world.stream)
        found = await phantoms.unknown_sequences(conn, world.nats, world.settings(), known, state, None)
    # then
    assert found == ([], 0, True)
    await world.nats.flush()
    assert len(looked_at) == (0 if is_at_work else 2)


async def test_of_a_stream_that_goes_on_far_behind_the_record_no_more_is_kept_than_is_looked_at(world: World) -> None:
    async with world.relay():
        world.write(1)
        await world.drained()
    async with await psycopg.AsyncConnection.connect(world.database, autocommit=True) as conn:
        state = replace((await world.nats.jetstream().stream_info(world.stream)).state, last_seq=BEYOND)
        known = await known_stream(conn, world.stream)

        found = await phantoms.unknown_sequences(conn, world.nats, world.settings(), known, state, 10)

    assert found == ([], 0, False)


async def test_a_message_that_tells_what_no_row_can_be_ends_nothing_and_is_no_phantom(world: World) -> None:
    async with world.relay():
        world.write(1)
        await world.drained()
    await publish(world, *NO_EVENTS, {**OF_A_TYPE, "subject": f"worktree_type/{ID}", "dataref": "urn:x"})

    found, written = await compensation.run(world.settings(), compensate=True)

    assert [(phantom.entity, phantom.row) for phantom in found] == [("worktree_type", None)]
    assert written == []
    assert (await about_phantoms(world)).is_well


async def test_of_a_row_that_is_not_here_what_was_too_large_for_a_message_is_told_and_hinders_nothing(
    world: World,
) -> None:
    async with world.relay():
        world.write(1)
        await world.drained()
    event = {"id": str(uuid4()), "type": "imi.project.registered.v1", "subject": f"project/{ID}"}
    event |= {"time": "2026-01-01T00:00:00Z", "dataref": "urn:x"}
    headers = {"Imi-Outbox-Id": "999999999", "Nats-Msg-Id": str(uuid4())}
    headers |= {"Imi-Source": world.profile.source} if world.profile.is_shared else {}
    await world.nats.jetstream().publish(world.foreign_subject, orjson.dumps(event), headers=headers)

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


async def test_more_phantoms_than_a_service_looks_at_are_all_listed_and_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phantoms, "LOOKED_AT", 3)
    async with world.relay():
        world.write(1)
        await world.drained()
    await publish(world, {"subject": f"project/{(other := str(uuid4()))}"}, *5 * [{}])
    told = await about_phantoms(world)
    assert (told.is_well, "holds at least 3 events" in told.text) == (False, True)

    found, written = await compensation.run(world.settings(), compensate=True)

    assert len(found) == 6
    assert {one.phantom.row for one in written} == {other, ID}
    told = await about_phantoms(world)
    assert (told.is_well, "holds at least 3 events" in told.text) == (True, True)


@pytest.mark.parametrize(
    "newest",
    [{"type": "imi.activity.logged.v1", "subject": f"activity/{ID}"}, {"type": "imi.project.deleted.v1"}],
    ids=["of no row", "of a row that is gone"],
)
async def test_of_phantoms_of_nothing_wrong_before_which_there_are_others_nobody_says_that_all_is_well(
    world: World, monkeypatch: pytest.MonkeyPatch, newest: dict[str, Any]
) -> None:
    monkeypatch.setattr(phantoms, "LOOKED_AT", 3)
    async with world.relay():
        world.write(1)
        await world.drained()
    await publish(world, {"subject": f"project/{uuid4()}"}, *3 * [newest])

    told = await about_phantoms(world)

    assert (told.is_well, told.is_hindrance) == (False, False)
    assert "imi-registry phantoms lists the older ones" in told.text


async def test_a_number_with_digits_that_a_double_does_not_have_is_listed_as_it_is(world: World) -> None:
    async with world.relay():
        world.write(1)
        await world.drained()
    await publish(world, {"data": {"metadata": {"price": orjson.Fragment("1.10")}}})
    places = {"DATABASE_URL": world.database, "NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}

    ran = await asyncio.to_thread(run, "phantoms", "--json", **places)

    assert (ran.returncode, '"price":1.10' in ran.stdout) == (0, True), ran.stderr


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
