"""docs/contract.md, word for word: its subscriptions, its JSON, and its bytes over a plain socket."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from nats.aio.client import Client

from registry.broker.connection import flushed
from registry.commands import COMMANDS
from registry.events import VERSIONS
from registry.schemas.conformance import faults
from registry.schemas.files import folder, load
from tests.support.world import World

DOCUMENT = (Path(__file__).parents[3] / "docs/contract.md").read_text()
PLACEHOLDERS = {
    "P": "0f6ef0f1-6f0b-4b4e-9d60-3a0c4f0b8f11",
    "Q": "1a6ef0f1-6f0b-4b4e-9d60-3a0c4f0b8f22",
    "C": "0d1f6c0e-6f4f-4f6e-8a0e-3f1d0a4f7c55",
    "D": "2d1f6c0e-6f4f-4f6e-8a0e-3f1d0a4f7c66",
}
ROWS = [
    tuple(re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|"))
    for line in re.findall(r"^\| `imi\..*\|$", DOCUMENT, re.MULTILINE)
]
"""Cells of the table of subscriptions: the subscription, nothing, subjects it has, subjects it has not."""
JSON_BLOCKS = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)]
NATS_BLOCKS = [text.splitlines() for text in re.findall(r"```nats\n(.*?)```", DOCUMENT, re.DOTALL)]
EVENT, COMMAND, OUTCOME = JSON_BLOCKS


def real(subject: str, prefix: str) -> str:
    """A subject of the document with ids for its placeholders and the test's prefix."""
    tokens = [PLACEHOLDERS.get(token, token) for token in subject.split(".")]
    return ".".join([prefix, *tokens[1:]])


# --- subscriptions ----------------------------------------------------------------------------------------------


async def test_each_subscription_has_what_it_is_said_to_have_and_nothing_else(world: World) -> None:
    # given a subscription for each row
    got: list[set[str]] = [set() for _ in ROWS]
    for (subscription, *_), seen in zip(ROWS, got, strict=True):

        async def note(message: Any, seen: set[str] = seen) -> None:
            seen.add(message.subject)

        await world.nats.subscribe(real(subscription[0], world.prefix), cb=note)

    # when every subject of the table is published to
    for subject in {subject for row in ROWS for cell in row[2:] for subject in cell}:
        await world.nats.publish(real(subject, world.prefix), b"{}")
    await flushed(world.nats)
    await world.nats.drain()

    # then each has heard all of the one column and nothing of the other
    assert len(ROWS) > 5
    for (subscription, _, has, has_not), seen in zip(ROWS, got, strict=True):
        assert has, subscription
        assert has_not, subscription
        assert {real(subject, world.prefix) for subject in has} <= seen, subscription
        assert not {real(subject, world.prefix) for subject in has_not} & seen, subscription


def test_every_wildcard_of_the_document_is_in_the_table() -> None:
    wildcards = {
        word for word in re.findall(r"imi\.(?:evt|cmd|rpy)\.[^\s`\"]+", DOCUMENT) if {"*", ">"} & set(word.split("."))
    }

    assert wildcards == {subscription for (subscription,), *_ in ROWS}


def test_the_table_names_subjects_that_exist() -> None:
    for subject in {subject for row in ROWS for cell in row[2:] for subject in cell}:
        _, kind, version, entity, action, *rest = subject.split(".")
        assert version == "v1"
        if kind == "evt":
            assert f"{entity}.{action}" in VERSIONS
            assert rest in (["-"], ["P"], ["Q"])
        else:
            assert f"{entity}.{action}" in COMMANDS
            assert rest == [] if kind == "cmd" else rest in (["C"], ["D"])


# --- JSON -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [EVENT, COMMAND], ids=["event", "command"])
def test_the_messages_of_the_document_keep_to_the_schemas(message: object) -> None:
    assert list(faults(message)) == []


def test_the_document_names_every_command_and_every_field_of_an_outcome() -> None:
    listed = re.search(r"All commands: (.*?)\. Their", DOCUMENT, re.DOTALL)

    assert listed is not None
    assert re.findall(r"`([^`]+)`", listed[1]) == list(COMMANDS)
    assert OUTCOME.keys() == load(folder())["outcome.v1.json"]["properties"].keys()


# --- bytes ------------------------------------------------------------------------------------------------------


class Session:
    """A socket that sends the lines marked `>>` and compares what comes with those marked `<<`."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], prefix: str, login: str) -> None:
        self._reader, self._writer = streams
        self._names = {"imi.": f"{prefix}.", "IMI_": f"{prefix.upper()}_"}
        self._login = login
        self.bodies: list[Any] = []
        """JSON received so far."""

    async def play(self, block: list[str]) -> None:
        lines = [self._localised(line) for line in block]
        received: list[str] = []
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            direction, text = line[:2], line[3:]
            if direction == ">>":
                text = text.replace("<bytes>", str(len(following[3:].encode())))
                self._writer.write(f"{text}\r\n".encode())
            else:
                received = received or await self._next_message()
                received = self._matched(text, received)

    def _localised(self, line: str) -> str:
        line = line.replace("<command>", json.dumps(COMMAND))
        for name, own in self._names.items():
            line = re.sub(rf"(?<!type\": \")\b{re.escape(name)}", own, line)
        return line.replace(">> CONNECT {", f">> CONNECT {{{self._login}")

    def _matched(self, expected: str, received: list[str]) -> list[str]:
        """What is left of a message once its next line was found to be as expected."""
        pattern = re.sub(r"<[a-z ]+>|…", lambda _: "\0", expected)
        pattern = re.escape(pattern).replace("\0", ".*")
        line, *rest = received
        while not re.fullmatch(pattern, line) and line.startswith("Nats-"):  # a header of the relay's own
            line, *rest = rest
        assert re.fullmatch(pattern, line), f"expected {expected}, received {line}"
        if line.startswith("{"):
            self.bodies.append(json.loads(line))
        return rest

    async def _next_message(self) -> list[str]:
        """One protocol message, as lines."""
        async with asyncio.timeout(20):
            line = (await self._reader.readline()).decode().rstrip()
            if line == "PING":
                self._writer.write(b"PONG\r\n")
                return await self._next_message()
            if not line.startswith(("MSG ", "HMSG ")):
                return [line]
            body = await self._reader.readexactly(int(line.split(" ")[-1]) + 2)
        return [line, *body.decode().removesuffix("\r\n").split("\r\n")]


async def test_the_bytes_of_the_document_are_those_on_the_wire(world: World) -> None:
    url = urlsplit(world.nats_url)
    login = f'"auth_token":"{url.username}",' if url.username else ""
    subscribe, event, register, outcome, replay = NATS_BLOCKS

    with world.process() as service, psycopg.connect(world.database, autocommit=True) as writer:
        await service.ready()
        streams = await asyncio.open_connection(url.hostname, url.port)
        try:
            session = Session(streams, world.prefix, login)

            # when a component subscribes, and somebody adds a type of worktree
            await session.play(subscribe)
            writer.execute(
                "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('spike', 'spike/', 'spike-')"
            )

            # then it hears of it in the form the document shows
            await session.play(event)
            envelope = session.bodies.pop()
            assert shape(envelope) == shape(EVENT)

            # when it registers a project, then that is kept, and answered
            await session.play(register)
            await session.play(outcome)
            kept, answer = session.bodies
            assert kept["stream"] == f"{world.prefix.upper()}_COMMANDS"
            assert shape(answer) == shape(OUTCOME)
            assert (answer["verdict"], answer["command_id"]) == ("applied", COMMAND["id"])

            # when it replays, then the first event is there
            await session.play(replay)
        finally:
            streams[1].close()
            await streams[1].wait_closed()
        row = writer.execute("SELECT id::text FROM projects WHERE name = 'flow-engine'").fetchone()

    assert row is not None
    assert answer["result"]["project_id"] == row[0]


REPLAY = json.loads(next(line[3:] for line in NATS_BLOCKS[-1] if '"deliver_policy"' in line))["config"]
STARTS = {
    key: json.loads(f"{{{text}}}")
    for key, text in zip(
        ("sequence", "time"), re.findall(r'`("deliver_policy":"by_start_[^`]+)`', DOCUMENT), strict=True
    )
}


async def consume(nats: Client, stream: str, config: dict[str, Any]) -> list[Any]:
    """Make a consumer as the document says, or find the one that is there, and ask it for messages once."""
    name = config["name"]
    request = json.dumps({"stream_name": stream, "config": config}).encode()
    made = json.loads((await nats.request(f"$JS.API.CONSUMER.CREATE.{stream}.{name}", request, timeout=10)).data)
    assert made["type"] == "io.nats.jetstream.api.v1.consumer_create_response", made
    inbox = nats.new_inbox()
    subscription = await nats.subscribe(inbox)
    ask = b'{"batch":100,"expires":1000000000}'
    await nats.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", ask, reply=inbox)
    found = []
    while (message := await subscription.next_msg(timeout=20)).reply:
        found.append(message)
    assert (message.headers or {}).get("Status") == "408"
    return found


async def test_consumers_begin_where_the_document_says_and_go_on_behind_what_they_acknowledged(world: World) -> None:
    stream, subject = f"{world.prefix.upper()}_EVENTS", f"{world.prefix}.evt.v1.worktree_type.added.-"
    await world.nats.jetstream().add_stream(name=stream, subjects=[f"{world.prefix}.evt.>"])
    for _ in range(4):
        await world.nats.jetstream().publish(subject, b"{}")

    def sequences(messages: list[Any]) -> list[int]:
        return [int(message.reply.split(".")[5]) for message in messages]

    config = REPLAY | {"filter_subject": f"{world.prefix}.evt.v1.>"}
    assert sequences(await consume(world.nats, stream, config)) == [1, 2, 3, 4]
    start = STARTS["sequence"] | {"opt_start_seq": 3}
    assert sequences(await consume(world.nats, stream, config | {"name": "at"} | start)) == [3, 4]
    start = STARTS["time"] | {"opt_start_time": "2026-01-01T00:00:00Z"}
    assert sequences(await consume(world.nats, stream, config | {"name": "since"} | start)) == [1, 2, 3, 4]
    *kept, _, _ = config
    durable = {key: config[key] for key in kept} | {"name": "work", "durable_name": "work", "ack_policy": "explicit"}
    messages = await consume(world.nats, stream, durable)
    for message in messages[:3]:
        await world.nats.publish(message.reply, b"+ACK")
    await world.nats.jetstream().publish(subject, b"{}")
    assert sequences(await consume(world.nats, stream, durable)) == [5]
    assert (await world.nats.jetstream().consumer_info(stream, "work")).ack_floor.stream_seq == 3


def shape(value: Any) -> Any:
    """Names and kinds, without the values."""
    return {name: shape(part) for name, part in value.items()} if isinstance(value, dict) else type(value).__name__
