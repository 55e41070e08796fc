"""Connections to the registry database, for single statements: a pooler in transaction mode may stand in between."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import BaseRowFactory, class_row, scalar_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel

from registry.database.blockers import Session, blockers_told
from registry.database.connection import acquired, direct_or_pooled, open_connection, passing_json_on, pool
from registry.database.errors import from_database, translated
from registry.errors import Conflict, Invalid
from registry.urls import without_credentials

T = TypeVar("T")

log = logging.getLogger(__name__)
# Whoever calls is told what failed; the pool's own log of every attempt is for those who ask for it.
logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Cause:
    """Who and what made a change; its events carry it on (`migrations/003_outbox.sql`)."""

    actor: str | None = None
    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    traceparent: str | None = None
    host: str | None = None
    """Name of the host that the caller is on; None names none."""
    machine: str | None = None
    """What tells that host from others of the same name."""


NO_CAUSE = Cause()

# Of a host that nobody has registered, nothing is known: it is none of those that are there, nor the default one.
_ON_HOST: LiteralString = (
    "set_config('imi.host_id', CASE WHEN %s::text IS NULL THEN ''"
    " ELSE coalesce(public.host_named(%s), 'ffffffff-ffff-ffff-ffff-ffffffffffff')::text END, true)"
)


def log_blocker(session: Session) -> None:
    """Log who has to end a transaction first."""
    log.warning("waiting for %s, which holds or asks for a lock that is needed here", session)


class Pool:
    """A pool of connections that runs single statements; open it with `Pool.connect`.

    Raises the errors of `registry.errors`. A connection that is found lost gives `Unavailable`; the pool recovers.
    """

    def __init__(
        self,
        pool: AsyncConnectionPool[AsyncConnection[Any]],
        database_url: str,
        *,
        passes_on: bool = False,
        on_blocked: Callable[[Session], None] | None = log_blocker,
    ) -> None:
        self._pool = pool
        self._database_url = database_url
        self._passes_on = passes_on
        self._on_blocked = on_blocked

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        database_url: str,
        *,
        max_connections: int,
        timeout: float,
        passes_on: bool = False,
        on_blocked: Callable[[Session], None] | None = log_blocker,
    ) -> AsyncIterator[Pool]:
        """A pool of at most `max_connections`; a statement waits at most `timeout` seconds for one of them.

        `on_blocked` is told of each session whose lock a statement waits for, once it has waited for a second.
        With `passes_on` nobody looks into the rows: JSON in them is an `orjson.Fragment`, and they are not validated.
        """
        await _check(database_url)
        set_up = passing_json_on if passes_on else direct_or_pooled
        async with pool(database_url, set_up, min_size=1, max_size=max_connections, timeout=timeout) as connections:
            yield cls(connections, database_url, passes_on=passes_on, on_blocked=on_blocked)

    async def write(self, cause: Cause, call: LiteralString, *values: object) -> Any:
        """The result of a function call whose events know their cause.

        CASE, since PostgreSQL defines no other order of evaluation within one statement; and one statement, since that
        is one round trip and its own transaction. A setting left out is set to '', which is the same as none.
        """
        told = (cause.actor, cause.correlation_id, cause.causation_id, cause.traceparent)
        settings = ["" if value is None else str(value) for value in told]
        host: LiteralString = "''" if cause.host is None else "public.register_host(%s, %s)::text"
        return await self.value(
            "SELECT CASE WHEN set_config('imi.actor', %s, true) || set_config('imi.correlation_id', %s, true)"
            " || set_config('imi.causation_id', %s, true) || set_config('imi.traceparent', %s, true)"
            " || set_config('imi.host_id', " + host + ", true) IS NOT NULL"
            " THEN " + call + " END",
            *settings,
            *([] if cause.host is None else [cause.host, cause.machine]),
            *values,
        )

    async def value_on(self, cause: Cause, call: LiteralString, *values: object) -> Any:
        """The result of a function call that answers for the host of `cause`."""
        return await self.value(
            f"SELECT CASE WHEN {_ON_HOST} IS NOT NULL THEN {call} END",
            cause.host,
            cause.host,
            *values,
        )

    async def rows_on(self, cause: Cause, model: type[T], function: LiteralString, argument: str) -> list[T]:
        """The rows of a function of one argument that answers for the host of `cause`.

        The argument depends on the setting, so that no plan calls the function before it is made.
        """
        return await self.rows(
            model,
            f"SELECT found.* FROM (SELECT {_ON_HOST} AS host OFFSET 0) AS caller"  # noqa: S608  # constants
            f" CROSS JOIN LATERAL public.{function}(CASE WHEN caller.host IS NOT NULL THEN %s END) AS found",
            cause.host,
            cause.host,
            argument,
        )

    async def value(self, query: LiteralString, *values: object) -> Any:
        """The first column of the first row."""
        async with self._connection() as conn:
            return await (await conn.cursor(row_factory=scalar_row).execute(query, values)).fetchone()

    async def row(self, model: type[T], query: LiteralString, *values: object) -> T | None:
        """The first row, if any, as a `model`."""
        async with self._connection() as conn:
            return await (await conn.cursor(row_factory=self._made(model)).execute(query, values)).fetchone()

    async def rows(self, model: type[T], query: LiteralString, *values: object) -> list[T]:
        """All rows, each as a `model`."""
        async with self._connection() as conn:
            return await (await conn.cursor(row_factory=self._made(model)).execute(query, values)).fetchall()

    def _made(self, model: type[T]) -> BaseRowFactory[T]:
        if self._passes_on and issubclass(model, BaseModel):
            return class_row(model.model_construct)  # type: ignore[arg-type]  # called as the class is
        return class_row(model)

    def _watched(self, conn: AsyncConnection[Any]) -> AbstractAsyncContextManager[None]:
        if self._on_blocked is None:
            return nullcontext()
        return blockers_told(self._database_url, conn.info.backend_pid, self._on_blocked)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection of the pool. When it is found lost, the pool looks at its others: they are likely lost too."""
        is_lost = False
        try:
            async with acquired(self._pool) as conn:
                try:
                    async with self._watched(conn):
                        yield conn
                finally:
                    is_lost = conn.broken
        except psycopg.Error as error:
            if is_lost:
                await self._pool.check()
            raise from_database(error) from error
        except UnicodeEncodeError as error:
            raise Invalid(
                f"value {without_credentials(str(error.object))!a:.120} is no text: it has half of a surrogate pair"
            ) from error
        except RecursionError as error:
            raise Invalid("a JSON value is nested too deep") from error


async def _check(database_url: str) -> None:
    """Raise what keeps the database from being used: a pool would only say that its time is up."""
    query = "SELECT pg_catalog.to_regprocedure('public.move_worktree(uuid,uuid)') IS NOT NULL"
    async with await open_connection(database_url, "imi-registry check", direct_or_pooled) as conn:
        with translated():
            (is_registry,) = await (await conn.execute(query, prepare=False)).fetchone() or (False,)
        name = conn.info.dbname
    if not is_registry:
        raise Conflict(f"database {name} has no registry schema of this version; run: imi-registry migrate")
