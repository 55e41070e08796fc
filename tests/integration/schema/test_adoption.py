"""A database with the schema 2.0.0 as it was first shipped becomes one of ours, with all its rows, or is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from publisher.history.verification import verify
from registry.database import migrate
from registry.database.adoption import Plan, Undecided
from registry.database.adoption.original import TABLES
from registry.database.backfill import backfill
from registry.database.head import head
from registry.errors import Conflict, Invalid, Unavailable
from tests.integration.schema.test_migrate import NAMES, catalogs
from tests.support.before import original
from tests.support.before.original import id_of
from tests.support.commandline import CommandLine, command_line
from tests.support.databases import Role, name_of, plain_role, url_of
from tests.support.histories import export, import_
from tests.support.world import World

Conn = psycopg.Connection[Any]
Rows = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture
def db(empty_database: str) -> Iterator[Conn]:
    """The original schema with data that needs no decision."""
    original.create(empty_database, "convertible")
    with psycopg.connect(empty_database, autocommit=True) as conn:
        yield conn


@pytest.fixture
def more(db: Conn) -> Callable[[str], None]:
    """Adds one of the other sets of data."""
    return lambda name: original.add(db, (original.FILES / f"{name}.sql").read_text())


@pytest.fixture
def cli(empty_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(monkeypatch, capsys, DATABASE_URL=empty_database)


def all_rows(conn: Conn) -> Rows:
    """Every row, by its table and id."""
    found: Rows = {}
    for table in TABLES:
        query = sql.SQL("SELECT to_jsonb(t) FROM {} AS t").format(sql.Identifier("public", table))
        found |= {(table, str(row["id"])): row for (row,) in conn.execute(query)}
    return found


def changed(rows: Rows, plan: Plan) -> Rows:
    """`rows` as the plan says that they become."""
    found = {key: dict(row) for key, row in rows.items()}
    for change in plan.changes:
        assert found[change.table, change.id][change.field] == change.old, change
        if change.field == "id":
            del found[change.table, change.id]
        else:
            found[change.table, change.id][change.field] = change.new
    return found


def update(table: str, field: str, number: int) -> str:
    """What a person is told to run."""
    return f"UPDATE public.{table} SET {field} = … WHERE id = '{id_of(number)}'"  # noqa: S608  # never run


def names_of(url: str) -> list[tuple[object, ...]]:
    """What is in the catalogs, but for numbers that PostgreSQL gives, and an extension that only the original needs."""
    numbered = {"comment", "cast", "default acl"}
    return [
        row
        for row in catalogs(url)
        if row[0] not in numbered and "RI_ConstraintTrigger" not in str(row[1]) and "pgcrypto" not in str(row[1])
    ]


def test_the_upgraded_schema_is_that_of_a_new_database(db: Conn, empty_database: str, database: str) -> None:
    assert migrate.apply(db) == NAMES
    with psycopg.connect(database) as new:
        assert head(db) == head(new)
    has_pgcrypto = db.execute("SELECT FROM pg_extension WHERE extname = 'pgcrypto'").fetchall()
    if not has_pgcrypto:
        assert names_of(empty_database) == names_of(database)
    migrate.check(db)
    assert migrate.apply(db) == []


def test_each_row_is_what_it_was_but_for_what_the_dry_run_told(db: Conn) -> None:
    before = all_rows(db)
    plan = migrate.plan(db)
    assert plan.decisions == []
    assert migrate.upgrade(db) == (NAMES, plan)
    assert all_rows(db) == changed(before, plan)


def test_what_is_told_is_what_had_to_change(db: Conn) -> None:
    told = {
        (change.table, change.id[-3:], change.field): (change.old, change.new) for change in migrate.plan(db).changes
    }
    assert told["projects", "001", "remote_origin"] == (
        "git@github.com:Owner/iMi.git",
        "git@github.com:owner/imi.git",
    )
    assert told["projects", "001", "metadata"] == ([1, "two"], {"value": [1, "two"]})
    assert told["worktrees", "011", "merged_at"][1] is None
    assert told["worktrees", "012", "behind_trunk"] == (None, 0)
    assert told["worktrees", "013", "uncommitted_files_count"] == (0, 1)
    assert told["worktrees", "014", "has_uncommitted_changes"] == (False, True)
    assert told["worktrees", "015", "active"] == (True, False)
    assert len(told) == 24


def test_a_dry_run_changes_nothing_and_waits_for_nobody(db: Conn, empty_database: str) -> None:
    before, rows = catalogs(empty_database), all_rows(db)
    with psycopg.connect(empty_database) as writer:
        writer.execute("UPDATE projects SET name = 'not yet'")
        db.execute("SET lock_timeout = '1s'")
        assert migrate.plan(db).changes
        writer.rollback()
    assert catalogs(empty_database) == before
    assert all_rows(db) == rows


def test_clients_go_on_with_what_they_know(db: Conn) -> None:
    migrate.apply(db)
    (project,) = db.execute("SELECT register_project('x', 'https://github.com/Owner/iMi')").fetchone() or ("",)
    assert str(project) == id_of(1)
    db.execute("DELETE FROM worktrees WHERE id = %s", [id_of(11)])
    assert db.execute("SELECT worktree_name FROM v_recent_agent_activity WHERE id = %s", [id_of(101)]).fetchall() == [
        ("again",)
    ]
    (new_type,) = db.execute("SELECT id FROM add_worktree_type('new', 'new/', 'new-') AS id").fetchone() or (0,)
    assert db.execute("SELECT id FROM worktree_types WHERE name = 'new'").fetchone() == (8,), new_type


DECIDED = """
UPDATE projects SET remote_origin = 'git@github.com:owner/deep.git' WHERE id = uuid(5);
UPDATE projects SET trunk_path = '/code/relative' WHERE id = uuid(6);
UPDATE worktree_types SET name = 'my-type' WHERE id = '20';
UPDATE worktrees SET active = false WHERE id = uuid(19);
UPDATE agent_activities SET description = '(none)' WHERE id = uuid(105);
"""


def test_what_only_a_person_can_put_right_is_listed_refused_and_then_taken(
    db: Conn, empty_database: str, more: Callable[[str], None]
) -> None:
    more("undecidable")
    before = catalogs(empty_database), all_rows(db)

    with pytest.raises(
        Undecided, match=r"has the original schema 2\.0\.0, and 5 decisions are open; nothing was changed"
    ):
        migrate.apply(db)
    assert (catalogs(empty_database), all_rows(db)) == before
    decisions = migrate.plan(db).decisions
    assert [(one.table, one.id[-3:], one.name) for one in decisions] == [
        ("projects", "005", "deep"),
        ("projects", "006", "relative"),
        ("worktree_types", "20", "my type"),
        ("worktrees", "019", "same"),
        ("agent_activities", "105", "agent-2"),
    ]
    assert decisions[0].problem == 'remote_origin "git@github.com:owner/group/repo.git" is not owner/repo on GitHub'
    assert "with its 1 worktrees and 1 activities: DELETE FROM public.projects" in decisions[0].how
    assert 'it must begin with "/" or "~"' in decisions[1].problem
    assert decisions[1].how == update("projects", "trunk_path", 6)
    assert "worktrees_unique_active_path" in decisions[3].problem

    original.add(db, DECIDED)
    assert migrate.apply(db) == NAMES


def test_projects_of_one_repository_are_one_where_somebody_says_so(db: Conn, more: Callable[[str], None]) -> None:
    more("duplicates")
    before = all_rows(db)
    (decision,) = migrate.plan(db).decisions
    assert (decision.id, decision.name) == (id_of(4), "lower")
    assert "is the same repository as git@github.com:Owner/iMi.git" in decision.problem
    assert "--merge-duplicates" in decision.how
    with pytest.raises(Undecided, match="1 decision is open"):
        migrate.apply(db)

    plan = migrate.plan(db, merge_duplicates=True)
    assert migrate.upgrade(db, merge_duplicates=True) == (NAMES, plan)
    rows = all_rows(db)
    assert rows == changed(before, plan)
    assert rows["worktrees", id_of(17)]["project_id"] == id_of(1), "the active one is kept"
    (merged,) = rows["projects", id_of(1)]["metadata"]["merged_projects"]
    assert merged == before["projects", id_of(4)]


def test_of_two_active_projects_the_older_one_is_kept(db: Conn, more: Callable[[str], None]) -> None:
    more("duplicates")
    db.execute("UPDATE projects SET active = true")
    migrate.upgrade(db, merge_duplicates=True)
    assert db.execute("SELECT id::text FROM projects WHERE remote_origin LIKE '%imi%'").fetchall() == [(id_of(4),)]


def test_worktrees_of_one_name_in_projects_that_become_one_are_to_be_decided(
    db: Conn, more: Callable[[str], None]
) -> None:
    more("duplicates")
    db.execute("UPDATE worktrees SET name = 'again' WHERE id = %s", [id_of(17)])
    (decision,) = migrate.plan(db, merge_duplicates=True).decisions
    assert decision.how == update("worktrees", "name", 11)
    assert "worktrees_unique_project_name" in decision.problem


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


def test_rows_of_others_that_refer_to_a_project_which_is_merged_are_to_be_decided(
    db: Conn, more: Callable[[str], None]
) -> None:
    more("duplicates")
    more("identity")
    db.execute("UPDATE identities SET project_id = %s", [id_of(4)])
    (decision,) = migrate.plan(db, merge_duplicates=True).decisions
    assert decision.table == "identities"
    assert decision.problem == f"1 rows refer by project_id to project {id_of(4)}, which is merged into {id_of(1)}"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("ALTER TABLE projects ADD host_id text", "table projects .* its column host_id is not of that schema"),
        ("ALTER TABLE worktrees DROP merged_by CASCADE", "has a worktrees that .* lacks merged_by"),
        (
            "ALTER TABLE projects ALTER description TYPE varchar",
            "its column description is character varying, not text",
        ),
        (
            "ALTER TABLE projects DROP CONSTRAINT projects_unique_active_remote",
            "table worktrees .* projects is missing",
        ),
    ],
)
def test_what_resembles_it_is_refused_by_the_name_of_its_table(
    db: Conn, empty_database: str, change: str, told: str
) -> None:
    db.execute(change.encode())
    before = catalogs(empty_database)
    for attempt in (migrate.plan, migrate.apply):
        with pytest.raises(Conflict, match=told):
            attempt(db)
    assert catalogs(empty_database) == before


def test_tables_of_the_same_columns_that_are_no_registry_of_either_kind_are_refused(db: Conn) -> None:
    for table, constraint in [
        ("projects", "projects_unique_active_remote"),
        ("worktrees", "worktrees_unique_active_path"),
        ("agent_activities", "agent_activities_worktree_id_fkey"),
    ]:
        db.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}".encode())
    with pytest.raises(
        Conflict, match=r"has a \w+ that is not the registry's \(it lacks the constraint \w+_times_check\)"
    ):
        migrate.apply(db)


ADDED = {
    "trigger mine": (
        "CREATE TRIGGER mine BEFORE DELETE ON worktrees FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()"
    ),
    "view mine": "CREATE VIEW mine AS SELECT name FROM projects",
    "index mine": "CREATE INDEX mine ON projects (created_at)",
    "constraint mine": "ALTER TABLE projects ADD CONSTRAINT mine UNIQUE (name)",
    "constraint projects_name_check1": "ALTER TABLE projects ADD CHECK (name <> 'x')",
    "constraint short_name": "ALTER TABLE projects ADD CONSTRAINT short_name CHECK (length(name) < 20)",
    "default 'master'::text of column default_branch": (
        "ALTER TABLE projects ALTER default_branch SET DEFAULT 'master'"
    ),
    "default value for column n of table counter": (
        "CREATE TABLE counter (n integer DEFAULT nextval('worktree_types_id_seq'))"
    ),
    "materialized view mine": "CREATE MATERIALIZED VIEW mine AS SELECT name FROM projects",
    "rule mine": "CREATE RULE mine AS ON DELETE TO projects DO INSTEAD NOTHING",
    "statistics mine": "CREATE STATISTICS mine ON name, active FROM projects",
    "row level security": "ALTER TABLE projects ENABLE ROW LEVEL SECURITY",
    "policy mine": "CREATE POLICY mine ON projects USING (true)",
    "publication mine": "CREATE PUBLICATION mine FOR TABLE projects",
    "function mine(projects)": "CREATE FUNCTION mine(projects) RETURNS text LANGUAGE sql AS 'SELECT $1.name'",
    "function register_project(text)": "CREATE FUNCTION register_project(text) RETURNS int AS 'SELECT 1' LANGUAGE sql",
}


@pytest.mark.parametrize("what", ADDED)
def test_what_somebody_added_is_named_and_neither_lost_nor_in_the_way(db: Conn, what: str) -> None:
    db.execute(ADDED[what].encode())
    (decision,) = migrate.plan(db).decisions
    assert decision.name == what
    with pytest.raises(Undecided):
        migrate.apply(db)


def test_an_index_with_a_name_like_those_of_the_schema_is_kept(db: Conn) -> None:
    db.execute("CREATE INDEX idx_projects_mine ON projects (created_at) WHERE active")
    definition = "SELECT indexdef FROM pg_indexes WHERE indexname = 'idx_projects_mine'"
    before = db.execute(definition).fetchall()
    assert migrate.apply(db) == NAMES
    assert db.execute(definition).fetchall() == before
    assert len(before) == 1


HOSTILE = {
    "search_path": "pg_temp",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "datestyle": "German",
    "timezone": "Pacific/Chatham",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "transform_null_equals": "on",
    "array_nulls": "off",
}


def test_settings_of_the_session_change_nothing_of_it(db: Conn, more: Callable[[str], None]) -> None:
    more("duplicates")
    more("identity")
    db.execute("UPDATE identities SET project_id = %s", [id_of(1)])
    plain = migrate.plan(db, merge_duplicates=True)
    rows = changed(all_rows(db), plain)
    for name, value in HOSTILE.items():
        db.execute("SELECT set_config(%s, %s, false)", [name, value])

    assert migrate.plan(db).decisions != []
    assert migrate.upgrade(db, merge_duplicates=True) == (NAMES, plain)

    db.execute("RESET ALL")
    assert all_rows(db) == rows


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


def test_a_migration_that_fails_leaves_the_original_as_it_was(db: Conn, empty_database: str) -> None:
    before = catalogs(empty_database), all_rows(db)
    broken = migrate.Migration(6, "006_broken.sql", "BEGIN;\nSELECT 1 / 0;\nCOMMIT;\n")
    with pytest.raises(Invalid, match="division by zero"):
        migrate.apply(db, migrations=[*migrate.load(), broken])
    assert (catalogs(empty_database), all_rows(db)) == before


def test_two_at_once_upgrade_it_once(db: Conn, empty_database: str) -> None:
    together = threading.Barrier(2)

    def upgrade(_: int) -> list[str]:
        with psycopg.connect(empty_database, row_factory=dict_row) as conn:
            together.wait(20)
            return migrate.apply(conn)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(upgrade, range(2))) == [[], NAMES]


async def test_the_events_then_tell_all_and_an_import_is_the_same_registry(
    world: World, db: Conn, empty_database: str, tmp_path: Path, more: Callable[[str], None]
) -> None:
    more("duplicates")
    migrate.upgrade(db, merge_duplicates=True)
    assert backfill(db) == len(all_rows(db))
    upgraded = world.at(database=empty_database)
    assert (await verify(upgraded.settings())).differences == []

    await export(upgraded, tmp_path / "x")
    await import_(world, tmp_path / "x")
    with psycopg.connect(world.database) as new:
        assert all_rows(new) == all_rows(db)


async def test_the_events_of_an_upgraded_registry_are_published(world: World, db: Conn, empty_database: str) -> None:
    migrate.apply(db)
    backfill(db)
    upgraded = world.at(database=empty_database)
    async with upgraded.relay():
        await upgraded.assert_exactly_once(at_least=len(all_rows(db)))


def test_the_command_line_lists_refuses_and_upgrades(cli: CommandLine, db: Conn, more: Callable[[str], None]) -> None:
    more("duplicates")
    listed = cli("migrate", "up", "--dry-run", "--json")
    assert listed.code == 1
    assert '"decisions": [{"table": "projects"' in listed.out
    text = cli("migrate", "up", "--dry-run")
    assert text.code == 1
    assert "the original schema 2.0.0; 26 values change:" in text.out
    assert "to decide: projects 00000000-0000-0000-0000-000000000004 (lower)" in text.out
    refused = cli("migrate", "up")
    assert refused.code == 1
    assert "--merge-duplicates" in refused.err

    dry = cli("migrate", "up", "--merge-duplicates", "--dry-run", "--json").json
    assert (dry["pending"], dry["applied"], dry["decisions"]) == (NAMES, [], [])
    done = cli("migrate", "up", "--merge-duplicates")
    assert (done.code, done.err) == (0, "")
    assert "applied 005_history.sql\nwrote the events of 20 rows that are older than the outbox\n" in done.out
    assert cli("migrate", "up").out == "nothing to apply\n"
