"""Whoever asks names a subject for the answer: from outside of the registry's account, nothing is stored there by it.

Permissions do not help: the server sends its own answers (receipts, what JetStream says and holds) where it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import orjson
import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from registry.broker.connection import connect_nats, flushed
from registry.client import Access
from tests.support.nats.deployed import TEAMS, Deployed, deployed_server
from tests.support.nats.outsiders import COMPONENTS, bodies, may_send
from tests.support.world import World

BUCKET = "agreement"
TARGETS = (
    "imi.evt.v1.project.updated.-",
    "imi.cmd.v1.project.register",
    "imi.cmd.v1.project.register.ada",
    "imi.dlq.v1.malformed",
    "imi.sub.v1.other.letter.1",
    f"$KV.{BUCKET}.x",
    "$JS.API.STREAM.PURGE.IMI_EVENTS",
    "$JS.API.STREAM.DELETE.IMI_EVENTS",
    "$JS.API.STREAM.MSG.DELETE.IMI_EVENTS",
    "$JS.API.CONSUMER.DELETE.IMI_EVENTS.c",
    "$JS.IMI.API.CONSUMER.DELETE.IMI_EVENTS.c",
    "$JS.ACK.IMI_EVENTS.c.1.1.1.1.1",
)
"""Subjects on which something is stored, removed or settled in the registry's account."""
STREAMS = {
    "IMI_EVENTS": "imi.evt.v1.>",
    "IMI_COMMANDS": "imi.cmd.>",
    "IMI_DEAD_LETTERS": "imi.dlq.v1.>",
    "IMI_DEAD_LETTERS_component": "imi.sub.v1.component.>",
    "IMI_DEAD_LETTERS_flume": "imi.sub.v1.flume.>",
    "IMI_DEAD_LETTERS_other": "imi.sub.v1.other.>",
    f"KV_{BUCKET}": f"$KV.{BUCKET}.>",
}


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    with deployed_server(has_teams=True) as server:
        yield server


async def attack(client: Client, subjects: Iterable[str], targets: Iterable[str] = TARGETS) -> set[str]:
    """Send each request with each subject for the answer, also as the place where the server traces it."""
    sent = set()
    for subject in subjects:
        for target in targets:
            for body in bodies(subject, target):
                for headers in (None, {"Nats-Trace-Dest": target}):
                    await client.publish(subject, body, reply=target, headers=headers)
                    sent.add(subject)
    for _ in range(3):
        await flushed(client)
    return sent


async def stored(there: World) -> dict[str, tuple[int, int]]:
    """How many messages each stream has, and where it ends."""
    found = await there.nats.jetstream().streams_info()
    return {one.config.name or "": (one.state.messages, one.state.last_seq) for one in found}


async def prepare(there: World) -> None:
    jetstream = there.nats.jetstream()
    for name, subjects in STREAMS.items():
        await jetstream.add_stream(name=name, subjects=[subjects])
        if "COMMANDS" not in name:
            for _ in range(3):
                subject = subjects.replace(">", "a.b.c" if "evt" in subjects else "letter.0")
                await jetstream.publish(subject, b'{"old": "message"}')
    await jetstream.add_consumer("IMI_EVENTS", name="c", durable_name="c", ack_policy=AckPolicy.EXPLICIT)


@pytest.mark.parametrize("user", [*COMPONENTS, *TEAMS])
async def test_no_answer_to_an_outsider_is_stored_where_he_wants_it(
    there: World, deployed: Deployed, user: str
) -> None:
    await prepare(there)
    before = await stored(there)
    publisher = deployed.settings("publisher")
    async with there.history(**publisher), there.queries(**publisher):
        async with connect_nats(deployed.url, "outsider", Access(**deployed.access(user))) as client:
            own = await attack(client, may_send(user))
        after = await stored(there)

        for name, subjects in STREAMS.items():
            if not any(subject.startswith(subjects.removesuffix(">")) for subject in own):  # else he may write there
                assert after[name] == before[name], name
        others = await there.nats.jetstream().stream_info("IMI_COMMANDS", subjects_filter=">")
        assert {*(others.state.subjects or {})} <= {*may_send(user)}
        assert (await there.nats.jetstream().consumer_info("IMI_EVENTS", "c")).name == "c"


async def test_in_the_registry_s_own_account_it_would_be(there: World) -> None:
    """What is tried above does harm where nothing keeps the accounts apart: permissions are none for these answers."""
    await prepare(there)
    before = await stored(there)
    subjects = ["imi.cmd.v1.project.register", "$JS.API.CONSUMER.MSG.NEXT.IMI_EVENTS.c"]
    await attack(there.nats, subjects, [one for one in TARGETS if "API" not in one])
    after = await stored(there)
    for name in ("IMI_EVENTS", f"KV_{BUCKET}", "IMI_DEAD_LETTERS", "IMI_DEAD_LETTERS_other"):
        assert after[name] > before[name], name

    new = ConsumerConfig(name="new", deliver_policy=DeliverPolicy.NEW, inactive_threshold=600)
    await there.nats.jetstream().add_consumer("IMI_EVENTS", new)
    nothing = "$JS.API.CONSUMER.MSG.NEXT.IMI_EVENTS.new"
    await there.nats.publish(nothing, b'{"batch": 2, "no_wait": true}', reply="$JS.API.STREAM.DELETE.IMI_EVENTS")
    async with asyncio.timeout(60):
        while "IMI_EVENTS" in await stored(there):  # that there is no message is told without a text, as one deletes
            await asyncio.sleep(0.01)


async def test_who_reads_durably_may_not_make_a_stream_that_sends_what_he_wrote(
    there: World, deployed: Deployed
) -> None:
    """A stream may send what it stores to another subject of its account: that would be an event of his."""
    await prepare(there)
    await there.nats.jetstream().delete_stream("IMI_DEAD_LETTERS_component")
    await there.nats.jetstream().delete_stream("IMI_DEAD_LETTERS_flume")
    before = await stored(there)
    for user, name in (("durable", "component"), ("flume", "flume")):
        sends = {"src": f"imi.sub.v1.{name}.>", "dest": "imi.evt.v1.project.>"}
        stream = {"name": f"IMI_DEAD_LETTERS_{name}", "subjects": [f"imi.sub.v1.{name}.>"], "republish": sends}
        wanted = stream | {"retention": "limits", "storage": "file", "discard": "old"}
        async with connect_nats(deployed.url, "outsider", Access(**deployed.access(user))) as client:
            for api in ("$JS.IMI.API", "$JS.API"):
                await client.publish(f"{api}.STREAM.CREATE.{stream['name']}", orjson.dumps(wanted))
            await client.publish(f"imi.sub.v1.{name}.letter.1", b'{"type": "imi.project.updated.v1"}')
            await flushed(client)
    assert await stored(there) == before
