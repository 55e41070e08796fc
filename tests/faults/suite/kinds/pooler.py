"""Faults of PgBouncer, through which one of the writers writes."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress

from tests.faults.suite.fault import fault
from tests.faults.suite.installation import Installation
from tests.support.pgbouncer import BINARY
from tests.support.threads import in_thread

LACKS = None if BINARY is not None else "PgBouncer is not installed"


@fault("pgbouncer killed", "pgbouncer", longest_seconds=2, lacks=LACKS)
async def killed(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    assert there.pooler is not None
    there.pooler.kill()
    yield
    await in_thread(there.pooler.start)


@fault("pgbouncer stopped", "pgbouncer", longest_seconds=2, lacks=LACKS)
async def stopped(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    assert there.pooler is not None
    there.pooler.process.send_signal(signal.SIGINT)  # waits for transactions that are open
    with suppress(subprocess.TimeoutExpired):  # PostgreSQL hangs, too
        await in_thread(there.pooler.process.wait, 5)
    there.pooler.kill()
    yield
    await in_thread(there.pooler.start)


@fault("pgbouncer frozen", "pgbouncer", longest_seconds=6, lacks=LACKS)
async def frozen(there: Installation, rng: random.Random) -> AsyncIterator[None]:
    assert there.pooler is not None
    there.pooler.process.send_signal(signal.SIGSTOP)
    yield
    there.pooler.process.send_signal(signal.SIGCONT)
