"""`Registry`: the registry database for a component that reads and writes it directly.

One method per SQL function, with its parameters and defaults, and the lists that people look at: a file each noun.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

from registry.database.activities import Activities
from registry.database.blockers import Session
from registry.database.events import Events
from registry.database.hosts.hosts import Hosts
from registry.database.insight.health import Insight
from registry.database.insight.search import Search
from registry.database.maintenance import Maintenance
from registry.database.pool import Cause, Pool, log_blocker
from registry.database.projects import Projects
from registry.database.worktree_types import WorktreeTypes
from registry.database.worktrees import Worktrees
from registry.errors import Invalid
from registry.validation import MOST_NAMED, printable


class Registry(Projects, Worktrees, WorktreeTypes, Activities, Hosts, Events, Maintenance, Search, Insight):
    """A pool of connections to one registry database; open it with `Registry.connect`.

    All methods raise what `registry.errors` has: `NotFound`, `Conflict`, `Invalid` for what the functions refuse, and
    `Unavailable` when the database cannot be reached now; the pool recovers by itself. Whether a write that ended in
    `Unavailable` was applied is not known: repeat it, registering and merging are idempotent.
    """

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        database_url: str,
        *,
        max_connections: int = 10,
        timeout: float = 5.0,
        passes_on: bool = False,
        on_blocked: Callable[[Session], None] | None = log_blocker,
    ) -> AsyncIterator[Registry]:
        """Connect to the database at `database_url` (PostgreSQL, or PgBouncer in front of it).

        A call waits at most `timeout` seconds for one of `max_connections` connections. Raises `Unavailable` when the
        database does not answer now, `Conflict` when it has no registry schema of this version.

        A call that waits for somebody's lock goes on waiting; `on_blocked` is told of each session that holds one, once
        it has waited for a second (default: a warning in the log of this module). It may be None.

        `passes_on` is for whoever only passes rows on: JSON in them is an `orjson.Fragment`, nothing is validated.
        """
        async with Pool.connect(
            database_url,
            max_connections=max_connections,
            timeout=timeout,
            passes_on=passes_on,
            on_blocked=on_blocked,
        ) as pool:
            yield cls(pool)

    def acting(
        self,
        *,
        actor: str | None = None,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
        traceparent: str | None = None,
    ) -> Registry:
        """The same registry, whose writes are attributed: `await registry.acting(actor="ada").log_activity(…)`.

        `traceparent` is a W3C trace context; one that is invalid is ignored. Raises `Invalid` for an actor of more than
        200 characters.
        """
        if actor is not None and len(actor) > MOST_NAMED:
            raise Invalid(f"actor: {printable(actor)}: it must have at most {MOST_NAMED} characters")
        cause = Cause(actor, correlation_id, causation_id, traceparent, self._cause.host, self._cause.machine)
        return Registry(self._pool, cause)

    def on_host(self, name: str | None, machine: str | None = None) -> Registry:
        """The same registry, asked and written as from the host `name`; None names no host, which is the default one.

        What it answers of paths is of that host. The first write registers a host that is not known; `machine` tells it
        from another one of the same name, for which a write then raises `Conflict`. Until then nothing is on it.
        """
        return Registry(self._pool, replace(self._cause, host=name, machine=machine))
