"""Whatever arrives on a command subject ends as one outcome or one dead letter, and the applier stays up."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from publisher.applier.command_stream import WINDOW
from registry.broker.connection import flushed
from registry.commands import COMMANDS
from tests.support.commands import envelope, rows
from tests.support.world import World

PROJECT = {"name": "p", "remote_origin": "git@github.com:a/p.git"}

text = st.text(max_size=20) | st.sampled_from(
    ["\0", "a\0b", "\N{PILE OF POO}", "../..", "' OR 1=1 --", "%s", "x" * 3000]
)
scalar = st.none() | st.booleans() | st.integers() | st.floats() | text | st.uuids().map(str)
value = st.recursive(scalar, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))
names = st.sampled_from(sorted(COMMANDS))


@st.composite
def near_misses(draw: st.DrawFn) -> tuple[str, bytes]:
    """A command as its example has it, with some of it replaced, left out or added."""
    name = draw(names)
    (example,) = COMMANDS[name].model_config["json_schema_extra"]["examples"]  # type: ignore[index,call-overload]
    attributes: dict[str, Any] = orjson.loads(envelope(name, {}, id=str(draw(st.uuids()))))
    data = dict(example)
    for changed in draw(st.lists(st.sampled_from(["data", "attributes", "type", "id", "nothing"]), max_size=3)):
        match changed:
            case "data":
                data[draw(st.sampled_from(sorted(example)) | text)] = draw(value)
            case "attributes":
                attributes[draw(st.sampled_from(sorted(attributes)) | text)] = draw(value)
            case "type":
                attributes["type"] = draw(st.sampled_from(["imi.project.register.v2", "imi.a.b.v1", "x"]))
            case "id":
                attributes["id"] = draw(st.sampled_from([str(UUID(int=n)) for n in range(3)]))
    if "data" not in attributes or attributes["data"] == {}:
        attributes["data"] = data
    return name, json.dumps(attributes).encode()


anything = st.tuples(names | text.map(lambda token: f"x.{abs(hash(token))}"), st.binary(max_size=200))
any_json = st.tuples(names, value.map(lambda found: json.dumps(found).encode()))
messages = near_misses() | anything | any_json


async def play(world: World, batch: list[tuple[str, bytes]]) -> None:
    """Publish a batch without waiting for each."""
    for name, payload in batch:
        await world.nats.publish(world.names.commands.command_subject(name), payload)
    await flushed(world.nats)


async def assert_all_accounted(world: World, sent: list[tuple[str, bytes]]) -> None:
    """Fail unless each message has its row in the ledger, or is a dead letter, or is a repetition of one."""
    letters = (await world.nats.jetstream().stream_info(world.names.commands.dead_letter_stream)).state.messages
    ledger = {str(command_id) for (command_id,) in world.rows("SELECT command_id FROM command_ledger")}
    events = world.rows("SELECT entity_id::text FROM outbox WHERE entity = 'command'")
    assert {command_id for (command_id,) in events} == ledger
    assert len(events) == len(ledger)
    identified, unreadable = set(), 0
    for _, payload in sent:
        try:
            identified.add(str(UUID(orjson.loads(payload)["id"])))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, IndexError):
            unreadable += 1
    assert ledger <= identified
    taken = letters - unreadable
    assert 0 <= taken <= len(sent) - unreadable - len(ledger)


@pytest.mark.parametrize("count", [300, pytest.param(100_000, marks=pytest.mark.long)])
async def test_no_message_is_lost_retried_for_ever_or_harms_the_applier(world: World, count: int) -> None:
    sent: list[tuple[str, bytes]] = []

    @settings(
        max_examples=count // 20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(messages, min_size=20, max_size=20))
    def collect(batch: list[tuple[str, bytes]]) -> None:
        sent.extend(batch)

    await asyncio.to_thread(collect)
    async with world.applier() as metrics:
        for start in range(0, len(sent), 4 * WINDOW):
            await play(world, sent[start : start + 4 * WINDOW])
            await world.commands_done(120)
        # it is still up, and one and the same all along
        assert (await world.ask("project.register", envelope("project.register", PROJECT)))["code"] is None
        assert metrics.role == "leader"
        sent.append(("project.register", b'{"id": "%s"}' % str(uuid4()).encode()))
        await play(world, sent[-1:])
        await world.commands_done()
    assert len(sent) >= count
    await assert_all_accounted(world, [*sent, *last_of(world.database)])


def last_of(database: str) -> list[tuple[str, bytes]]:
    """The command of the test itself."""
    query = "SELECT command_id::text FROM command_ledger ORDER BY applied_at DESC, command_id LIMIT 2"
    return [("project.register", orjson.dumps({"id": command_id})) for (command_id,) in rows(database, query)]


DEEP = b'{"specversion":"1.0","id":"%s","source":"s","type":"imi.project.register.v1","data":{"name":"p",' + (
    b'"remote_origin":"git@github.com:a/p.git","metadata":{"a":' + b"[" * 900 + b"]" * 900 + b"}}}"
)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (envelope("project.register", PROJECT | {"name": "x" * 900_000}), "VALIDATION_ERROR"),
        (envelope("project.register", PROJECT | {"trunk_path": "/" + "x" * 900_000}), "VALIDATION_ERROR"),
        (envelope("project.register", PROJECT | {"metadata": {"deep": "x" * 900_000}}), None),
        (envelope("project.register", PROJECT | {"name": "\0"}), "VALIDATION_ERROR"),
        (envelope("project.register", PROJECT | {"metadata": {"a": ["\0"]}}), "VALIDATION_ERROR"),
        (envelope("project.register", PROJECT, actor="\0"), "VALIDATION_ERROR"),
        (envelope("project.register", PROJECT, type="imi.project.register.v9"), "VALIDATION_ERROR"),
        (envelope("project.register", [PROJECT]), "VALIDATION_ERROR"),
        (envelope("worktree_type.add", {"name": "x" * 900_000}, type="imi.project.register.v1"), "VALIDATION_ERROR"),
        (DEEP % str(uuid4()).encode(), "VALIDATION_ERROR"),
    ],
    ids=range(10),
)
async def test_what_has_an_id_is_answered(world: World, payload: bytes, code: str | None) -> None:
    inbox = world.nats.new_inbox()
    subscription = await world.nats.subscribe(inbox)
    payload = payload[:-1] + b',"replyto":"%s"}' % inbox.encode()

    async with world.applier():
        await world.nats.jetstream().publish(f"{world.prefix}.cmd.v1.project.register", payload)
        answer = orjson.loads((await subscription.next_msg(timeout=20)).data)
        await world.commands_done()

    assert answer["code"] == code
    assert world.rows("SELECT code FROM command_ledger") == [(code,)]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b'{"id": 1, "replyto": "INBOX"}', "id: 1: it must be a UUID"),
        (b'{"replyto": "INBOX"}', "id: null: it must be a UUID"),
        (b'{"id": "x", "replyto": "INBOX", "data": {"metadata": {"n": NaN}}}', "NaN is no number in JSON"),
        (b"{'id': 'x', 'replyto': 'INBOX'}", "payload is not JSON: Expecting property name"),
        (b'[{"id": "x", "replyto": "INBOX"}]', "payload is a JSON list, not an object"),
        (b'"{\\"id\\": 1, \\"replyto\\": \\"INBOX\\"}"', "payload is a JSON str, not an object"),
        (b'{"id": "x", "replyto": "INBOX", "data": {"name": "cut', "payload is not JSON: Unterminated string"),
        (b'{"replyto" :\n"INBOX", "data": "\xff"}', "payload is not JSON: 'utf-8' codec can't decode"),
    ],
)
async def test_what_is_no_command_is_answered_where_it_says_to_whom(world: World, payload: bytes, message: str) -> None:
    inbox = world.nats.new_inbox()
    subscription = await world.nats.subscribe(inbox)

    async with world.applier():
        await world.send("project.register", payload.replace(b"INBOX", inbox.encode()))
        outcome = orjson.loads((await subscription.next_msg(timeout=20)).data)
        await world.commands_done()

    assert outcome["verdict"] == "rejected"
    assert outcome["code"] == "VALIDATION_ERROR"
    assert message in outcome["message"]
    assert outcome["command_id"] == "00000000-0000-0000-0000-000000000000"
    assert (await world.nats.jetstream().stream_info(world.names.commands.dead_letter_stream)).state.messages == 1


@pytest.mark.parametrize(
    "payload",
    [
        b'{"id": 1, "replyto": "victim.subject"}',
        b'{"replyto": "_INBOX.victim.*", cut',
        b'{"replyto": "_INBOX.victim.a", "data": {"replyto": "_INBOX.victim.b", cut',
        b'{"replyto": "_INBOX.victim.' + b"a" * 300 + b'", cut',
        b'"replyto"',
    ],
)
async def test_what_is_no_command_is_answered_to_an_inbox_alone(world: World, payload: bytes) -> None:
    heard = [await world.nats.subscribe(subject) for subject in ("victim.>", "_INBOX.victim.>")]

    async with world.applier():
        await world.send("project.register", payload)
        await world.commands_done()
    await flushed(world.nats)

    assert [subscription.pending_msgs for subscription in heard] == [0, 0]


@pytest.mark.parametrize(
    ("subject", "payload", "reason"),
    [
        ("cmd.v1.project.register", b"\xff\xfe\x00", "payload is not JSON"),
        ("cmd.v1.project.register", b"[" * 100_000, "payload is not JSON"),
        ("cmd.v1.project.register", b"[1]", "payload is a JSON list, not an object"),
        ("cmd.v1.project.register", b'{"id": "7"}', 'id: "7": it must be a UUID'),
        ("cmd.v2.project.register", envelope("project.register", PROJECT), "subject is not of the form"),
        ("cmd.oddly.named", b"", "subject is not of the form"),
    ],
)
async def test_what_has_no_id_is_a_dead_letter_stored_whole(
    world: World, subject: str, payload: bytes, reason: str
) -> None:
    async with world.applier():
        await world.nats.jetstream().publish(f"{world.prefix}.{subject}", payload, headers={"Their-Header": "x"})
        await world.commands_done()

    stream = world.names.commands.dead_letter_stream
    letter = await world.nats.jetstream().get_msg(stream, 1, direct=True)
    headers = letter.headers or {}
    assert letter.data or payload == b""
    assert reason in headers["Imi-Reason"]
    assert headers["Imi-Subject"] == f"{world.prefix}.{subject}"
    assert headers["Imi-Stream-Sequence"] == "1"
    assert headers["Their-Header"] == "x"
    assert (await world.nats.jetstream().stream_info(stream)).state.messages == 1


async def test_a_reply_subject_that_is_no_inbox_is_never_published_to(world: World) -> None:
    victim = await world.nats.subscribe("victim.>")
    payload = envelope("project.register", PROJECT, replyto="victim.subject")

    async with world.applier():
        await world.nats.jetstream().publish(f"{world.prefix}.cmd.v1.project.register", payload)
        await world.commands_done()
        await flushed(world.nats)

    assert victim.pending_msgs == 0
    assert world.rows("SELECT code FROM command_ledger") == [("VALIDATION_ERROR",)]
