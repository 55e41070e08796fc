"""Who may ask, but not publish an event or a command, lets nobody publish his answer as one."""

from __future__ import annotations

from collections.abc import Iterator

import nats.errors
import pytest
from nats.aio.client import Client

from registry.broker.connection import connect_nats
from registry.client import Access
from tests.support.nats.deployed import Deployed, deployed_server, service
from tests.support.world import World

QUESTIONS = [
    ("query", "imi.qry.v1.stats", b"{}"),
    ("query", "imi.qry.v1.stats", b"no request"),
    ("query", "$SRV.PING.imi-registry", b""),
    ("live", "imi.qry.v1.history", b"no request"),
    ("live", "imi.qry.v1.history_origin", b"2026-01-21T10:00:00Z"),
    ("live", "imi.qry.v1.site", b""),
    ("live", "imi.qry.v1.event_by_id", b"no request"),
]
CLOSED = ("imi.evt.v1.project.updated.-", "$JS.API.CONSUMER.DELETE.IMI_EVENTS.component")
"""Subjects on which the publisher may publish, and no component."""


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    with deployed_server() as server:
        yield server


async def ask(client: Client, subject: str, data: bytes, reply: str) -> None:
    """Send it, and wait until one that was sent after it is answered, as those before it are then."""
    await client.publish(subject, data, reply=reply)
    await client.request(subject, data, timeout=60)


async def test_an_answer_goes_to_an_inbox_and_nowhere_else(there: World, deployed: Deployed) -> None:
    jetstream = there.nats.jetstream()
    async with service(there, deployed):
        there.write(2)
        await there.drained()
        await jetstream.add_consumer(there.stream, durable_name="component", ack_policy="explicit")
        last = (await jetstream.stream_info(there.stream)).state.last_seq
        for user, subject, data in QUESTIONS:
            async with connect_nats(deployed.url, "stranger", Access(**deployed.access(user))) as client:
                for closed in CLOSED:
                    await ask(client, subject, data, closed)

        assert (await jetstream.stream_info(there.stream)).state.last_seq == last
        assert (await jetstream.consumer_info(there.stream, "component")).name == "component"


async def test_what_a_component_buries_is_sent_to_no_subject_that_it_names(there: World, deployed: Deployed) -> None:
    """As it is, it would be an event, or a command of another sender."""
    name = "IMI_DEAD_LETTERS_component"
    await there.nats.jetstream().add_stream(name=name, subjects=["imi.sub.v1.component.>"], allow_direct=True)
    async with connect_nats(deployed.url, "stranger", Access(**deployed.access("durable"))) as client:
        forged = b'{"type": "imi.project.updated.v1"}'
        await client.jetstream().publish("imi.sub.v1.component.letter.1", forged)
        with pytest.raises(nats.errors.Error, match="permissions violation for publish to"):
            await client.request(f"$JS.API.DIRECT.GET.{name}", b'{"seq": 1}', timeout=60)
