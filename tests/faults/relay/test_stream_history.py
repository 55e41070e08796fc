"""A stream that is not the one the relay left: foreign writers, deletions, a lost end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from publisher.doctor import examine
from publisher.embedded.nats_server import nats_server
from tests.support.nats.reading import connected, messages
from tests.support.outbox.changes import rename_project
from tests.support.servers.restartable import Restartable
from tests.support.workload import writing
from tests.support.world import World


async def state(world: World) -> Any:
    """Message count and sequences of the event stream."""
    return (await world.nats.jetstream().stream_info(world.names.event_stream)).state


async def test_messages_of_another_client_in_the_stream_disturb_nothing(world: World) -> None:
    async with world.relay() as metrics:
        async with writing(world.database, writers=4) as load:
            for number in range(40):
                await load.reach(commits=3)
                headers = {"Imi-Outbox-Id": str(number)} if number % 2 else None  # a liar, too
                subject = f"{world.prefix}.evt.v1.project.updated.-"
                await world.nats.jetstream().publish(subject, b"{}", headers=headers)
        await world.assert_exactly_once(foreign=40, at_least=120)

        assert metrics.registry.get_sample_value("imi_relay_stream_moved_total")
        assert metrics.problems() == []


@pytest.mark.parametrize(
    ("outbox_id", "event_id"),
    [
        ("5", "no uuid"),
        ("5", ""),
        ("9" * 30, "6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a01"),
        ("\u0665", "6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a01"),
        ("-1", "6f1c0a52-5b1e-4a55-9d6b-0d4f6f3f1a01"),
    ],
)
async def test_a_message_with_nonsense_where_events_have_their_ids_is_of_somebody_else(
    world: World, outbox_id: str, event_id: str
) -> None:
    async with world.relay():
        rename_project(world.database, 2)
        await world.drained()
        headers = {"Imi-Outbox-Id": outbox_id} | ({"Nats-Msg-Id": event_id} if event_id else {})
        await world.nats.jetstream().publish(f"{world.prefix}.evt.v1.project.updated.-", b"{}", headers=headers)
        rename_project(world.database, 2)
        await world.drained()
    found = await examine(world.settings())
    assert "1 messages in the stream are of somebody else; they disturb nothing" in [one.text for one in found]
    await world.assert_exactly_once(foreign=1, at_least=5)

    assert len(await world.replayed()) == 5


async def test_an_event_id_under_a_number_that_is_not_its_own_is_of_nobody(world: World) -> None:
    async with world.relay():
        rename_project(world.database, 2)
        await world.drained()
    ((number, event_id),) = world.rows("SELECT id, event_id::text FROM outbox ORDER BY id LIMIT 1")
    subject = f"{world.prefix}.evt.v1.project.updated.-".encode()
    for forged in (number, 999_999_999):  # the server takes the first id, and who reads it the last
        ids = f"Nats-Msg-Id: {uuid4()}\r\nNats-Msg-Id: {event_id}\r\nImi-Outbox-Id: {forged}\r\n"
        headers = f"NATS/1.0\r\n{ids}\r\n".encode()
        size = len(headers)
        await world.nats._send_command(b"HPUB %s %d %d\r\n%s{}\r\n" % (subject, size, size + 2, headers))
    await world.nats.flush()
    before = (await state(world)).messages

    async with world.relay():
        rename_project(world.database, 3)
        await world.drained()
        assert (await state(world)).messages == before + 3
        assert world.rows("SELECT upper(published) FROM publisher_cursor") < [(1000,)]


async def test_a_deleted_message_is_not_published_again(world: World) -> None:
    async with world.relay():
        rename_project(world.database, 5)
        await world.drained()
        await world.nats.jetstream().delete_msg(world.names.event_stream, 3)
        await world.nats.jetstream().delete_msg(world.names.event_stream, 6)  # the last one
        rename_project(world.database, 5)
        await world.drained()
    async with world.relay():  # recovers
        rename_project(world.database, 1)
        await world.drained()
    found = await world.audit()
    assert found.lost == [3, 6]
    found._replace(lost=[]).assert_clean(at_least=12)


@pytest.mark.parametrize("deleted", [[3], [3, 4, 7, 9]])
async def test_event_ids_the_server_still_remembers_do_not_block_the_relay(world: World, deleted: list[int]) -> None:
    async with world.relay():
        rename_project(world.database, 10)
        await world.drained()
    for sequence in deleted:
        await world.nats.jetstream().delete_msg(world.names.event_stream, sequence)

    with psycopg.connect(world.database) as conn:
        conn.execute("UPDATE publisher_cursor SET published = '{}', stream_sequence = 0")
    rename_project(world.database, 5)
    async with world.relay():
        rename_project(world.database, 5)
        await world.drained()
        found = await world.audit()
    # The server answers that it has these: what was deleted on purpose stays deleted, all else goes on.
    assert found.lost == deleted
    found._replace(lost=[]).assert_clean(at_least=21)


@pytest.mark.parametrize("is_running", [True, False], ids=["while running", "while stopped"])
async def test_a_deleted_stream_ends_the_relay_with_a_clear_message_and_nothing_is_published_over_the_hole(
    world: World, is_running: bool
) -> None:
    with ExitStack() as stack:
        relay = stack.enter_context(world.process())
        await relay.ready()
        rename_project(world.database, 9)
        await world.drained()
        if not is_running:
            relay.kill()
            await relay.exit_code()
        await world.nats.jetstream().delete_stream(world.names.event_stream)
        rename_project(world.database, 3)
        if not is_running:
            relay = stack.enter_context(world.process())
        assert await relay.exit_code() == 1
        assert relay.log()[-1]["event"] == (
            f"imi-registry: stream {world.names.event_stream} ends at sequence 0, but 10 was published into it: "
            "it was deleted, or restored from an older backup; publish it again with: "
            "imi-registry rebuild-stream (with the --state-dir of up, if it had one)"
        )
    assert (await state(world)).last_seq == 0

    with psycopg.connect(world.database) as conn:
        stored = conn.execute("SELECT stream_sequence FROM publisher_cursor").fetchone()

    assert stored == (10,)


async def test_a_purged_stream_goes_on_behind_what_it_held(world: World) -> None:
    async with world.relay():
        rename_project(world.database, 9)
        await world.drained()
        await world.nats.jetstream().purge_stream(world.names.event_stream)
        rename_project(world.database, 3)
        await world.drained()
    async with world.relay():
        rename_project(world.database, 3)
        await world.drained()
    found = await world.audit()
    assert found.lost == list(range(1, 11))
    found._replace(lost=[]).assert_clean(at_least=16)

    assert (await state(world)).first_seq == 11


@dataclass
class Losing:
    """A nats-server that can lose what it stored since `remember`, as after a power failure."""

    directory: Path
    server: Restartable

    @property
    def url(self) -> str:
        return self.server.url

    async def remember(self) -> None:
        await self.server.stop(is_crash=False)
        shutil.copytree(self.directory / "nats", self.directory / "backup")
        await self.server.start()

    async def lose(self) -> None:
        await self.server.stop(is_crash=True)
        shutil.rmtree(self.directory / "nats")
        (self.directory / "backup").rename(self.directory / "nats")
        await self.server.start()


@pytest.fixture
def losing(state_dir: Path) -> Iterator[Losing]:
    with Restartable(partial(nats_server, state_dir)) as server:
        yield Losing(state_dir, server)


async def stored(world: World) -> list[tuple[int, str]]:
    """Sequence and event id of all that is in the event stream of a server that may have been started anew."""
    async with connected(world.nats_url) as client:
        found = [message async for message in messages(client, world.stream)]
    return [(message.metadata.sequence.stream, (message.headers or {}).get("Nats-Msg-Id", "")) for message in found]


@pytest.mark.parametrize("is_running", [True, False], ids=["while running", "while stopped"])
@pytest.mark.parametrize("foreign", [0, 3])
async def test_a_stream_that_lost_its_end_is_completed_with_the_same_ids_at_the_same_sequences(
    world: World, losing: Losing, is_running: bool, foreign: int
) -> None:
    # given
    there = world.at(nats_url=losing.url)

    async with there.relay():
        rename_project(world.database, 9)
        await world.drained()
    await losing.remember()
    async with AsyncExitStack() as stack:
        metrics = await stack.enter_async_context(there.relay())
        rename_project(world.database, 3)
        await world.drained()
        async with connected(losing.url) as client:
            for _ in range(foreign):
                await client.jetstream().publish(f"{world.prefix}.evt.v1.project.updated.-", b"{}")
        rename_project(world.database, 150)
        await world.drained()
        before = await stored(there)
        if not is_running:
            await stack.aclose()

        # when
        await losing.lose()
        rename_project(world.database, 2)
        if not is_running:
            metrics = await stack.enter_async_context(there.relay())
        await world.drained()

        # then
        after = await stored(there)
        assert after[: len(before) - foreign] == [one for one in before if one[1]]
        await there.assert_exactly_once(at_least=165)
        assert metrics.registry.get_sample_value("imi_relay_completed_events_total") == 153
        assert metrics.problems() == []
        assert [one.text for one in await examine(there.settings()) if not one.is_well] == []


async def test_a_stream_that_lost_its_end_and_holds_something_else_there_is_refused(
    world: World, losing: Losing
) -> None:
    there = world.at(nats_url=losing.url)

    async with there.relay():
        rename_project(world.database, 9)
        await world.drained()
    await losing.remember()
    async with there.relay():
        rename_project(world.database, 5)
        await world.drained()
    await losing.lose()
    async with connected(losing.url) as client:
        await client.jetstream().publish(f"{world.prefix}.evt.v1.project.updated.-", b"{}")
    with there.process() as relay:
        assert await relay.exit_code() == 1
        assert "ends at sequence 11 with another message than was published there" in relay.log()[-1]["event"]
    async with connected(losing.url) as client:
        assert (await state(world.at(nats=client))).last_seq == 11
