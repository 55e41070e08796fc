"""Others have a part in what is upgraded: their tables, indexes and rights stay theirs, and their locks count."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from registry.database import migrate
from registry.errors import Unavailable
from tests.support.before import original
from tests.support.before.original import id_of
from tests.support.databases import Role, name_of, plain_role, url_of
from tests.support.schema.migrations import NAMES

Conn = psycopg.Connection[Any]


def test_tables_of_others_keep_their_rows_and_what_they_refer_to(db: Conn, more: Callable[[str], None]) -> None:
    more("identity")
    query = """
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid = 'identities'::regclass AND contype = 'f' ORDER BY 1
    """
    before = db.execute(query).fetchall(), db.execute("TABLE identities").fetchall()
    assert migrate.apply(db) == NAMES
    assert (db.execute(query).fetchall(), db.execute("TABLE identities").fetchall()) == before
    db.execute("UPDATE identities SET id = id")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        db.execute("DELETE FROM worktrees WHERE id = %s", [id_of(13)])


def test_an_index_with_a_name_like_those_of_the_schema_is_kept(db: Conn) -> None:
    db.execute("CREATE INDEX idx_projects_mine ON projects (created_at) WHERE active")
    definition = "SELECT indexdef FROM pg_indexes WHERE indexname = 'idx_projects_mine'"
    before = db.execute(definition).fetchall()
    assert migrate.apply(db) == NAMES
    assert db.execute(definition).fetchall() == before
    assert len(before) == 1


@pytest.mark.superuser
def test_a_superuser_who_upgrades_leaves_the_tables_to_their_owner(
    empty_database: str, admin_url: str, owner: Role
) -> None:
    as_owner = url_of(admin_url, name_of(empty_database), owner)
    original.create(as_owner, "convertible")
    with psycopg.connect(empty_database, autocommit=True) as superuser:
        assert migrate.apply(superuser) == NAMES

    with psycopg.connect(as_owner, autocommit=True) as conn:
        conn.execute("SELECT register_project('x', 'git@github.com:o/x.git')")
        conn.execute("SELECT * FROM v_projects_summary, get_registry_stats()")
        conn.execute("DELETE FROM worktrees")
        conn.execute("ALTER VIEW v_projects_summary SET (security_barrier)")
        conn.execute("DROP FUNCTION register_project")
        conn.execute("ALTER TABLE projects ADD mine text")


def test_rights_of_others_are_theirs_afterwards(db: Conn, empty_database: str, admin_url: str) -> None:
    rights = """
        SELECT has_table_privilege(%(role)s, 'projects', 'SELECT'),
            has_table_privilege(%(role)s, 'projects', 'DELETE'),
            has_column_privilege(%(role)s, 'worktrees', 'path', 'UPDATE'),
            has_table_privilege(%(role)s, 'v_inflight_work', 'SELECT WITH GRANT OPTION'),
            has_function_privilege(%(role)s, 'register_project(text, text, text, text, jsonb)', 'EXECUTE'),
            has_function_privilege('public', 'register_project(text, text, text, text, jsonb)', 'EXECUTE')
    """
    with plain_role(admin_url, empty_database) as role:
        name = sql.Identifier(role.name)
        db.execute(sql.SQL("GRANT SELECT ON projects TO {}").format(name))
        db.execute(sql.SQL("GRANT UPDATE (path) ON worktrees TO {}").format(name))
        db.execute(sql.SQL("GRANT SELECT ON v_inflight_work TO {} WITH GRANT OPTION").format(name))
        db.execute("REVOKE EXECUTE ON FUNCTION register_project FROM PUBLIC")
        db.execute(sql.SQL("GRANT EXECUTE ON FUNCTION register_project TO {}").format(name))
        migrate.apply(db)
        assert db.execute(rights, {"role": role.name}).fetchone() == (True, False, True, True, True, False)


def test_tables_in_use_are_left_alone(db: Conn, empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.database.adoption.upgrade.LOCK_SECONDS", 0.05)
    with psycopg.connect(empty_database) as reader:
        reader.execute("SELECT FROM projects")
        with pytest.raises(Unavailable, match="somebody has used its tables"):
            migrate.apply(db)
    assert migrate.apply(db) == NAMES


def test_two_at_once_upgrade_it_once(db: Conn, empty_database: str) -> None:
    together = threading.Barrier(2)

    def upgrade(_: int) -> list[str]:
        with psycopg.connect(empty_database, row_factory=dict_row) as conn:
            together.wait(20)
            return migrate.apply(conn)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(upgrade, range(2))) == [[], NAMES]
