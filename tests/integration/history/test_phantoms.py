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

from publisher.history import compensation, phantoms
from publisher.outbox.known import known_stream
from tests.support.cli.forked import run
from tests.support.outbox.phantoms import ID, OF_A_TYPE, about_phantoms, publish
from tests.support.world import World

BEYOND = 2**62
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
