"""The way back of one migration after the other, and what stands beside their transactions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from registry.database import migrate
from registry.database.migration import Migration
from registry.database.stepping import back
from registry.errors import Conflict, Invalid
from tests.support.schema.migrations import catalogs, run_sql
from tests.support.services import wait_until

PACKAGED = migrate.load()
FROM_007 = [one.name for one in PACKAGED if one.version > 6]


def file(version: int, body: str, down: str | None = None, *, behind: str = "", before: str = "") -> Migration:
    """A migration with statements behind its transaction, and a way back with statements before its own."""
    way = None if down is None else f"{before}\nBEGIN;\n{down}\nCOMMIT;\n"
    return Migration(version, f"{version:03}_made_up.sql", f"BEGIN;\n{body}\nCOMMIT;\n{behind}\n", way)


FIRST = file(1, "CREATE TABLE IF NOT EXISTS a (\n    n integer\n);")
SECOND = file(2, "CREATE TABLE IF NOT EXISTS b (\n    n integer\n);", "DROP TABLE IF EXISTS b;")
INDEXED = file(
    3,
    "SELECT 1;",
    "SELECT 1;",
    behind="CREATE INDEX CONCURRENTLY IF NOT EXISTS a_n ON public.a ((1 / n));",
    before="DROP INDEX CONCURRENTLY IF EXISTS public.a_n;",
)


@pytest.fixture
def db(empty_database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(empty_database, autocommit=True) as conn:
        yield conn


def states(db: psycopg.Connection, *migrations: Migration) -> list[str]:
    return [item.state for item in migrate.status(db, migrations=migrations)]


def test_every_migration_from_007_on_has_its_way_back() -> None:
    assert [one.name for one in PACKAGED if one.version > 6 and one.down is None] == []


@pytest.mark.parametrize("name", FROM_007)
def test_a_way_back_leaves_the_catalogs_as_they_were(empty_database: str, name: str) -> None:
    earlier = [one for one in PACKAGED if one.name < name]
    known = PACKAGED[: len(earlier) + 1]
    with psycopg.connect(empty_database) as conn:
        migrate.apply(conn, migrations=earlier)
        before = catalogs(empty_database)
        migrate.apply(conn, migrations=known)

        assert back.down(conn, to=earlier[-1].version, migrations=known) == [name]

        assert catalogs(empty_database) == before
        assert migrate.apply(conn, migrations=known) == [name]


def test_all_the_way_back_and_up_again_keeps_what_is_registered(database: str) -> None:
    with psycopg.connect(database) as conn:
        conn.execute("SELECT register_project('kept', 'git@github.com:owner/kept.git')")
        conn.commit()
        before = conn.execute("SELECT p.*, o.id FROM projects p, outbox o").fetchall()
        conn.commit()

        assert back.down(conn, to=6) == FROM_007[::-1]

        migrate.check(conn, migrations=PACKAGED[:6])
        assert migrate.apply(conn) == FROM_007
        assert conn.execute("SELECT p.*, o.id FROM projects p, outbox o").fetchall() == before


def test_one_path_on_two_hosts_is_no_way_back_behind_hosts_and_changes_nothing(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("SELECT register_project('a', 'git@github.com:o/a.git')")
        for name in ("laptop", "server"):
            conn.execute("SELECT set_config('imi.host_id', register_host(%s)::text, false)", [name])
            conn.execute("SELECT register_worktree(id, 'feat', 'x', 'x', '/x') FROM projects")
        with pytest.raises(Conflict, match=r'path "/x" is that of active worktrees on the hosts "laptop", "server"'):
            back.down(conn, to=9)
        assert [one.name for one in migrate.status(conn) if one.applied_at][-1].startswith("010")
        conn.execute("UPDATE worktrees SET active = false WHERE host_id = host_named('laptop')")
        back.down(conn, to=9)


def test_what_was_applied_last_is_taken_back_first_and_can_be_applied_again(db: psycopg.Connection) -> None:
    all_three = [FIRST, SECOND, INDEXED]
    migrate.apply(db, migrations=all_three)

    assert back.down(db, to=1, migrations=all_three, dry_run=True) == [INDEXED.name, SECOND.name]
    assert states(db, *all_three) == ["applied"] * 3

    assert back.down(db, to=1, migrations=all_three) == [INDEXED.name, SECOND.name]
    assert states(db, *all_three) == ["applied", "pending", "pending"]
    assert db.execute("SELECT to_regclass('b'), to_regclass('a_n')").fetchone() == (None, None)
    assert back.down(db, to=1, migrations=all_three) == []
    assert migrate.apply(db, migrations=all_three) == [SECOND.name, INDEXED.name]


def test_a_way_back_that_fails_is_named_with_its_line_and_goes_on_later(db: psycopg.Connection) -> None:
    broken = file(3, "SELECT 1;", "SELECT 1 / 0;")
    migrate.apply(db, migrations=[FIRST, SECOND, broken])
    with pytest.raises(Invalid, match=r"migration down/003_made_up\.sql line 3: division by zero"):
        back.down(db, to=1, migrations=[FIRST, SECOND, broken])
    assert states(db, FIRST, SECOND, broken) == ["applied"] * 3


def test_what_cannot_be_taken_back_is_refused_before_anything_is(db: psycopg.Connection) -> None:
    migrate.apply(db, migrations=[FIRST, SECOND])
    with pytest.raises(Conflict, match=r"001_made_up\.sql has no way back of its own; imi-registry migrate rollback"):
        back.down(db, to=0, migrations=[file(0, ""), FIRST, SECOND])
    with pytest.raises(Conflict, match=r"newer schema: it has 002_made_up\.sql"):
        back.down(db, to=1, migrations=[FIRST])
    with pytest.raises(Invalid, match="migration 009: there is no such migration; the first is 1, the last 2"):
        back.down(db, to=9, migrations=[FIRST, SECOND])
    assert states(db, FIRST, SECOND) == ["applied", "applied"]


def test_an_index_that_could_not_be_built_is_built_anew_and_only_then_on_record(db: psycopg.Connection) -> None:
    migrate.apply(db, migrations=[FIRST])
    db.execute("INSERT INTO a VALUES (0)")
    with pytest.raises(Invalid, match=r"migration 003_made_up\.sql line 4: division by zero"):
        migrate.apply(db, migrations=[FIRST, SECOND, INDEXED])
    assert states(db, FIRST, SECOND, INDEXED) == ["applied", "applied", "pending"]
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_n'::regclass"
    assert db.execute(valid).fetchone() == (False,)

    db.execute("UPDATE a SET n = 1")
    assert migrate.apply(db, migrations=[FIRST, SECOND, INDEXED]) == [INDEXED.name]
    assert db.execute(valid).fetchone() == (True,)


def test_several_at_once_build_an_index_that_waits_for_every_snapshot(empty_database: str) -> None:
    def apply(_: int) -> list[str]:
        with psycopg.connect(empty_database) as conn:
            return migrate.apply(conn, migrations=[FIRST, SECOND, INDEXED])

    with ThreadPoolExecutor(4) as pool:
        applied = sorted(pool.map(apply, range(4)))

    assert applied == [[]] * 3 + [[FIRST.name, SECOND.name, INDEXED.name]]


def test_writers_go_on_while_a_migration_waits_for_a_lock(empty_database: str) -> None:
    altered = file(2, "ALTER TABLE a ADD COLUMN IF NOT EXISTS m integer;")
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'a'::regclass"
    run_sql(empty_database, "CREATE TABLE a (n integer)")
    with (
        psycopg.connect(empty_database) as holder,
        psycopg.connect(empty_database, autocommit=True) as writer,
        psycopg.connect(empty_database) as conn,
    ):
        holder.execute("SELECT FROM a")
        migrating = threading.Thread(target=lambda: migrate.apply(conn, migrations=[FIRST, altered]))
        migrating.start()
        wait_until(lambda: writer.execute(waiting).fetchall())

        # the holder ends only afterwards: a lock that is waited for without end would keep the writer, too
        writer.execute("SET statement_timeout = '60s'")
        writer.execute("INSERT INTO a VALUES (1)")

        holder.rollback()
        migrating.join(60)
        assert states(writer, FIRST, altered) == ["applied", "applied"]


def test_outside_of_a_transaction_stands_only_what_must(db: psycopg.Connection) -> None:
    for behind in ("INSERT INTO a VALUES (1);", "CREATE INDEX CONCURRENTLY a_n ON public.a (n);"):
        refused = pytest.raises(Invalid, match=r"001_made_up\.sql line 4: outside of the transaction there may be")
        with refused:
            migrate.apply(db, migrations=[file(1, "CREATE TABLE a (n integer);", behind=behind)])
    assert db.execute("SELECT to_regclass('a')").fetchone() == (None,)


def test_a_way_back_of_no_migration_and_one_that_was_edited_after_its_release_are_refused(tmp_path: Path) -> None:
    (tmp_path / "down").mkdir()
    (tmp_path / SECOND.name).write_text(SECOND.sql)
    way = tmp_path / "down" / SECOND.name
    way.write_text(SECOND.down or "")
    (loaded,) = migrate.load(tmp_path)
    assert loaded.down == SECOND.down

    (tmp_path / "frozen.json").write_text(f'{{"down/{SECOND.name}": "{Migration(1, "", SECOND.down or "").checksum}"}}')
    migrate.load(tmp_path)
    way.write_text("BEGIN;\nCOMMIT;\n")
    with pytest.raises(Invalid, match=r"down/002_made_up\.sql was released and must stay as it was"):
        migrate.load(tmp_path)
    (tmp_path / "frozen.json").unlink()
    way.rename(tmp_path / "down/003_other.sql")
    with pytest.raises(Invalid, match=r"down/003_other\.sql: there is no 003_other\.sql that it takes back"):
        migrate.load(tmp_path)
