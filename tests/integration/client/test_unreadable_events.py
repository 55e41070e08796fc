"""What somebody wrote into the outbox or the stream by hand ends no reader: it is told as it is, the others go on."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from publisher.history import timeline
from publisher.history.archive import export_history, import_history
from publisher.history.verification import verify
from publisher.outbox.connection import connect
from registry.client import Delivery, RegistryClient
from registry.database import Registry
from registry.errors import Invalid
from tests.support.world import World

DEEP = '{"metadata": ' + "[" * 3000 + "]" * 3000 + "}"
ROWS = [
    '{"a": 1}',
    "[1]",
    "null",
    '"text"',
    "{}",
    '{"project_id": 5, "changed": 7}',
    '{"changed": {"agent_id": []}}',
    DEEP,
]
PAYLOADS = [
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b'{"id": 5, "type": [], "subject": {}, "time": 1}',
    b'{"id": "x", "type": "a.b.c.d", "subject": "project/x", "time": "today"}',
    b'{"id": "x", "type": "a.b.c.d", "subject": "project/x", "time": "2026-01-01T00:00:00"}',
    b'{"id": "x", "type": "imi.project.updated.v1", "subject": "project/x", "time": "2026-01-01T00:00Z", "data": [1]}',
    b'{"id": "x", "type": "imi.project.updated.v9", "subject": "worktree/-", "time": "2026-01-01T00:00Z", "data": {}}',
    DEEP.encode(),
]


def written_by_hand(world: World) -> str:
    """A project whose history has rows that nobody's trigger wrote; returns its id."""
    with psycopg.connect(world.database, autocommit=True) as conn:
        (project,) = conn.execute("SELECT register_project('p', 'git@github.com:a/p.git')::text").fetchone() or ("",)
        for data in ROWS:
            for entity, action in (("project", "updated"), ("worktree", "created"), ("worktree_type", "updated")):
                conn.execute(
                    "INSERT INTO outbox (entity, action, project_id, entity_id, data) VALUES (%s, %s, %s, %s, %s)",
                    (entity, action, project, project, data),
                )
        conn.execute("UPDATE projects SET description = 'last'")
    return str(project)


async def test_rows_written_by_hand_end_no_reader(world: World) -> None:
    heard: list[Delivery] = []

    async def handle(delivery: Delivery) -> None:
        heard.append(delivery)

    async with (
        world.relay(),
        world.history(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
        client.projection() as kept,
        asyncio.TaskGroup() as tasks,
        asyncio.timeout(30),
    ):
        task = tasks.create_task(client.subscribe(handle, durable="d"))
        project = written_by_hand(world)
        await world.drained()
        last = await client.last_sequence()
        await kept.reached(last)
        while not heard or heard[-1].sequence < last:
            await asyncio.sleep(0.01)
        task.cancel()
        replayed = await world.replayed(worktree_id=project, agent_id="ada")

    assert [str(id_) for id_ in kept.projects] == [project]
    assert next(iter(kept.projects.values())).description == "last"
    assert len(replayed) >= 1
    verification = await verify(world.settings())
    assert all("event " in difference for difference in verification.differences)
    assert verification.equal["projects"] == 1
    found = await timeline.read(world.database, "project", next(iter(kept.projects)))
    assert found.as_of(found.changes[-1].time)["description"] == "last"  # type: ignore[index]


async def test_an_import_passes_over_rows_that_tell_of_none(world: World, second: World) -> None:
    written_by_hand(world)
    lines: list[bytes] = []
    async with connect(world.database, "test") as conn:
        await export_history(conn, world.settings(), lines.append)
    kept = [line for line in lines if b"[[[[" not in line]
    async with connect(second.database, "test") as conn:
        await import_history(conn, second.settings(), kept)

    async with Registry.connect(second.database) as registry:
        assert [project.description for project in await registry.list_projects()] == ["last"]


async def test_messages_of_anybody_in_the_stream_end_no_reader(world: World) -> None:
    heard: list[Delivery] = []

    async def handle(delivery: Delivery) -> None:
        heard.append(delivery)

    async with (
        world.relay(),
        world.history(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
    ):
        world.write(projects=1)
        await world.drained()
        async with client.projection() as kept, asyncio.TaskGroup() as tasks, asyncio.timeout(30):
            task = tasks.create_task(client.subscribe(handle, durable="d", entity="project", from_start=True))
            for number, payload in enumerate(PAYLOADS):
                headers = {"Imi-Outbox-Id": str(10**6 + number), "Nats-Msg-Id": str(uuid4()), "X": "größe"}
                await world.nats.jetstream().publish(
                    f"{world.prefix}.evt.v1.project.updated.-", payload, headers=headers
                )
            last = await client.last_sequence()
            await kept.reached(last)
            while len({delivery.sequence for delivery in heard if delivery.payload in PAYLOADS}) < len(PAYLOADS):
                await asyncio.sleep(0.01)
            task.cancel()
        for delivery in heard:
            if delivery.payload in PAYLOADS:
                with pytest.raises(Invalid):
                    _ = delivery.event


@pytest.mark.parametrize(
    "subject",
    [
        b"\xff\xfe.x",
        b"project.regis\xfftter",
        "größe.ü".encode(),
        b"project.a\x01b",
        b"project.a\x0bb",
        b"project.a\x0c5",
        b"project.a\x1c5",
    ],
)
async def test_a_subject_of_any_bytes_stops_neither_the_applier_nor_a_reader(world: World, subject: bytes) -> None:
    async with (
        world.relay(),
        world.applier(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
        client.tail() as events,
    ):
        root = world.prefix.encode()
        await raw(world, root + b".cmd.v1." + subject, b"NATS/1.0\r\nA(b: x\r\nC: gr\xc3\xb6\xff\r\n\r\n")
        await raw(world, root + b".evt.v1." + subject + b".-", b"NATS/1.0\r\nC: \xff\r\n\r\n")

        await client.register_project(name="p", remote_origin="git@github.com:a/p.git")
        async with asyncio.timeout(20):
            assert (await anext(events)).event.name == "project.registered"


HEADERS = {
    "a status that is none": b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    "a description that is none": b"NATS/1.0 404 \xff\r\n\r\n",
    "a status as of a server": b"NATS/1.0 500 Made Up\r\n\r\n",
    "a status without a description": b"NATS/1.0 500\r\n\r\n",
    "a status in a header": b"NATS/1.0\r\nStatus: 404\r\n\r\n",
    "a status in other digits": b"NATS/1.0 \xc2\xb2 \r\n\r\n",
    "nothing behind the version": b"NATS/1.0",
    "lines without end": b"NATS/1.0\r\n" + b"".join(b"a%d:\r\n" % n for n in range(5000)) + b"\r\n",
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS.keys())
async def test_headers_of_any_bytes_stop_neither_the_applier_nor_a_reader_nor_who_answers(
    world: World, headers: bytes
) -> None:
    async with (
        world.relay(),
        world.applier(),
        world.queries(),
        world.history(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix) as client,
        client.tail() as events,
    ):
        events_of_nobody = ["evt.v1.project.updated.-"] * 2
        for subject in ("cmd.v1.project.register", *events_of_nobody, "qry.v1.stats", "qry.v1.history"):
            await raw(world, f"{world.prefix}.{subject}".encode(), headers)

        await client.register_project(name="p", remote_origin="git@github.com:a/p.git")
        async with asyncio.timeout(20):
            assert (await anext(events)).event.name == "project.registered"
        assert (await client.queries.stats()).active_projects == 1
        assert len((await client.snapshot()).projects) == 1


async def raw(world: World, subject: bytes, headers: bytes, payload: bytes = b"{}") -> None:
    """Publish bytes that no client library sends."""
    parts = urlsplit(world.nats_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    token = f'"auth_token":"{parts.username}",' if parts.username else ""
    writer.write(f'CONNECT {{{token}"verbose":false,"headers":true}}\r\n'.encode())
    sizes = (len(headers), len(headers) + len(payload))
    writer.write(b"HPUB %s _INBOX.raw.1 %d %d\r\n%s%s\r\nPING\r\n" % (subject, *sizes, headers, payload))
    async with asyncio.timeout(10):
        while b"PONG" not in (answer := await reader.readline()):
            assert b"-ERR" not in answer, answer
    writer.close()
