"""What is neither a server nor a network: clocks, and work of unusual size."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

from tests.faults.suite.fault import fault
from tests.faults.suite.installation import Installation
from tests.faults.suite.writers import write_bulk
from tests.support.servers.clock import LIBRARY

LARGE = 20_000

if LIBRARY is not None:
    # No further: PostgreSQL looks for deadlocks, and ends a wait for a lock, by the time of day, so as much later.
    @fault("clock jumps", "clock", longest_seconds=6, weight=2)
    async def clock_jumps(there: Installation, rng: random.Random) -> AsyncIterator[None]:
        there.clock.jump(rng.choice([-20, -5, -2, 2, 5, 20]))
        yield
        there.clock.jump(0)


@fault(f"transaction of {LARGE:,} events", "postgresql", longest_seconds=1, weight=0.5)
async def large_transaction(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    await write_bulk(there.database.url, LARGE)
    yield
