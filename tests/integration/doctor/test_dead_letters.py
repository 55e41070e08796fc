"""Dead letters of many subscriptions are told in a few lines."""

from __future__ import annotations

from uuid import uuid4

from publisher.doctor.dead_letters import LISTED, dead_letter_findings
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
