"""An event of a project of which nothing waits does not wait for a backlog of another one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from publisher.relay import lane
from tests.support.outbox_reader import add_project, add_worktree
from tests.support.world import World

BACKLOG = 400
BATCH = 10


@pytest.fixture
def quick_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog of fifty is long, five ids are the newest, and every page is followed by a look."""
    monkeypatch.setattr(lane, "LEAST_BACKLOG", 50)
    monkeypatch.setattr(lane, "NEWEST", 5)
    monkeypatch.setattr(lane, "LOOK_SECONDS", 0.0)


@pytest.fixture
async def worktrees(world: World, writer: psycopg.Connection[Any]) -> list[UUID]:
    """Three worktrees, of a project each; the events that made them are published."""
    made = [add_worktree(writer, add_project(writer, name)) for name in ("busy", "quiet", "other")]
    async with world.relay():
        await world.drained()
    return made


def ahead(writer: psycopg.Connection[Any], worktree: UUID, value: int) -> None:
    writer.execute("SELECT update_worktree_git_state(%s, p_ahead := %s)", (worktree, value))


def long_backlog(writer: psycopg.Connection[Any], worktree: UUID) -> None:
    for value in range(BACKLOG):
        ahead(writer, worktree, value + 1)


async def published(world: World) -> list[UUID]:
    """Worktrees of the events that changed one, in the order of the stream."""
    messages = [message for message in await world.published() if ".git_state_updated." in message.subject]
    return [UUID(message.envelope["data"]["worktree_id"]) for message in messages]


@pytest.mark.usefixtures("quick_lane")
async def test_what_is_of_a_quiet_project_goes_first_and_what_is_of_the_busy_one_waits(
    world: World, writer: psycopg.Connection[Any], worktrees: list[UUID]
) -> None:
    busy, quiet, other = worktrees
    long_backlog(writer, busy)
    with writer.transaction():
        ahead(writer, other, 1)
        ahead(writer, busy, BACKLOG + 1)
    ahead(writer, quiet, 1)

    async with world.relay(batch_size=BATCH):
        await world.drained()

    found = await published(world)
    assert found.index(quiet) <= 3 * BATCH
    assert found.index(other) == BACKLOG + 1
    assert found[-1] == busy
    (await world.audit()).assert_clean()


@pytest.mark.usefixtures("quick_lane")
async def test_a_worktree_type_in_the_backlog_lets_nothing_overtake(
    world: World, writer: psycopg.Connection[Any], worktrees: list[UUID]
) -> None:
    busy, quiet, _ = worktrees
    long_backlog(writer, busy)
    writer.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('lab', 'lab/', 'lab-')")
    ahead(writer, quiet, 1)

    async with world.relay(batch_size=BATCH):
        await world.drained()

    assert (await published(world))[-1] == quiet


@pytest.mark.usefixtures("quick_lane")
async def test_what_an_open_transaction_leaves_behind_is_published_once_it_commits(
    world: World, writer: psycopg.Connection[Any], worktrees: list[UUID]
) -> None:
    busy, quiet, other = worktrees
    with psycopg.connect(world.database) as late, psycopg.connect(world.database) as undone:
        ahead(late, other, 1)
        undone.execute("SELECT pg_current_xact_id(), nextval('outbox_id_seq')")
        long_backlog(writer, busy)
        ahead(writer, quiet, 1)
        async with world.relay(batch_size=BATCH):
            while quiet not in await published(world):
                pass
            undone.rollback()
            late.commit()
            ahead(writer, other, 3)
            await world.drained()
    found = await published(world)
    assert found.index(quiet) <= 3 * BATCH
    assert len(found) == BACKLOG + 3
    (await world.audit()).assert_clean()
