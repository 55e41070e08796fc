"""When an applier leaves the lead to others: PostgreSQL is out of its reach, and maybe of no one else's.

TCP notices after ten seconds that nothing arrives; who asks on a connection of his own knows sooner.
Why: docs/adr/0005-commands.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from publisher.applier import ledger
from registry.concurrency.tasks import end
from registry.concurrency.ticks import tick

LOOK_SECONDS = 1.0
WAITED_SECONDS = 0.5
"""A command that has waited for so long, while no other was done, is a reason to ask."""
CUT_OFF_SECONDS = 2.0
"""PostgreSQL that lets nobody in for so long, and does nothing meanwhile, is out of reach."""
RETRY_SECONDS = 0.25


async def stay_in_reach(
    database_url: str, name: str, waits_since: Callable[[], float | None], leave: Callable[[], Awaitable[None]]
) -> None:
    """Look whether PostgreSQL lets anybody in, as long as commands wait and none is done; when not, `leave`, at once.

    `waits_since` tells since when (`monotonic`) that is so; None when nothing waits. Raises `NoConnection` once left.
    """
    while True:
        await tick(LOOK_SECONDS)
        since = waits_since()
        if since is None or monotonic() - since < WAITED_SECONDS:
            continue
        entering = asyncio.ensure_future(_enter(database_url, name))
        try:
            await asyncio.wait([entering], timeout=CUT_OFF_SECONDS)
            if entering.done():
                entering.result()
            elif waits_since() == since:
                await leave()
                raise ledger.NoConnection(f"PostgreSQL lets nobody in for {CUT_OFF_SECONDS:g} s: others may lead")
        finally:
            await end([entering])  # which takes until PostgreSQL, or TCP, has answered


async def _enter(database_url: str, name: str) -> None:
    """Return once a connection was made."""
    while True:
        with suppress(ledger.NoConnection):
            async with ledger.connect(database_url, name, 0):
                return
        await asyncio.sleep(RETRY_SECONDS)
