"""Bring a database to the schema of this version of the package, and back: the files of `migrations/`.

Every file is one transaction (`BEGIN; … COMMIT;`), runs with plain psql as well, and is safe to run twice. What was
applied is recorded in `schema_migrations` in the transaction of the file itself, or at its end, where some statements
stand behind the transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal, NamedTuple

import psycopg
from psycopg.rows import tuple_row

from registry.database import adoption
from registry.database.errors import from_database
from registry.database.migration import ROLLBACK, Migration, load, package_directory, waiting
from registry.database.roles.ownership import as_owner
from registry.database.stepping import copies
from registry.database.stepping.lock import exclusive
from registry.database.stepping.publications import identify
from registry.database.stepping.script import run_alone, run_transaction, script
from registry.errors import Conflict

__all__ = ["ROLLBACK", "Migration", "MigrationStatus", "apply", "check", "load", "rollback", "status"]

_RECORD_COLUMNS = frozenset({"version", "name", "checksum", "applied_at", "applied_by"})
# `compatible_down_to`: a program that knows the migrations up to that one works with this one applied, too; NULL: none
# does. By name, since a table that an earlier version made has no such column.
_RECORDED = """
SELECT version, name, checksum, applied_at, (to_jsonb(record) ->> 'compatible_down_to')::integer
FROM public.schema_migrations AS record
"""
_CREATE_RECORD = b"""
CREATE TABLE IF NOT EXISTS public.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT current_user,
    compatible_down_to integer,
    CONSTRAINT schema_migrations_pkey PRIMARY KEY (version)
);
ALTER TABLE public.schema_migrations ADD COLUMN IF NOT EXISTS compatible_down_to integer;
"""


class _Recorded(NamedTuple):
    """What `schema_migrations` says of one migration."""

    name: str
    checksum: str
    applied_at: datetime
    compatible_down_to: int | None


@dataclass(frozen=True)
class MigrationStatus:
    """A migration and its state in one database.

    `changed` was applied with another text; `waiting` is for when no program of an earlier version runs. What this
    package does not know was applied by a newer version of it: it is `newer` where it says that this version works with
    it, and `unknown` otherwise.
    """

    version: int
    name: str
    state: Literal["applied", "pending", "waiting", "changed", "newer", "unknown"]
    applied_at: datetime | None = None


def apply(
    conn: psycopg.Connection[Any],
    *,
    dry_run: bool = False,
    afterwards: bool = False,
    migrations: Sequence[Migration] | None = None,
) -> list[str]:
    """Apply what is pending, oldest first, and return the names applied (with `dry_run`: that would be).

    With `afterwards` also what waits until no program of an earlier version runs.

    Two at once are safe: the second waits, then finds nothing to do. Files that were run by hand are run again and
    recorded. A database with the schema 2.0.0 as it was first shipped is upgraded as `upgrade` does it.

    Raises `Conflict` for a changed file, a newer database, or a foreign table of the same name, `Undecided` when there
    is something to decide before an upgrade; a failing file raises what `from_database` makes of it, with file and
    line, and leaves nothing behind.
    """
    packaged = load() if migrations is None else migrations
    if dry_run:
        return [migration.name for migration in _pending(conn, packaged, afterwards=afterwards)]
    return upgrade(conn, afterwards=afterwards, migrations=packaged)[0]


def upgrade(
    conn: psycopg.Connection[Any],
    *,
    merge_duplicates: bool = False,
    afterwards: bool = False,
    migrations: Sequence[Migration] | None = None,
) -> tuple[list[str], adoption.Plan]:
    """As `apply`, and returns as well what was changed in a database with the original schema, in one transaction.

    The first migration that has something beside its transaction, and all behind it, follow when that one is done.

    With `merge_duplicates` projects of one repository become one. Raises as `apply` does.
    """
    packaged = load() if migrations is None else migrations
    with exclusive(conn):
        pending = _pending(conn, packaged, afterwards=afterwards)
        if pending:
            copies.refuse_replica(conn)
        not_ours, changed = adoption.replaced(conn, packaged, pending), adoption.Plan()
        rest: Sequence[Migration] = pending
        beside = [one.version for one in pending if not script(one.name, one.sql).is_one_transaction]
        rest_from = min(beside, default=len(packaged) + 1)
        if _is_original(conn, pending):
            whole = [one for one in pending if one.version < rest_from]
            rest = pending[len(whole) :]
            with conn.transaction(), adoption.adopt(conn, packaged, merge_duplicates=merge_duplicates) as changed:
                _apply_all(conn, whole)
        with as_owner(conn), copies.written(conn):
            _apply_all(conn, rest)
        changed.replaced += not_ours
        return [migration.name for migration in pending], changed


def plan(conn: psycopg.Connection[Any], *, merge_duplicates: bool = False) -> adoption.Plan:
    """What `apply` changes in rows that are there, and what is to be decided before it; nothing in a schema of ours."""
    packaged = load()
    try:
        is_original = _is_original(conn, pending := _pending(conn, packaged))
        found = adoption.plan(conn, packaged, merge_duplicates=merge_duplicates) if is_original else adoption.Plan()
        found.replaced += adoption.replaced(conn, packaged, pending)
    except psycopg.Error as error:
        raise from_database(error) from error
    return found


def status(conn: psycopg.Connection[Any], *, migrations: Sequence[Migration] | None = None) -> list[MigrationStatus]:
    """State of each migration, of this package and of the database, in order of version."""
    packaged = load() if migrations is None else migrations
    recorded = _recorded(conn)
    known = {migration.version for migration in packaged}
    found = [
        MigrationStatus(version, row.name, _state_of_later(row, max(known)), row.applied_at)
        for version, row in recorded.items()
        if version not in known
    ]
    held_back = waiting(packaged, recorded)
    for migration in packaged:
        if migration.version not in recorded:
            is_waiting = migration.version in held_back
            found.append(MigrationStatus(migration.version, migration.name, "waiting" if is_waiting else "pending"))
            continue
        row = recorded[migration.version]
        state: Literal["applied", "changed"] = "applied" if row.checksum == migration.checksum else "changed"
        found.append(MigrationStatus(migration.version, migration.name, state, row.applied_at))
    return sorted(found, key=lambda item: item.version)


def check(conn: psycopg.Connection[Any], *, migrations: Sequence[Migration] | None = None) -> None:
    """Raise `Conflict`, in one line, unless the schema is that of this version, or a later one it works with."""
    found = status(conn, migrations=migrations)
    refuse_mismatch(conn, found)
    pending = [item.name for item in found if item.state == "pending"]
    if len(pending) == len(found):
        raise Conflict(f"database {conn.info.dbname} has no registry schema on record; run: imi-registry migrate")
    if pending:
        raise Conflict(
            f"database {conn.info.dbname} has an older schema: {', '.join(pending)} not applied; "
            "run: imi-registry migrate"
        )


def rollback(conn: psycopg.Connection[Any]) -> None:
    """Remove the registry with all its data and history from the database, in one transaction.

    Safe to run twice. Raises `Conflict` when something else depends on the registry, and for a replica that follows:
    nothing is removed then.
    """
    with exclusive(conn):
        copies.refuse_replica(conn, then=" first")
        run_transaction(conn, script(ROLLBACK, (package_directory() / ROLLBACK).read_text(encoding="utf-8")))


def _pending(
    conn: psycopg.Connection[Any], packaged: Sequence[Migration], *, afterwards: bool = False
) -> list[Migration]:
    found = status(conn, migrations=packaged)
    refuse_mismatch(conn, found)
    names = {item.name for item in found if item.state == "pending" or (afterwards and item.state == "waiting")}
    pending = [migration for migration in packaged if migration.name in names]
    _is_original(conn, pending)
    with conn.transaction():
        for migration in pending:
            for table, columns in migration.tables.items():
                _refuse_foreign_table(conn, table, columns)
    return pending


def _apply_all(conn: psycopg.Connection[Any], pending: Sequence[Migration]) -> None:
    identify(conn)
    for migration in pending:
        parts = script(migration.name, migration.sql)
        run_transaction(conn, parts, partial(_record, conn, migration) if parts.is_one_transaction else None)
        if not parts.is_one_transaction:
            identify(conn)
            run_alone(conn, parts.name, parts.behind)
            with conn.transaction():
                _record(conn, migration)


def _record(conn: psycopg.Connection[Any], migration: Migration) -> None:
    conn.execute(_CREATE_RECORD)
    conn.execute(
        "INSERT INTO public.schema_migrations (version, name, checksum, applied_by, compatible_down_to)"
        " VALUES (%s, %s, %s, session_user, %s)",
        (migration.version, migration.name, migration.checksum, migration.compatible_down_to),
    )


def _is_original(conn: psycopg.Connection[Any], pending: Sequence[Migration]) -> bool:
    """Whether the first of our migrations would meet the original schema. Raises `Conflict` for what resembles it."""
    if not pending or pending[0].version != 1:
        return False
    with conn.transaction():
        return adoption.is_original(conn)


def refuse_mismatch(conn: psycopg.Connection[Any], found: Sequence[MigrationStatus]) -> None:
    """Raise `Conflict` for a database that this version must not touch: it is newer, or a file was changed."""
    unknown = [item.name for item in found if item.state == "unknown"]
    if unknown:
        raise Conflict(
            f"database {conn.info.dbname} has a newer schema: it has {', '.join(unknown)}, which this version of "
            "imi-registry does not know; upgrade imi-registry"
        )
    for item in found:
        if item.state == "changed":
            raise Conflict(
                f"migration {item.name} is not the one that was applied to database {conn.info.dbname} "
                f"({item.applied_at:%Y-%m-%d}): its checksum differs; restore it, put changes into a new file"
            )


def _refuse_foreign_table(conn: psycopg.Connection[Any], table: str, columns: frozenset[str]) -> bool:
    """True when `table` exists with at least `columns`, False when it does not exist; else `Conflict`."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT c.relkind::text, array_agg(a.attname::text)"
            " FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relname = %s GROUP BY c.oid, c.relkind",
            (table,),
        )
        row = cursor.fetchone()
    if row is None:
        return False
    missing = sorted(columns - frozenset(row[1] or ()))
    if row[0] not in ("r", "p") or missing:
        reason = f"lacks {', '.join(missing)}" if missing else "is no table"
        raise Conflict(
            f"database {conn.info.dbname} has a {table} that is not the registry's (it {reason}); "
            "nothing was changed; use a database of its own"
        )
    return True


def _state_of_later(row: _Recorded, newest: int) -> Literal["newer", "unknown"]:
    """Whether a program that knows the migrations up to `newest` works with this later item."""
    return "newer" if row.compatible_down_to is not None and row.compatible_down_to <= newest else "unknown"


def _recorded(conn: psycopg.Connection[Any]) -> dict[int, _Recorded]:
    """What was applied to the database, by version."""
    try:
        with conn.transaction(), conn.cursor(row_factory=tuple_row) as cursor:
            if not _refuse_foreign_table(conn, "schema_migrations", _RECORD_COLUMNS):
                return {}
            cursor.execute(_RECORDED)
            return {version: _Recorded(*values) for version, *values in cursor}
    except psycopg.Error as error:
        raise from_database(error) from error
