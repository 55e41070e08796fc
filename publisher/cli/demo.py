"""The demo: real changes on a real registry, their events as they arrive, and what was measured of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Any

from psycopg import AsyncConnection
from rich.table import Table

from publisher.checkouts import search as checkouts
from publisher.cli.servers.session import registry_client
from publisher.cli.terminal.lines import event_line
from publisher.settings import Settings
from registry import exact
from registry.client import Delivery
from registry.concurrency.tasks import end
from registry.database.connection import connect
from registry.database.errors import translated

MAX_PROJECTS = 8
ROUNDS = 8
PACE_SECONDS = 0.008
PATIENCE_SECONDS = 10.0
BUNDLED = {
    "flow-engine": "git@github.com:33god/flow-engine.git",
    "agent-shell": "git@github.com:33god/agent-shell.git",
    "blood-bank": "git@github.com:33god/blood-bank.git",
    "hook-relay": "git@github.com:33god/hook-relay.git",
    "node-graph": "git@github.com:33god/node-graph.git",
}
"""Projects for a machine without checkouts: name to origin."""
AGENTS = ("agent-ada", "agent-brian", "agent-grace")


@dataclass
class Seen:
    """One delivered event: when it came, and what its envelope says."""

    at: float
    envelope: dict[str, Any]


@dataclass
class Measured:
    """What the demo found out: counts of events, and milliseconds from COMMIT to delivery."""

    changes: int
    events: int
    lost: int
    duplicated: int
    out_of_order: int
    p50_ms: float
    p99_ms: float


@dataclass
class Demo:
    """Writer and subscriber of one demo run against the registry that `settings` names."""

    settings: Settings
    folder: Path
    show: Callable[[Any], None] = field(default=lambda _: None)
    _committed_at: dict[str, float] = field(default_factory=dict)
    _seen: list[Seen] = field(default_factory=list)
    _has_more: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> Measured:
        """Write, watch the events arrive, and measure: each figure is computed from what came out of the stream."""
        database_url = self.settings.database_url or ""
        async with (
            registry_client(self.settings, "demo") as client,
            client.tail() as deliveries,
            asyncio.TaskGroup() as tasks,
        ):
            # Inside the group: out of it comes an ExceptionGroup, which no error of PostgreSQL is.
            with translated():
                async with connect(database_url, "imi-registry demo") as conn:
                    last_before = await _scalar(conn, "SELECT coalesce(max(id), 0) FROM public.outbox")
                    watching = tasks.create_task(self._watch(deliveries))
                    await self._write(conn)
                    written = await conn.execute(
                        "SELECT event_id::text FROM public.outbox WHERE id > %s", [last_before]
                    )
                    expected = {row[0] for row in await written.fetchall()}
                    await self._wait_for(expected)
                    await end([watching])
        return self._measure(expected)

    async def _watch(self, deliveries: AsyncIterator[Delivery]) -> None:
        async for delivery in deliveries:
            seen = Seen(perf_counter(), exact.loads(delivery.payload))
            self._seen.append(seen)
            self._has_more.set()
            committed_at = self._committed_at.get(seen.envelope["transactionid"])
            self.show(event_line(seen.envelope, (seen.at - committed_at) * 1000 if committed_at else None))

    async def _wait_for(self, expected: set[str]) -> None:
        """Give the last events time to arrive: how many are missing afterwards is what gets reported."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not expected <= {seen.envelope["id"] for seen in self._seen}:
                    self._has_more.clear()
                    await self._has_more.wait()
        except TimeoutError:
            return

    def _measure(self, expected: set[str]) -> Measured:
        times = Counter(seen.envelope["id"] for seen in self._seen)
        last_sequence: dict[str, int] = {}
        out_of_order = 0
        for seen in self._seen:
            subject, sequence = seen.envelope["subject"], int(seen.envelope["sequence"])
            if sequence < last_sequence.get(subject, 0):
                out_of_order += 1
            last_sequence[subject] = max(sequence, last_sequence.get(subject, 0))
        latencies_ms = [
            (seen.at - self._committed_at[seen.envelope["transactionid"]]) * 1000
            for seen in self._seen
            if seen.envelope["transactionid"] in self._committed_at
        ]
        percentiles = quantiles(latencies_ms, n=100, method="inclusive") if len(latencies_ms) > 1 else [0.0] * 99
        return Measured(
            changes=len(self._committed_at),
            events=len(self._seen),
            lost=len(expected - times.keys()),
            duplicated=sum(times.values()) - len(times),
            out_of_order=out_of_order,
            p50_ms=round(percentiles[49], 2),
            p99_ms=round(percentiles[98], 2),
        )

    async def _write(self, conn: AsyncConnection) -> None:
        """Register projects and worktrees, work in them, merge: with the SQL functions, as any component would."""
        agents = cycle(AGENTS)
        worktrees = []
        for number, (name, origin, branch, trunk) in enumerate(self._projects()):
            project = await self._change(
                conn, "SELECT public.register_project(%s, %s, %s, %s)", name, origin, branch, trunk
            )
            folder = Path(trunk).parent
            for kind, name in (("feat", f"feat-search-{number}"), ("fix", f"fix-login-{number}")):
                branch = name.replace("-", "/", 1)
                path = str(folder / name)
                worktree = await self._change(
                    conn, "SELECT public.register_worktree(%s, %s, %s, %s, %s)", project, kind, name, branch, path
                )
                await self._change(
                    conn, "UPDATE public.worktrees SET agent_id = %s WHERE id = %s", next(agents), worktree
                )
                worktrees.append(worktree)
        for step in range(1, ROUNDS + 1):
            for worktree in worktrees:
                await self._change(
                    conn,
                    "SELECT public.update_worktree_git_state("
                    "%s, p_uncommitted_count := %s::int, p_ahead := %s::int, p_behind := %s::int)",
                    worktree,
                    (ROUNDS - step) % 4,
                    step,
                    step % 3,
                )
        for worktree in worktrees:
            agent = next(agents)
            await self._change(
                conn,
                "SELECT public.log_activity(%s, %s, 'modified', 'Search by name', 'src/search.py')",
                agent,
                worktree,
            )
        for number, worktree in enumerate(worktrees[::2]):
            commit = f"{number:040x}"
            await self._change(conn, "SELECT public.mark_worktree_merged(%s, %s, %s)", worktree, next(agents), commit)
        await self._change(conn, "SELECT public.deactivate_project(%s)", project)

    async def _change(self, conn: AsyncConnection, statement: str, *values: object) -> Any:
        """One transaction; remembers when its COMMIT was sent, under the id its events will carry."""
        await asyncio.sleep(PACE_SECONDS)
        async with conn.transaction():
            cursor = await conn.execute(statement, values)
            row = await cursor.fetchone() if cursor.description else None
            result = row[0] if row else None
            transaction = await _scalar(conn, "SELECT pg_current_xact_id()::text")
            self._committed_at[transaction] = perf_counter()
        return result

    def _projects(self) -> list[tuple[str, str, str, str]]:
        """Name, origin, default branch and trunk path: of checkouts in `folder`, else the bundled ones."""
        found = {checkout.origin: checkout for checkout in checkouts.find(self.folder.expanduser().absolute())}
        real = [(checkout.path.name, origin, checkout.branch, str(checkout.path)) for origin, checkout in found.items()]
        bundled = [(name, origin, "main", f"/srv/code/{name}/trunk-main") for name, origin in BUNDLED.items()]
        return real[:MAX_PROJECTS] or bundled


def summary(measured: Measured) -> Table:
    """The figures as a table for people."""
    table = Table(title="What was measured", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in (
        ("changes committed", measured.changes),
        ("events delivered", measured.events),
        ("lost", measured.lost),
        ("duplicated", measured.duplicated),
        ("out of order", measured.out_of_order),
        ("COMMIT to delivery, median", f"{measured.p50_ms} ms"),
        ("COMMIT to delivery, 99 %", f"{measured.p99_ms} ms"),
    ):
        is_fault = name in {"lost", "duplicated", "out of order"} and bool(value)
        table.add_row(name, str(value), style="bold red" if is_fault else None)
    return table


async def _scalar(conn: AsyncConnection, statement: str, values: list[object] | None = None) -> Any:
    row = await (await conn.execute(statement, values)).fetchone()
    return row[0] if row else None
