"""Snapshot then tail: the state of one moment and the events behind it are the tables, whatever that moment was."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection

from publisher.history.snapshot import snapshot_lines
from publisher.outbox.connection import connect
from registry.client.snapshot import take_snapshot
from registry.errors import Unavailable
from registry.history.snapshot import Snapshot
from registry.history.state import State
from registry.position import After, Position
from tests.support.workload import writing
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("profile")

NOT_IN_EVENTS = {"updated_at", "last_sync_at"}
"""Columns that change without an event, too."""


def comparable(state: State) -> dict[str, dict[object, dict[str, Any]]]:
    """What events tell of a state."""
    tables = {"projects": state.projects, "worktrees": state.worktrees, "types": state.types}
    return {
        name: {id_: row.model_dump(exclude=NOT_IN_EVENTS) for id_, row in rows.items()} for name, rows in tables.items()
    }


async def now(world: World) -> Snapshot:
    return await take_snapshot(world.nats, world.profile)


async def brought_up_to_date(world: World, snapshot: Snapshot) -> Snapshot:
    """`snapshot` and the events behind it, by way of the position's text."""
    for event in await world.replayed(After(str(snapshot.position))):
        snapshot.apply(event.payload)
    return snapshot


async def test_a_snapshot_is_the_tables(world: World) -> None:
    with psycopg.connect(world.database) as conn:
        (project,) = conn.execute(
            "SELECT register_project('größer \\ \"x\"', 'git@github.com:a/b.git')"
        ).fetchone() or ("",)
        conn.execute("SELECT register_worktree(%s, 'feat', 'tab\tand\nline', 'feat/x', '/b/x')", [project])
        conn.execute("UPDATE projects SET metadata = %s", ['{"deep": ["\\\\", "\\n", "\\u2028", "😀"]}'])
        types = conn.execute("SELECT count(*) FROM worktree_types").fetchone()
    async with world.history():
        snapshot = await now(world)

    assert (len(snapshot.types),) == types
    (found,) = snapshot.projects.values()
    assert (found.name, found.metadata) == ('größer \\ "x"', {"deep": ["\\", "\n", "\u2028", "😀"]})
    (worktree,) = snapshot.worktrees.values()
    assert (worktree.name, worktree.project_name, worktree.type_name, worktree.status) == (
        "tab\tand\nline",
        'größer \\ "x"',
        "feat",
        "clean",
    )
    assert snapshot.position.sequence == 0


async def test_a_snapshot_larger_than_a_message_arrives_whole(world: World) -> None:
    with psycopg.connect(world.database) as conn:
        conn.execute(
            "INSERT INTO projects (name, remote_origin, trunk_path, metadata) SELECT 'p' || n,"
            " 'git@github.com:big/p' || n || '.git', '/p' || n, jsonb_build_object('x', repeat('y', 700000))"
            " FROM generate_series(1, 4) AS n"
        )
    async with world.history():
        snapshot = await now(world)

    assert [len(project.metadata["x"]) for project in snapshot.projects.values()] == [700000] * 4


async def test_what_is_committed_behind_the_position_is_not_in_the_tables_of_the_snapshot(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as writer:
        writer.execute("SELECT register_project('before', 'git@github.com:a/b.git')")
        async with connect(database, "test") as conn:
            lines = snapshot_lines(conn, "NONE")
            position = Position.parse(orjson.loads(await anext(lines))["position"])
            writer.execute("SELECT register_project('behind', 'git@github.com:c/d.git')")
            projects = [orjson.loads(line[1:])["name"] async for line in lines if line.startswith(b"p")]

    assert (position.included, projects) == (((1, 2),), ["before"])


async def test_snapshots_under_load_and_the_events_behind_them_are_the_tables(world: World) -> None:
    snapshots = []

    async with world.relay(), world.history():
        async with writing(world.database, seed=3) as load:
            for _ in range(15):
                await load.reach(commits=7)
                snapshots.append(await now(world))
        await world.drained()
        final = comparable(await now(world))
        for snapshot in snapshots:
            assert comparable(await brought_up_to_date(world, snapshot)) == final

    assert any(snapshot.position.sequence < snapshots[-1].position.sequence for snapshot in snapshots)


STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "write", "commit", "rollback", "snapshot", "publish"]), st.integers(0, 2)),
    min_size=4,
    max_size=30,
)


class Interleaving:
    """Three transactions, a relay that runs now and then, and snapshots in between."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._number = 0
        self.snapshots: list[tuple[set[int], Snapshot]] = []
        """Each with the outbox ids of the events that are in it."""

    async def run(self, steps: list[tuple[str, int]]) -> None:
        async with AsyncExitStack() as stack:
            conns = [
                await stack.enter_async_context(await AsyncConnection.connect(self._world.database)) for _ in range(3)
            ]
            for conn in conns:
                await conn.execute("SET lock_timeout = '20ms'")
                await conn.commit()
            for step, which in steps:
                match step:
                    case "write":
                        await self._write(conns[which])
                    case "commit":
                        await conns[which].commit()
                    case "rollback":
                        await conns[which].rollback()
                    case "snapshot":
                        await self.take_snapshot()
                    case _:
                        await self._publish()
            for conn in conns:
                await conn.commit()

    async def take_snapshot(self) -> None:
        async with await AsyncConnection.connect(self._world.database) as conn:
            visible = await (await conn.execute("SELECT id FROM outbox")).fetchall()
        self.snapshots.append(({id_ for (id_,) in visible}, await now(self._world)))

    async def _write(self, conn: AsyncConnection) -> None:
        """A change that may wait for another transaction's row; then it is given up."""
        self._number += 1
        number = self._number
        changes: list[tuple[str, list[object]]] = [
            ("SELECT register_project(%s, %s)", [f"p{number}", f"git@github.com:i/{uuid4()}.git"]),
            ("UPDATE projects SET name = %s WHERE id = (SELECT id FROM projects ORDER BY id LIMIT 1)", [f"n{number}"]),
            (
                "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
                " SELECT p.id, t.id, %s, 'b', %s FROM projects AS p, worktree_types AS t LIMIT 1",
                [f"w{uuid4()}", f"/w/{uuid4()}"],
            ),
            ("UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1", []),
            ("DELETE FROM projects WHERE id = (SELECT id FROM projects ORDER BY id DESC LIMIT 1)", []),
            ("UPDATE worktree_types SET description = %s WHERE name = 'feat'", [f"d{number}"]),
        ]
        query, values = changes[(number - 1) % len(changes)]
        try:
            await conn.execute(query, values)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            await conn.rollback()

    async def _publish(self) -> None:
        """Publish what is visible now; open transactions stay behind."""
        query = "SELECT count(*) FROM outbox WHERE NOT EXISTS (SELECT FROM publisher_cursor WHERE published @> id)"
        async with (
            self._world.relay(),
            asyncio.timeout(10),
            await AsyncConnection.connect(self._world.database, autocommit=True) as conn,
        ):
            while (await (await conn.execute(query)).fetchone()) != (0,):
                await asyncio.sleep(0.005)  # the cursor tells nobody when it moves
            await self._world.nats.jetstream().publish(self._world.foreign_subject, b"{}")


async def check_interleaving(world: World, steps: list[tuple[str, int]]) -> None:
    async with world.history():
        interleaving = Interleaving(world)
        await interleaving.run(steps)
        await interleaving.take_snapshot()
        async with world.relay():
            await world.drained()
        final = comparable(await now(world))
        everything = {event.position.outbox_id for event in await world.replayed()}
        for visible, snapshot in interleaving.snapshots:
            behind = [event.position.outbox_id for event in await world.replayed(After(snapshot.position))]
            assert sorted(behind) == sorted(everything - visible)
            assert comparable(await brought_up_to_date(world, snapshot)) == final


@pytest.mark.parametrize(
    "steps",
    [
        # The transaction that began first commits last: its events are published last, and it is in no snapshot before.
        [("write", 0), ("write", 1), ("commit", 1), ("publish", 0), ("snapshot", 0), ("commit", 0), ("snapshot", 0)],
        # Visible, not published, and behind a gap that is still open.
        [("write", 0), ("commit", 0), ("publish", 0), ("write", 1), ("write", 2), ("commit", 2), ("snapshot", 0),
         ("publish", 0), ("snapshot", 0), ("commit", 1), ("snapshot", 0)],
    ],
)  # fmt: skip
async def test_snapshot_and_events_are_the_tables_for_known_interleavings(
    world: World, steps: list[tuple[str, int]]
) -> None:
    await check_interleaving(world, [("write", 0), ("commit", 0), *steps])


@pytest.mark.parametrize("examples", [8, pytest.param(200, marks=pytest.mark.long)])
async def test_snapshot_and_events_are_the_tables_for_any_interleaving(world: World, examples: int) -> None:
    loop = asyncio.get_running_loop()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def check(steps: list[tuple[str, int]]) -> None:
        asyncio.run_coroutine_threadsafe(
            check_interleaving(world, [("write", 0), ("commit", 0), *steps]), loop
        ).result()

    await asyncio.to_thread(check)


async def test_without_a_publisher_a_snapshot_is_refused(world: World) -> None:
    with pytest.raises(Unavailable, match=r"no publisher answers on .*snapshot"):
        await now(world)


def test_a_position_survives_its_text() -> None:
    position = Position(7, 12, is_recorded=True, included=((3, 5), (9, 10)))
    assert Position.parse(str(position)) == position
