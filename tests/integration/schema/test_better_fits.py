"""A function of a stranger that fits a call of ours better than our own is not called instead of it.

Whoever may create in the schema public (on PostgreSQL 14: everybody) makes one beside each function, for each of its
parameters and each type. Triggers and functions with the rights of the owner would run his as the owner. One that has
fewer parameters than ours is another matter: then PostgreSQL takes neither, wherever a default is left to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from registry.database import migrate
from registry.errors import RegistryError
from tests.integration.schema.test_rights import populate
from tests.integration.schema.test_shadowed_functions import APPLY, COMMANDS
from tests.support.databases import name_of, plain_role, url_of
from tests.support.roles.matrix import FUNCTIONS
from tests.support.roles.owner_calls import PREPARED

Conn = psycopg.Connection[Any]

ROOT = Path(__file__).parents[3]

TYPES = [
    *("text", "varchar", "name", "anyelement", "jsonb", "uuid", "bigint", "integer", "smallint", "boolean"),
    *("text[]", "timestamptz"),
]
OURS = """
SELECT
    p.proname::text,
    CASE WHEN p.prokind = 'p' THEN '' ELSE 'RETURNS ' || format_type(p.prorettype, NULL) END,
    ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, place) ORDER BY place)
FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace
    AND p.prorettype <> 'trigger'::regtype
    AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE (d.classid, d.objid) = ('pg_proc'::regclass, p.oid) AND d.deptype = 'e'
    )
"""
TRAP = """
CREATE {kind} public.{name}({types}) {returns} LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'trapped' USING ERRCODE = 'XX000'; END $$
"""
FITTING = "p_column text, p_old text, p_new text"
WORK = [
    "UPDATE projects SET active = false, description = 'd', metadata = '{\"a\": 1}'",
    "UPDATE worktrees SET agent_id = 'ada', ahead_of_trunk = 3, has_uncommitted_changes = true",
    "UPDATE worktrees SET metadata = '{\"a\": 1}'",
    "UPDATE worktrees SET merged_at = now(), active = false",
    "UPDATE worktrees SET last_sync_at = now()",
    "UPDATE worktree_types SET color = '#000000', is_builtin = true WHERE name = 'spike'",
    "UPDATE hosts SET name = 'renamed', description = 'd'",
    "UPDATE project_hosts SET trunk_path = '/else'",
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
    " SELECT 'a', id, 'other', 'w' FROM worktrees",
    "DELETE FROM worktrees",
    "DELETE FROM projects",
    "DELETE FROM worktree_types WHERE NOT is_builtin",
    "TRUNCATE projects CASCADE",
    "TRUNCATE worktree_types CASCADE",
    "UPDATE projects SET name = repeat('x', 3000)",
    "UPDATE worktrees SET path = 'relative', name = ' '",
    "CALL recount_registry()",
    "CALL fold_counts()",
]


@pytest.fixture
def ids(database: str, admin_url: str) -> Iterator[dict[str, Any]]:
    """Ids of rows, in a registry that is full of traps."""
    with psycopg.connect(database, autocommit=True) as conn:
        ids = populate(conn)
        conn.execute("SELECT place_project(%(project)s, register_host('server'), '/there', false)", ids)
        ours = conn.execute(OURS).fetchall()
        with plain_role(admin_url, database) as role:
            conn.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(role.name)))
            with psycopg.connect(url_of(database, name_of(database), role)) as stranger:
                stranger.execute("SET client_min_messages = error")
                for name, returns, types in ours:
                    for place in range(len(types)):
                        for other in TYPES:
                            listed = ", ".join([*types[:place], other, *types[place + 1 :]])
                            kind = "FUNCTION" if returns else "PROCEDURE"
                            trap = TRAP.format(kind=kind, name=name, types=listed, returns=returns)
                            with suppress(psycopg.Error), stranger.transaction():
                                stranger.execute(trap.encode())
            yield ids


def sprung(conn: Conn, statement: str, values: Any = None, *, before: Sequence[str] = ()) -> str:
    """Where a trap was, or PostgreSQL could not tell which one is called; what was done is taken back."""
    with conn.transaction(force_rollback=True):
        try:
            with conn.transaction():
                for one in (*before, statement):
                    conn.execute(one.encode(), values)
        except psycopg.Error as error:
            if "trapped" in str(error) or isinstance(error, psycopg.errors.AmbiguousFunction):
                return f"{statement}: {error}"
    return ""


def test_nothing_that_fits_better_is_called(database: str, ids: dict[str, Any]) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        (traps,) = conn.execute("SELECT count(*) FROM pg_proc WHERE prosrc ~ 'trapped'").fetchone() or (0,)
        assert traps > 1000
        found = [sprung(conn, statement) for statement in WORK]
        found += [sprung(conn, call, ids, before=PREPARED.get(name, ())) for name, call in FUNCTIONS.items()]
        found += [sprung(conn, APPLY, [name, data, data.encode()]) for name, data in COMMANDS.items()]
    assert "\n".join(filter(None, found)) == ""


@pytest.mark.superuser
def test_one_that_a_stranger_made_before_is_refused_by_name(empty_database: str, admin_url: str) -> None:
    """A superuser who replaces it leaves it the stranger's."""
    packaged = migrate.load()
    before = [one for one in packaged if one.version < 15]
    url = url_of(admin_url, name_of(empty_database))
    with plain_role(admin_url, empty_database) as role, psycopg.connect(url, autocommit=True) as conn:
        migrate.apply(conn, migrations=before)
        conn.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(role.name)))
        with psycopg.connect(url_of(url, name_of(url), role)) as stranger:
            stranger.execute(
                TRAP.format(kind="FUNCTION", name="outbox_change", types=FITTING, returns="RETURNS jsonb").encode()
            )
        with pytest.raises(RegistryError, match=rf"function outbox_change\(text,text,text\) .* {role.name} made it"):
            migrate.apply(conn, migrations=packaged)
        conn.execute("DROP FUNCTION public.outbox_change(text, text, text)")
        migrate.apply(conn, migrations=packaged)


def test_numbers_that_programs_give_have_the_type_of_the_parameter(database: str) -> None:
    """psycopg sends a number in the smallest type that has room for it: what takes that one would fit better."""
    with psycopg.connect(database) as conn:
        ours = {name: types for name, _, types in conn.execute(OURS).fetchall()}
    bare = [
        f"{path.relative_to(ROOT)}: {name}({given})"
        for room in ("publisher", "registry")
        for path in sorted((ROOT / room).rglob("*.py"))
        for name, given in re.findall(r"\bpublic\.(\w+)\(([^()]*)\)", path.read_text(encoding="utf-8"))
        for place, argument in enumerate(given.split(","))
        if "%" in argument and "::" not in argument and {*ours.get(name, [])[place : place + 1]} & {"integer", "bigint"}
    ]
    assert "\n".join(bare) == ""
