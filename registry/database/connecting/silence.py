"""A connection to PostgreSQL that stands and carries nothing more, as behind a proxy that hangs, is given up.

Where the network ends, TCP tells within ten seconds; where something on the way still takes bytes, nothing does. A
statement may wait for a lock as long as it likes, and work as long as `WORDLESS_SECONDS` says: which of them it does,
PostgreSQL says on another connection (`look.py`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.abc import RV, PQGen
from psycopg.rows import Row

from registry.concurrency.tasks import end
from registry.database.connecting.look import Hearing

Beside = Callable[[Coroutine[Any, Any, None]], object]
"""Runs a coroutine beside what waits."""


class HeardConnection(AsyncConnection[Row]):
    """One on which a statement ends with `OperationalError` when it carries nothing more, within 20 s."""

    _made_with = ""
    """What it was made with; another one is made so, to the same server."""

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """As psycopg's."""
        conn = await super().connect(conninfo, **options)
        conn._made_with = conninfo
        return conn

    async def wait(self, gen: PQGen[RV], *args: Any, **options: Any) -> RV:
        """As psycopg's, which waits for ever."""
        hearing = Hearing(self, self._made_with)
        looks: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        try:
            noted = _noting(gen, hearing, lambda look: looks.append(loop.create_task(look)))
            return await super().wait(noted, *args, **options)
        except psycopg.OperationalError as error:
            if hearing.over is None:
                raise
            raise hearing.over from error
        finally:
            if looks:
                await end(looks)


class HeardBlockingConnection(Connection[Row]):
    """The same without an event loop: who looks is another thread."""

    _made_with = ""

    @classmethod
    def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """As psycopg's."""
        conn = super().connect(conninfo, **options)
        conn._made_with = conninfo
        return conn

    def wait(self, gen: PQGen[RV], *args: Any, **options: Any) -> RV:
        """As psycopg's, which waits for ever."""
        hearing = Hearing(self, self._made_with)
        try:
            noted = _noting(gen, hearing, _in_a_thread)
            return super().wait(noted, *args, **options)
        except psycopg.OperationalError as error:
            if hearing.over is None:
                raise
            raise hearing.over from error


def _in_a_thread(look: Coroutine[Any, Any, None]) -> None:
    """It ends by itself, soon after; nobody waits for it."""
    threading.Thread(target=asyncio.run, args=[look], daemon=True).start()


def _noting(gen: PQGen[RV], hearing: Hearing, beside: Beside) -> PQGen[RV]:
    """As `gen`, which psycopg goes on with at each word of the server, and ten times a second.

    Who is answered at once is not looked at.
    """
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                hearing.heard()
            elif hearing.is_due:
                beside(hearing.look())
            else:
                hearing.end_if_over()
            wanted = gen.send(ready)
    except StopIteration as ended:
        value: RV = ended.value
        return value
