"""What database, role, environment or pooler have set for the session changes nothing: every function, every event.

Nor is a session told anything for it, as of a backslash in a string where `standard_conforming_strings` is off.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from registry.database import migrate
from tests.integration.schema.test_rights import by_psql, populate
from tests.support.roles.calls import CALLS
from tests.support.schema.migrations import NAMES

Conn = psycopg.Connection[Any]

SETTINGS = {
    "search_path": "pg_temp",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "client_encoding": "LATIN1",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "timezone": "Pacific/Chatham",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "gin_fuzzy_search_limit": "1",
    "client_min_messages": "debug5",
    "xmloption": "document",
    "default_transaction_deferrable": "on",
    "lc_numeric": "C",
    "default_transaction_isolation": "serializable",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "jit_above_cost": "0",
    "row_security": "off",
    "check_function_bodies": "off",
    "plpgsql.extra_errors": "all",
    "pg_trgm.word_similarity_threshold": "1",
    "imi.activity_retention": "off",
}
NEW = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT.*")
# Changes of every table, with a backslash, text beyond ASCII, a time and a number in each that has one.
CHANGES = [
    "INSERT INTO public.projects (id, name, remote_origin, trunk_path, description, metadata, created_at)"
    " VALUES ('00000000-0000-4000-8000-000000000001', 'Größe I', 'https://GitHub.com/IBM/Infra', '/t',"
    " E'back\\\\slash',"
    " '{\"n\": 1.50, \"big\": 12345678901234567890123}', '2020-02-03T04:05:06.789Z')",
    "INSERT INTO public.worktrees"
    " (id, project_id, type_id, name, branch_name, path, created_at, updated_at, last_sync_at)"
    " VALUES ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', 1, 'w', 'w', '/w',"
    " '2020-02-03T04:05:06.789Z', '2020-02-03T04:05:06.789Z', '2020-02-03T04:05:06.789Z')",
    "UPDATE public.worktrees SET ahead_of_trunk = 2, agent_id = 'ü', metadata = '{\"a\": 0.10}', name = 'v',"
    " created_at = '2021-02-03T04:05:06Z', last_sync_at = '2021-02-03T04:05:06Z'",
    "INSERT INTO public.agent_activities"
    " (id, agent_id, worktree_id, activity_type, description, metadata, created_at) VALUES"
    " ('00000000-0000-4000-8000-000000000003', 'ü', '00000000-0000-4000-8000-000000000002', 'other', 'x',"
    " '{\"a\": 1}', '2020-02-03T04:05:06.789Z')",
    "UPDATE public.worktrees SET merged_at = '2021-02-03T04:05:06Z', merged_by = 'm', merge_commit_hash = 'abc'",
    "UPDATE public.worktrees SET active = true",
    "UPDATE public.projects SET description = NULL, active = false, created_at = '2021-02-03T04:05:06Z'",
    "INSERT INTO public.worktree_types (id, name, branch_prefix, worktree_prefix, created_at)"
    " VALUES (99, 't', 't/', 't-', '2020-02-03T04:05:06.789Z')",
    "UPDATE public.worktree_types SET created_at = '2021-02-03T04:05:06Z' WHERE name = 't'",
    "DELETE FROM public.worktree_types WHERE name = 't'",
    "DELETE FROM public.projects",
    "TRUNCATE public.worktrees",
]


# Comments, strings with E and identifiers are tried first: what is left is a string that the setting reads.
LITERALS = re.compile(r"""--[^\n]*|/\*.*?\*/|\b[eE]'(?:\\.|''|[^'\\])*'|"[^"]*"|(?P<plain>'(?:''|[^'])*')""", re.DOTALL)


def connect(url: str, settings: dict[str, str]) -> tuple[Conn, list[str]]:
    """A session with these settings, and what the server tells it besides answers."""
    conn = psycopg.connect(url, autocommit=True)
    for name, value in settings.items():
        conn.execute(sql.SQL("SELECT set_config({}, {}, false)").format(name, value))
    notices: list[str] = []

    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized in {"NOTICE", "WARNING"}:
            notices.append(f"{diagnostic.severity_nonlocalized}: {diagnostic.message_primary}")

    conn.add_notice_handler(note)
    return conn, notices


@pytest.mark.parametrize("settings", [{name: value} for name, value in SETTINGS.items()] + [SETTINGS], ids=str)
def test_every_function_answers_the_same_under_every_setting(database: str, settings: dict[str, str]) -> None:
    answers = []
    with psycopg.connect(database, autocommit=True) as conn:
        ids = populate(conn)
    for chosen in ({}, settings):
        conn, notices = connect(database, chosen)
        with conn:
            found: dict[str, Any] = {}
            for name, call in CALLS.items():
                # in a search path of its own, a caller names functions and tables by their schema
                qualified = re.sub(r"(?<![.\w])(" + "|".join(CALLS) + r")\(", r"public.\1(", call)
                with conn.transaction(force_rollback=True):
                    query = sql.SQL("SELECT to_jsonb(answer) FROM ({}) AS answer").format(sql.SQL(qualified))
                    rows = conn.execute(query, ids)
                    found[name] = [shape(row) for (row,) in rows]
            answers.append((found, notices))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("settings", [{name: value} for name, value in SETTINGS.items()] + [SETTINGS], ids=str)
def test_every_event_is_the_same_under_every_setting(database: str, settings: dict[str, str]) -> None:
    told = []
    for chosen in ({}, settings):
        conn, notices = connect(database, chosen)
        with conn:
            with psycopg.connect(database) as observer:
                (last,) = observer.execute("SELECT coalesce(max(id), 0) FROM outbox").fetchone() or (0,)
            for change in CHANGES:
                conn.execute(change.encode(conn.info.encoding))
        with psycopg.connect(database) as observer:
            rows = observer.execute(
                "SELECT entity, action, (data - 'updated_at') #- '{changed,updated_at}' #- '{changed,merged_at}'"
                " FROM outbox WHERE id > %s ORDER BY id",
                (last,),
            ).fetchall()
        assert len(rows) >= len(CHANGES)
        assert notices == []
        told.append(rows)
    assert told[0] == told[1]
    assert told[0][0][2]["created_at"] == "2020-02-03T04:05:06.789+00:00"
    assert told[0][0][2]["remote_origin"] == "git@github.com:ibm/infra.git"


@pytest.mark.parametrize("settings", [{"quote_all_identifiers": "on"}, SETTINGS], ids=str)
def test_the_log_is_moved_with_all_its_indexes_under_every_setting(database: str, settings: dict[str, str]) -> None:
    indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'agent_activities' ORDER BY indexname"
    with psycopg.connect(database, autocommit=True) as observer:
        before = observer.execute(indexes).fetchall()
        conn, notices = connect(database, settings)
        with conn:
            for by_month in (True, False):
                conn.execute("SELECT public.begin_activity_move(%s)", [by_month])
                conn.execute("SELECT public.finish_activity_move()")
        assert observer.execute(indexes).fetchall() == before
    assert [one for one in notices if one.startswith("WARNING")] == []


def test_no_function_has_a_string_that_a_session_may_read_otherwise(database: str) -> None:
    with psycopg.connect(database) as conn:
        functions = conn.execute(
            "SELECT p.proname, p.prosrc FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang"
            " WHERE p.pronamespace = 'public'::regnamespace AND l.lanname IN ('sql', 'plpgsql')"
            " AND p.prosqlbody IS NULL"
            " AND NOT coalesce(p.proconfig, '{}') @> ARRAY['standard_conforming_strings=on']"
        ).fetchall()
    assert len(functions) > 100
    found = {
        (name, literal["plain"])
        for name, body in functions
        for literal in LITERALS.finditer(body)
        if "\\" in (literal["plain"] or "")
    }
    assert found == set()


def applied(url: str) -> None:
    with psycopg.connect(url) as conn:
        assert migrate.apply(conn) == NAMES


@pytest.mark.superuser  # to set what belongs to an extension or a language
@pytest.mark.parametrize("install", [applied, by_psql])
def test_a_database_with_all_of_these_settings_is_installed_like_any_other(
    empty_database: str, database: str, install: Callable[[str], None]
) -> None:
    with psycopg.connect(empty_database, autocommit=True) as conn:
        name = sql.Identifier(conn.info.dbname)
        for setting, value in SETTINGS.items():
            conn.execute(sql.SQL("ALTER DATABASE {} SET {} = {}").format(name, sql.SQL(setting), value))

    install(empty_database)

    assert stored(empty_database) == stored(database)


def stored(url: str) -> list[Any]:
    """Types with their icons, functions, constraints, indexes and views, as they read in a session of our own."""
    ours = ("search_path=public", "client_encoding=UTF8", "quote_all_identifiers=off", "datestyle=ISO", "timezone=UTC")
    with psycopg.connect(url, options=" ".join(f"-c {setting}" for setting in ours)) as conn:
        return [
            conn.execute(query.encode()).fetchall()
            for query in (
                "SELECT name, icon, description, color FROM public.worktree_types ORDER BY id",
                "SELECT proname, prosrc, translate(proconfig::text, chr(34) || chr(92), ''),"
                " pg_get_function_arguments(oid)"
                " FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prolang <> 13 ORDER BY proname, 4",
                "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE connamespace = 'public'::regnamespace AND conname !~ '_migrations' ORDER BY conname",
                "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname !~ '_migrations'"
                " ORDER BY indexname",
                "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY viewname",
            )
        ]


def shape(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what differs from call to call: new ids and times; relevance to one digit, as the setting says."""
    return {
        key: NEW.sub("new", value) if isinstance(value, str) else round(value, 1) if isinstance(value, float) else value
        for key, value in row.items()
        if key != "add_worktree_type"  # a sequence never goes back
    }
