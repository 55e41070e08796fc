"""What others arrange on a NATS server: it sends clients away, leads subjects elsewhere, takes in whoever comes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from nats.js.api import StreamConfig

from registry.broker.connection import connect_nats
from registry.client import Access, RegistryClient
from registry.concurrency.tasks import end
from registry.errors import Unavailable
from tests.support.everything import everything_works, variables
from tests.support.nats.jwt import Key, private
from tests.support.nats.process import configure, nats_process
from tests.support.parts import part_named, until
from tests.support.world import World

T = TypeVar("T")
PROJECT = {"name": "p", "remote_origin": "git@github.com:a/p.git"}


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` returns, once it is answered."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await ask()
            except Unavailable:
                await asyncio.sleep(0.1)


async def test_a_server_that_sends_its_clients_away_is_left_for_the_next(world: World, state_dir: Path) -> None:
    with nats_process(state_dir, lame_duck_duration="30s", lame_duck_grace_period="1s") as server:
        there = world.at(nats_url=server.url())
        async with (
            there.relay(),
            there.applier(),
            there.queries(),
            RegistryClient.connect(there.nats_url, prefix=there.prefix) as client,
        ):
            server.signal(signal.SIGUSR2)  # lame duck mode: no new clients, then no clients, then its end
            await asyncio.to_thread(server.wait)
            server.start()

            project = await patiently(lambda: client.register_project(**PROJECT))
            assert (await patiently(lambda: client.queries.project_by_id(project))).name == "p"


async def test_subjects_that_are_led_elsewhere_are_told_and_nothing_is_lost(world: World, state_dir: Path) -> None:
    away = {f"{world.prefix}.evt.v1.>": "other.>", f"{world.prefix}.cmd.v1.>": "elsewhere.>"}
    with nats_process(state_dir, mappings=away) as server:
        there = world.at(nats_url=server.url())
        there.write(1)
        relay = part_named("relay", there)
        running = asyncio.ensure_future(relay.run())
        async with there.applier(), RegistryClient.connect(there.nats_url, prefix=there.prefix) as client:
            await until(relay, f"cannot publish to stream {there.stream}: no stream takes the subject")
            with pytest.raises(Unavailable, match="no stream takes"):
                await client.register_project(**PROJECT)

            server.stop()
            configure(state_dir / "nats.conf", port=server.port, store=state_dir / "nats")
            server.start()

            await until(relay, "")
            await patiently(lambda: client.register_project(**PROJECT))
            await there.drained()
        await end([running])


async def test_who_says_who_he_is_is_not_taken_for_anybody(
    world: World, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Key("user")
    anybody = {"user": "anybody", "password": "x", "permissions": {"publish": "nothing", "subscribe": "_INBOX.>"}}
    users = [{"nkey": key.public}, anybody]
    private(state_dir / "seed", key.seed)
    access = Access(nkey=state_dir / "seed")
    with nats_process(state_dir, authorization={"users": users}, no_auth_user="anybody") as server:
        there = world.at(nats_url=server.url())
        relay = part_named("relay", there)
        running = asyncio.ensure_future(relay.run())
        await until(relay, "permissions violation for publish to $JS.API.STREAM.INFO.")
        await end([running])

        for name, value in variables(access).items():
            monkeypatch.setenv(name, value)
        await everything_works(there, access)
        private(state_dir / "seed", Key("user").seed)
        with pytest.raises(Unavailable, match=r"[Aa]uthorization"):
            async with connect_nats(server.url(), "test", access, reconnect=False):
                pass


OTHERS = {
    "other subjects": ({"subjects": ["{prefix}.other.>"]}, "subjects is ['{prefix}.other.>'], expected"),
    "a work queue": ({"retention": "workqueue"}, "retention is workqueue, expected limits"),
    "in memory": ({"storage": "memory"}, "storage is memory, expected file"),
    "limited": ({"max_bytes": 1_000_000}, "max_bytes is 1000000, expected -1"),
    "sealed": ({"sealed": True}, "sealed is True, expected False"),
}


@pytest.mark.parametrize("how", OTHERS)
async def test_an_event_stream_of_somebody_else_ends_the_service_with_what_differs(world: World, how: str) -> None:
    changes, told = OTHERS[how]
    jetstream = world.nats.jetstream()
    ours = {"name": world.stream, "subjects": [f"{world.prefix}.evt.v1.>"], "allow_direct": True}
    given = {
        name: [one.format(prefix=world.prefix) for one in value] if isinstance(value, list) else value
        for name, value in changes.items()
    }
    made = (await jetstream.add_stream(StreamConfig(**ours | ({} if how == "sealed" else given)))).config
    if how == "sealed":
        made.sealed = True
        await jetstream.update_stream(made)
    before = (await jetstream.stream_info(world.stream)).config

    with world.process() as process:
        assert await process.exit_code() == 1
        last = process.log()[-1]["event"]

    assert f"stream {world.stream} exists with another configuration: " in last
    assert told.format(prefix=world.prefix) in last
    assert (await jetstream.stream_info(world.stream)).config == before
