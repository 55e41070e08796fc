"""What is neither a server nor a network: clocks, and work of unusual size."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

from psycopg import AsyncConnection

from tests.faults.suite.fault import ALONE, fault
from tests.faults.suite.installation import Installation
from tests.faults.suite.writers import CONNECT, write_bulk
from tests.support.servers.clock import LIBRARY

LARGE = 20_000

LACKS = None if LIBRARY is not None else "libfaketime is not installed"
FURTHEST_SECONDS = 3 * 3600
SEEN_SECONDS = 2.0
"""Then every process of PostgreSQL has looked at the clock again."""
WAITING = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@fault("clock jumps", "clock", longest_seconds=6, weight=2, lacks=LACKS)
async def clock_jumps(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    """PostgreSQL looks for deadlocks, and ends a wait for a lock, by the time of day: so many seconds later at most."""
    there.clock.jump(rng.choice([-20, -5, -2, 2, 5, 20]))
    yield
    there.clock.jump(0)


@fault("clock jumps by minutes or hours", ALONE, longest_seconds=6, lacks=LACKS)
async def clock_jumps_far(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    """And back; who awaits a lock then, in a deadlock or not, is ended by an operator: PostgreSQL would in hours.

    So it is already while the clock is ahead, and libfaketime lets a process that sleeps in a call see the real time.
    """
    seconds = round(60 * (FURTHEST_SECONDS / 60) ** rng.random())
    there.clock.jump(rng.choice([-seconds, seconds]))
    yield
    there.clock.jump(0)
    await asyncio.sleep(SEEN_SECONDS)
    async with await AsyncConnection.connect(there.database.url, **CONNECT) as conn:
        await conn.execute(WAITING)


@fault(f"transaction of {LARGE:,} events", "postgresql", longest_seconds=1, weight=0.5)
async def large_transaction(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    await write_bulk(there.database.url, LARGE)
    yield
