"""Settings of streams by which events, commands or dead letters are lost or refused: each is made, and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nats.js.api import DiscardPolicy, StreamConfig, SubjectTransform

from publisher.doctor.stream_settings import (
    COMMANDS,
    DEAD_LETTERS,
    EVENTS,
    OWN_EVENTS,
    Rule,
    harmful,
    stream_settings_findings,
)
from tests.support.world import World

UNLIMITED_SENDERS = {"max_msgs_per_subject": -1, "discard_new_per_subject": False}
"""nats-server lets no stream drop its oldest, and refuse what one sender has too many of."""


async def found(world: World) -> list[str]:
    return [one.text for one in await stream_settings_findings(world.nats, world.settings())]


async def change(world: World, stream: str, **settings: Any) -> None:
    jetstream = world.nats.jetstream()
    await jetstream.update_stream((await jetstream.stream_info(stream)).config.evolve(**settings))


async def test_settings_of_streams_that_lose_or_refuse_are_named(world: World) -> None:
    # given
    async with world.relay(), world.applier():
        world.write(1)
        await world.drained()
    assert await found(world) == []
    events, names = world.stream, world.names.commands

    # when
    await change(world, events, max_msgs=5000, discard=NEW, max_msg_size=1000, max_msgs_per_subject=7)
    # then
    assert [text.split(":")[0] for text in await found(world)] == [
        f"discard of stream {events} is new",
        f"max_msgs_per_subject of stream {events} is 7",
        f"max_msgs of stream {events} is 5000",
        f"max_msg_size of stream {events} is 1000",
    ]

    # when
    await change(world, events, max_msgs=-1, discard=DiscardPolicy.OLD, max_msg_size=-1, max_msgs_per_subject=-1)
    await change(world, names.stream, discard=DiscardPolicy.OLD, max_age=3600, **UNLIMITED_SENDERS)
    await change(world, names.dead_letter_stream, max_age=86400.0)
    # then
    discard, age, letters = await found(world)
    assert discard.startswith(f"discard of stream {names.stream} is old: once the stream is full it drops its oldest")
    assert age.startswith(f"max_age of stream {names.stream} is 3600: a command that waits longer (s) is dropped")
    assert age.endswith(f"; set it to 0: nats stream edit {names.stream}")
    assert letters.startswith(f"max_age of stream {names.dead_letter_stream} is 86400: a dead letter is dropped")


async def test_a_stream_of_commands_that_one_sender_can_fill_is_told_where_there_are_several(world: World) -> None:
    # given: the defaults
    async with world.applier():
        pass
    names = world.names.commands

    async def told(**settings: Any) -> list[str]:
        given = world.settings().model_copy(update=settings)
        return [one.text for one in await stream_settings_findings(world.nats, given)]

    # then: nothing to one person, also with the token of `up`
    assert await told() == await told(nats_token_file=Path("token")) == []
    assert await told(nats_url="nats://token@nats-1,nats://token@nats-2") == []

    # but to who has users
    several = {"actors": {"flume": ["ada"]}}
    for settings in (
        several,
        {"nats_user": "operator"},
        {"nats_url": "nats://operator:p@nats-1"},
    ):
        assert await told(**settings) == [
            f"one sender can take more than half of stream {names.stream}, or all, and others are told Busy once it is "
            "full: it may have waiting of each of 13 kinds 5,000, of 2,097,152 bytes, 136,314,880,000 in all, and the "
            "stream takes 134,217,728; set IMI_COMMANDS_MAX_PER_SENDER, IMI_COMMAND_MAX_BYTES and "
            "IMI_COMMANDS_MAX_BYTES so that it is at most half, as with 500, 65536 and 1073741824, for the applier "
            f"(what was set by hand: nats stream edit {names.stream})"
        ]

    # when: one of them is followed
    async with world.applier(commands_max_per_sender=500, command_max_bytes=65536, commands_max_bytes=2**30):
        pass
    assert await told(**several) == []

    # when: somebody lowers what the stream takes, or takes the limits away
    await change(world, names.stream, max_msgs=13 * 500)
    (messages,) = await told(**several)
    assert "of each of 13 kinds 500, 6,500 in all, and the stream takes 6,500; set IMI_COMMANDS_MAX_PER_" in messages
    await change(world, names.stream, max_bytes=-1, **UNLIMITED_SENDERS)
    (unlimited,) = await told(**several)
    assert "of each of 13 kinds any number, of 65,536 bytes, and the stream has no limit of them; set" in unlimited


async def test_settings_that_a_stream_was_made_with_are_named(world: World) -> None:
    # given: streams that somebody made by hand, before anything of ours ran
    jetstream, names = world.nats.jetstream(), world.names
    transform = SubjectTransform(f"{names.prefix}.>", "elsewhere.>")
    held = StreamConfig(deny_delete=True, deny_purge=True, subject_transform=transform)
    made = {
        world.stream: held.evolve(subjects=[f"{names.prefix}.evt.>"]),
        names.commands.stream: ASYNC.evolve(subjects=[f"{names.prefix}.cmd.>"]),
        names.commands.dead_letter_stream: StreamConfig(no_ack=True, subjects=[f"{names.prefix}.dlq.>"]),
    }
    for stream, config in made.items():
        await jetstream.add_stream(config.evolve(name=stream))

    assert [text.split(":")[0] for text in await found(world)] == [
        f"subject_transform of stream {world.stream} is {names.prefix}.> to elsewhere.>",
        f"deny_delete of stream {world.stream} is true",
        f"deny_purge of stream {world.stream} is true",
        f"persist_mode of stream {names.commands.stream} is async",
        f"no_ack of stream {names.commands.dead_letter_stream} is true",
    ]


NEW = DiscardPolicy.NEW
ASYNC = StreamConfig.from_response({"persist_mode": "async"})
HARMFUL: list[tuple[tuple[Rule, ...], StreamConfig, str]] = [
    (OWN_EVENTS, StreamConfig(no_ack=True), "no_ack of stream S is true"),
    (OWN_EVENTS, StreamConfig(deny_delete=True), "deny_delete of stream S is true"),
    (OWN_EVENTS, StreamConfig(deny_purge=True), "deny_purge of stream S is true"),
    (EVENTS, ASYNC, "persist_mode of stream S is async"),
    (
        EVENTS,
        StreamConfig(subject_transform=SubjectTransform("a.>", "b.>")),
        "subject_transform of stream S is a.> to b.>",
    ),
    (
        COMMANDS,
        StreamConfig(discard=NEW, max_msgs_per_subject=3),
        "max_msgs_per_subject of stream S is 3",
    ),
    (DEAD_LETTERS, StreamConfig(no_ack=True), "no_ack of stream S is true"),
]
HARMLESS: list[tuple[tuple[Rule, ...], StreamConfig]] = [
    (EVENTS, StreamConfig(discard=NEW, max_msgs=-1, max_bytes=-1)),
    (EVENTS, StreamConfig(max_bytes=10_000, discard=DiscardPolicy.OLD)),
    (EVENTS, StreamConfig.from_response({"persist_mode": "default", "max_age": 0})),
    (
        COMMANDS,
        StreamConfig(discard=NEW, max_msgs=5, max_msgs_per_subject=3, discard_new_per_subject=True),
    ),
]


@pytest.mark.parametrize(("rules", "config", "told"), HARMFUL, ids=range(len(HARMFUL)))
def test_each_setting_that_does_harm_is_named_with_its_value(
    rules: tuple[Rule, ...], config: StreamConfig, told: str
) -> None:
    assert [one.text.split(":")[0] for one in harmful("S", config, rules)] == [told]


@pytest.mark.parametrize(("rules", "config"), HARMLESS, ids=range(len(HARMLESS)))
def test_what_does_no_harm_is_not_named(rules: tuple[Rule, ...], config: StreamConfig) -> None:
    assert list(harmful("S", config, rules)) == []
