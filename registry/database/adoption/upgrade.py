"""Make a database with the original schema 2.0.0 one of ours, or say what that would change and what is to be decided.

The rules are not written down a second time: the tables of 001_create_schema.sql are made in a schema of their own, and
the rows are put into them. What they refuse is a decision. Why: docs/adr/0009-what-was-there-before.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import Connection, sql

from registry.database.adoption import conversion
from registry.database.adoption.findings import Change, Decision, Plan, Undecided
from registry.database.adoption.grants import Grants
from registry.database.adoption.indexes import create_missing, indexes_of
from registry.database.adoption.original import (
    FUNCTIONS,
    SCRATCH,
    TABLES,
    TRIGGER_FUNCTIONS,
    VIEWS,
    Reference,
    additions,
    references,
    refuse_other_columns,
    row,
    rows,
)
from registry.database.adoption.owners import owners_of, restore_owners
from registry.database.migration import Migration, split
from registry.errors import Conflict, Unavailable

_CREATED = re.compile(r"CREATE (?:OR REPLACE FUNCTION|TABLE IF NOT EXISTS|UNIQUE INDEX IF NOT EXISTS) (\w+)")
_NEEDED_OF_002 = {"normalize_remote_origin", "normalize_path", "quote_origin"}
# So that PostgreSQL writes the names of our tables as they stand here, without schema and quotes, and times in UTC.
_SETTINGS: LiteralString = """
SET LOCAL search_path = public;
SET LOCAL quote_all_identifiers = off;
SET LOCAL timezone = 'UTC';
"""
LOCK_SECONDS = 10
"""Who uses the tables for longer than that keeps the upgrade from being tried."""

# All rows at once; where one is refused, each by itself, to find every one that is.
_FILL: LiteralString = """
CREATE FUNCTION imi_adoption.fill(p_table text)
RETURNS TABLE (row_id text, row_name text, field text, rule text, state text, problem text, detail text)
LANGUAGE plpgsql
AS $$
DECLARE
    source text := 'staged_' || p_table;
    insertion text := format(
        'INSERT INTO imi_adoption.%1$I SELECT s.* FROM imi_adoption.%2$I AS s'
            ' WHERE public.require_object(%1$L, ''metadata'', s.metadata, ''%1$s_metadata_check'')',
        p_table, source
    );
    staged record;
BEGIN
    BEGIN
        EXECUTE insertion;
        RETURN;
    EXCEPTION
        WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
            NULL;
    END;
    FOR staged IN EXECUTE format(
        'SELECT ctid AS row_place, to_jsonb(s) AS fields FROM imi_adoption.%I AS s ORDER BY created_at, id', source
    ) LOOP
        BEGIN
            EXECUTE insertion || ' AND s.ctid = $1' USING staged.row_place;
        EXCEPTION
            WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
                GET STACKED DIAGNOSTICS
                    field = COLUMN_NAME, rule = CONSTRAINT_NAME, state = RETURNED_SQLSTATE, problem = MESSAGE_TEXT,
                    detail = PG_EXCEPTION_DETAIL;
                row_id := staged.fields ->> 'id';
                row_name := coalesce(staged.fields ->> 'name', staged.fields ->> 'agent_id');
                RETURN NEXT;
        END;
    END LOOP;
END;
$$
"""
_QUOTED_ORIGIN: LiteralString = "SELECT public.quote_origin(remote_origin) FROM public.projects WHERE id = %s::uuid"
_COUNTS: LiteralString = """
SELECT count(DISTINCT w.id), count(a.id)
FROM public.worktrees AS w
LEFT JOIN public.agent_activities AS a ON a.worktree_id = w.id
WHERE w.project_id = %s::uuid
"""

# Behind the greatest id that has one behind it: a type can have been given the last one there is.
_NEXT_TYPE: LiteralString = """
SELECT 1 + greatest(
    (SELECT max(id) FROM public.worktree_types WHERE id < 2147483647),
    nullif(pg_sequence_last_value(pg_get_serial_sequence('public.worktree_types', 'id')::regclass), 2147483647)::integer
)
"""


def plan(conn: Connection[Any], migrations: Sequence[Migration], *, merge_duplicates: bool = False) -> Plan:
    """What `adopt` would change in the original schema, and what is to be decided before.

    Nothing is changed and nobody is kept waiting: it is tried beside the tables, and rolled back. Raises `Conflict`
    where the tables have other columns.
    """
    with conn.transaction(force_rollback=True):
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        conn.execute(_SETTINGS)
        return _prepare(conn, migrations, merge_duplicates=merge_duplicates)


@contextmanager
def adopt(conn: Connection[Any], migrations: Sequence[Migration], *, merge_duplicates: bool = False) -> Iterator[Plan]:
    """Put our tables, filled, in the place of the original ones; then comes the block, in which the migrations are
    applied; then others get back what they had on them. All in the caller's transaction.

    Raises `Undecided` while decisions are open, `Unavailable` when the tables are in use for too long.
    """
    conn.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    conn.execute(_SETTINGS)
    _lock(conn)
    found = _prepare(conn, migrations, merge_duplicates=merge_duplicates)
    if found.decisions:
        raise Undecided(conn.info.dbname, found)
    owners = owners_of(conn)
    grants = Grants.read(conn)
    indexes = indexes_of(conn)
    foreign = references(conn)
    _replace(conn, foreign)
    yield found
    conn.execute(_SETTINGS)
    restore_owners(conn, owners)
    create_missing(conn, indexes)
    for reference in foreign:
        conn.execute(
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                sql.SQL(reference.table),  # a name as PostgreSQL quotes it
                sql.Identifier(reference.constraint),
                sql.SQL(reference.definition),  # as PostgreSQL wrote it
            )
        )
    grants.restore(conn)


def _lock(conn: Connection[Any]) -> None:
    """Keep everybody out until the end of the transaction, so that no row is written that is not taken along."""
    conn.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(LOCK_SECONDS * 1000))
    tables = sql.SQL(", ").join(sql.Identifier("public", table) for table in TABLES)
    try:
        conn.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(tables))
    except psycopg.errors.LockNotAvailable as error:
        raise Unavailable(
            f"cannot upgrade database {conn.info.dbname}: somebody has used its tables for more than {LOCK_SECONDS} s; "
            "stop what works with the registry, and run it again"
        ) from error


def _prepare(conn: Connection[Any], migrations: Sequence[Migration], *, merge_duplicates: bool) -> Plan:
    """Make our tables in the scratch schema, and fill them as far as that goes."""
    try:
        conn.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCRATCH)))
    except psycopg.errors.DuplicateSchema as error:
        raise Conflict(f"database {conn.info.dbname}: the schema {SCRATCH} is in the way; rename it") from error
    _create_tables(conn, migrations)
    refuse_other_columns(conn)
    conn.execute(conversion.KEPT)
    conn.execute(_FILL)
    found = Plan(decisions=additions(conn))
    _merge(conn, found, is_decided=merge_duplicates)
    refused = []
    for table in TABLES:
        found.changes += conversion.stage(conn, table)
        for values in rows(conn, "SELECT * FROM imi_adoption.fill(%s)", [table]):
            refused.append(_Refused(table, *values))
    # A row is also refused because the one it refers to is.
    causes = [refusal for refusal in refused if refusal.state != "23503"]
    found.decisions += [_decision(conn, refusal) for refusal in causes or refused]
    return found


def _create_tables(conn: Connection[Any], migrations: Iterable[Migration]) -> None:
    """The tables of 001 in the scratch schema, with the functions they need in public, as they will be there."""
    scratch_first = sql.SQL("SET LOCAL search_path = {}, public").format(sql.Identifier(SCRATCH))
    for migration in migrations:
        for statement in split(migration.sql):
            created = _CREATED.match(statement.text)
            if created is None or (migration.version != 1 and created[1] not in _NEEDED_OF_002):
                continue
            is_function = "FUNCTION" in created[0]
            conn.execute("SET LOCAL search_path = public" if is_function else scratch_first)
            conn.execute(statement.text.encode())
    conn.execute("SET LOCAL search_path = public")


def _merge(conn: Connection[Any], found: Plan, *, is_decided: bool) -> None:
    """Add what becomes of projects that are the same repository."""
    merged = conversion.merges(conn)
    for id_, name, kept_id, kept_name, kept_origin, origin in merged:
        found.changes.append(Change("projects", id_, name, "id", id_, kept_id, f'merged into "{kept_name}"'))
        if not is_decided:
            problem = f'{origin} is the same repository as {kept_origin}, which is project "{kept_name}" ({kept_id})'
            how = f"give --merge-duplicates to make them one, or: {_update('projects', 'remote_origin', id_)}"
            found.decisions.append(Decision("projects", id_, name, problem, how))
    kept_of = {id_: kept_id for id_, _, kept_id, *_ in merged}
    for reference in references(conn):
        if reference.to == "projects" and kept_of:
            found.decisions += _referring(conn, reference, kept_of)


def _referring(conn: Connection[Any], reference: Reference, kept_of: dict[str, str]) -> list[Decision]:
    """Rows of somebody else's table that refer to a project which is merged into another one."""
    column = sql.Identifier(reference.column)
    query = sql.SQL("SELECT {column}::text, count(*) FROM {table} WHERE {column}::text = ANY (%s) GROUP BY 1").format(
        column=column,
        table=sql.SQL(reference.table),  # a name as PostgreSQL quotes it
    )
    return [
        Decision(
            table=reference.table,
            id="",
            name=reference.constraint,
            problem=f"{number} rows refer by {reference.column} to project {id_}, which is merged into {kept_of[id_]}",
            how=f"set {reference.column} of these rows of {reference.table} to '{kept_of[id_]}'",
        )
        for id_, number in rows(conn, query, [list(kept_of)])
    ]


class _Refused(NamedTuple):
    """A row that our tables refuse, and PostgreSQL's words about it."""

    table: str
    id: str
    name: str
    field: str
    constraint: str
    state: str
    """The SQLSTATE."""
    problem: str
    detail: str


def _decision(conn: Connection[Any], refused: _Refused) -> Decision:
    """What to do about a row that our tables refuse."""
    table, id_, constraint = refused.table, refused.id, refused.constraint
    problem = refused.problem
    if constraint == "projects_remote_origin_check":
        (origin,) = row(conn, _QUOTED_ORIGIN, [id_])
        worktrees, activities = row(conn, _COUNTS, [id_])
        problem = f"remote_origin {origin} is not owner/repo on GitHub"
        removal = f"DELETE FROM public.projects WHERE id = '{id_}'"  # noqa: S608  # for a person to run
        how = (
            f"{_update(table, 'remote_origin', id_)}; or remove it, with its {worktrees} worktrees and {activities} "
            f"activities: {removal}"
        )
    elif refused.state == "23505":
        problem = f"{problem}: {refused.detail}"
        how = _update(table, "name", id_)
        if constraint == "worktrees_unique_active_path":
            how = f"{_update(table, 'active', id_, 'false')}, or {_update(table, 'path', id_)}"
    else:
        checked = constraint.removeprefix(f"{table}_").removesuffix("_check")
        how = _update(table, refused.field or checked or "…", id_)
    return Decision(table, id_, refused.name, problem.removeprefix(f"{table}: "), how)


def _update(table: str, field: str, id_: str, value: str = "…") -> str:
    return f"UPDATE public.{table} SET {field} = {value} WHERE id = '{id_}'"  # noqa: S608  # for a person to run


def _replace(conn: Connection[Any], foreign: Iterable[Reference]) -> None:
    """Drop what was there, and put the filled tables in its place. Nothing is dropped by CASCADE."""
    for reference in foreign:
        conn.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                sql.SQL(reference.table),  # a name as PostgreSQL quotes it
                sql.Identifier(reference.constraint),
            )
        )
    views = sql.SQL(", ").join(sql.Identifier("public", view) for view in VIEWS)
    conn.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(views))
    for signature in FUNCTIONS:
        conn.execute(f"DROP FUNCTION IF EXISTS {signature}".encode())
    (next_type_id,) = row(conn, _NEXT_TYPE)
    conn.execute(sql.SQL("DROP TABLE {}").format(sql.SQL(", ").join(sql.Identifier("public", t) for t in TABLES)))
    for table in TABLES:
        conn.execute(sql.SQL("ALTER TABLE {} SET SCHEMA public").format(sql.Identifier(SCRATCH, table)))
    conn.execute("SELECT setval('public.worktree_types_id_seq', %s, false)", [next_type_id])
    for signature in TRIGGER_FUNCTIONS:
        (function,) = row(conn, "SELECT to_regprocedure(%s)", [signature])
        if function is not None:
            conn.execute(f"COMMENT ON FUNCTION {signature} IS NULL".encode())
    conn.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(SCRATCH)))
