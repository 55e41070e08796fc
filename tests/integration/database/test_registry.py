"""`Registry`: every function of the specification called as a Python component calls it."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from registry.database import Registry
from registry.errors import Conflict, NotFound

ORIGIN = "git@github.com:ada/engine.git"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def new_worktree(registry: Registry, name: str = "feat-x") -> tuple[UUID, UUID]:
    """Ids of a project and of a worktree in it."""
    project_id = await registry.register_project("engine", ORIGIN, trunk_path="/code/engine/trunk-main")
    worktree_id = await registry.register_worktree(project_id, "feat", name, f"feat/{name}", f"/code/engine/{name}")
    return project_id, worktree_id


async def test_projects(registry: Registry) -> None:
    # given
    project_id = await registry.register_project(
        "engine", "https://github.com/Ada/Engine", "trunk", "/code/engine/trunk-trunk/", {"team": "core", "größe": 1}
    )
    # then
    project = await registry.get_project(project_id)
    assert project is not None
    assert (project.name, project.remote_origin, project.default_branch) == ("engine", ORIGIN, "trunk")
    assert (project.trunk_path, project.description, project.active) == ("/code/engine/trunk-trunk", None, True)
    assert project.metadata == {"team": "core", "größe": 1}
    located = await registry.get_project_by_origin("ssh://git@github.com/ada/engine.git")
    assert located is not None
    assert located.model_dump() == project.model_dump(exclude={"description", "metadata", "is_shortened"})
    assert await registry.get_project_working_path(project_id) == "/code/engine/trunk-trunk"
    assert await registry.get_project_working_path(project_id, "feat/x") == "/code/engine/feat-x"
    (match,) = await registry.search_projects("engin")
    assert (match.id, match.name) == (project_id, "engine")
    assert 0 < match.relevance <= 1
    # when
    assert await registry.register_project("engine", ORIGIN) == project_id
    await registry.deactivate_project(project_id)
    # then
    assert await registry.get_project_by_origin(ORIGIN) is None
    assert await registry.list_projects() == []
    (inactive,) = await registry.list_projects(include_inactive=True)
    assert (inactive.id, inactive.active) == (project_id, False)


async def test_worktrees(registry: Registry) -> None:
    # given
    project_id, worktree_id = await new_worktree(registry)
    # when
    await registry.update_worktree_git_state(worktree_id, None, 3, 2, 1, "abc123", "Add x")
    # then
    worktree = await registry.get_worktree(worktree_id)
    assert worktree is not None
    assert (worktree.project_name, worktree.type_name, worktree.status) == ("engine", "feat", "uncommitted")
    assert (worktree.uncommitted_files_count, worktree.ahead_of_trunk, worktree.behind_trunk) == (3, 2, 1)
    assert (worktree.last_commit_hash, worktree.last_commit_message) == ("abc123", "Add x")
    assert worktree.last_sync_at is not None
    located = await registry.get_worktree_by_path("/code//engine/feat-x/")
    assert located is not None
    assert (located.id, located.worktree_name, located.type_name) == (worktree_id, "feat-x", "feat")
    for inflight in (await registry.get_inflight_work(), await registry.get_inflight_work(project_id)):
        assert [(work.worktree_id, work.status, work.ahead) for work in inflight] == [(worktree_id, "uncommitted", 2)]
    assert await registry.get_inflight_work(limit=0) == []
    # when
    await registry.update_worktree_git_state(worktree_id, has_uncommitted=False)
    await registry.mark_worktree_merged(worktree_id, "ada", "deadbeef")
    # then
    merged = await registry.get_worktree(worktree_id)
    assert merged is not None
    assert (merged.merged_by, merged.merge_commit_hash, merged.active) == ("ada", "deadbeef", False)
    assert (merged.status, merged.ahead_of_trunk) == ("diverged", 2)
    assert await registry.get_worktree_by_path("/code/engine/feat-x") is None
    assert await registry.list_worktrees(project_id=project_id) == []
    assert await registry.list_worktrees(project_id=project_id, include_inactive=True) == [merged]


async def test_worktrees_of_an_agent_and_of_a_project(registry: Registry) -> None:
    # given
    project_id, _ = await new_worktree(registry)
    mine = await registry.register_worktree(project_id, "fix", "fix-a", "fix/a", "/code/engine/fix-a", "ada")
    other = await registry.register_project("other", "git@github.com:ada/other.git")
    theirs = await registry.register_worktree(other, "fix", "fix-b", "fix/b", "/code/other/fix-b", "bob")
    # then
    assert [row.id for row in await registry.list_worktrees(agent_id="ada")] == [mine]
    assert [row.id for row in await registry.list_worktrees(project_id=other)] == [theirs]
    assert [row.name for row in await registry.list_worktrees()] == ["feat-x", "fix-a", "fix-b"]


async def test_updates_change_what_is_given(registry: Registry) -> None:
    # given
    project_id, worktree_id = await new_worktree(registry)
    # when
    await registry.update_project(project_id, description="An engine", metadata={"a": 1})
    await registry.update_project(project_id, "motor", metadata={"b": 2})
    await registry.update_worktree(worktree_id, "feat-y", branch_name="feat/y", type_name="pr")
    # then
    project = await registry.get_project(project_id)
    worktree = await registry.get_worktree(worktree_id)
    assert project is not None
    assert (project.name, project.description, project.metadata) == ("motor", "An engine", {"a": 1, "b": 2})
    assert worktree is not None
    assert (worktree.name, worktree.branch_name, worktree.type_name) == ("feat-y", "feat/y", "review")
    assert worktree.path == "/code/engine/feat-x"


async def test_a_worktree_is_claimed_released_and_removed(registry: Registry) -> None:
    # given
    _, worktree_id = await new_worktree(registry)
    await registry.claim_worktree(worktree_id, "ada")
    # then
    with pytest.raises(Conflict, match="held by agent"):
        await registry.claim_worktree(worktree_id, "bob")
    with pytest.raises(Conflict, match="held by agent"):
        await registry.release_worktree(worktree_id, "bob")
    # when
    await registry.release_worktree(worktree_id, "ada")
    await registry.claim_worktree(worktree_id, "bob")
    await registry.remove_worktree(worktree_id)
    # then
    worktree = await registry.get_worktree(worktree_id)
    assert worktree is not None
    assert (worktree.agent_id, worktree.active) == ("bob", False)


async def test_types_are_added_and_removed(registry: Registry) -> None:
    type_id = await registry.add_worktree_type("docs", "docs/", "docs-", "Documentation", "#ffffff", "D", {"a": 1})
    added = (await registry.list_worktree_types())[-1]
    assert (added.id, added.name, added.color, added.icon, added.metadata) == (
        type_id,
        "docs",
        "#ffffff",
        "D",
        {"a": 1},
    )
    with pytest.raises(Conflict, match="prefixes"):
        await registry.add_worktree_type("docs", "d/")
    await registry.remove_worktree_type("docs")
    with pytest.raises(Conflict, match="built in"):
        await registry.remove_worktree_type("feat")
    with pytest.raises(NotFound, match="docs"):
        await registry.remove_worktree_type("docs")


async def test_types_are_the_built_in_ones(registry: Registry) -> None:
    types = await registry.list_worktree_types()
    assert [one.name for one in types] == ["feat", "fix", "aiops", "devops", "review", "trunk"]
    assert all(one.is_builtin for one in types)


async def test_activities(registry: Registry) -> None:
    # given
    project_id, worktree_id = await new_worktree(registry)
    first = await registry.log_activity("ada", worktree_id, "modified", "Wrote x", "src/x.py", {"lines": 3})
    second = await registry.log_activity("bob", worktree_id, "claimed", "Took it")
    # then
    (work,) = await registry.get_agent_recent_work("ada")
    assert (work.activity_id, work.file_path, work.worktree_name) == (first, "src/x.py", "feat-x")
    assert await registry.get_agent_recent_work("ada", 0) == []
    assert [one.id for one in await registry.list_activities()] == [second, first]
    assert [one.id for one in await registry.list_activities(agent_id="ada")] == [first]
    assert [one.id for one in await registry.list_activities(project_id=project_id, limit=1)] == [second]
    assert [one.id for one in await registry.list_activities(worktree_id=worktree_id)] == [second, first]
    assert await registry.list_activities(worktree_id=uuid4()) == []
    (_, logged) = await registry.list_activities()
    assert (logged.metadata, logged.project_name) == ({"lines": 3}, "engine")


async def test_maintenance_and_statistics(registry: Registry, database: str) -> None:
    # given
    _, worktree_id = await new_worktree(registry)
    await registry.log_activity("ada", worktree_id, "other", "Looked")
    await registry.mark_worktree_merged(worktree_id, "ada", "deadbeef")
    stats = await registry.get_registry_stats()
    assert (stats.total_projects, stats.total_worktrees, stats.active_worktrees) == (1, 1, 0)
    assert (stats.total_activities, stats.activities_last_24h, stats.in_flight_worktrees) == (1, 1, 0)
    # when
    await registry.maintenance_vacuum()
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT reltuples FROM pg_class WHERE relname = 'projects'").fetchone() == (1,)
    # then
    assert await registry.prune_inactive_worktrees() == 0
    assert await registry.prune_inactive_worktrees(0) == 1
    assert await registry.cleanup_old_activities() == 0
    assert await registry.cleanup_old_activities(0) == 1


async def test_a_page_of_projects_continues_where_the_last_one_ended(registry: Registry) -> None:
    # given
    wanted = {await registry.register_project(f"p{n}", f"git@github.com:ada/p{n}.git") for n in range(5)}
    # when
    seen, after = [], None
    while page := await registry.list_projects(limit=2, after=after):
        assert len(page) <= 2
        seen += [project.id for project in page]
        after = page[-1].id
    # then
    assert seen == sorted(wanted)


async def test_projects_and_worktrees_are_found_by_what_people_call_them(registry: Registry) -> None:
    project_id, worktree_id = await new_worktree(registry)
    for reference in ("engine", "https://github.com/ada/engine", str(project_id), str(project_id)[:10]):
        assert [one.id for one in await registry.find_projects(reference)] == [project_id], reference
    for reference in ("feat-x", "/code/engine/feat-x/", str(worktree_id).upper(), str(worktree_id)[:8]):
        assert [one.id for one in await registry.find_worktrees(reference)] == [worktree_id], reference
    for reference in ("", "-", "nobody", "%", f"{project_id}0", str(project_id).replace("-", "")[:12], "zz\u00e4"):
        assert await registry.find_projects(reference) == [], reference


async def test_events_of_a_write_know_its_cause(registry: Registry, database: str) -> None:
    # given
    correlation_id, causation_id = uuid4(), uuid4()
    # when
    acting = registry.acting(
        actor="ada", correlation_id=correlation_id, causation_id=causation_id, traceparent=TRACEPARENT
    )
    await new_worktree(acting)
    await registry.register_project("other", "git@github.com:ada/other.git")
    # then
    with psycopg.connect(database, row_factory=dict_row) as conn:
        rows = conn.execute(
            "SELECT actor, correlation_id, causation_id, traceparent FROM outbox ORDER BY id"
        ).fetchall()
    known = {
        "actor": "ada",
        "correlation_id": correlation_id,
        "causation_id": causation_id,
        "traceparent": TRACEPARENT,
    }
    assert rows == [known, known, dict.fromkeys(known)]


async def test_a_second_merge_and_a_taken_path_are_conflicts(registry: Registry) -> None:
    project_id, worktree_id = await new_worktree(registry)
    with pytest.raises(Conflict, match="p_path"):
        await registry.register_worktree(project_id, "fix", "fix-y", "fix/y", "/code/engine/feat-x")
    await registry.mark_worktree_merged(worktree_id, "ada", "deadbeef")
    with pytest.raises(Conflict, match="was merged by ada"):
        await registry.mark_worktree_merged(worktree_id, "bob", "cafe")
