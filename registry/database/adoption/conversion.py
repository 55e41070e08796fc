"""Rows of the original schema as our tables take them: what each column becomes, and why."""

from __future__ import annotations

from typing import Any, LiteralString

from psycopg import Connection, sql

from registry.database.adoption.findings import Change
from registry.database.adoption.original import SCRATCH, rows

KEPT: LiteralString = """
CREATE TABLE imi_adoption.kept AS
SELECT
    id,
    first_value(id) OVER (
        PARTITION BY coalesce(public.normalize_remote_origin(remote_origin), id::text)
        ORDER BY active DESC, created_at, id
    ) AS kept_id
FROM public.projects;
CREATE INDEX ON imi_adoption.kept (kept_id);
ANALYZE imi_adoption.kept
"""
"""Each project, and the one it becomes: of several of one repository the active one, else the oldest."""

_METADATA: LiteralString = """
CASE
    WHEN jsonb_typeof(o.metadata) = 'object' THEN o.metadata
    WHEN o.metadata IS NULL OR o.metadata = 'null' THEN '{}'
    ELSE jsonb_build_object('value', o.metadata)
END
"""
_MERGED_PROJECTS: LiteralString = """
|| coalesce(
    (
        SELECT jsonb_build_object('merged_projects', jsonb_agg(to_jsonb(m) ORDER BY m.created_at, m.id))
        FROM imi_adoption.kept AS merged
        JOIN public.projects AS m ON m.id = merged.id
        WHERE merged.kept_id = o.id AND merged.id <> o.id
        HAVING count(*) > 0
    ),
    '{}'
)
"""
_IS_ACTIVE: LiteralString = "(o.active AND p.active)"
_IS_REACTIVATED: LiteralString = "(o.merged_at IS NOT NULL AND o.active AND p.active)"


def _text(column: LiteralString) -> LiteralString:
    return "CASE WHEN o." + column + " ~ '[^[:space:]]' THEN o." + column + " END"


def _unless_reactivated(value: LiteralString) -> LiteralString:
    return "CASE WHEN NOT " + _IS_REACTIVATED + " THEN " + value + " END"


# Column -> what it becomes; a column that is not here stays as it is.
EXPRESSIONS: dict[str, dict[str, LiteralString]] = {
    "projects": {
        "remote_origin": "coalesce(public.normalize_remote_origin(o.remote_origin), o.remote_origin)",
        "trunk_path": "public.normalize_path(o.trunk_path)",
        "description": _text("description"),
        "metadata": _METADATA + _MERGED_PROJECTS,
    },
    "worktree_types": {
        "description": _text("description"),
        "color": _text("color"),
        "icon": _text("icon"),
        "is_builtin": "o.is_builtin OR o.name IN ('feat', 'fix', 'aiops', 'devops', 'review', 'trunk')",
        "metadata": _METADATA,
    },
    "worktrees": {
        "project_id": "p.id",
        "path": "public.normalize_path(o.path)",
        "agent_id": _text("agent_id"),
        "has_uncommitted_changes": (
            "coalesce(o.has_uncommitted_changes, false) OR coalesce(o.uncommitted_files_count, 0) > 0"
        ),
        "uncommitted_files_count": (
            "greatest(coalesce(o.uncommitted_files_count, 0), CASE WHEN o.has_uncommitted_changes THEN 1 ELSE 0 END)"
        ),
        "ahead_of_trunk": "coalesce(o.ahead_of_trunk, 0)",
        "behind_trunk": "coalesce(o.behind_trunk, 0)",
        "last_commit_hash": _text("last_commit_hash"),
        "merged_at": _unless_reactivated("o.merged_at"),
        "merged_by": _unless_reactivated(_text("merged_by")),
        "merge_commit_hash": _unless_reactivated(_text("merge_commit_hash")),
        "metadata": _METADATA,
        "active": _IS_ACTIVE,
    },
    "agent_activities": {"metadata": _METADATA},
}
_SOURCES: dict[str, LiteralString] = {
    "projects": "public.projects AS o WHERE o.id IN (SELECT kept_id FROM imi_adoption.kept)",
    "worktree_types": "public.worktree_types AS o",
    "worktrees": (
        "public.worktrees AS o JOIN imi_adoption.kept AS k ON k.id = o.project_id"
        " JOIN public.projects AS p ON p.id = k.kept_id"
    ),
    "agent_activities": "public.agent_activities AS o",
}

_MERGE = "it was registered again after its merge, and what is active is not merged"
_PATH = "no doubled or trailing slash"
RULES: dict[str, str] = {
    "remote_origin": "GitHub ignores case",
    "trunk_path": _PATH,
    "path": _PATH,
    "is_builtin": "this type is built in",
    "project_id": "its project is merged into another of the same repository",
    "has_uncommitted_changes": "it says whether the count is above 0",
    "uncommitted_files_count": "at least 1 where there are uncommitted changes, else 0",
    "ahead_of_trunk": "not known is 0",
    "behind_trunk": "not known is 0",
    "merged_at": _MERGE,
    "merged_by": _MERGE,
    "merge_commit_hash": _MERGE,
    "active": "its project is inactive",
}


def rule(field: str, old: Any, new: Any) -> str:
    """Why a field of a row becomes another."""
    if field == "metadata" and "merged_projects" in new and "merged_projects" not in (old or {}):
        return "what merged projects were is kept"
    if field == "metadata":
        return 'a JSON object; what is none is kept under "value"'
    if isinstance(old, str) and not old.strip():
        return "a blank text is none"
    return RULES[field]


_CHANGES: LiteralString = """
SELECT o.id::text, coalesce(row_before.fields ->> 'name', row_before.fields ->> 'agent_id'), field.name, field.value,
    row_after.fields -> field.name
FROM {source} AS o
JOIN {staged} AS n USING (id)
CROSS JOIN LATERAL (SELECT to_jsonb(o) AS fields OFFSET 0) AS row_before
CROSS JOIN LATERAL (SELECT to_jsonb(n) AS fields OFFSET 0) AS row_after
CROSS JOIN LATERAL jsonb_each(row_before.fields) AS field (name, value)
WHERE ({old}) IS DISTINCT FROM ({new}) AND field.value IS DISTINCT FROM row_after.fields -> field.name
ORDER BY o.created_at, o.id, field.name
"""
_MERGED: LiteralString = """
SELECT merged.id::text, merged.name, kept.id::text, kept.name, kept.remote_origin, merged.remote_origin
FROM imi_adoption.kept AS k
JOIN public.projects AS merged ON merged.id = k.id
JOIN public.projects AS kept ON kept.id = k.kept_id
WHERE merged.id <> kept.id
ORDER BY merged.created_at, merged.id
"""


def stage(conn: Connection[Any], table: str) -> list[Change]:
    """Put the rows of `table`, as they will be, into a table without rules, and return what changes in them."""
    columns = _columns(conn, table)
    expressions = EXPRESSIONS[table]
    selected = [
        sql.SQL("{} AS {}").format(
            sql.SQL(expressions[name]) if name in expressions else sql.Identifier("o", name), sql.Identifier(name)
        )
        for name in columns
    ]
    staged = sql.Identifier(SCRATCH, f"staged_{table}")
    conn.execute(
        sql.SQL("CREATE TABLE {} AS SELECT {} FROM {}").format(
            staged, sql.SQL(", ").join(selected), sql.SQL(_SOURCES[table])
        )
    )
    converted = [name for name in columns if name in expressions]
    query = sql.SQL(_CHANGES).format(
        source=sql.Identifier("public", table),
        staged=staged,
        old=sql.SQL(", ").join(sql.Identifier("o", name) for name in converted),
        new=sql.SQL(", ").join(sql.Identifier("n", name) for name in converted),
    )
    return [
        Change(table, id_, name, field, old, new, rule(field, old, new))
        for id_, name, field, old, new in rows(conn, query)
    ]


def merges(conn: Connection[Any]) -> list[tuple[str, str, str, str, str, str]]:
    """Projects that become another: id, name; id, name and origin of the other; their own origin."""
    return [tuple(row) for row in rows(conn, _MERGED)]


def _columns(conn: Connection[Any], table: str) -> list[str]:
    """Names of the columns of our table, in their order."""
    query = "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 ORDER BY attnum"
    return [name for (name,) in rows(conn, query, [f"{SCRATCH}.{table}"])]
