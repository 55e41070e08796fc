"""Housekeeping of the registry database, and its figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg import Connection, sql
from psycopg.errors import Diagnostic

from registry.database.errors import translated
from registry.database.migration import load
from registry.database.part import Part
from registry.errors import Unprepared
from registry.models import RegistryStats


class Maintenance(Part):
    """Removes what is old, and counts what is there."""

    async def ping(self) -> None:
        """Return when the database answers."""
        await self._pool.value("SELECT 1")

    async def cleanup_old_activities(self, retention_days: int = 90) -> int:
        """Remove activities older than so many days; returns how many."""
        removed: int = await self._pool.write(self._cause, "public.cleanup_old_activities(%s::int)", retention_days)
        return removed

    async def prune_inactive_worktrees(self, inactive_days: int = 30) -> int:
        """Delete worktrees inactive and untouched for so many days; returns how many."""
        removed: int = await self._pool.write(self._cause, "public.prune_inactive_worktrees(%s::int)", inactive_days)
        return removed

    async def cleanup_command_ledger(self, retention_days: int = 30) -> int:
        """Forget commands carried out longer ago than so many days; returns how many. Sent again, one is done again."""
        removed: int = await self._pool.write(self._cause, "public.cleanup_command_ledger(%s::int)", retention_days)
        return removed

    async def maintenance_vacuum(self) -> None:
        """Refresh planner statistics, as the SQL function does; `imi-registry maintain vacuum` really vacuums."""
        await self._pool.write(self._cause, "public.maintenance_vacuum()")

    async def get_registry_stats(self) -> RegistryStats:
        """Counts of everything."""
        (stats,) = await self._pool.rows(RegistryStats, "SELECT * FROM public.get_registry_stats()")
        return stats


def recount(conn: Connection[Any]) -> None:
    """Count everything anew, while others write: after rows were written with triggers off. For the owner alone.

    Raises what `from_database` makes of an error.
    """
    with translated():
        conn.execute("CALL public.recount_registry()")


def vacuum(conn: Connection[Any]) -> Iterator[str]:
    """VACUUM and ANALYZE each table of the registry, whose name follows when that is done; nothing is locked meanwhile.

    No function can do it: VACUUM refuses to run inside a transaction. Raises `Unprepared` for a table of which this
    role is not the owner.
    """
    refusals: list[str] = []

    def note(notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            refusals.append(notice.message_primary or "")

    conn.add_notice_handler(note)
    own = {table for migration in load() for table in migration.tables}
    tables = "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = 'public' ORDER BY tablename"
    for (name,) in conn.execute(tables).fetchall():
        if name not in own:
            continue
        conn.execute(sql.SQL("VACUUM (ANALYZE) public.{}").format(sql.Identifier(name)))
        if refusals:  # PostgreSQL only warns, and does nothing
            raise Unprepared(f"table {name}: {refusals[0]}")
        yield name
