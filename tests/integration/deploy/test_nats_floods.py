"""Users outside of the registry's account send without end: events go out as ever, others are answered, no more."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import cycle
from typing import Any
from uuid import uuid4

import nats.errors
import orjson
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import BadRequestError, NotFoundError

from registry.broker.errors import STORE_FAILED
from registry.client import RegistryClient, Sending
from registry.concurrency.tasks import end
from tests.support.audit import compared
from tests.support.commands import PROJECT, envelope
from tests.support.everything import first_handled
from tests.support.nats.deployed import TEAMS, Deployed, deployed_server
from tests.support.nats.outsiders import COMPONENTS, bodies, may_send, outsider
from tests.support.relay_process import RelayProcess
from tests.support.world import World

FLOODS = {"command": 3_000} | dict.fromkeys(("query", "durable", "live"), 20_000)
"""Messages of each user; commands are carried out or buried, one by one."""
AT_ONCE = 500
PATIENT = Sending(timeout=300)
SENT = b'{"stream": "IMI_EVENTS", "seq": 1, "from": "outside"}'
"""What looks like the receipt of an event."""


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    with deployed_server(has_teams=True) as server:
        yield server


@asynccontextmanager
async def halves(there: World, deployed: Deployed) -> AsyncIterator[list[RelayProcess]]:
    """Publisher and applier, each a process under its own user."""
    running = [
        RelayProcess(there.database, there.nats_url, there.prefix, parts=part, **deployed.settings(part))
        for part in ("publisher", "applier")
    ]
    try:
        for half in running:
            await half.ready()
        yield running
    finally:
        for half in running:
            half.close()


class Listener:
    """What arrives where answers to publisher and applier do, heard by who may hear everything."""

    def __init__(self) -> None:
        self.inboxes: set[str] = set()
        self.foreign: list[tuple[str, bytes]] = []

    async def hear(self, message: Msg) -> None:
        """Take note of one message."""
        inbox, _, last = message.subject.rpartition(".")
        if last == "outside" or message.data == SENT:
            self.foreign.append((message.subject, message.data))
        elif inbox.startswith("_INBOX."):
            self.inboxes.add(inbox)

    async def listen(self, client: Client) -> None:
        """From now on."""
        for user in ("publisher", "applier"):
            await client.subscribe(f"_INBOX.{user}.>", cb=self.hear)
        await client.flush()


def requests(user: str, target: str) -> Iterator[tuple[str, bytes]]:
    """What a user may send, and what looks like a receipt, without end."""
    allowed = [(subject, body) for subject in may_send(user) for body in bodies(subject, target)]
    named = envelope("project.register", PROJECT, replyto=target)
    if user == "command":
        allowed += [(subject, named) for subject in may_send(user)]
    receipts = [(subject, SENT) for subject in (target, "_R_.x", "_INBOX.x", "$JS.ACK.IMI_EVENTS.c.1.1.1.1.1")]
    return cycle([*allowed, *receipts])


async def flood(client: Client, user: str, listener: Listener) -> None:
    """So many messages, with each inbox of publisher and applier in turn as the place for the answer."""
    targets = [f"{inbox}.outside" for inbox in sorted(listener.inboxes)]
    assert any("publisher" in target for target in targets)
    each = FLOODS[user] // len(targets)
    for target in targets:
        for number, (subject, body) in zip(range(each), requests(user, target), strict=False):
            await client.publish(subject, body, reply=target)
            if number % AT_ONCE == 0:
                await client.flush()
    await client.flush()


async def while_it_lasts(flooding: Coroutine[Any, Any, None], work: Callable[[], Coroutine[Any, Any, Any]]) -> int:
    """Do the work again and again until the flood is over, once at least; returns how often."""
    task = asyncio.create_task(flooding)
    times = 0
    try:
        while not (task.done() and times):
            await work()
            times += 1
        await task
    finally:
        await end([task])
    return times


async def told_of_a_command(there: World, sender: RegistryClient) -> None:
    """Somebody writes by SQL, another one sends a command, is answered, and finds its event in the stream."""
    await asyncio.to_thread(there.write, 1)
    origin = f"git@github.com:o/{uuid4().hex}.git"
    project = await sender.register_project(name="p", remote_origin=origin, sending=PATIENT)
    subject = f"imi.evt.v1.project.registered.{project}"
    async with asyncio.timeout(PATIENT.timeout):
        while True:
            with suppress(NotFoundError):
                await there.nats.jetstream(timeout=PATIENT.timeout).get_last_msg(there.stream, subject)
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("user", COMPONENTS)
async def test_what_a_component_sends_without_end_keeps_no_event_back_and_forges_no_receipt(
    there: World, deployed: Deployed, user: str
) -> None:
    listener = Listener()
    await listener.listen(there.nats)
    async with halves(there, deployed) as running, deployed.client("flume") as other:
        await other.register_project(**PROJECT)
        there.write(1)
        await there.drained()

        async with outsider(deployed, user) as client:
            await while_it_lasts(flood(client, user, listener), lambda: told_of_a_command(there, other))

        await there.commands_done(PATIENT.timeout)
        await there.drained(PATIENT.timeout)
        (await compared(there.database, there.nats, there.prefix)).assert_clean(at_least=20)
        assert listener.foreign == []
        for half in running:
            assert [line for line in half.log() if line["level"] not in {"info", "debug", "warning"}] == []
            assert half.is_running


@pytest.mark.parametrize("flood_of", [20_000, pytest.param(110_000, marks=pytest.mark.long)])
async def test_a_sender_waits_for_what_another_one_may_have_waiting_and_for_no_more(
    there: World, deployed: Deployed, flood_of: int
) -> None:
    """One sends so many commands of one kind, and goes on; each beyond its share is told to wait."""
    answers: Counter[int] = Counter()
    sent = 0

    async def hear(message: Msg) -> None:
        answers[orjson.loads(message.data).get("error", {}).get("err_code", 0)] += 1

    async def send() -> None:
        nonlocal sent
        inbox = "_INBOX.command.receipts"
        await client.subscribe(inbox, cb=hear, pending_msgs_limit=-1)
        while sent < flood_of or not is_answered.is_set():
            for _ in range(AT_ONCE):
                command = envelope("project.register", PROJECT)
                await client.publish("imi.cmd.v1.project.register.command", command, reply=inbox)
            await client.flush()
            sent += AT_ONCE

    is_answered = asyncio.Event()
    async with halves(there, deployed), deployed.client("flume") as other:
        async with outsider(deployed, "command") as client:
            flooding = asyncio.create_task(send())
            while not answers[STORE_FAILED]:
                await asyncio.sleep(0.01)
            await told_of_a_command(there, other)
            is_answered.set()
            await flooding
            async with asyncio.timeout(PATIENT.timeout):
                while answers.total() < sent:
                    await asyncio.sleep(0.05)
        await there.commands_done(PATIENT.timeout)
        await there.drained()
        (await compared(there.database, there.nats, there.prefix)).assert_clean(at_least=20)
    assert answers.keys() == {0, STORE_FAILED}
    assert there.rows("SELECT count(*) FROM command_ledger") == [(answers[0] + 1,)]


@pytest.mark.parametrize("user", ["durable", "live"])
async def test_a_reader_who_makes_all_consumers_that_the_stream_takes_keeps_no_event_back(
    there: World, deployed: Deployed, user: str
) -> None:
    jetstream = there.nats.jetstream()
    async with halves(there, deployed):
        there.write(1)
        await there.drained()
        made = await all_consumers(deployed, user)
        assert (await jetstream.stream_info(there.stream)).state.consumer_count == made

        await jetstream.publish(there.foreign_subject, b"{}")  # the stream ends elsewhere: its tail is to be read
        there.write(2)
        await there.drained()

        assert (await jetstream.stream_info(there.stream)).state.consumer_count == made
        async with deployed.client("flume") as other, asyncio.TaskGroup() as tasks:
            asked = await there.nats.subscribe("$JS.EVENT.ADVISORY.API")
            handled = tasks.create_task(first_handled(other, entity="project"))
            while b"maximum consumers limit" not in (await asked.next_msg(60)).data:
                pass
            for name in ("c0", "c1"):
                await jetstream.delete_consumer(there.stream, name)
            assert (await handled).event.name == "project.registered"
        (await compared(there.database, there.nats, there.prefix)).assert_clean(foreign=1, at_least=10)


async def all_consumers(deployed: Deployed, user: str) -> int:
    """Make consumers until the server refuses one; returns how many there are."""
    made = 0
    async with outsider(deployed, user) as client:
        jetstream = client.jetstream(domain="IMI")
        with suppress(BadRequestError):
            while made < 10_000:
                await jetstream.add_consumer("IMI_EVENTS", name=f"c{made}", durable_name=f"c{made}")
                made += 1
    assert made < 10_000, "there is no limit"
    return made


@pytest.mark.parametrize("user", [*COMPONENTS, *TEAMS])
async def test_who_takes_all_connections_that_it_can_get_keeps_no_other_account_off(
    there: World, deployed: Deployed, user: str
) -> None:
    async with AsyncExitStack() as held:
        taken = 0
        with suppress(nats.errors.Error, OSError):
            while taken < 1_000:
                await held.enter_async_context(outsider(deployed, user, reconnect=False))
                taken += 1
        assert 50 <= taken < 1_000 // (len(COMPONENTS) + len(TEAMS))

        async with halves(there, deployed):
            there.write(1)
            await there.drained()


async def test_in_the_registry_s_own_account_what_looks_like_a_receipt_arrives_and_is_none(
    there: World, deployed: Deployed
) -> None:
    """That nothing was heard above means that nothing came. The subject of a receipt that is awaited nobody knows."""
    listener = Listener()
    await listener.listen(there.nats)
    async with halves(there, deployed):
        there.write(1)
        await there.drained()
        for _ in range(AT_ONCE):
            for inbox in listener.inboxes:
                await there.nats.publish(f"{inbox}.outside", SENT)
        there.write(1)
        await there.drained()
        (await compared(there.database, there.nats, there.prefix)).assert_clean(at_least=10)
    assert len(listener.foreign) >= AT_ONCE
