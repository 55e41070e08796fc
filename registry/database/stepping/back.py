"""Step back: take back the last of the migrations that were applied, one by one, with what they brought."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from psycopg import Connection

from registry.database.migrate import refuse_mismatch, status
from registry.database.migration import DOWN, Migration, load
from registry.database.roles.ownership import as_owner
from registry.database.stepping import copies
from registry.database.stepping.lock import exclusive
from registry.database.stepping.script import run_alone, run_transaction, script
from registry.errors import Conflict, Invalid


def down(
    conn: Connection[Any],
    *,
    to: int,
    dry_run: bool = False,
    migrations: Sequence[Migration] | None = None,
) -> list[str]:
    """Take back what was applied beyond version `to`, newest first; returns the names (with `dry_run`: that would be).

    Cut off, it is run again. Raises `Conflict` where one of them has no way back, or is not of this version of the
    package, and for a changed file; a failing file raises what `from_database` makes of it, with file and line.
    """
    packaged = load() if migrations is None else migrations
    if dry_run:
        return [migration.name for migration in _taken_back(conn, packaged, to)]
    with exclusive(conn):
        applied = _taken_back(conn, packaged, to)
        if applied:
            copies.refuse_replica(conn)
        with as_owner(conn), copies.written(conn):
            for migration in applied:
                way = script(f"{DOWN}/{migration.name}", migration.down or "")
                run_alone(conn, way.name, way.before)
                forget = "DELETE FROM public.schema_migrations WHERE version = %s"
                run_transaction(conn, way, partial(conn.execute, forget, (migration.version,)))
        return [migration.name for migration in applied]


def _taken_back(conn: Connection[Any], packaged: Sequence[Migration], to: int) -> list[Migration]:
    """What stands between the database and version `to`, newest first."""
    found = status(conn, migrations=packaged)
    refuse_mismatch(conn, found)
    known = {migration.version: migration for migration in packaged}
    if to not in known:
        raise Invalid(
            f"migration {to:03}: there is no such migration; the first is {min(known)}, the last {max(known)}"
        )
    applied = [item for item in reversed(found) if item.applied_at is not None and item.version > to]
    for item in applied:
        if item.version not in known:
            raise Conflict(f"migration {item.name} is of a later version of imi-registry, which alone can take it back")
        if known[item.version].down is None:
            raise Conflict(
                f"migration {item.name} has no way back of its own; imi-registry migrate rollback removes the registry"
            )
    return [known[item.version] for item in applied]
