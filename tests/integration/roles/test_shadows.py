"""A caller's temporary tables and types are named as the registry's: every function goes on as if they were not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.integration.schema.test_rights import populate
from tests.support.roles import matrix

NAMES = """
SELECT c.relname::text
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'p', 'S')
"""
TYPES = """
SELECT t.typname::text
FROM pg_type t
WHERE t.typnamespace = 'public'::regnamespace AND t.typtype IN ('c', 'e', 'd')
    AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c')
"""
TAKES_A_ROW = """
SELECT p.proname::text
FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace
    AND EXISTS (SELECT FROM pg_type t WHERE t.oid = ANY (p.proargtypes) AND t.typtype = 'c')
"""
"""Calls of these name a type of the registry themselves."""


@pytest.fixture(scope="module")
def registry() -> Iterator[matrix.Conn]:
    with matrix.registry() as conn:
        yield conn


def outcome(conn: matrix.Conn, call: str, values: Mapping[str, Any]) -> tuple[str, int]:
    """The error of a call, or "" and how many rows it gives; what it did is taken back."""
    with conn.transaction(force_rollback=True):
        try:
            with conn.transaction():
                return "", conn.execute(call.encode(), values).rowcount
        except psycopg.Error as error:
            return str(error).partition("\n")[0], 0


def test_what_a_caller_calls_by_the_same_name_is_never_used(registry: matrix.Conn) -> None:
    with registry.transaction(force_rollback=True):
        ids = populate(registry)
        relations = [name for (name,) in registry.execute(NAMES).fetchall()]
        types = [name for (name,) in registry.execute(TYPES).fetchall()]
        named = {name for (name,) in registry.execute(TAKES_A_ROW).fetchall()}
        tried = {name: call for name, call in matrix.FUNCTIONS.items() if name not in named and name != "published_ids"}
        assert len(tried) > 100
        for role in matrix.ROLES:
            with registry.transaction(force_rollback=True):
                registry.execute(sql.SQL("SET LOCAL SESSION AUTHORIZATION {}").format(sql.Identifier(role)))
                before = {name: outcome(registry, call, ids) for name, call in tried.items()}
                for name in relations:
                    registry.execute(sql.SQL("CREATE TEMP TABLE {} (other text)").format(sql.Identifier(name)))
                for name in types:
                    registry.execute(sql.SQL("CREATE DOMAIN pg_temp.{} AS int").format(sql.Identifier(name)))
                registry.execute("SET LOCAL search_path = pg_temp, public")
                shadowed = {name: outcome(registry, call, ids) for name, call in tried.items()}
            different = {name: (before[name], shadowed[name]) for name in before if before[name] != shadowed[name]}
            assert not different, role
