"""What the registry holds, as the overview shows it: looked up every two seconds at most, once for all who look."""

from __future__ import annotations

import asyncio
from datetime import datetime
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from publisher.web.console.sources.database import Database
from registry.errors import RegistryError
from registry.models import RegistryStats

FRESH_SECONDS = 2.0
PAUSE_FACTOR = 20
"""It is as old as so many times what it took: a large registry is not counted all the time."""
WAIT_SECONDS = 0.03
"""A page waits so long for a newer one, then it is sent with the one that there is; the next comes by itself."""

MOST_IN_FLIGHT = 40

IN_FLIGHT = f"""
SELECT
    w.id,
    w.project_id,
    left(p.name, 200) AS project_name,
    left(w.name, 200) AS name,
    left(w.branch_name, 200) AS branch_name,
    left(w.agent_id, 512) AS agent_id,
    public.worktree_status(w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk) AS status,
    w.uncommitted_files_count AS uncommitted,
    w.ahead_of_trunk AS ahead,
    w.behind_trunk AS behind,
    w.updated_at,
    coalesce(left(h.name, 200), left(w.host_id::text, 8)) AS host
FROM public.worktrees AS w
JOIN public.projects AS p ON p.id = w.project_id
LEFT JOIN public.hosts AS h ON h.id = w.host_id
WHERE public.is_in_flight(w.active, w.merged_at, w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk)
ORDER BY w.updated_at DESC, w.id
LIMIT {MOST_IN_FLIGHT}
"""

AGENTS = """
SELECT left(agent_id, 512) AS agent_id, count(*) AS worktrees, max(updated_at) AS updated_at
FROM public.worktrees
WHERE active AND agent_id IS NOT NULL
GROUP BY agent_id
ORDER BY max(updated_at) DESC
LIMIT 12
"""

STATS = "SELECT * FROM public.get_registry_stats()"


class InFlight(NamedTuple):
    """A worktree with work in it."""

    id: UUID
    project_id: UUID
    project_name: str
    name: str
    branch_name: str
    agent_id: str | None
    status: str
    uncommitted: int
    ahead: int
    behind: int
    updated_at: datetime
    host: str


class Agent(NamedTuple):
    """An agent that holds worktrees."""

    agent_id: str
    worktrees: int
    updated_at: datetime


class Picture(NamedTuple):
    """What was there when it was looked last."""

    in_flight: list[InFlight]
    agents: list[Agent]
    stats: RegistryStats | None
    problem: str = ""
    """Why there is no newer one."""
    number: int = 0

    @property
    def is_cut(self) -> bool:
        """Whether more is in flight than is listed; the list and the figures are not of quite the same moment."""
        listed = len(self.in_flight)
        return listed == MOST_IN_FLIGHT and self.stats is not None and self.stats.in_flight_worktrees > listed


class Pictures:
    """Takes one when somebody looks and the last one is old."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last = Picture([], [], None)
        self._fresh_until = 0.0
        self._taking: asyncio.Task[None] | None = None

    async def latest(self, wait_seconds: float = WAIT_SECONDS) -> Picture:
        """The last one, after at most `wait_seconds`."""
        if monotonic() >= self._fresh_until and (self._taking is None or self._taking.done()):
            self._taking = asyncio.ensure_future(self._take())
        if self._taking is not None and not self._taking.done():
            await asyncio.wait([self._taking], timeout=wait_seconds)
        return self._last

    async def _take(self) -> None:
        began = monotonic()
        number = self._last.number + 1
        try:
            in_flight = await self._database.rows(InFlight, IN_FLIGHT, {})
            agents = await self._database.rows(Agent, AGENTS, {})
            stats = await self._database.row(RegistryStats, STATS, {})
            self._last = Picture(in_flight, agents, stats, number=number)
        except RegistryError as error:
            self._last = self._last._replace(problem=str(error), number=number)
        self._fresh_until = monotonic() + max(FRESH_SECONDS, PAUSE_FACTOR * (monotonic() - began))
