"""Bring a database to the schema of this version of the package, and back: the files of `migrations/`.

Every file is one transaction (`BEGIN; … COMMIT;`), runs with plain psql as well, and is safe to run twice.
What was applied is recorded in `schema_migrations` in the transaction of the file itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from registry.database.connection import from_database
from registry.errors import Conflict, Invalid

ROLLBACK = "999_rollback.sql"
_LOCK = 0x696D695F6D696772  # session advisory lock: one migration of a database at a time
_FILE_NAME = re.compile(r"(\d{3})_[a-z0-9_]+\.sql")
_RECORD_COLUMNS = frozenset({"version", "name", "checksum", "applied_at", "applied_by"})
_CREATE_RECORD = b"""
CREATE TABLE IF NOT EXISTS public.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT current_user,
    CONSTRAINT schema_migrations_pkey PRIMARY KEY (version)
)
"""
# As a file means what it says, whoever made the connection.
_FILE_SESSION = """
SET LOCAL search_path = public;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL IntervalStyle = 'postgres';
"""
# A statement ends at a semicolon outside of comments, strings, quoted names and dollar quotes.
_TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"[^"]*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|(?P<end>;)""", re.DOTALL
)
_LEADING = re.compile(r"(?:\s+|--[^\n]*|/\*.*?\*/)*", re.DOTALL)
_CREATED_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (?:public\.)?(\w+) \(\n(.*?)\n\)", re.DOTALL)
_CREATED_COLUMN = re.compile(r"^ {4}([a-z_]\w*) ", re.MULTILINE)


class Statement(NamedTuple):
    """One SQL statement of a file and the line it starts on."""

    text: str
    line: int


@dataclass(frozen=True)
class Migration:
    """One file of `migrations/`: its version is the number its name starts with."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, the same for either kind of line end."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def tables(self) -> dict[str, frozenset[str]]:
        """Tables the file creates where they do not exist, and their columns."""
        return {name: frozenset(_CREATED_COLUMN.findall(columns)) for name, columns in _CREATED_TABLE.findall(self.sql)}


@dataclass(frozen=True)
class MigrationStatus:
    """A migration and its state in one database.

    `changed` was applied with another text; `unknown` was applied by a newer version of this package.
    """

    version: int
    name: str
    state: Literal["applied", "pending", "changed", "unknown"]
    applied_at: datetime | None = None


def apply(
    conn: psycopg.Connection[Any], *, dry_run: bool = False, migrations: Sequence[Migration] | None = None
) -> list[str]:
    """Apply what is pending, oldest first, and return the names applied (with `dry_run`: that would be).

    Two at once are safe: the second waits, then finds nothing to do. Files that were run by hand are run again and
    recorded. Raises `Conflict` for a changed file, a newer database, or a foreign table of the same name; a failing
    file raises what `from_database` makes of it, with file and line, and leaves nothing behind.
    """
    wanted = load() if migrations is None else migrations
    if dry_run:
        return [migration.name for migration in _pending(conn, wanted)]
    with _exclusive(conn):
        pending = _pending(conn, wanted)
        for migration in pending:
            with conn.transaction():
                _run(conn, migration)
                conn.execute(_CREATE_RECORD)
                conn.execute(
                    "INSERT INTO public.schema_migrations (version, name, checksum) VALUES (%s, %s, %s)",
                    (migration.version, migration.name, migration.checksum),
                )
        return [migration.name for migration in pending]


def status(conn: psycopg.Connection[Any], *, migrations: Sequence[Migration] | None = None) -> list[MigrationStatus]:
    """State of each migration, of this package and of the database, in order of version."""
    wanted = load() if migrations is None else migrations
    recorded = _recorded(conn)
    known = {migration.version for migration in wanted}
    found = [
        MigrationStatus(version, name, "unknown", applied_at)
        for version, (name, _, applied_at) in recorded.items()
        if version not in known
    ]
    for migration in wanted:
        if migration.version not in recorded:
            found.append(MigrationStatus(migration.version, migration.name, "pending"))
            continue
        _, checksum, applied_at = recorded[migration.version]
        state: Literal["applied", "changed"] = "applied" if checksum == migration.checksum else "changed"
        found.append(MigrationStatus(migration.version, migration.name, state, applied_at))
    return sorted(found, key=lambda one: one.version)


def check(conn: psycopg.Connection[Any], *, migrations: Sequence[Migration] | None = None) -> None:
    """Raise `Conflict`, in one line, unless the database has exactly the schema of this version."""
    found = status(conn, migrations=migrations)
    _refuse_mismatch(conn, found)
    pending = [one.name for one in found if one.state == "pending"]
    if len(pending) == len(found):
        raise Conflict(f"database {conn.info.dbname} has no registry schema on record; run: imi-registry migrate")
    if pending:
        raise Conflict(
            f"database {conn.info.dbname} has an older schema: {', '.join(pending)} not applied; "
            "run: imi-registry migrate"
        )


def rollback(conn: psycopg.Connection[Any]) -> None:
    """Remove the registry with all its data and history from the database, in one transaction.

    Safe to run twice. Raises `Conflict` when something else depends on the registry: nothing is removed then.
    """
    with _exclusive(conn), conn.transaction():
        _run(conn, Migration(999, ROLLBACK, (_directory() / ROLLBACK).read_text(encoding="utf-8")))


def load(directory: Path | None = None) -> list[Migration]:
    """The migrations of `directory` (default: this package's) in order; the rollback is none of them."""
    folder = directory or _directory()
    found: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        if path.name == ROLLBACK:
            continue
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise Invalid(f"migration {path.name}: expected a name like 001_create_schema.sql")
        migration = Migration(int(match[1]), path.name, path.read_text(encoding="utf-8"))
        if migration.version in found:
            raise Invalid(f"migrations {found[migration.version].name} and {path.name} have the same number")
        found[migration.version] = migration
    if not found:
        raise Invalid(f"no migrations in {folder}")
    return list(found.values())


def _directory() -> Path:
    """`registry/_migrations` of an installed package, `migrations/` of a checkout."""
    packaged = Path(__file__).parents[1] / "_migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "migrations"


@contextmanager
def _exclusive(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """Hold the migration lock of the database; inside, `conn.transaction()` is a transaction of its own."""
    if conn.info.transaction_status != TransactionStatus.IDLE:
        state = conn.info.transaction_status.name.lower()
        raise Invalid(f"cannot migrate: the connection must have no open transaction, it is {state}")
    autocommit = conn.autocommit
    conn.autocommit = True
    try:
        conn.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        yield
    except psycopg.Error as error:
        raise from_database(error) from error
    finally:
        if not conn.closed:
            conn.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
            conn.autocommit = autocommit


def _pending(conn: psycopg.Connection[Any], wanted: Sequence[Migration]) -> list[Migration]:
    found = status(conn, migrations=wanted)
    _refuse_mismatch(conn, found)
    names = {one.name for one in found if one.state == "pending"}
    pending = [migration for migration in wanted if migration.name in names]
    with conn.transaction():
        for migration in pending:
            for table, columns in migration.tables.items():
                _refuse_foreign_table(conn, table, columns)
    return pending


def _refuse_mismatch(conn: psycopg.Connection[Any], found: Sequence[MigrationStatus]) -> None:
    for one in found:
        if one.state == "unknown":
            raise Conflict(
                f"database {conn.info.dbname} has a newer schema: it has {one.name}, which this version of "
                "imi-registry does not know; upgrade imi-registry"
            )
        if one.state == "changed":
            raise Conflict(
                f"migration {one.name} is not the one that was applied to database {conn.info.dbname} "
                f"({one.applied_at:%Y-%m-%d}): its checksum differs; restore it, put changes into a new file"
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
        lack = f"lacks {', '.join(missing)}" if missing else "is no table"
        raise Conflict(
            f"database {conn.info.dbname} has a {table} that is not the registry's (it {lack}); "
            "nothing was changed; use a database of its own"
        )
    return True


def _recorded(conn: psycopg.Connection[Any]) -> dict[int, tuple[str, str, datetime]]:
    """Version → name, checksum, time of what was applied to the database."""
    try:
        with conn.transaction(), conn.cursor(row_factory=tuple_row) as cursor:
            if not _refuse_foreign_table(conn, "schema_migrations", _RECORD_COLUMNS):
                return {}
            cursor.execute("SELECT version, name, checksum, applied_at FROM public.schema_migrations")
            return {version: (name, checksum, applied_at) for version, name, checksum, applied_at in cursor}
    except psycopg.Error as error:
        raise from_database(error) from error


def _run(conn: psycopg.Connection[Any], migration: Migration) -> None:
    """Run a file within the transaction of the caller, in place of the one it opens itself."""
    statements = _split(migration.sql)
    if [statement.text.upper() for statement in (*statements[:1], *statements[-1:])] != ["BEGIN", "COMMIT"]:
        raise Invalid(f"migration {migration.name}: expected one transaction, BEGIN; … COMMIT;")
    conn.execute(_FILE_SESSION)
    for statement in statements[1:-1]:
        try:
            conn.execute(statement.text.encode())
        except psycopg.Error as error:
            known = from_database(error)
            before = int(error.diag.statement_position or 1) - 1
            line = statement.line + statement.text.count("\n", 0, before)
            raise type(known)(f"migration {migration.name} line {line}: {known}") from error


def _split(sql: str) -> list[Statement]:
    """The statements of `sql`, without their semicolons and the comments that stand before them."""
    statements = []
    start = 0
    ends = [match.start() for match in _TOKEN.finditer(sql) if match["end"]]
    for end in (*ends, len(sql)):
        begin = _LEADING.match(sql, start, end).end()  # type: ignore[union-attr]  # matches the empty string
        if begin < end:
            statements.append(Statement(sql[begin:end].rstrip(), sql.count("\n", 0, begin) + 1))
        start = end + 1
    return statements
