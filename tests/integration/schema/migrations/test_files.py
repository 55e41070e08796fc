"""What the files of the migrations must be, and what is told of one that is changed, newer, or fails."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from registry.database import migrate
from registry.errors import Conflict, Invalid, RegistryError
from tests.support.schema.migrations import catalogs, migration


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


def test_a_file_that_is_not_one_transaction_is_refused(empty_database: str) -> None:
    bare = migrate.Migration(1, "001_bare.sql", "CREATE TABLE a ();\n")
    with psycopg.connect(empty_database) as conn:
        with pytest.raises(Invalid, match=r"001_bare\.sql: expected one transaction"):
            migrate.apply(conn, migrations=[bare])
        assert conn.execute("SELECT to_regclass('a')").fetchone() == (None,)


def test_a_file_with_more_than_ascii_says_in_which_encoding_it_is() -> None:
    files = {
        name: text for one in migrate.load() for name, text in ((one.name, one.sql), (f"down/{one.name}", one.down))
    }
    wide = {name: text for name, text in files.items() if text and not text.isascii()}
    assert "down/013_replica.sql" in wide
    assert [name for name, text in wide.items() if "SET LOCAL client_encoding = 'UTF8';" not in text] == []


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
