"""The stream of commands has limits: who meets them is told so at once, and what was taken before is carried out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig, StreamSource

from publisher.applier import workers
from registry.broker.own_stream import OURS
from registry.client import RegistryClient, Sending
from registry.commands.reading import Command, read
from registry.errors import Busy, Invalid, OutcomeUnknown, Unavailable
from tests.support.cli.forked import run
from tests.support.commands import envelope
from tests.support.nats.process import nats_process
from tests.support.nats.reading import connected
from tests.support.proxy import Direction, nats_proxy
from tests.support.world import World


def project(number: int) -> dict[str, Any]:
    return {"name": f"p{number}", "remote_origin": f"git@github.com:a/p{number}.git"}


async def made(world: World, **settings: object) -> None:
    """The stream, by an applier that has been there."""
    async with world.applier(**settings):
        pass


async def config_of(world: World, stream: str) -> StreamConfig:
    return (await world.nats.jetstream().stream_info(stream)).config


async def filling(client: RegistryClient) -> AsyncIterator[int]:
    """Numbers of the commands that were taken."""
    for number in count():
        await client.post("project.register", project(number) | {"metadata": {"x": "y" * 8000}})
        yield number


LIMITS = {"messages": {"commands_max_messages": 5}, "bytes": {"commands_max_bytes": 64 * 1024}}


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS.keys())
async def test_a_full_stream_tells_busy_at_once_and_loses_nothing(world: World, limits: dict[str, int]) -> None:
    await made(world, **limits)
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        # given
        taken = 0
        with pytest.raises(Busy, match=r"^project.register: busy, the stream of commands takes no more now \(max"):
            async for taken in filling(client):  # noqa: B007  # the number is what counts
                pass
        taken += 1
        assert taken == 5 if "commands_max_messages" in limits else 5 < taken < 9

        # when
        with pytest.raises(Busy):
            await client.send("project.register", project(99) | {"metadata": {"x": "y" * 8000}}, Sending(timeout=600))
        arguments = ["commands", "send", "project.register", json.dumps(project(99) | {"metadata": {"x": "y" * 8000}})]
        done = await asyncio.to_thread(run, *arguments, NATS_URL=world.nats_url, IMI_PREFIX=world.prefix)
        assert done.returncode == 3
        assert "busy, the stream of commands takes no more now" in done.stderr

        # then
        async with world.applier(**limits):
            await world.commands_done()
            await client.send("project.register", project(99))
    assert world.rows("SELECT count(*) FROM projects") == [(taken + 1,)]


async def test_a_command_that_may_have_been_taken_is_not_told_to_be_refused(world: World) -> None:
    await made(world, commands_max_messages=1)
    lost: list[bytes] = []

    def lose_one(direction: Direction, data: bytes) -> bool:
        is_acknowledgement = direction == "to_client" and b'"stream":' in data and not lost
        if is_acknowledgement:
            lost.append(data)
        return is_acknowledgement

    async with (
        nats_proxy(world.nats_url) as (proxy, through),
        RegistryClient.connect(through, prefix=world.prefix) as client,
    ):
        proxy.swallow = lose_one
        with pytest.raises(OutcomeUnknown):
            await client.send("project.register", project(1), Sending(timeout=4))
        assert lost
        with pytest.raises(Busy):
            await client.send("project.register", project(2))


async def test_a_stream_from_before_gets_its_limits_and_keeps_what_it_holds(world: World) -> None:
    name = world.names.commands.stream
    before = StreamConfig(
        name=name, subjects=[f"{world.prefix}.cmd.>"], retention=RetentionPolicy.WORK_QUEUE, max_msg_size=100_000
    )
    await world.nats.jetstream().add_stream(before)
    await world.send("project.register", envelope("project.register", project(1)))

    async with world.applier():
        await world.commands_done()

    found = await config_of(world, name)
    assert (found.max_msgs, found.max_bytes, found.discard) == (100_000, 128 * 1024 * 1024, DiscardPolicy.NEW)
    assert found.max_msg_size == 100_000  # somebody's own
    assert world.rows("SELECT name FROM projects") == [("p1",)]


async def test_what_somebody_set_by_hand_stays_and_what_a_setting_set_follows_it(world: World) -> None:
    name = world.names.commands.stream
    jetstream = world.nats.jetstream()
    await made(world, commands_max_messages=10)
    by_hand = await config_of(world, name)
    by_hand.max_bytes, by_hand.max_age, by_hand.description = 777_777, 86400.0, "ours"
    by_hand.metadata = (by_hand.metadata or {}) | {"team": "core"}
    await jetstream.update_stream(by_hand)

    await made(world, commands_max_messages=20)

    found = await config_of(world, name)
    assert (found.max_msgs, found.max_bytes, found.max_age, found.description) == (20, 777_777, 86400.0, "ours")
    assert found.metadata is not None
    assert found.metadata["team"] == "core"
    assert json.loads(found.metadata[OURS]).keys() == {"max_msgs", "max_msg_size", "max_msgs_per_subject"}


@pytest.mark.parametrize("how", ["other subjects", "sealed", "mirror"])
@pytest.mark.parametrize("is_dead", [False, True], ids=["commands", "dead letters"])
async def test_a_stream_of_somebody_else_is_not_altered(world: World, is_dead: bool, how: str) -> None:
    jetstream, names = world.nats.jetstream(), world.names.commands
    name = names.dead_letter_stream if is_dead else names.stream
    subject = f"{names.dead_letter_root}.>" if is_dead else names.filter
    theirs = StreamConfig(name=name, subjects=[subject if how == "sealed" else f"{world.prefix}.other.>"])
    if not is_dead:
        theirs.retention = RetentionPolicy.WORK_QUEUE
    if how == "mirror":
        origin = f"{world.prefix.upper()}_ORIGIN"
        await jetstream.add_stream(name=origin, subjects=[f"{world.prefix}.origin.>"])
        theirs.subjects, theirs.mirror = None, StreamSource(name=origin)
    before = (await jetstream.add_stream(theirs)).config
    if how == "sealed":
        before.sealed = True
        before = (await jetstream.update_stream(before)).config

    with pytest.raises(ExceptionGroup) as error:
        await made(world)

    assert f"stream {name} cannot" in str(error.value.exceptions[0])
    assert ("subjects are" if how == "other subjects" else "it takes no messages") in str(error.value.exceptions[0])
    assert await config_of(world, name) == before


async def test_a_server_without_room_for_the_limits_of_bytes_is_used_all_the_same(
    world: World, state_dir: Path
) -> None:
    store = {"store_dir": str(state_dir / "nats"), "max_file_store": 64 * 1024 * 1024}
    with nats_process(state_dir, jetstream=store) as server:
        async with connected(server.url()) as client:
            there = world.at(nats_url=server.url(), nats=client)
            async with there.applier():
                outcome = await there.ask("project.register", envelope("project.register", project(1)))
            assert outcome["verdict"] == "applied"
            found = await config_of(there, there.names.commands.stream)
            assert (found.max_msgs, found.max_bytes) == (100_000, -1)


async def test_dead_letters_beyond_the_limit_drop_the_oldest_and_hold_up_nobody(world: World) -> None:
    async with world.applier(dead_letters_max_messages=3):
        for number in range(5):
            await world.send("project.register", f"no command {number}".encode())
        await world.commands_done()
        assert (await world.ask("project.register", envelope("project.register", project(1))))["verdict"] == "applied"

    kept = await world.nats.jetstream().stream_info(world.names.commands.dead_letter_stream)
    assert (kept.state.messages, kept.state.first_seq) == (3, 3)


EXTENTS = {
    "values": b"[" + b"1," * 200_000 + b"1]",
    "members": b"{" + b",".join(b'"%d":1' % number for number in range(101_000)) + b"}",
    "members, one twice": b'{"0":1,' + b",".join(b'"%d":1' % number for number in range(99_000)) + b"}",
    "levels": b'{"a":' * 1200 + b"1" + b"}" * 1200,
    "levels without end": b"[" * 1_000_000,
    "quotation marks": b'{"a": ' + b'"\\"' * 300_000,
}


@pytest.mark.parametrize("extent", EXTENTS.values(), ids=EXTENTS.keys())
async def test_a_command_of_any_extent_is_answered_and_harms_nobody(world: World, extent: bytes) -> None:
    async with world.applier() as metrics:
        inbox = world.nats.new_inbox()
        subscription = await world.nats.subscribe(inbox)
        text = b'{"replyto": "' + inbox.encode() + b'", "id": "x", "data": {"metadata": ' + extent + b"}}"
        await world.send("project.register", text)
        outcome = orjson.loads((await subscription.next_msg(timeout=20)).data)
        assert (outcome["verdict"], outcome["code"]) == ("rejected", "VALIDATION_ERROR")
        assert (await world.ask("project.register", envelope("project.register", project(1))))["verdict"] == "applied"
        assert metrics.problems() == []


@pytest.mark.parametrize("actors", [None, {"big": ["big"]}], ids=["taken", "refused"])
async def test_of_large_commands_few_are_read_while_the_database_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch, actors: dict[str, list[str]] | None
) -> None:
    begun: list[str] = []

    def reading(payload: bytes, name: str, parse: Callable[[bytes, list[str]], Any]) -> Command:
        begun.append(name)
        return read(payload, name, parse)

    monkeypatch.setattr(workers, "read", reading)
    monkeypatch.setattr(workers, "MOST_VALUES_IN_HAND", 200_000)
    large = {"metadata": {"x": [{}] * 45_000}}
    js = world.nats.jetstream()
    subject = world.names.commands.command_subject("project.register", "big")
    async with world.applier(actors=actors):
        with psycopg.connect(world.database) as conn:
            conn.execute("LOCK TABLE projects, command_ledger")

            # when
            for number in range(12):
                payload = envelope("project.register", project(number) | large, actor="other")
                await js.publish(subject, payload)
            async with asyncio.timeout(20):
                while (await js.consumers_info(world.names.commands.stream))[0].num_ack_pending < 12:
                    await asyncio.sleep(0.01)
                while len(begun) < 3:
                    await asyncio.sleep(0.01)

            # then
            assert len(begun) == 3  # most of what was given came before: one request of a reader brings a MiB
        await world.commands_done()

    assert world.rows("SELECT count(*) FROM projects") == [(0 if actors else 12,)]


async def test_a_command_larger_than_the_limit_is_refused_by_name(world: World) -> None:
    await made(world, command_max_bytes=2000)
    async with RegistryClient.connect(world.nats_url, prefix=world.prefix) as client:
        with pytest.raises(
            Invalid, match=r"^project.register: it has \d+ bytes, more than the stream of commands takes"
        ):
            await client.post("project.register", project(1) | {"metadata": {"x": "y" * 3000}})
        assert issubclass(Busy, Unavailable)
