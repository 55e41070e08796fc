"""`imi-registry capacity`: what it says at 80 columns and as JSON, and that own figures are what is stored."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from publisher.capacity.estimate import MEASURED
from publisher.capacity.own_figures import own_figures
from registry.errors import NotFound
from tests.support.commandline import command_line
from tests.support.world import World

PAGE = (Path(__file__).parents[3] / "docs" / "capacity.md").read_text()
ROWS = [
    "outbox",
    "stream",
    "event",
    "database disk",
    "NATS disk",
    "WAL a day",
    "cores",
    "publishers",
    "NATS away 1 day",
]
EVENTS = 3000


def fill(database: str) -> None:
    """A history as of a registry in use: each change of a worktree alone in its transaction."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("SELECT register_project('engine', 'git@github.com:ada/engine.git')")
        conn.execute(
            "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
            " SELECT projects.id, 1, 'feat-' || n, 'feat/' || n, '/code/engine/feat-' || n"
            " FROM projects, generate_series(1, 10) AS n"
        )
        conn.execute(
            "DO $$ BEGIN FOR n IN 1..300 LOOP"
            " UPDATE worktrees SET ahead_of_trunk = n, last_commit_hash = md5(n::text); COMMIT; END LOOP; END $$"
        )


def test_it_tells_what_two_hundred_writes_a_second_need(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = command_line(monkeypatch, capsys, DATABASE_URL="postgresql:///nowhere?host=/nowhere")
    done = cli("capacity", "--writes", "200/s", "--keep", "90d")
    assert (done.code, done.err) == (0, "")
    assert [row for row in ROWS if row not in done.out] == []
    assert all(len(line) <= 80 for line in done.out.splitlines())
    assert "\n".join(line.rstrip() for line in done.out.strip("\n").splitlines()).strip("\n") in PAGE

    found = cli("capacity", "--writes", "12000/min", "--keep", "2160h", "--replicas", "3", "--json").json
    assert found["load"]["writes_per_second"] == 200
    assert found["estimate"]["outbox_events"] == 1_555_200_000
    assert found["estimate"]["nats_disks"] == 3
    assert found["figures"]["source"] == "docs/performance.md"


@pytest.mark.parametrize("columns", ["20", "40", "200"])
def test_it_can_be_read_on_any_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = command_line(monkeypatch, capsys, COLUMNS=columns)("capacity", "--writes", "99999999/s", "--keep", "36500d")
    assert done.code == 0
    assert all(len(line) <= int(columns) for line in done.out.splitlines())
    assert re.search(r"\d{3}\.\d EB", done.out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--writes", "200"], '--writes: value "200": it must be a number above 0 for each'),
        (["--writes", "200/s", "--keep", "soon"], '--keep: value "soon": it must be a number above 0 of'),
        (["--writes", "200/s", "--stream-keep", "0d"], '--stream-keep: value "0d": it must be'),
        (["--writes", "200/s", "--peak", "1/s"], '--peak: value "1/s": it must be at least the average'),
        (["--writes", "200/s", "--replicas", "0"], "--replicas"),
        (["--writes", "200/s", "--events-per-write", "nan"], "--events-per-write"),
        ([], "--writes"),
    ],
)
def test_what_cannot_be_is_refused_with_option_value_and_rule(
    arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = command_line(monkeypatch, capsys)("capacity", *arguments)
    assert done.code == 2
    assert told in done.err


async def test_a_registrys_own_bytes_are_what_outbox_and_stream_store(world: World) -> None:
    with pytest.raises(NotFound, match="no events"):
        await own_figures(world.settings())
    fill(world.database)
    async with world.relay():
        await world.drained()
    # when
    found = await own_figures(world.settings())
    # then
    ((stored,),) = world.rows(
        "SELECT ((pg_total_relation_size('outbox') + pg_total_relation_size('published_batch'))"
        " / (SELECT count(*) FROM outbox))::float8"
    )
    state = (await world.nats.jetstream().stream_info(world.stream)).state
    assert state.messages > EVENTS
    assert found.stream_bytes == pytest.approx(state.bytes / state.messages, rel=0.05)
    assert found.outbox_bytes == pytest.approx(stored, rel=0.2)
    assert found.publish_rate == MEASURED.publish_rate


async def test_events_that_are_removed_while_they_are_looked_at_are_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publisher.capacity.own_figures.IDS", "SELECT 1::bigint LIMIT %(latest)s")
    with pytest.raises(NotFound, match="no events"):
        await own_figures(world.settings())


def test_with_a_database_it_says_whose_bytes_these_are(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = command_line(monkeypatch, capsys)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("SELECT register_project('engine', 'git@github.com:ada/engine.git')")
    found = cli("capacity", "--writes", "1/min", "--database-url", database, "--json").json
    assert found["figures"]["source"] == "the latest 1 events of this registry"
    assert 300 < found["figures"]["outbox_bytes"] < MEASURED.outbox_bytes * 2
