"""An older program goes on beside a newer one, where the migration between them says that it can."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from registry.database import migrate
from registry.errors import Conflict, Invalid


def made_up(version: int, header: str = "") -> migrate.Migration:
    """A migration that adds a table of its own."""
    sql = f"{header}\nBEGIN;\nCREATE TABLE IF NOT EXISTS made_up_{version} (\n    id integer\n);\nCOMMIT;\n"
    return migrate.Migration(version, f"{version:03}_made_up.sql", sql)


OLD = [made_up(1), made_up(2)]
ADDS = made_up(3, "-- compatible down to: 002")
ADDS_MORE = made_up(4, "-- compatible down to: 002")
ADDS_TO_THE_THIRD = made_up(4, "-- compatible down to: 003")
BREAKS = made_up(4)


@pytest.fixture
def db(empty_database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(empty_database, autocommit=True) as conn:
        yield conn


def test_an_older_program_goes_on_where_each_newer_migration_says_so(db: psycopg.Connection) -> None:
    migrate.apply(db, migrations=OLD)
    migrate.apply(db, migrations=[*OLD, ADDS, ADDS_MORE])
    migrate.check(db, migrations=OLD)
    assert migrate.apply(db, migrations=OLD) == []
    assert [item.state for item in migrate.status(db, migrations=OLD)] == ["applied", "applied", "newer", "newer"]


@pytest.mark.parametrize("newest", [BREAKS, ADDS_TO_THE_THIRD], ids=["says nothing", "says less far"])
def test_an_older_program_is_refused_by_one_migration_that_does_not_say_so(
    db: psycopg.Connection, newest: migrate.Migration
) -> None:
    migrate.apply(db, migrations=[*OLD, ADDS, newest])
    refused = "has a newer schema: it has 004_made_up.sql, which this version of imi-registry does not know"
    with pytest.raises(Conflict, match=refused):
        migrate.check(db, migrations=OLD)
    with pytest.raises(Conflict, match=refused):
        migrate.apply(db, migrations=OLD)


def test_all_migrations_that_are_in_the_way_are_named(db: psycopg.Connection) -> None:
    migrate.apply(db, migrations=[*OLD, made_up(3), BREAKS])
    with pytest.raises(Conflict, match=r"it has 003_made_up.sql, 004_made_up.sql, which"):
        migrate.check(db, migrations=OLD)


def test_a_database_of_a_version_that_recorded_no_compatibility_is_read_and_upgraded(db: psycopg.Connection) -> None:
    # given a table of migrations as an earlier version made it
    migrate.apply(db, migrations=[*OLD, made_up(3)])
    db.execute("ALTER TABLE public.schema_migrations DROP COLUMN compatible_down_to")
    # then what it has that is unknown is refused, and what it lacks is applied and recorded
    with pytest.raises(Conflict, match="newer schema"):
        migrate.check(db, migrations=OLD)
    migrate.apply(db, migrations=[*OLD, made_up(3), made_up(4, "-- compatible down to: 003")])
    migrate.check(db, migrations=[*OLD, made_up(3)])


@pytest.mark.parametrize("version", ["003", "004", "000", "two", "", "-1"])
def test_a_compatibility_with_no_earlier_version_is_refused(db: psycopg.Connection, version: str) -> None:
    with pytest.raises(Invalid, match=r"003_made_up.sql: .compatible down to: .* names no earlier version"):
        migrate.apply(db, migrations=[*OLD, made_up(3, f"-- compatible down to: {version}")])
    assert db.execute("SELECT to_regclass('public.made_up_3')").fetchone() == (None,)


@pytest.mark.parametrize("fault", ["edited", "removed"])
def test_a_released_file_that_is_not_as_it_was_is_refused(tmp_path: Path, fault: str) -> None:
    for migration in (*OLD, ADDS):
        (tmp_path / migration.name).write_text(migration.sql)
    (tmp_path / "frozen.json").write_text(f'{{"{OLD[1].name}": "{OLD[1].checksum}"}}')
    assert len(migrate.load(tmp_path)) == 3
    if fault == "edited":
        (tmp_path / OLD[1].name).write_text(f"{OLD[1].sql}-- a word more")
    else:
        (tmp_path / OLD[1].name).unlink()
    with pytest.raises(Invalid, match=r"migration 002_made_up.sql was released and must stay as it was"):
        migrate.load(tmp_path)


AFTERWARDS = made_up(4, "-- phase: after\n-- compatible down to: 003")


def states(db: psycopg.Connection, migrations: list[migrate.Migration]) -> list[str]:
    return [item.state for item in migrate.status(db, migrations=migrations)]


def test_what_is_for_afterwards_waits_until_somebody_says_that_nothing_older_runs(db: psycopg.Connection) -> None:
    migrate.apply(db, migrations=OLD)
    newer = [*OLD, ADDS, AFTERWARDS]

    assert migrate.apply(db, migrations=newer) == [ADDS.name]
    assert states(db, newer) == ["applied", "applied", "applied", "waiting"]
    migrate.check(db, migrations=newer)
    migrate.check(db, migrations=OLD)

    assert migrate.apply(db, migrations=newer, afterwards=True) == [AFTERWARDS.name]
    migrate.check(db, migrations=newer)
    with pytest.raises(Conflict, match="newer schema"):
        migrate.check(db, migrations=OLD)


def test_what_waits_is_applied_before_what_a_later_version_brings(db: psycopg.Connection) -> None:
    migrate.apply(db, migrations=OLD)
    migrate.apply(db, migrations=[*OLD, ADDS, AFTERWARDS])

    assert migrate.apply(db, migrations=[*OLD, ADDS, AFTERWARDS, made_up(5)]) == [AFTERWARDS.name, "005_made_up.sql"]


def test_an_empty_database_has_nobody_to_wait_for(db: psycopg.Connection) -> None:
    newer = [*OLD, ADDS, AFTERWARDS]

    assert migrate.apply(db, migrations=newer) == [migration.name for migration in newer]


def test_a_phase_that_is_none_is_refused(db: psycopg.Connection) -> None:
    migrate.apply(db, migrations=OLD)
    with pytest.raises(Invalid, match=r"003_made_up.sql: .phase: later. is neither before nor after"):
        migrate.apply(db, migrations=[*OLD, made_up(3, "-- phase: later")])
