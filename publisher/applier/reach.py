"""When an applier leaves the lead to others: PostgreSQL is out of its reach, and maybe of no one else's.

TCP notices after ten seconds that nothing arrives; who asks on a connection of his own knows sooner.
Why: docs/adr/0005-commands.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Self

from publisher.applier import ledger
from registry.concurrency.tasks import end
from registry.concurrency.ticks import tick

LOOK_SECONDS = 1.0
WAITED_SECONDS = 0.5
"""A command that has waited for so long, while no other was done, is a reason to ask."""
CUT_OFF_SECONDS = 2.0
"""PostgreSQL that answers nothing for so long, and does nothing meanwhile, is out of reach."""
STEPS = 8
"""These are waited for in as many steps: of a process that was stalled itself only one of them is over."""
RETRY_SECONDS = 0.25


class Reach:
    """A connection to PostgreSQL on which nothing is done but to ask whether it answers.

    It is made before there is a reason to ask: a new one may be refused, or take long, while those that stand do their
    work.
    """

    def __init__(self, database_url: str, name: str) -> None:
        self._database_url = database_url
        self._name = name
        self._conn: ledger.Connection | None = None
        self.lost: ledger.NoConnection | None = None
        """Why the lead was left."""

    async def __aenter__(self) -> Self:
        """Connect. Raises `NoConnection`."""
        await self.is_there()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of the connection."""
        if self._conn is not None:
            await self._conn.close()

    async def is_there(self) -> bool:
        """True once PostgreSQL answers, on a new connection where the last one is lost. Raises `NoConnection`."""
        if self._conn is not None and not self._conn.closed:
            with suppress(ledger.NoConnection):  # lost while nobody asked, as when PostgreSQL was started again
                await ledger.answered(self._conn)
                return True
        self._conn = await ledger.open_session(self._database_url, self._name, 0)
        return True

    async def stay(self, waits_since: Callable[[], float | None], leave: Callable[[], Awaitable[None]]) -> None:
        """Look whether PostgreSQL answers, as long as commands wait and none is done; when not, `leave`, at once.

        `waits_since` tells since when (`monotonic`) that is so; None when nothing waits. Raises `NoConnection`
        once left.
        """
        while True:
            await tick(LOOK_SECONDS)
            since = waits_since()
            if since is None or monotonic() - since < WAITED_SECONDS:
                continue
            asking = asyncio.ensure_future(self._ask())
            try:
                for _ in range(STEPS):
                    await asyncio.wait([asking], timeout=CUT_OFF_SECONDS / STEPS)
                if asking.done():
                    asking.result()
                elif waits_since() == since:
                    self.lost = ledger.NoConnection(
                        f"PostgreSQL does not answer within {CUT_OFF_SECONDS:g} s: others may lead"
                    )
                    await leave()
                    raise self.lost
            finally:
                await end([asking])  # which takes until PostgreSQL, or TCP, has answered

    async def _ask(self) -> None:
        """Return once PostgreSQL has answered."""
        while True:
            with suppress(ledger.NoConnection):
                await self.is_there()
                return
            await asyncio.sleep(RETRY_SECONDS)
