"""A project that was merged, or goes on under another id, is so in a mirror: its worktrees, places and former ids."""

from __future__ import annotations

from uuid import uuid4

import psycopg

from registry.database import migrate
from registry.database.stepping import back
from tests.support.mirror.mirrors import Mirror
from tests.support.schema.rows import dictionaries, new_project, new_worktree, scalar
from tests.support.world import World

IDENTITY = 14


def changed_ids(database: str) -> None:
    """Projects of one host and of two, with worktrees of one name, removed and renamed ones, one by one another's."""
    with dictionaries(database) as conn:
        first = new_project(conn, "git@github.com:33god/first.git", "first")
        conn.execute("SELECT use_host('laptop')")
        second = new_project(conn, "git@github.com:33god/second.git", "second")
        for project in (first, second):
            new_worktree(conn, project, "feat-a")
            conn.execute("DELETE FROM worktrees WHERE id = %s", [new_worktree(conn, project, "gone")])
        conn.execute("SELECT log_activity('alice', id, 'claimed', 'mine') FROM worktrees")
        adopted = uuid4()
        for id_ in (adopted, first, adopted):
            conn.execute("SELECT adopt_project_id(%s, %s)", [first, id_])
        conn.execute("SELECT merge_projects(%s, %s)", [first, second])
        conn.execute("SELECT adopt_project_id(%s, %s)", [first, adopted])


async def test_events_alone_tell_it(source: World, mirror: Mirror) -> None:
    source.write(projects=1)
    async with mirror.following() as health:
        await mirror.caught_up()
        changed_ids(source.database)
        await mirror.assert_same()
    assert health.registry.get_sample_value("imi_mirror_snapshots_total") == 1
    assert len(source.rows("SELECT id FROM project_aliases")) == 2


async def test_a_snapshot_has_the_former_ids(source: World, mirror: Mirror) -> None:
    changed_ids(source.database)
    async with mirror.following():
        await mirror.assert_same(is_snapshot=True)


async def test_a_mirror_of_before_takes_a_snapshot_when_it_is_upgraded(source: World, mirror: Mirror) -> None:
    async with mirror.following():
        await mirror.caught_up()
    with psycopg.connect(mirror.database) as conn:
        back.down(conn, to=IDENTITY - 1)
        migrate.apply(conn)
    with dictionaries(mirror.database) as conn:
        assert scalar(conn, "SELECT position FROM mirror_source") == ""
        assert (
            scalar(
                conn,
                "SELECT tgenabled FROM pg_trigger WHERE tgname = 'mirror_refuses'"
                " AND tgrelid = 'project_aliases'::regclass",
            )
            == "A"
        )
    changed_ids(source.database)
    async with mirror.following():
        await mirror.assert_same()
