"""A registry that keeps activities by month: where rows go, what is refused, and what retention drops."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from registry.database import months
from registry.errors import Conflict, NotFound
from tests.support.databases import Role, name_of, new_database
from tests.support.schema.counts import assert_exact, is_kept
from tests.support.schema.months import everything, fill
from tests.support.services import wait_until

Conn = psycopg.Connection[Any]

OTHER = "agent_activities_other"
INSERT = (
    "INSERT INTO agent_activities (id, agent_id, worktree_id, activity_type, description, created_at)"
    " SELECT %s, 'a', id, 'other', 'd', %s FROM worktrees WHERE name = 'w1'"
)
WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s"
PLACE = "SELECT tableoid::regclass::text FROM agent_activities WHERE id = %s"


@pytest.fixture(scope="module")
def template(admin_url: str, owner: Role, template_database: str) -> Iterator[str]:
    """Name of a database that keeps 1,000 activities of 200 days by month; nobody connects to it."""
    with new_database(admin_url, owner, template_database) as url:
        fill(url, activities=1_000)
        with psycopg.connect(url) as connection:
            months.move(connection, by_month=True)
        yield name_of(url)


@pytest.fixture
def conn(admin_url: str, owner: Role, template: str) -> Iterator[Conn]:
    """A copy of that one."""
    with (
        new_database(admin_url, owner, template) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        yield connection


def this_month(ahead: int = 0) -> datetime:
    now = datetime.now(UTC)
    months_since = now.year * 12 + now.month - 1 + ahead
    return datetime(months_since // 12, months_since % 12 + 1, 1, tzinfo=UTC)


def part_of(month: datetime) -> str:
    return f"agent_activities_y{month:%Y}m{month:%m}"


def write(conn: Conn, at: datetime) -> str:
    """Write an activity of this time; returns the part it went into."""
    id_ = uuid4()
    conn.execute(INSERT.encode(), (id_, at))
    (place,) = conn.execute(PLACE, (id_,)).fetchone() or ("",)
    return str(place)


@pytest.mark.parametrize(
    ("at", "place"),
    [
        (this_month(), part_of(this_month())),
        (this_month() - timedelta(microseconds=1), part_of(this_month(-1))),
        (this_month(4) - timedelta(microseconds=1), part_of(this_month(3))),
        (this_month(4), OTHER),
        (datetime(9999, 12, 31, tzinfo=UTC), OTHER),
        (datetime(1, 1, 2, tzinfo=UTC), OTHER),
    ],
)
def test_an_activity_of_any_time_has_its_place(conn: Conn, at: datetime, place: str) -> None:
    assert write(conn, at) == place
    assert_exact(conn)


def test_what_was_put_elsewhere_goes_into_its_month_when_that_is_made(conn: Conn) -> None:
    for ahead in (4, 5, 6):
        assert write(conn, this_month(ahead)) == OTHER
    before = everything(conn)

    assert months.make_ahead(conn, 5) == 2
    assert months.make_ahead(conn, 5) == 0

    placed = "SELECT tableoid::regclass::text FROM agent_activities WHERE created_at >= %s ORDER BY created_at"
    places = [place for (place,) in conn.execute(placed, (this_month(4),)).fetchall()]
    assert places == [part_of(this_month(4)), part_of(this_month(5)), OTHER]
    assert everything(conn) == before
    assert_exact(conn)


def test_months_are_of_utc_in_every_session(conn: Conn) -> None:
    conn.execute("SET timezone = 'Pacific/Auckland'")
    assert months.make_ahead(conn, 4) == 1
    assert write(conn, this_month(5) - timedelta(microseconds=1)) == part_of(this_month(4))
    assert [month.begins_at for month in months.state(conn).months][-2] == this_month(4)


def test_retention_drops_whole_months_and_deletes_the_rest(conn: Conn) -> None:
    write(conn, datetime(1999, 1, 1, tzinfo=UTC))
    before = everything(conn)
    horizon = datetime.now(UTC) - timedelta(days=70)
    old = conn.execute("SELECT count(*) FROM agent_activities WHERE created_at < %s", (horizon,)).fetchone()
    whole = [m.name for m in months.state(conn).months if m.ends_at is not None and m.ends_at <= horizon]
    assert len(whole) >= 3

    assert conn.execute("SELECT cleanup_old_activities(70)").fetchone() == old

    assert not set(whole) & {month.name for month in months.state(conn).months}
    assert everything(conn).items() <= before.items()
    assert conn.execute("SELECT min(created_at) > now() - interval '70 days' FROM agent_activities").fetchone() == (
        True,
    )
    assert is_kept(conn)
    assert_exact(conn)
    assert conn.execute(
        "SELECT count(*) FROM outbox WHERE action NOT IN ('logged', 'registered', 'created')"
    ).fetchone() == (0,)


def test_what_somebody_reads_all_the_while_is_deleted_row_by_row(conn: Conn) -> None:
    with psycopg.connect(conn.info.dsn, password=conn.info.password) as reader:
        reader.execute("SELECT FROM agent_activities LIMIT 1")
        (old,) = conn.execute(
            "SELECT count(*) FROM agent_activities WHERE created_at < now() - interval '70 days'"
        ).fetchone() or (0,)
        kept = [month.name for month in months.state(conn).months]

        assert conn.execute("SELECT cleanup_old_activities(70)").fetchone() == (old,)

    assert [month.name for month in months.state(conn).months] == kept
    assert_exact(conn)


def test_while_retention_waits_for_one_month_nobody_waits_for_the_others(conn: Conn) -> None:
    """A vacuum is at the last one. Were those before it dropped already, all writers would wait until the end."""
    (old,) = conn.execute(
        "SELECT count(*) FROM agent_activities WHERE created_at < now() - interval '70 days'"
    ).fetchone() or (0,)
    whole = [m for m in months.state(conn).months if m.ends_at and m.ends_at < datetime.now(UTC) - timedelta(days=70)]
    url, password = conn.info.dsn, conn.info.password
    with (
        psycopg.connect(url, password=password) as vacuum,
        psycopg.connect(url, password=password, autocommit=True) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        vacuum.execute(f"LOCK TABLE {whole[-1].name} IN SHARE UPDATE EXCLUSIVE MODE".encode())
        removing = pool.submit(lambda: conn.execute("SELECT cleanup_old_activities(70)").fetchone())
        wait_until(lambda: removing.done() or writer.execute(WAITS, [conn.info.backend_pid]).fetchone() == (1,))
        with writer.transaction():
            writer.execute("LOCK TABLE ONLY agent_activities IN ROW EXCLUSIVE MODE NOWAIT")
        assert removing.result(60) == (old,)
    assert_exact(conn)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_retention_removes_the_same_in_every_kind_of_transaction(conn: Conn, isolation: str) -> None:
    with conn.transaction():
        conn.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
        conn.execute("SELECT cleanup_old_activities(70)")
    old = "SELECT count(*) FROM agent_activities WHERE created_at < now() - interval '70 days'"
    assert conn.execute(old).fetchone() == (0,)
    assert_exact(conn)


def test_retention_that_is_rolled_back_has_removed_nothing(conn: Conn) -> None:
    before = everything(conn)
    with conn.transaction(force_rollback=True):
        conn.execute("SELECT cleanup_old_activities(0)")
        assert everything(conn) == {}
    assert everything(conn) == before
    assert_exact(conn)


def test_a_month_is_dropped_by_its_name_and_nothing_else_is(conn: Conn) -> None:
    last = part_of(this_month(-1))
    count = conn.execute("SELECT count(*) FROM agent_activities a WHERE a.tableoid = %s::regclass", (last,)).fetchone()
    assert (months.drop(conn, last),) == count
    assert_exact(conn)
    for name in (last, OTHER, "projects", "agent_activities"):
        with pytest.raises(NotFound, match=f'p_name "{name}" is no month of agent_activities'):
            months.drop(conn, name)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO {} SELECT * FROM agent_activities LIMIT 0",
        "UPDATE {} SET description = 'never happened'",
        "DELETE FROM {}",
    ],
)
@pytest.mark.parametrize("part", [OTHER, part_of(this_month())])
def test_a_part_is_not_written_by_itself(conn: Conn, statement: str, part: str) -> None:
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=f"{part}: it is a part of agent_activities"):
        conn.execute(statement.format(part).encode())


def test_an_id_is_unique_in_its_month_and_who_repeats_an_insert_is_told_or_ignored(conn: Conn) -> None:
    id_ = uuid4()
    for _ in range(2):
        conn.execute(f"{INSERT} ON CONFLICT DO NOTHING".encode(), (id_, this_month()))
    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute(INSERT.encode(), (id_, this_month() + timedelta(hours=1)))
    assert conn.execute("SELECT count(*) FROM agent_activities WHERE id = %s", (id_,)).fetchone() == (1,)


def test_all_is_found_by_search_and_by_misspelt_words(conn: Conn) -> None:
    conn.execute(
        "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, created_at)"
        " SELECT 'a', id, 'other', 'parliament', now() - n * interval '1 month'"
        " FROM worktrees, generate_series(0, 4) n WHERE name = 'w1'"
    )
    conn.execute("ANALYZE agent_activities")
    for query in ("parliament", "parlament", "parli"):
        (found,) = conn.execute("SELECT count(*) FROM search_registry(%s)", (query,)).fetchone() or (0,)
        assert found == 5, query


def test_truncating_it_is_what_it_was(conn: Conn) -> None:
    conn.execute("TRUNCATE agent_activities")
    assert everything(conn) == {}
    assert_exact(conn)
    assert conn.execute("SELECT data FROM outbox WHERE action = 'truncated'").fetchall() == [
        ({"table": "agent_activities"},)
    ]


def test_months_stay_as_they_are_while_activities_are_moved(conn: Conn) -> None:
    assert months.move(conn, by_month=True) == 0
    conn.execute("SELECT begin_activity_move(false)")
    with pytest.raises(Conflict, match="activities are being moved"):
        months.drop(conn, part_of(this_month(-1)))
    assert months.make_ahead(conn, 12) == 0
    conn.execute("SELECT cleanup_old_activities(70)")
    assert months.move(conn, by_month=False) > 0
    assert_exact(conn)
