"""NATS 2.10: no atomic batches. On a stream of our own, and on the pipeline's shared one among other producers."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig

from publisher.embedded.nats_server import nats_server
from publisher.stream.acknowledgements import StreamMoved
from publisher.stream.opening import open_stream
from publisher.stream.shared_stream import WINDOW, waves
from registry.broker.connection import flushed
from registry.concurrency.tasks import end
from registry.errors import Conflict, NotFound
from registry.events import VERSIONS
from registry.events.message import FIRST_TIME, Message
from registry.profiles.bloodbank import STREAM
from registry.profiles.words import EVENTS
from tests.integration.contract.test_contract import VALIDATORS
from tests.support import services
from tests.support.every_event import change_everything, do_everything
from tests.support.nats.old import old_nats_binary
from tests.support.nats.reading import messages
from tests.support.outbox_reader import add_project
from tests.support.pipeline_contract import faults
from tests.support.relay_process import RelayProcess
from tests.support.workload import writing
from tests.support.world import Published, World

WEEK_SECONDS = 7 * 86400
OPTIONAL_ATTRIBUTES = {"hostid", "partitionkey", "dataref", "datarefreason"}
SHARED_ATTRIBUTES = {
    *("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "schemaref"),
    *("producer", "service", "domain", "kind", "actor", "ordering_key", "correlationid", "sequence"),
    *("transactionid", "causationid", "data"),
}
"""What the pipeline's envelope has, all of it always (where a writer gave no traceparent)."""


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    """A nats-server 2.10 of this module's own."""
    with services.scratch_directory() as directory, nats_server(directory, binary=old_nats_binary()) as server:
        yield server.url


@pytest.fixture
async def world(world: World) -> AsyncIterator[World]:
    """Where no stream is left of the test before."""
    assert world.nats.connected_server_version.minor == 10
    yield world
    jetstream = world.nats.jetstream()
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(stream.config.name)


@pytest.fixture
async def shared(world: World, monkeypatch: pytest.MonkeyPatch) -> StreamConfig:
    """The profile of the pipeline, and its event stream as it exists there."""
    monkeypatch.setenv("IMI_PROFILE", "bloodbank")
    monkeypatch.setenv("IMI_BLOODBANK_PROPOSED", "true")
    config = StreamConfig(name=STREAM, subjects=["bloodbank.evt.>"], max_age=WEEK_SECONDS)
    return (await world.nats.jetstream().add_stream(config)).config


@asynccontextmanager
async def other_producer(client: Client) -> AsyncIterator[Counter[str]]:
    """Somebody else who publishes to the shared stream all the time; counts what was acknowledged."""
    sent: Counter[str] = Counter()

    async def publish() -> None:
        while True:
            await client.jetstream().publish("bloodbank.evt.artifact.build.created", b"{}")
            sent["artifact"] += 1
            await asyncio.sleep(0.002)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(publish())
        yield sent
        await end([running])


async def ours(world: World) -> list[Published]:
    """Our messages in the shared stream, in its order."""
    return [
        Published(found.metadata.sequence.stream, found.subject, dict(found.headers or {}), orjson.loads(found.data))
        async for found in messages(world.nats, STREAM)
        if found.subject.startswith("bloodbank.evt.workspace.")
    ]


def assert_same_as_outbox(database: str, messages: list[Published]) -> None:
    """Every event but heartbeats once, and each row's in the order of its ids."""
    with psycopg.connect(database) as conn:
        query = "SELECT event_id::text, id, coalesce(entity_id::text, '-') FROM outbox WHERE action <> 'heartbeat'"
        rows = conn.execute(query).fetchall()
    assert Counter(message.envelope["id"] for message in messages) == Counter(row[0] for row in rows)
    of_event = {row[0]: (row[1], row[2]) for row in rows}
    of_row: dict[str, list[int]] = defaultdict(list)
    for message in messages:
        outbox_id, row_key = of_event[message.envelope["id"]]
        of_row[row_key].append(outbox_id)
    for ids in of_row.values():
        assert ids == sorted(ids)


async def test_a_stream_of_our_own_is_fenced_without_atomic_batches(world: World) -> None:
    async with writing(world.database, writers=4, seed=1) as load, world.relay():
        await load.reach(commits=100)
        await world.nats.jetstream().publish(f"{world.prefix}.evt.v1.project.updated.-", b"{}")  # somebody else's
        await load.reach(commits=100)
    async with world.relay() as metrics:
        await world.drained()
        assert metrics.problems() == []
    await assert_in_stream(world, foreign=1)


async def test_no_message_follows_somebody_elses_in_the_place_of_a_refused_one(world: World) -> None:
    subject = f"{world.prefix}.evt.v1.project.updated.-"
    messages = [Message(subject, b"{}", n, str(uuid4()), 1, False, "row", FIRST_TIME) for n in (1, 2)]

    async with open_stream(world.nats_url, "test", world.profile, world.settings()) as stream:
        await world.nats.jetstream().publish(messages[0].subject, b"{}")
        with pytest.raises(StreamMoved):
            await (await stream.send(messages, expected=0))  # the second one's sequence is right
        await flushed(world.nats)
        assert await stream.last_sequence() == 1
        assert await (await stream.send(messages, expected=1)) == 3

        # What it has behind its known end, as where a former leader told that, is not taken for the end.
        with pytest.raises(StreamMoved, match="has it at sequence 3 already, behind its known end"):
            await (await stream.send(messages[1:], expected=0))


async def test_kills_on_a_stream_of_our_own_lose_double_and_reorder_nothing(world: World) -> None:
    await kill_repeatedly(world, kills=4)
    await assert_in_stream(world)


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.long)])
async def test_kills_on_the_shared_stream_lose_double_and_reorder_nothing(
    world: World, shared: StreamConfig, kills: int
) -> None:
    async with other_producer(world.nats) as sent:
        await kill_repeatedly(world, kills=kills, profile="bloodbank", bloodbank_proposed="true")
        async with world.relay() as metrics:
            await world.drained(600)
            assert metrics.problems() == []
    messages = await ours(world)
    print(f"{kills} kills: {len(messages):,} events of ours among {sent['artifact']:,} messages of others")
    assert_same_as_outbox(world.database, messages)

    theirs = (await world.nats.jetstream().stream_info(STREAM)).state.messages - len(messages)
    assert theirs - sent["artifact"] in (0, 1)  # the last one may be stored and not acknowledged
    assert sent["artifact"] > 0


async def assert_in_stream(world: World, foreign: int = 0) -> None:
    """The stream is what the outbox is; without batches nothing keeps a transaction's events in one."""
    found = await world.audit()
    found._replace(split=[]).assert_clean(foreign=foreign)


async def kill_repeatedly(world: World, *, kills: int, **settings: object) -> None:
    """Two relays under eight writers, of which a random one is killed and replaced over and over."""
    rng = random.Random(kills)
    with ExitStack() as stack:

        def start() -> RelayProcess:
            return stack.enter_context(world.process(heartbeat_seconds=0.5, **settings))

        relays = [start(), start()]
        async with writing(world.database, writers=8, seed=kills) as load:
            for _ in range(kills):
                for relay in relays:
                    await relay.ready(300)
                await load.reach(commits=rng.randrange(1, 80))
                at = rng.randrange(2)
                relays[at].kill()
                await relays[at].exit_code()
                relays[at] = start()
        if settings.get("profile") != "bloodbank":
            await world.drained(600)


async def test_every_event_carries_the_shared_streams_attributes(world: World, shared: StreamConfig) -> None:
    async with world.relay():
        with psycopg.connect(world.database, autocommit=True) as conn:
            conn.execute("SELECT set_config('imi.actor', 'ada', false)")
            do_everything(conn)
            actions = conn.execute("SELECT entity, action, entity_id::text, data FROM outbox ORDER BY id").fetchall()
        await world.drained()

    messages = await ours(world)
    assert len(messages) == len(actions)
    for message, (entity, action, entity_id, data) in zip(messages, actions, strict=True):
        shared_action = EVENTS[f"{entity}.{action}"]
        envelope = message.envelope
        assert message.subject == f"bloodbank.evt.workspace.{entity}.{shared_action}"
        assert message.headers["Nats-Msg-Id"] == envelope["id"]
        assert envelope["type"] == f"bloodbank.workspace.{entity}.{shared_action}"
        assert envelope["domain"] == "workspace"
        assert envelope["actor"] == {"type": "agent", "agent_id": "ada"}
        assert envelope["ordering_key"] == f"{entity}:{entity_id or '-'}"
        assert envelope["data"] == data | {"change": action}
        assert faults(message.subject, envelope, is_proposed=True) == []
    assert (await world.nats.jetstream().stream_info(STREAM)).config == shared


async def test_everything_that_can_happen_conforms_on_the_shared_stream(world: World, shared: StreamConfig) -> None:
    # given and when
    async with world.relay() as metrics:
        with psycopg.connect(world.database, autocommit=True) as conn:
            change_everything(conn, world.nats.max_payload)
        await world.drained()
    messages = await ours(world)

    # then
    assert_same_as_outbox(world.database, messages)
    names = set()
    for message in messages:
        envelope = message.envelope
        assert envelope.keys() - OPTIONAL_ATTRIBUTES == SHARED_ATTRIBUTES
        assert ("dataref" in envelope) == ("datarefreason" in envelope)
        assert message.headers["Nats-Msg-Id"] == envelope["id"]
        assert UUID(envelope["correlationid"]) in {UUID(envelope["id"]), UUID(int=99)}
        assert faults(message.subject, envelope, is_proposed=True) == []
        name = f"{envelope['type'].split('.')[2]}.{envelope['data']['change']}"
        names.add(name)
        schema = VALIDATORS[f"urn:imi:registry:event:{name}:v1"]
        if "dataref" not in envelope:
            schema.validate(envelope["data"])
            told = schema.schema["properties"].keys() - {"backfill", "host_id"}
            assert envelope["data"].keys() - {"host_id"} == told | {"change"}

    assert names == VERSIONS.keys() - {"registry.heartbeat"}
    references = [message for message in messages if "dataref" in message.envelope]
    assert len(references) == metrics.registry.get_sample_value("imi_relay_oversized_events_total") > 0


async def test_a_missing_shared_stream_is_an_error_and_is_not_created(world: World) -> None:
    error = await refusal(world, NotFound)
    assert f"stream {STREAM} does not exist" in str(error)
    assert await world.nats.jetstream().streams_info() == []


async def test_a_shared_stream_that_forgets_ids_too_soon_is_refused(world: World) -> None:
    await world.nats.jetstream().add_stream(StreamConfig(name=STREAM, subjects=["bloodbank.evt.>"], duplicate_window=5))
    error = await refusal(world, Conflict)
    assert "duplicate_window is 5 s, expected at least 60" in str(error)


async def refusal(world: World, kind: type[Exception]) -> Exception:
    """The error that a relay of the bloodbank profile ends with."""
    with pytest.raises(BaseExceptionGroup) as caught:
        async with world.relay(profile="bloodbank"):
            pass
    matching = caught.value.split(kind)[0]
    assert matching is not None
    return matching.exceptions[0]  # type: ignore[return-value]


async def test_another_registry_in_the_same_stream_is_not_taken_for_a_restored_database(
    world: World, shared: StreamConfig
) -> None:
    headers = {
        "Imi-Outbox-Id": "1",
        "Imi-Source": "urn:33god:service:other",
        "Nats-Msg-Id": "11111111-1111-4111-8111-111111111111",
    }
    await world.nats.jetstream().publish("bloodbank.evt.workspace.project.registered", b"{}", headers=headers)

    with psycopg.connect(world.database, autocommit=True) as conn:
        add_project(conn)
    async with world.relay() as metrics:
        await world.drained()
        assert metrics.problems() == []

    assert len(await ours(world)) == 2


def test_two_messages_of_one_row_are_never_under_way_together() -> None:
    def message(number: int, row: object) -> Message:
        return Message("s", b"", number, "e", number, False, str(row), FIRST_TIME)

    messages = [message(number, row) for number, row in enumerate([1, 2, 3, 2, 2, 4, 1])]
    assert [[item.row_key for item in wave] for wave in waves(messages)] == [["1", "2", "3"], ["2"], ["2", "4", "1"]]
    many = [message(number, number) for number in range(WINDOW + 1)]
    assert [len(wave) for wave in waves(many)] == [WINDOW, 1]
