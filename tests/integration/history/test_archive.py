"""Export and import: the history, the tables and the stream come back in an empty installation as they were."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from publisher.history.rebuild import rebuild
from publisher.history.verification import verify
from registry.database import months
from registry.errors import Conflict, Invalid
from tests.support.histories import export, import_, row, write_disorderly
from tests.support.schema.months import everything, fill
from tests.support.workload import writing
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("profile")

TABLES = """
SELECT
    (SELECT jsonb_agg(p ORDER BY id) FROM projects AS p),
    (SELECT jsonb_agg(w ORDER BY id) FROM worktrees AS w),
    (SELECT jsonb_agg(t ORDER BY id) FROM worktree_types AS t),
    (SELECT jsonb_agg(a ORDER BY id) FROM agent_activities AS a),
    (SELECT jsonb_agg(to_jsonb(d) - 'deleted_at' ORDER BY id) FROM deleted_worktrees AS d),
    (SELECT jsonb_agg(o ORDER BY id) FROM outbox AS o)
"""

NOTE_DURABILITY = """
CREATE TABLE noted (durability text);
CREATE FUNCTION note_durability() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO noted VALUES (current_setting('synchronous_commit'));
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER note_durability AFTER INSERT ON publisher_cursor DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION note_durability();
"""


def tables(database: str) -> tuple[object, ...]:
    with psycopg.connect(database) as conn:
        return conn.execute(TABLES).fetchone() or ()


@pytest.mark.parametrize("name", ["history.jsonl", "history.jsonl.zst"])
async def test_an_export_imported_is_the_same_registry_history_and_stream(
    world: World, second: World, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    async with world.relay():
        await write_disorderly(world)
        with psycopg.connect(world.database) as conn:
            conn.execute("SELECT set_config('imi.actor', 'ann', true)")
            conn.execute("""UPDATE projects SET metadata = '{"big": 123456789012345678901234567890.10}'""")
            conn.execute("SELECT log_activity('a', id, 'modified', 'text') FROM worktrees")
            conn.execute("DELETE FROM worktrees WHERE id = (SELECT id FROM worktrees LIMIT 1)")
        async with writing(world.database, writers=2, seed=8) as load:
            await load.reach(commits=30)
        await world.drained()
        before = await world.replayed()
    assert await export(world, file) == len(before)
    assert await import_(second, file) == len(before)

    *told, history = tables(second.database)
    *expected, original_history = tables(world.database)
    assert history == original_history
    assert without_untold(told) == without_untold(expected)
    verified = await verify(second.settings())
    assert verified.differences == []

    await world.delete_stream()
    await rebuild(second.settings())
    assert row(await world.replayed()) == row(before)
    async with second.relay():
        second.write(1)
        await second.drained()
        assert len(await world.replayed()) > len(before)


async def test_a_log_by_month_comes_back_by_month(world: World, second: World, tmp_path: Path) -> None:
    with psycopg.connect(world.database) as there, psycopg.connect(second.database) as here:
        for conn in (there, here):
            months.move(conn, by_month=True)
        fill(world.database, activities=100)
        await export(world, tmp_path / "x")
        await import_(second, tmp_path / "x")
        assert everything(here) == everything(there)


async def test_ids_that_a_project_had_mean_it_after_an_import(world: World, second: World, tmp_path: Path) -> None:
    loser, winner = world.write(2, 1, 0)
    world.rows("DELETE FROM worktrees WHERE project_id = %s RETURNING 1", loser)
    world.rows("SELECT merge_projects(%s, %s)", loser, winner)
    world.rows("SELECT adopt_project_id(%s, %s)", winner, now := str(uuid4()))
    await export(world, tmp_path / "x")

    await import_(second, tmp_path / "x")

    aliases = second.rows("SELECT id::text, project_id::text FROM project_aliases ORDER BY id")
    assert aliases == sorted([(loser, now), (winner, now)])
    assert second.rows("SELECT project_id::text FROM deleted_worktrees") == [(now,)]


async def test_a_worktree_that_was_deleted_twice_is_called_as_it_was_the_first_time(
    world: World, second: World, tmp_path: Path
) -> None:
    (project,) = world.write(1, 0, 0)
    worktree = uuid4()
    for name in ("one", "other"):
        world.rows(
            "INSERT INTO worktrees (id, project_id, type_id, name, branch_name, path)"
            " SELECT %s, %s, id, %s, 'b', '/w' FROM worktree_types WHERE name = 'feat' RETURNING 1",
            *(worktree, project, name),
        )
        world.rows("DELETE FROM worktrees RETURNING 1")
    await export(world, tmp_path / "x")

    await import_(second, tmp_path / "x")

    called = "SELECT id, name FROM deleted_worktrees"
    assert second.rows(called) == world.rows(called) == [(worktree, "one")]


def without_untold(found: list[object]) -> object:
    """Two columns change without an event, too."""
    if isinstance(found, list):
        return [without_untold(one) for one in found]
    if isinstance(found, dict):
        return {name: value for name, value in found.items() if name not in {"updated_at", "last_sync_at"}}
    return found


async def test_an_import_that_is_done_outlives_a_crash_of_the_server(
    world: World, second: World, tmp_path: Path
) -> None:
    world.write(1)
    await export(world, tmp_path / "x")
    with psycopg.connect(second.database) as conn:
        conn.execute(NOTE_DURABILITY)

    await import_(second, tmp_path / "x")

    with psycopg.connect(second.database) as conn:
        assert conn.execute("SHOW synchronous_commit").fetchone() == ("off",), "the server's own setting, in tests"
        assert conn.execute("SELECT DISTINCT durability FROM noted").fetchall() == [("on",)], "as it commits"


async def test_what_is_not_published_yet_is_exported_behind_the_rest(world: World, tmp_path: Path) -> None:
    async with world.relay():
        world.write()
        await world.drained()
    world.write(1)

    with psycopg.connect(world.database) as conn:
        (events,) = conn.execute("SELECT count(*) FROM outbox").fetchone() or (0,)

    assert await export(world, tmp_path / "x") == events


async def test_an_import_into_a_registry_in_use_changes_nothing(world: World, tmp_path: Path) -> None:
    world.write()
    await export(world, tmp_path / "x")
    before = tables(world.database)

    with pytest.raises(Conflict, match="not empty"):
        await import_(world, tmp_path / "x")

    assert tables(world.database) == before


async def test_an_import_beside_a_publisher_changes_nothing(world: World, second: World, tmp_path: Path) -> None:
    """It would publish what arrives in the order of ids, and record it beside the order that is imported."""
    world.write()
    await export(world, tmp_path / "x")
    before = tables(second.database)

    async with second.relay():
        with pytest.raises(Conflict, match=r"a publisher leads stream .*: stop up or serve, then import"):
            await import_(second, tmp_path / "x")
    assert tables(second.database) == before
    await import_(second, tmp_path / "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no event to import"), (b"{}\n", "line 1 is no event"), (b"not json\n", "line 1 is no event")],
)
async def test_a_file_that_is_no_export_changes_nothing(
    world: World, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "x").write_bytes(content)
    before = tables(world.database)

    with pytest.raises(Invalid, match=message):
        await import_(world, tmp_path / "x")

    assert tables(world.database) == before


@pytest.mark.parametrize("sequence", [0, 10**17 + 1, 2**63 - 1])
async def test_an_event_whose_id_leaves_no_room_for_those_to_come_is_named(
    world: World, second: World, tmp_path: Path, sequence: int
) -> None:
    world.write(1)
    await export(world, tmp_path / "x")
    first, *rest = (tmp_path / "x").read_bytes().splitlines(keepends=True)
    changed = re.sub(rb'"sequence":"[0-9]+"', f'"sequence":"{sequence:019d}"'.encode(), rest[0])
    (tmp_path / "x").write_bytes(first + changed)
    before = tables(second.database)

    with pytest.raises(Invalid, match=f"line 2 has the sequence {sequence}: it must be from 1 to"):
        await import_(second, tmp_path / "x")

    assert tables(second.database) == before
