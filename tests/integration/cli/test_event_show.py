"""`imi-registry events show`: one event, wherever it is kept."""

from __future__ import annotations

import asyncio
import json
import subprocess

import orjson
import psycopg
import pytest

from registry.client.lookup import find_event
from registry.errors import Unavailable
from tests.support.cli.forked import run
from tests.support.world import World

pytestmark = pytest.mark.parametrize("profile", ["imi", "bloodbank"], indirect=True)


async def show(world: World, reference: object, *options: str) -> subprocess.CompletedProcess[str]:
    settings = {
        "NATS_URL": world.nats_url,
        "IMI_PREFIX": world.prefix,
        "IMI_PROFILE": world.settings().profile,
        "IMI_BLOODBANK_PROPOSED": "true",
    }
    return await asyncio.to_thread(run, "events", "show", str(reference), *options, **settings)


async def test_an_event_is_shown_whole_by_sequence_and_by_id(world: World, profile: str) -> None:
    # given a number that no double holds
    with psycopg.connect(world.database) as conn:
        metadata = '{"digits": 12345678901234567890123, "fine": 0.12345678901234567890123}'
        conn.execute("SELECT register_project('a', 'git@github.com:o/a.git', 'main', '/t', %s)", [metadata])
    async with world.relay():
        await world.drained()
    (event,) = await world.published()
    # when
    by_sequence = await show(world, event.sequence, "--json")
    by_id = await show(world, event.envelope["id"], "--json")
    read = await show(world, event.envelope["id"])
    # then
    told = orjson.loads(by_sequence.stdout)  # it makes doubles of numbers, as in `event`
    assert by_id.stdout == by_sequence.stdout
    assert (told["sequence"], told["subject"]) == (event.sequence, event.subject)
    assert told["headers"]["Nats-Msg-Id"] == event.envelope["id"]
    assert told["headers"].items() <= event.headers.items()  # a direct get adds those that say where it was
    assert (told["stream"], told["in_stream"], told["event"]) == (world.stream, True, event.envelope)
    assert '"fine": 0.12345678901234567890123' in by_sequence.stdout
    assert "header    Nats-Msg-Id: " in read.stdout
    assert '"digits": 12345678901234567890123' in read.stdout
    assert told["position"] in read.stdout


async def test_what_the_stream_no_longer_holds_comes_from_the_publisher(
    world: World, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    world.write(projects=1, worktrees=1, renames=2)
    async with world.relay():
        await world.drained()
    first, second, *_ = await world.published()
    await world.trim(second.sequence + 1)
    # when
    async with world.history():
        by_id = json.loads((await show(world, second.envelope["id"], "--json")).stdout)
        by_sequence = json.loads((await show(world, first.sequence, "--json")).stdout)
        read = await show(world, first.sequence)
    # then
    assert (by_id["event"], by_id["subject"]) == (second.envelope, second.subject)
    assert (by_id["in_stream"], by_id["headers"], by_id["stored_at"]) == (False, None, None)
    assert (by_sequence["event"], by_sequence["sequence"]) == (first.envelope, first.sequence)
    assert "only by the publisher: the stream no longer holds it" in read.stdout
    # and when there is none any more
    monkeypatch.setattr("registry.client.replay.PATIENCE_SECONDS", 0.2)
    with pytest.raises(Unavailable, match="no publisher answers"):
        await find_event(world.nats, world.profile, first.sequence)


async def test_what_is_no_event_of_ours_is_not_found(world: World, profile: str) -> None:
    # given a message of somebody else, and one that was deleted
    world.write(projects=1, worktrees=0, renames=0)
    async with world.relay():
        await world.drained()
        foreign = await world.nats.jetstream().publish(world.foreign_subject, b"{}")
        deleted = await world.nats.jetstream().publish(world.foreign_subject, b"{}")
        await world.nats.jetstream().delete_msg(world.stream, deleted.seq)
    # then
    async with world.history():
        for reference, told in (
            (foreign.seq, "is no event of this registry"),
            (deleted.seq, "is neither in stream"),
            (deleted.seq + 1, "is beyond the end of stream"),
            ("00000000-0000-4000-8000-000000000001", "no event has the id"),
        ):
            done = await show(world, reference)
            assert (done.returncode, done.stdout) == (1, ""), reference
            assert told in done.stderr


@pytest.mark.parametrize("reference", ["0", "x", "", "9" * 25, "³"])
async def test_what_names_no_event_is_a_usage_error(world: World, profile: str, reference: str) -> None:
    done = await show(world, reference)
    assert (done.returncode, done.stdout) == (2, "")
    assert f'event "{reference}" is neither an id, a UUID, nor a sequence' in done.stderr
