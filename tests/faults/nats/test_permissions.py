"""What an account of NATS may not do is told with the subject, and waited for; passwords are not sent in clear."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats.errors
import pytest
from structlog.testing import capture_logs

from publisher.doctor.dead_letters import dead_letter_findings
from publisher.doctor.stream_settings import stream_settings_findings
from publisher.embedded.binaries import nats_binary
from registry.broker.connection import connect_nats
from registry.client import Delivery, RegistryClient
from registry.concurrency.tasks import end
from registry.dead_letters import DeadLetterDesk
from registry.dead_letters.stream import LetterStream
from registry.errors import RegistryError, Unavailable, Unprepared
from tests.support.commands import envelope
from tests.support.nats.reading import connected
from tests.support.parts import part_named, until
from tests.support.proxy import Direction, nats_proxy
from tests.support.world import World

REFUSED = re.compile(r'Subscription Violation - .*Subject "([^"]*)"')


class Accounts:
    """A nats-server with two users: `all` may do anything, `service` not what `deny` says."""

    def __init__(self, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self.deny({})

    def url(self, user: str) -> str:
        """For one of the users."""
        return f"nats://{user}:word@127.0.0.1:{self._port}"

    def deny(self, permissions: dict[str, Any]) -> None:
        """What `service` may not publish or subscribe, from the next `start` on."""
        rules = {action: {"deny": subjects} for action, subjects in permissions.items()}
        users = [{"user": "all", "password": "word"}, {"user": "service", "password": "word", "permissions": rules}]
        configuration = {
            "listen": f"127.0.0.1:{self._port}",
            "jetstream": {"store_dir": str(self._directory / "nats")},
            "authorization": {"users": users},
        }
        (self._directory / "nats.conf").write_text(json.dumps(configuration))

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            str(nats_binary()), "-c", str(self._directory / "nats.conf"), "-l", str(self._directory / "log")
        )
        async with asyncio.timeout(20):
            while not await self._is_up():
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        await self._process.wait()

    def reload(self, permissions: dict[str, Any]) -> None:
        """What `service` may not from about now on, while whoever is connected stays so."""
        self.deny(permissions)
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def suspend(self, is_suspended: bool) -> None:
        """Whether it does nothing, and its connections stand."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if is_suspended else signal.SIGCONT)

    def refused(self) -> Counter[str]:
        """How often it refused a subscription, by subject; its log has a line for each."""
        return Counter(REFUSED.findall((self._directory / "log").read_text()))

    async def _is_up(self) -> bool:
        try:
            async with connect_nats(self.url("all"), "test", reconnect=False) as client:
                await client.jetstream().account_info()
        except (RegistryError, nats.errors.Error):  # not yet
            return False
        return True


@pytest.fixture
async def accounts(state_dir: Path) -> AsyncIterator[Accounts]:
    server = Accounts(state_dir)
    await server.start()
    yield server
    await server.stop()


async def restarted(accounts: Accounts, permissions: dict[str, Any]) -> None:
    await accounts.stop()
    accounts.deny(permissions)
    await accounts.start()


DENIED = {
    "to publish events": ("relay", {"publish": ["{prefix}.evt.>"]}, "publish to {prefix}.evt.v1.project."),
    "to see the stream": (
        "relay",
        {"publish": ["$JS.API.STREAM.INFO.>"]},
        "cannot read stream {upper}_EVENTS: permissions violation for publish to $JS.API.STREAM.INFO.{upper}_EVENTS",
    ),
    "to get answers": ("applier", {"subscribe": ["_INBOX.>"]}, "permissions violation for subscription to _INBOX."),
    "to take commands": (
        "applier",
        {"publish": ["$JS.API.CONSUMER.MSG.NEXT.>"]},
        "cannot take commands from stream {upper}_COMMANDS: permissions violation for publish to $js.api.consumer.msg.",
    ),
    "to acknowledge commands": (
        "applier",
        {"publish": ["$JS.ACK.>"]},
        "cannot take commands from stream {upper}_COMMANDS: permissions violation for publish to $js.ack.",
    ),
    "to answer queries": (
        "queries",
        {"subscribe": ["{prefix}.qry.>"]},
        "permissions violation for subscription to {prefix}.qry.v1.",
    ),
}


@pytest.mark.parametrize("what", DENIED)
async def test_a_part_that_lacks_a_permission_names_the_subject_and_goes_on_when_it_has_it(
    world: World, accounts: Accounts, what: str
) -> None:
    name, permissions, told = DENIED[what]
    there = world.at(nats_url=accounts.url("service"))
    names = {"prefix": world.prefix, "upper": world.prefix.upper()}

    # given
    async with there.relay(), there.applier():
        pass
    await restarted(
        accounts, {action: [one.format(**names) for one in denied] for action, denied in permissions.items()}
    )
    world.write(projects=1)

    # when
    part = part_named(name, there)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(part.run())
        await until(part, told.format(**names))
        tries = part.health.interrupted
        async with asyncio.timeout(60):
            while part.health.interrupted < tries + 3:  # it is told all the time
                assert told.format(**names) in " ".join(part.health.problems())
                await asyncio.sleep(0.01)
        await restarted(accounts, {})

        # then
        await until(part, "")
        if name == "relay":
            await world.drained()
        await end([task])
    assert part.health.crashed == 0


async def test_a_reader_that_may_not_ask_for_messages_names_the_subject(world: World, accounts: Accounts) -> None:
    there = world.at(nats_url=accounts.url("all"))
    async with there.relay():
        there.write(1)
        await there.drained()
    await restarted(accounts, {"publish": ["$JS.API.CONSUMER.MSG.NEXT.>"]})

    async with RegistryClient.connect(accounts.url("service"), prefix=world.prefix) as client, asyncio.timeout(20):
        with pytest.raises(Unavailable, match=r"permissions violation for publish to \$js.api.consumer.msg.next\."):
            async with client.replay() as events:
                await anext(events)


async def test_who_may_not_list_streams_is_told_so_or_knows_no_dead_letters(world: World, accounts: Accounts) -> None:
    there = world.at(nats_url=accounts.url("service"))
    async with connected(accounts.url("all")) as client:
        await LetterStream(client, there.profile.letters, "indexer").open()
    await restarted(accounts, {"publish": ["$JS.API.STREAM.NAMES"]})

    async with connect_nats(there.nats_url, "test") as client:
        desk = DeadLetterDesk(client, there.profile)
        for ask in (desk.durables, desk.counts):
            with pytest.raises(Unprepared, match=r"permissions violation for publish to \$JS.API.STREAM.NAMES"):
                await ask()
        assert await desk.durables(if_permitted=True) == []
        assert await desk.counts(if_permitted=True) == {}
        assert await stream_settings_findings(client, there.settings()) == []
        assert await dead_letter_findings(client, there.settings()) == []


async def test_who_may_not_look_at_a_stream_of_dead_letters_does_not_count_it(world: World, accounts: Accounts) -> None:
    there = world.at(nats_url=accounts.url("service"))
    async with connected(accounts.url("all")) as client:
        await LetterStream(client, there.profile.letters, "indexer").open()
    await restarted(accounts, {"publish": [f"$JS.API.STREAM.INFO.{there.profile.letters.stream('indexer')}"]})

    async with connect_nats(there.nats_url, "test") as client:
        desk = DeadLetterDesk(client, there.profile)
        assert await desk.durables() == ["indexer"]
        with pytest.raises(Unprepared):
            await desk.counts()
        assert await desk.counts(if_permitted=True) == {}


async def test_a_subscriber_that_may_not_acknowledge_says_so(world: World, accounts: Accounts) -> None:
    there = world.at(nats_url=accounts.url("all"))
    async with there.relay():
        there.write(1)
        await there.drained()
    await restarted(accounts, {"publish": ["$JS.ACK.>"]})

    handled: list[Delivery] = []

    async def handle(delivery: Delivery) -> None:
        handled.append(delivery)

    async with RegistryClient.connect(accounts.url("service"), prefix=world.prefix) as client:
        with capture_logs() as logs:
            subscription = asyncio.ensure_future(client.subscribe(handle, durable="d", from_start=True))
            async with asyncio.timeout(20):
                while not any(
                    "permissions violation for publish to $js.ack." in str(one.get("reason")) for one in logs
                ):
                    await asyncio.sleep(0.05)
            await end([subscription])
    assert len({delivery.sequence for delivery in handled}) == len(handled) > 0


async def test_a_sender_who_wants_his_answer_where_none_may_be_sent_stops_nobody(
    world: World, accounts: Accounts
) -> None:
    there = world.at(nats_url=accounts.url("service"))

    await restarted(accounts, {"publish": ["forbidden.>"]})
    async with there.applier() as metrics, connected(accounts.url("all")) as client:
        sender = world.at(nats=client)
        for number in range(3):
            data = {"name": "p", "remote_origin": f"git@github.com:o/p{number}.git"}
            await sender.send("project.register", envelope("project.register", data, replyto=f"forbidden.{number}"))
        await sender.commands_done()
        assert metrics.problems() == []
        assert metrics.interrupted == 0


async def test_a_url_that_asks_for_tls_sends_no_password_to_a_server_without(nats_url: str) -> None:
    sent: list[bytes] = []

    def remember(direction: Direction, data: bytes) -> bool:
        if direction == "to_server":
            sent.append(data)
        return False

    async with nats_proxy(nats_url) as (proxy, through):
        proxy.swallow = remember
        with pytest.raises(Unavailable, match="asks for TLS and the server has none: nothing was sent to it"):
            async with connect_nats(f"tls://user:s3cret@{urlsplit(through).netloc.rpartition('@')[2]}", "test"):
                pass
    assert b"".join(sent) == b""
