"""Components that read a mirror of their own on the server of deploy/nats: nobody reaches the consumer of another."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import orjson
import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from publisher.history.rebuild import rebuild
from registry.broker.connection import connect_nats, flushed
from registry.client import Access, Delivery
from registry.concurrency.tasks import end
from registry.position import Last
from tests.support.everything import first_handled
from tests.support.nats.apart import mirrored, mirrors
from tests.support.nats.deployed import APART, DEPLOY, Deployed, deployed_server, first_buried, service
from tests.support.nats.old import OLDEST, old_nats_binary
from tests.support.nats.outsiders import outsider
from tests.support.nats.permissions import (
    LAST_HEARD,
    LAST_SENT,
    heard_by,
    in_registry,
    lines_of_apart,
    lines_of_users,
    refusals,
)
from tests.support.world import World

MANY = 5_000
"""Events beyond those that a server sends before it wants to hear how far a mirror came."""
CREATE = "CONSUMER.CREATE.IMI_EVENTS"


@pytest.fixture(scope="module", params=(None, pytest.param(OLDEST, marks=pytest.mark.long)))
def deployed(request: pytest.FixtureRequest) -> Iterator[Deployed]:
    binary = None if request.param is None else old_nats_binary(request.param)
    with deployed_server(is_apart=True, binary=binary) as server:
        yield server


@pytest.fixture
async def operators(there: World, deployed: Deployed) -> AsyncIterator[dict[str, Client]]:
    async with mirrors(deployed) as found:
        yield found


async def test_each_reads_a_mirror_of_its_own(there: World, deployed: Deployed, operators: dict[str, Client]) -> None:
    async with service(there, deployed):
        there.write(1)
        async with deployed.client("indexer") as client:
            assert (await first_handled(client, entity="project")).event.name == "project.registered"
            letter = await first_buried(client, operators["indexer"], durable="indexer")
            assert letter.failure.reason == "ValueError: never"

        project, *_ = there.write(50, worktrees=0, renames=MANY // 50)
        await there.drained()
        async with deployed.client("board") as client:
            assert project in {str(one) for one in (await client.snapshot()).projects}
            async with asyncio.timeout(60), client.replay() as replayed:
                sequences = [event.sequence async for event in replayed]
            assert sequences == list(range(1, len(sequences) + 1))
            assert len(sequences) >= MANY
            async with asyncio.timeout(20), client.replay(Last(2)) as replayed:
                first, *_ = [event async for event in replayed]
            assert (await client.event(first.sequence)).payload == first.payload
            async with client.tail() as events, client.projection() as kept, asyncio.timeout(20):
                (project,) = there.write(1, worktrees=0, renames=0)
                delivery = await anext(events)
                assert (delivery.event.name, delivery.project_id) == ("project.registered", project)
                await kept.reached(delivery.sequence)
                assert project in {str(one) for one in kept.projects}
            for operator in operators.values():
                await mirrored(there, operator)
        listed = await there.nats.jetstream().consumers_info("IMI_EVENTS")
        assert [one.name for one in listed if one.config.deliver_subject] == [], "by which the server mirrors"


async def test_a_mirror_goes_on_over_a_stream_that_is_rebuilt(
    there: World, deployed: Deployed, operators: dict[str, Client]
) -> None:
    async with service(there, deployed):
        there.write()
        await there.drained()
        await mirrored(there, operators["board"])
    await there.nats.jetstream().delete_stream("IMI_EVENTS")
    await rebuild(there.settings(**deployed.settings("operator")))
    async with service(there, deployed), deployed.client("board") as client:
        there.write(1)
        await there.drained()
        await mirrored(there, operators["board"])
        async with asyncio.timeout(60), client.replay() as replayed:
            sequences = [event.sequence async for event in replayed]
    assert sequences == list(range(1, len(await there.published()) + 1))


@pytest.mark.parametrize("user", APART)
async def test_everything_else_is_refused(there: World, deployed: Deployed, user: str) -> None:
    table = lines_of_apart()
    assert len(table) > 25

    refused = await refusals(deployed, user, table)

    assert refused == {(line.action, line.subject.lower()) for line in table if user not in line.allowed}


def test_the_page_has_a_line_for_each_permission_and_each_import() -> None:
    configuration = (DEPLOY / "apart.conf.example").read_text()
    named = re.findall(r'"([^"\s]+\.[^"\s]+)"', re.sub(r"#.*", "", configuration))
    tried = [line.subject for line in lines_of_apart()]

    assert len(named) > 20
    for permission in named:
        pattern = re.escape(permission).replace(r"\*", r"[^.]+").replace(">", r".+")
        assert any(re.fullmatch(pattern, subject) for subject in tried), permission


@pytest.mark.parametrize("user", APART)
async def test_of_all_that_is_said_in_such_an_account_what_it_imports_arrives(
    there: World, deployed: Deployed, operators: dict[str, Client], user: str
) -> None:
    """Its operator may say anything there."""
    configuration = re.split(rf"^{user.upper()} ", (DEPLOY / "apart.conf.example").read_text(), flags=re.MULTILINE)[1]
    configuration = re.split(r"^\}", configuration, flags=re.MULTILINE)[0]
    imported = set(re.findall(r'service: \{ account: IMI, subject: "(.+?)"', configuration))
    everything = {line.subject for line in (*lines_of_apart(), *lines_of_users()) if line.action == "publish"}
    everything |= {subject.replace("$JS.API", "$JS.IMI.API") for subject in everything}

    async with connect_nats(deployed.url, "test", Access(**deployed.access(f"{user}_operator"))) as client:
        arrived = await heard_by(there.nats, LAST_SENT[user], client, sorted(everything))
        heard = await heard_by(client, LAST_HEARD[user], there.nats, sorted(f"imi.mir.v1.{one}.x" for one in APART))

    assert arrived == {"$JS.FC.IMI_EVENTS.x"} | {
        in_registry(one) for one in everything if in_registry(one) in imported and one.startswith(("imi.", "$JS.IMI"))
    }
    assert heard == {f"imi.mir.v1.{user}.x"}


@asynccontextmanager
async def handling(deployed: Deployed, user: str, durable: str) -> AsyncIterator[list[Delivery]]:
    """What a durable subscription handles."""
    handled: list[Delivery] = []

    async def handle(delivery: Delivery) -> None:
        handled.append(delivery)

    async with deployed.client(user) as client:
        running = asyncio.create_task(client.subscribe(handle, durable=durable, from_start=True))
        try:
            yield handled
        finally:
            await end([running])


async def has_handled(handled: list[Delivery], last: int) -> None:
    async with asyncio.timeout(60):
        while len(handled) < last:
            await asyncio.sleep(0.02)


def attacks(consumer: ConsumerInfo) -> Iterator[tuple[str, bytes]]:
    """What would harm a consumer where it has a name, behind `$JS.API` or what stands for it, and of acknowledging."""
    name, told = consumer.name, {"stream_name": "IMI_EVENTS"}
    later = {"name": name, "durable_name": name, "ack_policy": "explicit", "deliver_policy": "new"}
    for api in ("$JS.API", "$JS.IMI.API"):
        yield f"{api}.CONSUMER.INFO.IMI_EVENTS.{name}", b""
        yield f"{api}.CONSUMER.MSG.NEXT.IMI_EVENTS.{name}", b'{"batch": 10, "expires": 1000000000}'
        for target in ("_INBOX.indexer.x", "imi.mir.v1.indexer.x", "imi.evt.v1.project.updated.-"):
            pushed = {"name": "pushed", "deliver_subject": target, "ack_policy": "none", "inactive_threshold": 10**9}
            yield f"{api}.{CREATE}.pushed.imi.evt.v1.>", orjson.dumps(told | {"config": pushed})
            yield f"{api}.{CREATE}", orjson.dumps(told | {"config": pushed})
        for action in ("create", "update", ""):
            for subject in (f"{CREATE}.{name}", f"{CREATE}.{name}.imi.evt.v1.>", CREATE):
                yield f"{api}.{subject}", orjson.dumps(told | {"config": later, "action": action})
        yield f"{api}.CONSUMER.DELETE.IMI_EVENTS.{name}", b""
    for number in range(1, 5):
        yield f"$JS.ACK.IMI_EVENTS.{name}.1.{number}.{number}.1.0", b"+ACK"
        yield f"$JS.ACK.IMI_EVENTS.{name}.1.{number}.{number}.1.0", b"-NAK"


async def attacked(deployed: Deployed, attacker: str, consumer: ConsumerInfo) -> None:
    async with outsider(deployed, attacker) as client:
        for subject, body in attacks(consumer):
            await client.publish(subject, body, reply=client.new_inbox())
        for _ in range(3):
            await flushed(client)


@pytest.mark.parametrize("attacker", ["board", "board_operator"])
async def test_whatever_is_tried_on_the_consumer_of_another_does_not_reach_it(
    there: World, deployed: Deployed, operators: dict[str, Client], attacker: str
) -> None:
    jetstream = operators["indexer"].jetstream()
    async with service(there, deployed), handling(deployed, "indexer", "indexer") as handled:
        there.write()
        await there.drained()
        await has_handled(handled, (await there.published())[-1].sequence)
        before = await jetstream.consumer_info("IMI_EVENTS", "indexer-1")

        await attacked(deployed, attacker, before)

        there.write(1)
        await there.drained()
        newest = (await there.published())[-1].sequence
        await has_handled(handled, newest)
        after = await jetstream.consumer_info("IMI_EVENTS", "indexer-1")
        listed = await jetstream.consumers_info("IMI_EVENTS")

    assert sorted(one.sequence for one in handled) == list(range(1, newest + 1))
    assert (after.created, after.config) == (before.created, before.config)
    assert after.delivered is not None
    assert after.delivered.consumer_seq == newest
    assert [one.name for one in listed] == ["indexer-1"]
    assert await the_stream_is_what_was_published(there)


async def test_in_the_stream_itself_it_reaches_the_consumer_of_another(there: World, deployed: Deployed) -> None:
    """What is tried above does harm where readers share a stream: docs/security.md says so."""
    jetstream = there.nats.jetstream()
    async with service(there, deployed), handling(deployed, "durable", "component") as handled:
        there.write()
        await there.drained()
        await has_handled(handled, (await there.published())[-1].sequence)
        before = await jetstream.consumer_info("IMI_EVENTS", "component-1")

        await attacked(deployed, "live", before)

        with pytest.raises(NotFoundError):
            await jetstream.consumer_info("IMI_EVENTS", "component-1")


async def the_stream_is_what_was_published(there: World) -> bool:
    """Whether there is no message in it but what the publisher knows of."""
    last = (await there.nats.jetstream().stream_info("IMI_EVENTS")).state.last_seq
    return there.rows("SELECT max(last_sequence) FROM published_batch") == [(last,)]
