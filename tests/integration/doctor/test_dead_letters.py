"""Dead letters of many subscriptions are told in a few lines."""

from __future__ import annotations

from uuid import uuid4

from publisher.doctor.dead_letters import LISTED, dead_letter_findings
from publisher.gauges import streams
from registry.dead_letters.stream import LetterStream
from tests.support.world import World


async def test_of_many_subscriptions_with_dead_letters_some_are_named_and_the_others_counted(world: World) -> None:
    names = world.profile.letters
    durables = [f"d{number}" for number in range(LISTED + 2)]
    for durable in durables:
        await LetterStream(world.nats, names, durable).open()
        await world.nats.jetstream().publish(names.letter_subject(durable, str(uuid4())), b"{}")

    *named, others = [finding.text for finding in await dead_letter_findings(world.nats, world.settings())]

    look = "look with imi-registry events dead-letters list, then redeliver or drop"
    assert named == [f"1 event is a dead letter of subscription {durable}: {look}" for durable in durables[:LISTED]]
    assert others == f"2 more subscriptions have dead letters: {look}"


async def test_a_stream_with_a_name_that_no_subscription_has_hinders_no_look(world: World) -> None:
    names, jetstream = world.profile.letters, world.nats.jetstream()
    await LetterStream(world.nats, names, "d").open()
    await jetstream.publish(names.letter_subject("d", str(uuid4())), b"{}")
    await jetstream.add_stream(name=names.stream("x" * 65), subjects=[names.stream_subjects("odd")])

    (finding,) = await dead_letter_findings(world.nats, world.settings())
    assert finding.text.startswith("1 event is a dead letter of subscription d: ")
    letters = [level for level in await streams.measure(world.nats, world.profile) if level.label == "durable"]
    assert [level.values for level in letters] == [{"d": 1}]
