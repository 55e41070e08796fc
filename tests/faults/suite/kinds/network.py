"""Faults of the network between a party and a server: each line can be cut, closed, held, slowed, made deaf or dumb."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from tests.faults.suite.fault import fault
from tests.faults.suite.installation import APPLIERS, PUBLISHERS, SUBSCRIBER, WRITERS, Installation
from tests.support.proxy import Proxy

PARTIES = (*PUBLISHERS, *APPLIERS, SUBSCRIBER, WRITERS)


def _declare(name: str, harm: Callable[[Proxy], object], longest_seconds: float = 8) -> None:
    """One kind, on a random party's line to PostgreSQL, or its lines to NATS, or all of them."""

    @fault(name, "network", longest_seconds=longest_seconds, weight=2)
    async def harmed(there: Installation, rng: random.Random) -> AsyncIterator[None]:
        lines = there.lines[rng.choice(PARTIES)]
        proxies = rng.choice([lines.postgres, lines.nats, lines.all])
        for proxy in proxies:
            harm(proxy)
        yield
        for proxy in proxies:
            proxy.go_on()

    assert harmed


def throttle(proxy: Proxy) -> None:
    proxy.bytes_per_second = 20_000


def delay(proxy: Proxy) -> None:
    proxy.delay_seconds = 0.15


_declare("connections reset", Proxy.cut, 1)
_declare("connections refused", Proxy.refuse, 5)
_declare("connections half closed", Proxy.half_close, 4)
_declare("network delays", delay)
_declare("network throttles", throttle)
_declare("network holds everything", Proxy.black_hole, 12)
_declare("network holds what is sent", lambda proxy: proxy.black_hole("to_server"), 12)
_declare("network holds what is answered", lambda proxy: proxy.black_hole("to_client"), 12)


@fault("network drops one way", "network", longest_seconds=6, weight=2)
async def drops(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    lines = there.lines[rng.choice(PARTIES)]
    with dropping(rng.choice([lines.postgres, lines.nats]), rng):
        yield


@contextmanager
def dropping(proxies: list[Proxy], rng: random.Random) -> Iterator[None]:
    """Lose what goes one way, for the block."""
    lost = rng.choice(["to_server", "to_client"])
    for proxy in proxies:
        proxy.swallow = lambda direction, _: direction == lost
    yield
    for proxy in proxies:
        proxy.cut()  # a connection of which bytes are gone is of no use, as a network knows, too
        proxy.go_on()
