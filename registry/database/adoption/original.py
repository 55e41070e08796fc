"""The schema 2.0.0 as it was first shipped: how it is known, and what others have built on it."""

from __future__ import annotations

from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, sql
from psycopg.rows import tuple_row

from registry.database.adoption.findings import Decision
from registry.errors import Conflict

SCRATCH = "imi_adoption"
"""The schema in which the new tables are filled; it is there only inside the transaction."""
TABLES = ("projects", "worktree_types", "worktrees", "agent_activities")
"""In the order in which they refer to each other."""
VIEWS = ("v_projects_summary", "v_worktrees_detail", "v_inflight_work", "v_recent_agent_activity")
FUNCTIONS = (
    "public.register_project(text, text, text, text, jsonb)",
    "public.get_project_by_origin(text)",
    "public.deactivate_project(uuid)",
    "public.register_worktree(uuid, text, text, text, text, text, jsonb)",
    "public.update_worktree_git_state(uuid, boolean, integer, integer, integer, text, text)",
    "public.mark_worktree_merged(uuid, text, text)",
    "public.get_worktree_by_path(text)",
    "public.log_activity(text, uuid, text, text, text, jsonb)",
    "public.get_agent_recent_work(text, integer)",
    "public.get_inflight_work(uuid)",
    "public.get_project_working_path(uuid, text)",
    "public.search_projects(text)",
    "public.cleanup_old_activities(integer)",
    "public.prune_inactive_worktrees(integer)",
    "public.maintenance_vacuum()",
    "public.get_registry_stats()",
)
TRIGGER_FUNCTIONS = ("public.update_updated_at_column()", "public.sync_uncommitted_changes()")
"""They stay and get our bodies: tables of others use the first one, too."""

# Constraints that the original has and our schema has not.
_SIGNATURE: LiteralString = """
SELECT expected.table_name, expected.constraint_name, c.oid IS NOT NULL
FROM (
    VALUES
        ('projects', 'projects_unique_active_remote', 'x'),
        ('worktrees', 'worktrees_unique_active_path', 'x'),
        ('agent_activities', 'agent_activities_worktree_id_fkey', 'f')
) AS expected (table_name, constraint_name, kind)
LEFT JOIN pg_catalog.pg_constraint c
    ON c.conrelid = to_regclass('public.' || expected.table_name)
    AND c.conname = expected.constraint_name
    AND c.contype::text = expected.kind
"""

# Columns that only one of both has, or with another type.
_COLUMNS: LiteralString = """
SELECT coalesce(installed.table_name, expected.table_name), coalesce(installed.attname, expected.attname)::text,
    CASE
        WHEN installed.attname IS NULL THEN 'is missing'
        WHEN expected.attname IS NULL THEN 'is not of that schema'
        ELSE format(
            'is %%s, not %%s', format_type(installed.atttypid, installed.atttypmod), format_type(expected.atttypid, -1)
        )
    END
FROM (
    SELECT t.table_name, a.attname, a.atttypid, a.atttypmod
    FROM unnest(%(tables)s::text[]) AS t (table_name)
    JOIN pg_attribute a ON a.attrelid = to_regclass('public.' || t.table_name) AND a.attnum > 0 AND NOT a.attisdropped
) AS installed
FULL JOIN (
    SELECT t.table_name, a.attname, a.atttypid
    FROM unnest(%(tables)s::text[]) AS t (table_name)
    JOIN pg_attribute a ON a.attrelid = to_regclass(%(scratch)s || '.' || t.table_name) AND a.attnum > 0
) AS expected ON expected.table_name = installed.table_name AND expected.attname = installed.attname
WHERE installed.atttypid IS DISTINCT FROM expected.atttypid
ORDER BY 1, 2
LIMIT 1
"""

# What somebody else put on the tables and would be lost with them; what of others needs them and would be in the way.
_ADDITIONS: LiteralString = """
WITH own AS (
    SELECT 'pg_class'::regclass AS classid, to_regclass('public.' || name)::oid AS objid, name AS relation, kind
    FROM (
        SELECT unnest(%(tables)s::text[]) AS name, 'table' AS kind
        UNION ALL
        SELECT unnest(%(views)s::text[]), 'view'
    ) AS relations
    UNION ALL
    SELECT 'pg_proc'::regclass, to_regprocedure(signature)::oid, signature, 'function'
    FROM unnest(%(functions)s::text[]) AS signature
    UNION ALL
    SELECT 'pg_class'::regclass, s.name::regclass, 'worktree_types', 'sequence'
    FROM pg_get_serial_sequence('public.worktree_types', 'id') AS s (name)
    UNION ALL
    SELECT 'pg_type'::regclass, c.reltype, c.relname, 'type'
    FROM pg_class c
    WHERE c.oid IN (SELECT to_regclass('public.' || name) FROM unnest(%(tables)s::text[] || %(views)s::text[]) AS name)
)
SELECT own.relation, 'trigger ' || t.tgname, 'DROP TRIGGER ' || quote_ident(t.tgname) || ' ON ' || own.relation
FROM own
JOIN pg_trigger t ON t.tgrelid = own.objid AND NOT t.tgisinternal
WHERE own.kind = 'table'
    AND t.tgname NOT IN ('projects_updated_at', 'worktrees_updated_at', 'worktrees_sync_uncommitted')
UNION ALL
SELECT own.relation, 'rule ' || r.rulename, format('DROP RULE %%I ON %%s', r.rulename, own.relation)
FROM own
JOIN pg_rewrite r ON r.ev_class = own.objid
WHERE own.kind IN ('table', 'view') AND r.rulename <> '_RETURN'
UNION ALL
SELECT own.relation, 'statistics ' || s.stxname, 'DROP STATISTICS ' || s.stxnamespace::regnamespace || '.' || s.stxname
FROM own
JOIN pg_statistic_ext s ON s.stxrelid = own.objid
WHERE own.kind = 'table'
UNION ALL
SELECT own.relation, 'row level security', 'ALTER TABLE ' || own.relation || ' DISABLE ROW LEVEL SECURITY'
FROM own
JOIN pg_class c ON c.oid = own.objid AND c.relrowsecurity
WHERE own.kind = 'table'
UNION ALL
SELECT own.relation, 'index ' || x.relname, 'DROP INDEX ' || x.oid::regclass
FROM own
JOIN pg_index i ON i.indrelid = own.objid
JOIN pg_class x ON x.oid = i.indexrelid
WHERE own.kind = 'table'
    AND NOT x.relname LIKE 'idx\\_' || replace(own.relation, '_', '\\_') || '\\_%%'
    AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.oid AND k.conrelid = own.objid)
UNION ALL
SELECT own.relation, 'constraint ' || k.conname, format('ALTER TABLE %%s DROP CONSTRAINT %%I', own.relation, k.conname)
FROM own
JOIN pg_constraint k ON k.conrelid = own.objid AND k.contype IN ('f', 'u', 'x')
WHERE own.kind = 'table'
    AND k.conname NOT IN (
        'projects_unique_remote_origin', 'projects_unique_active_remote', 'worktree_types_name_key',
        'worktrees_project_id_fkey', 'worktrees_type_id_fkey', 'worktrees_unique_project_name',
        'worktrees_unique_active_path', 'agent_activities_worktree_id_fkey'
    )
UNION ALL
-- The authors' names of their checks are not known: what PostgreSQL named, or checks what they checked, is theirs.
SELECT own.relation, 'constraint ' || k.conname, format('ALTER TABLE %%s DROP CONSTRAINT %%I', own.relation, k.conname)
FROM own
JOIN pg_constraint k ON k.conrelid = own.objid AND k.contype = 'c'
WHERE own.kind = 'table'
    AND NOT k.conname ~ ('^' || own.relation || '_[a-z_]+_check$')
    AND NOT pg_get_constraintdef(k.oid) ~ '^CHECK [(]+([a-z_]+[(])*[a-z_]+[)]* >=? 0[)]+$|git@github|pushed'
UNION ALL
SELECT
    own.relation,
    'default ' || pg_get_expr(d.adbin, d.adrelid) || ' of column ' || a.attname,
    format('ALTER TABLE %%s ALTER %%I SET DEFAULT %%s', own.relation, a.attname, pg_get_expr(e.adbin, e.adrelid))
FROM own
JOIN pg_attribute a ON a.attrelid = own.objid
JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
JOIN pg_attribute o ON o.attrelid = to_regclass(%(scratch)s || '.' || own.relation) AND o.attname = a.attname
JOIN pg_attrdef e ON e.adrelid = o.attrelid AND e.adnum = o.attnum
WHERE own.kind = 'table'
    AND a.atttypid IN ('text'::regtype, 'boolean'::regtype, 'integer'::regtype)
    AND a.attname <> 'id'
    AND pg_get_expr(d.adbin, d.adrelid) <> pg_get_expr(e.adbin, e.adrelid)
UNION ALL
SELECT own.relation, 'policy ' || p.polname, format('DROP POLICY %%I ON %%s', p.polname, own.relation)
FROM own
JOIN pg_policy p ON p.polrelid = own.objid
WHERE own.kind = 'table'
UNION ALL
SELECT
    own.relation,
    'publication ' || p.pubname,
    format('ALTER PUBLICATION %%I DROP TABLE %%s', p.pubname, own.relation)
FROM own
JOIN pg_publication_rel r ON r.prrelid = own.objid
JOIN pg_publication p ON p.oid = r.prpubid
WHERE own.kind = 'table'
UNION ALL
SELECT DISTINCT
    own.relation,
    coalesce(dependent.kind || ' ' || r.ev_class::regclass, pg_describe_object(d.classid, d.objid, 0)),
    coalesce('DROP ' || upper(dependent.kind) || ' ' || r.ev_class::regclass, 'drop it')
FROM own
JOIN pg_depend d ON d.refclassid = own.classid AND d.refobjid = own.objid AND d.deptype = 'n'
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
LEFT JOIN LATERAL (
    SELECT CASE relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END AS kind
    FROM pg_class
    WHERE oid = r.ev_class
) AS dependent ON true
LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
LEFT JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
LEFT JOIN pg_attrdef e ON d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid
WHERE NOT EXISTS (
        SELECT
        FROM own AS related
        WHERE (related.classid, related.objid) = (d.classid, d.objid)
            OR (related.classid = 'pg_class'::regclass
                AND related.objid IN (r.ev_class, k.conrelid, t.tgrelid, e.adrelid))
    )
    AND k.contype IS DISTINCT FROM 'f'
    AND NOT (t.oid IS NOT NULL AND t.tgisinternal)
    AND d.classid NOT IN ('pg_policy'::regclass, 'pg_publication_rel'::regclass)
UNION ALL
SELECT p.proname::text, 'function ' || p.oid::regprocedure, 'DROP FUNCTION ' || p.oid::regprocedure
FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace
    AND p.proname IN (SELECT substring(signature FROM '[.]([a-z_]+)') FROM unnest(%(functions)s::text[]) AS signature)
    AND p.oid NOT IN (SELECT objid FROM own WHERE kind = 'function' AND objid IS NOT NULL)
ORDER BY 1, 2
"""
_REFERENCES: LiteralString = """
SELECT k.conrelid::regclass::text, k.conname::text, pg_get_constraintdef(k.oid), k.confrelid::regclass::text,
    (SELECT attname::text FROM pg_attribute WHERE attrelid = k.conrelid AND attnum = k.conkey[1])
FROM pg_constraint k
WHERE k.contype = 'f'
    AND k.conparentid = 0
    AND k.confrelid IN (SELECT to_regclass('public.' || name) FROM unnest(%(tables)s::text[]) AS name)
    AND k.conrelid NOT IN (SELECT to_regclass('public.' || name) FROM unnest(%(tables)s::text[]) AS name)
ORDER BY 1, 2
"""


class Reference(NamedTuple):
    """A foreign key of somebody else's table to one of the registry's."""

    table: str
    constraint: str
    definition: str
    to: str
    column: str


def is_original(conn: Connection[Any]) -> bool:
    """Whether the database has the original schema.

    Raises `Conflict`, with the table's name, where only a part of what tells it is there.
    """
    constraints = rows(conn, _SIGNATURE)
    present = [table for table, _, is_present in constraints if is_present]
    missing = [(table, constraint) for table, constraint, is_present in constraints if not is_present]
    if not present:
        return False
    if missing:
        table, constraint = missing[0]
        raise _different(conn, present[0], f"the constraint {constraint} of {table} is missing")
    return True


def refuse_other_columns(conn: Connection[Any]) -> None:
    """Raise `Conflict` unless the tables have the columns of those in the scratch schema."""
    differing = rows(conn, _COLUMNS, {"tables": list(TABLES), "scratch": SCRATCH})
    if differing:
        table, column, problem = differing[0]
        raise _different(conn, table, f"its column {column} {problem}")


def additions(conn: Connection[Any]) -> list[Decision]:
    """What somebody else has additions, which the upgrade would take away or be stopped by."""
    named = {"tables": list(TABLES), "views": list(VIEWS), "functions": list(FUNCTIONS), "scratch": SCRATCH}
    return [
        Decision(
            table=relation,
            id="",
            name=what,
            problem=f"{what} is not of the schema 2.0.0, and would be lost or in the way",
            how=f"{how}; and create it again afterwards",
        )
        for relation, what, how in rows(conn, _ADDITIONS, named)
    ]


def references(conn: Connection[Any]) -> list[Reference]:
    """Foreign keys of others' tables to those of the registry."""
    return [Reference(*row) for row in rows(conn, _REFERENCES, {"tables": list(TABLES)})]


def rows(conn: Connection[Any], query: LiteralString | sql.Composed, values: Any = None) -> list[tuple[Any, ...]]:
    """What a query finds, whatever the connection makes of rows."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, values).fetchall()


def row(conn: Connection[Any], query: LiteralString | sql.Composed, values: Any = None) -> tuple[Any, ...]:
    """The only row that a query finds."""
    (found,) = rows(conn, query, values)
    return found


def _different(conn: Connection[Any], table: str, why: str) -> Conflict:
    return Conflict(
        f"database {conn.info.dbname} has the table {table} of the first schema 2.0.0, but not as it was shipped: "
        f"{why}; nothing was changed"
    )
