"""What the shared stream holds of ours is compared with the outbox once, however much others publish there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry
from psycopg import AsyncConnection

from publisher.doctor import Examination, Findings, examine
from publisher.doctor import examination as examinations
from publisher.history import shared_tail
from publisher.history.audit import audit
from publisher.history.rebuild import rebuild
from publisher.history.shared_tail import SharedTail
from publisher.outbox.known import known_stream
from publisher.stream.shared_stream import SharedStream
from publisher.stream.tail import FETCH
from registry.profiles.bloodbank import SOURCE, STREAM
from tests.support.world import World, running

PATIENCE_SECONDS = 120
OTHERS = 3 * FETCH
SUBJECT = "bloodbank.evt.workspace.worktree.updated"
LAG = "its events were compared with the outbox up to"

pytestmark = pytest.mark.parametrize("grammar", ["plain"], indirect=True)


@pytest.fixture
async def fed(pipeline: World) -> World:
    """Something of ours is in the stream, and then much of another registry, on the same subjects."""
    async with pipeline.relay():
        pipeline.write(projects=1)
        await pipeline.drained()
    await publish(pipeline, OTHERS, "urn:33god:service:other")
    return pipeline


async def publish(world: World, count: int, source: str) -> None:
    """Messages of a registry that calls itself `source`, which ours has no rows of."""
    for number in range(count):
        headers = {"Imi-Outbox-Id": str(number + 1), "Imi-Source": source, "Nats-Msg-Id": str(uuid4())}
        await world.nats.publish(SUBJECT, b"{}", headers=headers)
    await world.nats.flush()


async def last_sequence(world: World) -> int:
    return (await world.nats.jetstream().stream_info(STREAM)).state.last_seq


def examined(world: World) -> int:
    """Up to where the database says that all was found."""
    ((sequence,),) = world.rows("SELECT examined_sequence FROM publisher_cursor")
    return int(sequence)


async def look(world: World, tail: SharedTail) -> SharedTail:
    """`tail` after a look at the stream as it is now; one that has the place stored, as a service does."""
    async with await AsyncConnection.connect(world.database, autocommit=True) as conn:
        known = await known_stream(conn, STREAM)
        stream = SharedStream(world.nats, world.profile, world.settings())
        await tail.look(conn, stream, known, await last_sequence(world))
        await tail.keep(conn, known)
    return tail


@asynccontextmanager
async def readings(world: World) -> AsyncIterator[list[str]]:
    """The requests for messages of the stream that anybody makes in the block."""
    asked: list[str] = []

    async def hear(message: Msg) -> None:
        asked.append(message.subject)

    subscription = await world.nats.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.*", cb=hear)
    await world.nats.flush()
    yield asked
    await world.nats.flush()
    await subscription.unsubscribe()


async def test_a_service_is_ready_before_it_has_compared_all_and_then_goes_on(
    fed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a first look that compares little, and a second that waits
    monkeypatch.setattr(examinations, "AT_FIRST", 1)
    monkeypatch.setattr(examinations, "PAUSE_FACTOR", 0)
    may_go_on = asyncio.Event()
    looked: list[bool] = []

    async def looks(tail: SharedTail, *arguments: object) -> None:
        if looked:
            await may_go_on.wait()
        await as_it_is(tail, *arguments)  # type: ignore[arg-type]
        looked.append(tail.is_at_end)

    as_it_is = SharedTail.look
    monkeypatch.setattr(SharedTail, "look", looks)
    findings = Findings(CollectorRegistry())
    after = asyncio.Event()
    after.set()

    # when
    async with fed.relay(), running(Examination(fed.settings(), findings, after=after)):
        # then
        assert looked == [False]
        assert findings.last is not None
        assert any(LAG in finding.text for finding in findings.last.findings if finding.is_well)
        may_go_on.set()
        end = await last_sequence(fed)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while examined(fed) < end:
                await asyncio.sleep(0.05)
    assert looked[1]


async def test_what_was_compared_once_is_not_read_again(fed: World) -> None:
    async with readings(fed) as asked:
        first = await look(fed, SharedTail())
        assert asked != []
    assert (first.unknown, first.is_at_end) == ([], True)
    assert examined(fed) == await last_sequence(fed)

    async with readings(fed) as asked:
        second = await look(fed, SharedTail())
    assert asked == []
    assert (second.position, second.is_at_end) == (examined(fed), True)


async def test_an_event_of_a_lost_database_is_told_by_every_process_from_then_on(fed: World) -> None:
    await look(fed, SharedTail())
    before = await last_sequence(fed)
    await publish(fed, 1, SOURCE)
    await publish(fed, 2 * shared_tail.KEPT_AFTER, "urn:33god:service:other")

    assert (await look(fed, SharedTail())).unknown == [before + 1]

    assert examined(fed) <= before
    assert (await look(fed, SharedTail())).unknown == [before + 1]
    told = [finding.text for finding in await examine(fed.settings())]
    assert any(f"sequences {before + 1} to {before + 1}, that this database does not" in text for text in told)


async def test_a_database_that_is_restored_compares_again_what_came_since(fed: World) -> None:
    ((older,),) = fed.rows("SELECT stream_sequence FROM publisher_cursor")
    await publish(fed, 1, SOURCE)
    fed.rows("UPDATE publisher_cursor SET examined_sequence = %s RETURNING 1", older)

    assert (await look(fed, SharedTail())).unknown == [await last_sequence(fed)]


async def test_a_stream_that_is_made_anew_is_compared_from_its_start(fed: World) -> None:
    tail = await look(fed, SharedTail())
    assert examined(fed) > 0
    await fed.delete_stream()

    await rebuild(fed.settings())

    assert examined(fed) == 0
    await publish(fed, 1, SOURCE)
    assert (await look(fed, tail)).unknown == [await last_sequence(fed)]
    assert (await look(fed, SharedTail())).unknown == [await last_sequence(fed)]


async def test_an_audit_of_a_stream_that_holds_nothing_of_ours_says_that_all_is_lost(fed: World) -> None:
    before = await audit(fed.settings())
    await fed.delete_stream()
    await fed.nats.jetstream().publish("bloodbank.evt.artifact.file.created", b"{}")

    found = await audit(fed.settings())

    assert (before.is_clean, before.messages) == (True, before.events + OTHERS)
    assert (found.messages, found.foreign, found.lost.count) == (0, 0, before.events)
