"""A cluster of three nats-servers whose connections to one another go through proxies, so that they can be parted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import nats.errors
import nats.js.errors
from nats.js.api import StreamInfo

from tests.support.nats.process import NatsProcess, configure, free_port
from tests.support.nats.reading import connected
from tests.support.proxy import Proxy, tcp_proxy
from tests.support.threads import in_thread

SIZE = 3
NOWHERE = "127.0.0.1:1"
"""What a node tells the others to connect to: they are to take the proxied routes of the configuration alone."""


class Cluster:
    """Three nodes with JetStream, numbered from 0. `cluster` starts them."""

    def __init__(self, nodes: list[NatsProcess], routes: dict[tuple[int, int], Proxy]) -> None:
        self.nodes = nodes
        self._routes = routes

    @property
    def url(self) -> str:
        """All nodes, directly."""
        return ",".join(node.url() for node in self.nodes)

    @property
    def routes(self) -> list[Proxy]:
        """The connections of the nodes to one another, one for each two."""
        return list(self._routes.values())

    async def kill(self, *numbers: int) -> None:
        """End nodes at once, with SIGKILL."""
        for number in numbers:
            self.nodes[number].signal(signal.SIGKILL)
        for number in numbers:
            await in_thread(self.nodes[number].wait)

    async def stop(self, number: int, by: signal.Signals = signal.SIGTERM) -> None:
        """End a node in order; SIGUSR2 lets it send its clients away first."""
        self.nodes[number].signal(by)
        await in_thread(self.nodes[number].wait)

    async def start(self, *numbers: int) -> None:
        """Start nodes again on what they stored."""
        for number in numbers:
            await in_thread(self.nodes[number].start)

    def cut_last_block(self, number: int, stream: str, cut_bytes: int) -> None:
        """Take some bytes from the end of what a node that does not run stored of a stream."""
        blocks = self.nodes[number].store.glob(f"jetstream/*/streams/{stream}/msgs/*.blk")
        last = max(blocks, key=lambda block: int(block.stem))
        os.truncate(last, max(last.stat().st_size - cut_bytes, 0))

    async def until_whole(self, stream: str) -> None:
        """Return when every node has all that the leader of a stream has."""
        while True:
            found = (await self.info(stream)).cluster
            others = found.replicas or [] if found is not None else []
            if len(others) == SIZE - 1 and all(each.current and not each.offline and not each.lag for each in others):
                return
            await asyncio.sleep(0.1)

    def freeze(self, *numbers: int) -> None:
        """Stop nodes where they are."""
        for number in numbers:
            self.nodes[number].signal(signal.SIGSTOP)

    def thaw(self, *numbers: int) -> None:
        """Let them go on."""
        for number in numbers:
            self.nodes[number].signal(signal.SIGCONT)

    def part(self, number: int) -> None:
        """Let a node and the others hear nothing of each other, while clients reach them all."""
        for pair, proxy in self._routes.items():
            if number in pair:
                proxy.black_hole()

    def join(self) -> None:
        """Let all nodes hear each other again."""
        for proxy in self._routes.values():
            proxy.go_on()
            proxy.cut()  # what a network held back for seconds has been given up by one side

    async def info(self, stream: str) -> StreamInfo:
        """What the leader of a stream tells of it, as soon as there is one."""
        async with connected(self.nodes_up()) as client:
            jetstream = client.jetstream(timeout=1)
            while True:
                with suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError):
                    return await jetstream.stream_info(stream)
                await asyncio.sleep(0.1)

    async def leader(self, stream: str) -> int:
        """Number of the node that leads a stream."""
        while True:
            found = (await self.info(stream)).cluster
            if found is not None and found.leader:
                return int(found.leader.removeprefix("node"))
            await asyncio.sleep(0.1)

    def nodes_up(self) -> str:
        """URLs of the nodes that run."""
        return ",".join(node.url() for node in self.nodes if node.is_running)


@asynccontextmanager
async def cluster(directory: Path, **configuration: Any) -> AsyncIterator[Cluster]:
    """A running cluster that stores in `directory`; `configuration` is of each node."""
    async with AsyncExitStack() as stack:
        route_ports = [free_port() for _ in range(SIZE)]
        routes = {
            (one, other): await stack.enter_async_context(tcp_proxy("127.0.0.1", route_ports[other]))
            for one in range(SIZE)
            for other in range(one)
        }
        nodes = []
        for number in range(SIZE):
            folder = directory / f"node{number}"
            folder.mkdir(exist_ok=True)
            file = folder / "nats.conf"
            to = [f"nats://127.0.0.1:{routes[number, other].port}" for other in range(number)] or [f"nats://{NOWHERE}"]
            listen = f"127.0.0.1:{route_ports[number]}"
            group = {"name": "imi", "listen": listen, "advertise": NOWHERE, "no_advertise": True, "routes": to}
            configure(
                file,
                port=free_port(),
                store=folder / "nats",
                server_name=f"node{number}",
                cluster=group,
                **configuration,
            )
            nodes.append(NatsProcess(file, folder))
            stack.callback(nodes[-1].end)
            await in_thread(nodes[-1].start)
        found = Cluster(nodes, routes)
        await _until_ready(found)
        yield found


async def _until_ready(found: Cluster) -> None:
    """Wait until JetStream can place a stream on all nodes."""
    async with connected(found.url) as client, asyncio.timeout(30):
        jetstream = client.jetstream(timeout=2)
        while True:
            with suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError):
                await jetstream.add_stream(name="READY", subjects=["ready"], num_replicas=SIZE)
                await jetstream.delete_stream("READY")
                return
            await asyncio.sleep(0.1)
