"""Faults of the network between servers: routes of the NATS cluster, the standby's line, those of PgBouncer."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable

from tests.faults.suite.fault import fault
from tests.faults.suite.installation import POOLER, REPLICATION, ROUTES, Installation
from tests.faults.suite.kinds.nats import NATS
from tests.faults.suite.kinds.network import delay, dropping, throttle
from tests.faults.suite.kinds.pooler import LACKS
from tests.faults.suite.kinds.postgresql import POSTGRESQL
from tests.support.proxy import Proxy

HARMS: list[tuple[str, Callable[[Proxy], object], float]] = [
    ("reset", Proxy.cut, 1),
    ("half closed", Proxy.half_close, 4),
    ("delayed", delay, 8),
    ("throttled", throttle, 8),
]
"""What is said of it, what is done, and for how many seconds at most."""


def _declare(line: str, target: str, lacks: str | None = None) -> None:
    """Each harm, to one of the connections that `line` is made of, to some, or to all."""
    for said, harm, longest_seconds in HARMS:
        _declare_harm(line, target, said, harm, longest_seconds, lacks)

    @fault(f"{line} dropped one way", target, longest_seconds=6, weight=0.5, lacks=lacks)
    async def dropped(there: Installation, rng: random.Random) -> AsyncIterator[None]:
        with dropping(_some(there.between[line], rng), rng):
            yield


def _declare_harm(
    line: str, target: str, said: str, harm: Callable[[Proxy], object], longest_seconds: float, lacks: str | None
) -> None:
    @fault(f"{line} {said}", target, longest_seconds=longest_seconds, weight=0.5, lacks=lacks)
    async def harmed(there: Installation, rng: random.Random) -> AsyncIterator[None]:
        proxies = _some(there.between[line], rng)
        for proxy in proxies:
            harm(proxy)
        yield
        for proxy in proxies:
            proxy.go_on()


def _some(proxies: list[Proxy], rng: random.Random) -> list[Proxy]:
    return rng.sample(proxies, rng.randint(1, len(proxies)))


_declare(ROUTES, NATS)
_declare(REPLICATION, POSTGRESQL)
_declare(POOLER, "pgbouncer", LACKS)
