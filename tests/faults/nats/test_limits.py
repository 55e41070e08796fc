"""Limits of a NATS server and its accounts: what meets one says so, waits, and goes on when there is room."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from registry.broker.connection import connect_nats
from registry.client import Access, RegistryClient
from registry.concurrency.tasks import end
from registry.errors import Busy, Invalid, Unavailable
from registry.models import Project
from tests.support.everything import everything_works
from tests.support.nats.process import NatsProcess, configure, free_port, nats_process
from tests.support.parts import part_named, until
from tests.support.world import World

USERS = [{"user": "u", "password": "p"}]


def accounts(jetstream: Any, **account: Any) -> dict[str, Any]:
    """A configuration with one account, which `u` is a user of."""
    return {"accounts": {"A": {"jetstream": jetstream, "users": USERS, **account}}}


def restart(server: NatsProcess, state_dir: Path, **configuration: Any) -> None:
    server.stop()
    configure(state_dir / "nats.conf", port=server.port, store=state_dir / "nats", **configuration)
    server.start()


LIMITED = {
    "no jetstream": ({}, accounts("disabled"), ("relay", "applier"), "JetStream not enabled for account"),
    "few subscriptions": (
        {"max_subscriptions": 2},
        accounts("enabled"),
        ("queries", "history"),
        "as many subscriptions as it may have",
    ),
    "few connections": (
        {"max_connections": 1},
        accounts("enabled"),
        ("relay", "applier", "queries", "history"),
        "maximum connections exceeded",
    ),
}


@pytest.mark.parametrize("limit", LIMITED)
async def test_each_part_tells_the_limit_and_goes_on_when_it_is_lifted(
    world: World, state_dir: Path, limit: str
) -> None:
    server_limit, configuration, names, told = LIMITED[limit]
    with nats_process(state_dir, **server_limit, **configuration) as server:
        there = world.at(nats_url=server.url("u:p"))
        there.write(1)
        async with AsyncExitStack() as stack:
            if limit == "few connections":
                await stack.enter_async_context(connect_nats(there.nats_url, "the one", reconnect=False))
            for name in names:
                part = part_named(name, there)
                task = asyncio.ensure_future(part.run())
                stack.push_async_callback(end, [task])
                await until(part, told)
                if name == names[-1]:
                    restart(server, state_dir, **accounts("enabled"))
                    await until(part, "")
                    assert part.health.crashed == 0


async def test_an_account_whose_store_is_full_takes_no_event_and_no_command_until_it_has_room(
    world: World, state_dir: Path
) -> None:
    small, larger = accounts({"max_file": 200_000}), accounts({"max_file": 500_000_000})
    with nats_process(state_dir, **small) as server:
        there = world.at(nats_url=server.url("u:p"))
        async with RegistryClient.connect(there.nats_url, prefix=there.prefix) as client:
            async with there.applier():
                pass
            with pytest.raises(Busy, match="busy, the stream of commands takes no more now"):
                await fill(client)
            relay = part_named("relay", there)
            task = asyncio.ensure_future(relay.run())
            there.write(3)
            await until(relay, "resource")

            restart(server, state_dir, **larger)

            await until(relay, "")
            await there.drained()
            await end([task])
            await client.post("project.register", {"name": "q", "remote_origin": "git@github.com:a/q.git"})


async def fill(client: RegistryClient) -> None:
    while True:
        data = {"name": "p", "remote_origin": "git@github.com:a/p.git", "metadata": {"x": "y" * 20_000}}
        await client.post("project.register", data)


@pytest.mark.parametrize("most", [2_000, 64 * 1024])
async def test_a_server_of_small_messages_carries_events_and_commands(world: World, state_dir: Path, most: int) -> None:
    with nats_process(state_dir, max_payload=most) as server:
        there = world.at(nats_url=server.url())
        there.rows(
            "SELECT register_project('large', 'git@github.com:a/l.git', 'main', '/l', %s)", f'{{"x": "{"y" * most}"}}'
        )
        await everything_works(there, Access())
        async with RegistryClient.connect(there.nats_url, prefix=there.prefix) as client:
            data = {"name": "p", "remote_origin": "git@github.com:a/x.git", "metadata": {"x": "y" * most}}
            with pytest.raises(Invalid, match="bytes"):
                await client.send("project.register", data)


async def test_streams_behind_a_leaf_node_are_used_by_their_domain(
    world: World, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_dir, leaf_dir = state_dir / "hub", state_dir / "leaf"
    hub_dir.mkdir()
    leaf_dir.mkdir()
    hub_store = {"store_dir": str(hub_dir / "nats"), "domain": "hub"}
    leaf_port = free_port()
    leaf_nodes = {"listen": f"127.0.0.1:{leaf_port}"}
    with nats_process(hub_dir, jetstream=hub_store, server_name="hub", leafnodes=leaf_nodes) as hub:
        remotes = [{"url": f"nats-leaf://127.0.0.1:{leaf_port}"}]
        leaf_store = {"store_dir": str(leaf_dir / "nats"), "domain": "leaf"}
        with nats_process(leaf_dir, jetstream=leaf_store, server_name="leaf", leafnodes={"remotes": remotes}) as leaf:
            monkeypatch.setenv("IMI_NATS_JS_DOMAIN", "hub")
            there = world.at(nats_url=leaf.url())
            await leaf_is_connected(leaf.url())

            await everything_works(there, Access(js_domain="hub"))

            async with connect_nats(hub.url(), "test") as client:
                names = [stream.config.name for stream in await client.jetstream().streams_info()]
            assert there.names.event_stream in names


async def leaf_is_connected(url: str) -> None:
    """Wait until JetStream of the hub is reached through the leaf."""
    async with asyncio.timeout(20), connect_nats(url, "test", Access(js_domain="hub")) as client:
        while True:
            try:
                await client.jetstream(timeout=0.5).account_info()
            except Exception:  # not yet, whatever it says
                await asyncio.sleep(0.05)
            else:
                return


async def test_queries_keep_to_a_limit_of_messages_that_was_lowered_by_a_reload(world: World, state_dir: Path) -> None:
    lowered = 64 * 1024
    with psycopg.connect(world.database) as conn:
        for number in range(10):
            conn.execute(
                "INSERT INTO projects (name, remote_origin, trunk_path, metadata)"
                " VALUES (%s, %s, '/code', jsonb_build_object('x', repeat('x', 10000)))",
                [f"p{number}", f"git@github.com:a/p{number}.git"],
            )
    with nats_process(state_dir) as server:
        there = world.at(nats_url=server.url())
        async with there.queries(), RegistryClient.connect(there.nats_url, prefix=world.prefix) as client:
            assert len((await client.queries.projects()).projects) == 10
            # when
            configure(state_dir / "nats.conf", port=server.port, store=state_dir / "nats", max_payload=lowered)
            server.signal(signal.SIGHUP)
            # then
            async with asyncio.timeout(60):
                while len(page := await projects_of(client)) == 10:
                    await asyncio.sleep(0.05)
            assert len(page) == 6
            assert (await client.queries.stats()).total_projects == 10


async def projects_of(client: RegistryClient) -> list[Project]:
    """A page of them, asked for again where the server ended the connection over the answer."""
    while True:
        try:
            return (await client.queries.projects()).projects
        except Unavailable:
            await asyncio.sleep(0.05)
